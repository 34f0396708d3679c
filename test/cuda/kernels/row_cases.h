// The common table of op cases (test/native/op_rows.h) on the kernels' launch functions: every row in every float type, and in
// several placements of its values and orders of its images.
#pragma once

#include <optional>

#include "op_case.h"

namespace resnet::test {

inline const char* orderName(cuda::ImageOrder order) {
  return order == cuda::ImageOrder::kReverse ? " reverse" : "";
}

struct Maps {
  const Value& from;
  const Value* second;  // of add
  Value& to;
};

inline cudaError_t launchRow(const OpRow& row, cuda::ImageOrder order, const Ops& ops, Maps maps) {
  const cuda::View from = maps.from.view, to = maps.to.view;
  const bool relu = row.activation == Activation::kRelu;
  switch (row.kind) {
    case StepKind::kMaxPool:
    case StepKind::kAvgPool: {
      const PoolStep& k = row.window;
      const cuda::PoolArguments arguments{
          from,        to,          k.kernel.h,   k.kernel.w,   k.stride.h,        k.stride.w,
          k.padding.h, k.padding.w, k.dilation.h, k.dilation.w, k.countIncludePad, order};
      return row.kind == StepKind::kMaxPool ? ops.maxPool(arguments, nullptr)
                                            : ops.avgPool(arguments, nullptr);
    }
    case StepKind::kGlobalAvgPool:
      return ops.globalAvgPool(from, to, order, nullptr);
    case StepKind::kAffine: {
      Guarded scale(size_t(row.in.c) * 4), shift(size_t(row.in.c) * 4);
      for (int c = 0; c < row.in.c; ++c) {
        scale.as<float>()[c] = float(normScale(c));
        shift.as<float>()[c] = float(normShift(c));
      }
      return ops.affine(from, to, scale.as<float>(), shift.as<float>(), relu, nullptr);
    }
    case StepKind::kAdd:
      return ops.add(from, maps.second->view, to, relu, nullptr);
    case StepKind::kActivation:
      return ops.relu(from, to, nullptr);
    case StepKind::kSoftmax:
      return ops.softmax(from, to, nullptr);
    default:
      return cudaErrorInvalidValue;
  }
}

// A step from one value to another, or from two.
inline void addMapRow(std::vector<OpCase>& list, const OpRow& row,
                      cuda::ImageOrder order = cuda::ImageOrder::kForward) {
  for (DType dtype : kFloats) {
    for (Pair pair : kPairs) {
      if (!row.thorough && pair.from != Placement::kPadded) continue;
      const std::string name = title(row.op(), dtype, row.in, pair) + row.suffix() +
                               orderName(order) + contentName(row.content);
      list.push_back({row.op(), name, [=](const Ops& ops, Report& report) {
                        Value from(row.in, dtype, pair.from), to(row.out, dtype, pair.to);
                        std::optional<Value> second;
                        from.fill(filled(row.in, row.content, kInputSeed));
                        if (row.kind == StepKind::kAdd) {
                          second.emplace(row.in, dtype, pair.from);
                          second->fill(filled(row.in, row.content, kSecondSeed));
                        }
                        Value* const other = second ? &*second : nullptr;
                        succeeded(report, launchRow(row, order, ops, {from, other, to}));
                        const Reference reference(row, row.in.n, from.reader(),
                                                  other != nullptr ? other->reader() : nullptr);
                        to.check(
                            report,
                            [&](int n, int p, int q, int c) { return reference.at(n, p, q, c); },
                            row.exact() ? Tolerance{} : toleranceOf(dtype));
                      }});
    }
  }
}

inline void addTopKRow(std::vector<OpCase>& list, const OpRow& row) {
  for (DType dtype : kFloats) {
    const Pair pair = kPairs[(size_t(row.in.c) + row.k + size_t(row.content) + size_t(dtype)) %
                             std::size(kPairs)];
    const std::string name =
        title("topK", dtype, row.in, pair) + row.suffix() + contentName(row.content);
    list.push_back(
        {"topK", name, [=](const Ops& ops, Report& report) {
           Value from(row.in, dtype, pair.from), scores(row.out, dtype, pair.to),
               indices(row.out, DType::kInt32, pair.to);
           from.fill(filled(row.in, row.content, kInputSeed));
           succeeded(report, ops.topK(from.view, scores.view, indices.view, row.k, nullptr));
           const Reference reference(row, row.in.n, from.reader());
           scores.check(report,
                        [&](int n, int p, int q, int i) { return reference.at(n, p, q, i); }, {});
           indices.check(report, [&](int n, int, int, int i) { return reference.indexAt(n, i); },
                         {});
         }});
  }
}

inline void checkInput(const OpRow& row, DType dtype, Placement placement, const Ops& ops,
                       Report& report) {
  const Shape s = row.in;
  const size_t bytes = dtypeBytes(row.source);
  Guarded source(s.count() * bytes);
  for (size_t i = 0; i < s.count(); ++i)
    writeElement(source.data() + i * bytes, row.source, sourceAt(row, i));
  const auto mean = floats(s.c, kMeanSeed, 0.4, 0.6),
             deviation = floats(s.c, kDeviationSeed, 0.2, 0.3);
  Value to(s, dtype, placement);
  cuda::InputArguments arguments;
  arguments.source = source.data();
  arguments.sourceType = row.source;
  arguments.nhwc = row.layout == MemoryLayout::kNhwc;
  arguments.mean = row.normalised ? mean->as<float>() : nullptr;
  arguments.std = row.normalised ? deviation->as<float>() : nullptr;
  arguments.to = to.view;
  if ((row.source == DType::kUint8) != arguments.nhwc) arguments.order = cuda::ImageOrder::kReverse;
  succeeded(report, ops.input(arguments, nullptr));
  const Reference reference(row, s.n, [&](int n, int y, int x, int c) {
    return readElement(source.data() + placeIn(row.layout, s, n, y, x, c) * bytes, row.source);
  });
  to.check(
      report, [&](int n, int y, int x, int c) { return reference.at(n, y, x, c); },
      toleranceOf(dtype));
}

inline void checkOutput(const OpRow& row, DType dtype, Placement placement, const Ops& ops,
                        Report& report) {
  const Shape s = row.in;
  const bool nhwc = row.layout == MemoryLayout::kNhwc, integers = dtype == DType::kInt32;
  Value from(s, dtype, placement);
  from.fill([&](int n, int y, int x, int c) -> double {
    const size_t i = placeIn(row.layout, s, n, y, x, c);
    return integers ? double(i) - 7 : contentAt(row.content, kPixelSeed, i);
  });
  Guarded destination(s.count() * 4);
  const auto order = integers != nhwc ? cuda::ImageOrder::kReverse : cuda::ImageOrder::kForward;
  succeeded(report, ops.output({from.view, destination.data(), nhwc, order}, nullptr));
  destination.check(report, "destination");
  const Reference reference(row, s.n, from.reader());
  for (int n = 0; n < s.n; ++n) {
    for (int y = 0; y < s.h; ++y) {
      for (int x = 0; x < s.w; ++x) {
        for (int c = 0; c < s.c; ++c) {
          const size_t i = placeIn(row.layout, s, n, y, x, c);
          const double got =
              readElement(destination.data() + i * 4, integers ? dtype : DType::kFloat32);
          if (!agree(got, reference.at(n, y, x, c), {}))
            report.add("element " + std::to_string(i) + " is " + std::to_string(got));
        }
      }
    }
  }
}

// Of the caller's memory to a value, or the other way: integers too.
inline void addBorderRow(std::vector<OpCase>& list, const OpRow& row) {
  const bool isInput = row.kind == StepKind::kInput;
  for (Placement placement : kPlacements) {
    for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt32}) {
      if (isInput && dtype == DType::kInt32) continue;
      const std::string name = title(row.op(), dtype, row.in, {placement, placement});
      list.push_back({row.op(), name + row.suffix(), [=](const Ops& ops, Report& report) {
                        (isInput ? checkInput : checkOutput)(row, dtype, placement, ops, report);
                      }});
    }
  }
}

inline void addRow(std::vector<OpCase>& list, const OpRow& row) {
  const bool ordered = row.kind == StepKind::kMaxPool || row.kind == StepKind::kAvgPool ||
                       row.kind == StepKind::kGlobalAvgPool;
  switch (row.kind) {
    case StepKind::kConv:
    case StepKind::kLinear:
      return;  // cuDNN's: test/cuda/lowering_test.cc
    case StepKind::kTopK:
      return addTopKRow(list, row);
    case StepKind::kInput:
    case StepKind::kOutput:
      return addBorderRow(list, row);
    default:
      addMapRow(list, row);
      if (ordered && row.thorough) addMapRow(list, row, cuda::ImageOrder::kReverse);
  }
}

}  // namespace resnet::test
