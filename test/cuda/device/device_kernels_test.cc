// The kernels on a device, real launches, over the same table of op cases as kernels_test.cc runs on the emulated ones.
//   device_kernels_test [--exact] [--every N] [--plant] [filter...]
// --exact: memory ends where a value ends, for compute-sanitizer. --every N: each Nth case. --plant: one kernel alone, told of
// an image that is not there, which the sanitizer must see. For scripts/gpu-check it prints what it found as JSON lines; the
// exit status is 1 where a case failed.
#include <chrono>
#include <cstring>
#include <string_view>

#include "mirror.h"
#include "test/cuda/kernels/op_table.h"

using namespace resnet;
using namespace resnet::test;

namespace {

template <typename Launch>
cudaError_t mirrored(const Launch& launch) {
  Mirror mirror;
  return mirror.finish(launch(mirror, mirrorSettings().stream));
}

cudaError_t input(const cuda::InputArguments& given, cudaStream_t) {
  return mirrored([&](Mirror& on, cudaStream_t stream) {
    cuda::InputArguments a = given;
    a.source = on.at(a.source);
    a.mean = on.at(a.mean);
    a.std = on.at(a.std);
    a.to = on.at(a.to);
    return cuda::input(a, stream);
  });
}
cudaError_t output(const cuda::OutputArguments& given, cudaStream_t) {
  return mirrored([&](Mirror& on, cudaStream_t stream) {
    cuda::OutputArguments a = given;
    a.from = on.at(a.from);
    a.destination = on.at(a.destination);
    return cuda::output(a, stream);
  });
}
template <cudaError_t (*kPool)(const cuda::PoolArguments&, cudaStream_t)>
cudaError_t pool(const cuda::PoolArguments& given, cudaStream_t) {
  return mirrored([&](Mirror& on, cudaStream_t stream) {
    cuda::PoolArguments a = given;
    a.from = on.at(a.from);
    a.to = on.at(a.to);
    return kPool(a, stream);
  });
}
cudaError_t globalAvgPool(cuda::View from, cuda::View to, cuda::ImageOrder order, cudaStream_t) {
  return mirrored([&](Mirror& on, cudaStream_t stream) {
    return cuda::globalAvgPool(on.at(from), on.at(to), order, stream);
  });
}
template <cudaError_t (*kMap)(cuda::View, cuda::View, cudaStream_t)>
cudaError_t map(cuda::View from, cuda::View to, cudaStream_t) {
  return mirrored(
      [&](Mirror& on, cudaStream_t stream) { return kMap(on.at(from), on.at(to), stream); });
}
cudaError_t affine(cuda::View from, cuda::View to, const float* scale, const float* shift,
                   bool relu, cudaStream_t) {
  return mirrored([&](Mirror& on, cudaStream_t stream) {
    return cuda::affine(on.at(from), on.at(to), on.at(scale), on.at(shift), relu, stream);
  });
}
cudaError_t add(cuda::View a, cuda::View b, cuda::View to, bool relu, cudaStream_t) {
  return mirrored([&](Mirror& on, cudaStream_t stream) {
    return cuda::add(on.at(a), on.at(b), on.at(to), relu, stream);
  });
}
cudaError_t topK(cuda::View from, cuda::View scores, cuda::View indices, int k, cudaStream_t) {
  return mirrored([&](Mirror& on, cudaStream_t stream) {
    return cuda::topK(on.at(from), on.at(scores), on.at(indices), k, stream);
  });
}
cudaError_t packWeights(const cuda::PackArguments& given, cudaStream_t) {
  return mirrored([&](Mirror& on, cudaStream_t stream) {
    cuda::PackArguments a = given;
    a.weight = on.at(a.weight);
    a.scale = on.at(a.scale);
    a.to = on.at(a.to);
    return cuda::packWeights(a, stream);
  });
}
cudaError_t resize(const cuda::ResizeArguments& given, cudaStream_t) {
  return mirrored([&](Mirror& on, cudaStream_t stream) {
    cuda::ResizeArguments a = given;
    a.source = on.at(a.source);
    a.mean = on.at(a.mean);
    a.std = on.at(a.std);
    a.scratch = on.at(a.scratch);
    a.to = on.at(a.to);
    return cuda::resize(a, stream);
  });
}

constexpr Ops kOps{
    &input,       &output, &pool<cuda::maxPool>,      &pool<cuda::avgPool>, &globalAvgPool,
    &affine,      &add,    &map<cuda::relu>,          &map<cuda::softmax>,  &topK,
    &packWeights, &resize, &cuda::resizeScratchFloats};

struct Arguments {
  int every = 1;
  bool plant = false;
  std::vector<std::string_view> filters;
};

Arguments readArguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--exact") {
      mirrorSettings().exact = true;
    } else if (argument == "--plant") {
      arguments.plant = true;
    } else if (argument == "--dry") {
      arguments.every = 97;
    } else if (argument == "--every" && i + 1 < argc) {
      arguments.every = std::max(1, std::atoi(argv[++i]));
    } else if (argument.substr(0, 2) != "--") {
      arguments.filters.push_back(argument);
    }
  }
  return arguments;
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c < ' ' ? ' ' : c;
  }
  return result;
}

void reportCase(const std::string& name, int failed) {
  std::printf(
      "{\"kind\":\"accuracy\",\"suite\":\"kernels\",\"case\":\"%s\",\"error\":%d,\"bound\":0,"
      "\"good\":%s}\n",
      escaped(name).c_str(), failed, failed == 0 ? "true" : "false");
}

// Reads and writes one image past the end of two values.
int plantFault() {
  Value from({1, 4, 4, 8}, DType::kFloat32, Placement::kDense),
      to({1, 4, 4, 8}, DType::kFloat32, Placement::kDense);
  from.view.n = to.view.n = 2;
  return map<cuda::relu>(from.view, to.view, nullptr) == cudaSuccess ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = readArguments(argc, argv);
  cudaStream_t stream = nullptr;
  mustCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  mirrorSettings().stream = stream;
  if (arguments.plant) return plantFault();
  int run = 0, failed = 0, index = 0;
  for (const OpCase& test : opCases()) {
    bool wanted = arguments.filters.empty();
    for (std::string_view filter : arguments.filters)
      wanted = wanted || test.name.find(filter) != std::string::npos;
    if (!wanted || index++ % arguments.every != 0) continue;
    Report report;
    test.run(kOps, report);
    ++run;
    if (report.fault.empty()) continue;
    constexpr int kNamed = 40;
    if (++failed <= kNamed) reportCase(test.name + ": " + report.fault, 1);
  }
  cudaStreamDestroy(stream);
  reportCase(std::to_string(run) + " cases of the kernels' table", failed);
  std::fprintf(stderr, "%d passed, %d failed\n", run - failed, failed);
  return failed > 0 || run == 0 ? 1 : 0;
}
