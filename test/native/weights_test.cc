#include "core/weights.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "check.h"
#include "core/checkpoint.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "safetensors.h"

namespace {

using namespace resnet;

uint32_t bitsOf(float value) { return std::bit_cast<uint32_t>(value); }

TEST("dtype: names and sizes") {
  for (DType dtype :
       {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kUint8, DType::kInt32})
    CHECK(parseDType(dtypeName(dtype)) == dtype);
  CHECK(!parseDType("float64") && !parseDType("") && !parseDType("Float32"));
  CHECK(dtypeBytes(DType::kFloat32) == 4 && dtypeBytes(DType::kInt32) == 4 &&
        dtypeBytes(DType::kUint8) == 1);
  CHECK(dtypeBytes(DType::kFloat16) == 2 && dtypeBytes(DType::kBFloat16) == 2);
}

// The definition of IEEE half: sign, 5 bits of exponent, 10 of mantissa.
double halfByDefinition(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

TEST("dtype: all 65,536 halves convert exactly, by value and in bulk") {
  std::vector<uint8_t> source(65536 * 2 + 1);
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = uint16_t(bits);
    std::memcpy(source.data() + 1 + bits * 2, &half, 2);  // unaligned on purpose
  }
  std::vector<float> bulk(65536), brain(65536);
  convertToFloat32(DType::kFloat16, source.data() + 1, bulk.size(), bulk.data());
  convertToFloat32(DType::kBFloat16, source.data() + 1, brain.size(), brain.data());
  int wrong = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float single = float16ToFloat32(uint16_t(bits));
    wrong += bitsOf(single) != bitsOf(bulk[bits]);
    wrong += bitsOf(brain[bits]) != bits << 16 ||
             bitsOf(bfloat16ToFloat32(uint16_t(bits))) != bits << 16;
    if (((bits >> 10) & 31) == 31) {
      const bool negative = (bits & 0x8000) != 0;
      wrong += (bits & 1023) != 0
                   ? !std::isnan(single)
                   : single != (negative ? -1 : 1) * std::numeric_limits<float>::infinity();
    } else {
      wrong += double(single) != halfByDefinition(uint16_t(bits));
      wrong += std::signbit(single) != ((bits & 0x8000) != 0);
    }
  }
  CHECK_EQ(wrong, 0);
}

TEST("shape: counts that overflow are refused") {
  CHECK(elementCount({}) == 1u);
  CHECK(elementCount({2, 3, 4}) == 24u);
  CHECK(elementCount({0, 5}) == 0u);
  CHECK(!elementCount({-1}));
  CHECK(elementCount({INT64_MAX, 2}) == uint64_t(INT64_MAX) * 2);
  CHECK(!elementCount({INT64_MAX, 3}));
  CHECK(!elementCount({int64_t{1} << 32, int64_t{1} << 32}));
  CHECK(!elementCount({INT64_MAX, INT64_MAX, 0}));
  CHECK_EQ(shapeText({64, 3, 7, 7}), "[64,3,7,7]");
  CHECK_EQ(shapeText({}), "[]");
  CHECK(shapeText(std::vector<int64_t>(10000, 1)).size() < 80);
}

TEST("weights: the formula's golden values") {
  struct Row {
    uint64_t seed;
    const char* name;
    size_t i;
    float lo, hi;
    uint32_t bits;
  };
  for (const Row& r : {Row{0, "conv1.weight", 0, 0, 1, 0x3ECDFC22},
                       Row{42, "layer1.0.bn2.weight", 7, -1, 1, 0xBE7C32D0},
                       Row{(uint64_t{1} << 53) - 1, "x", 1000000, -0.05f, 0.3f, 0x3DBA0B84},
                       Row{1, "fc.bias", 2, -3, 5, 0xC0103206}}) {
    const auto weights = makeFormulaWeights(r.seed, {{r.name, {int64_t(r.i) + 1}, r.lo, r.hi}});
    std::vector<float> out(r.i + 1);
    CHECK(weights->read(r.name, out.data(), out.size()).ok());
    CHECK_EQ(bitsOf(out[r.i]), r.bits);
  }
}

TEST("weights: the formula stays within its bounds and depends on name and seed") {
  const auto read = [](uint64_t seed, const char* name) {
    std::vector<float> out(10000);
    CHECK(makeFormulaWeights(seed, {{name, {100, 100}, -2, 2}})
              ->read(name, out.data(), out.size())
              .ok());
    return out;
  };
  const std::vector<float> a = read(1, "a");
  double sum = 0;
  bool inside = true;
  for (float x : a) {
    sum += x;
    inside = inside && x >= -2 && x < 2;
  }
  CHECK(inside);
  CHECK(std::abs(sum / double(a.size())) < 0.05);  // its deviation is 4/sqrt(12)/100 = 0.0115
  CHECK(a == read(1, "a") && a != read(2, "a") && a != read(1, "b"));
}

TEST("weights: absent names and wrong counts are mismatches") {
  const auto weights = makeFormulaWeights(0, {{"w", {2, 3}, 0, 1}});
  float out[6];
  CHECK(weights->find("w") != nullptr && weights->find("w")->shape == (std::vector<int64_t>{2, 3}));
  CHECK(weights->find("v") == nullptr);
  const Status absent = weights->read("v", out, 6);
  CHECK(absent.code == Code::kMismatch);
  CHECK_HAS(absent.message, "\"v\"");
  const Status wrong = weights->read("w", out, 5);
  CHECK(wrong.code == Code::kMismatch);
  CHECK_HAS(wrong.message, "tensor \"w\" must have 5 elements, got shape [2,3]");
}

TEST("weights: owned tensors of the three float dtypes") {
  const float numbers[] = {1.5f, -2.0f};
  OwnedTensor f32{{"f32", DType::kFloat32, {2}}, std::vector<uint8_t>(8)};
  std::memcpy(f32.bytes.data(), numbers, 8);
  OwnedTensor f16{{"f16", DType::kFloat16, {2}}, {0x00, 0x3E, 0x00, 0xC0}};
  OwnedTensor bf16{{"bf16", DType::kBFloat16, {2}}, {0xC0, 0x3F, 0x00, 0xC0}};
  OwnedTensor u8{{"u8", DType::kUint8, {2}}, {1, 2}};
  OwnedTensor brief{{"brief", DType::kFloat32, {2}}, std::vector<uint8_t>(7)};
  const auto weights = makeOwnedWeights({f32, f16, bf16, u8, brief});
  for (const char* name : {"f32", "f16", "bf16"}) {
    float out[2] = {0, 0};
    CHECK(weights->read(name, out, 2).ok());
    CHECK_EQ(out[0], 1.5f);
    CHECK_EQ(out[1], -2.0f);
  }
  float out[2];
  const Status unsupported = weights->read("u8", out, 2);
  CHECK(unsupported.code == Code::kUnsupported);
  CHECK_HAS(unsupported.message, "got uint8");
  CHECK(weights->read("brief", out, 2).code == Code::kMismatch);
}

TEST("weights: parameters of a checkpoint by its own names") {
  auto opened = Checkpoint::openBytes(test::safetensors(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}})",
      {0, 0, 0xC0, 0x3F, 0, 0, 0, 0xC0, 7, 0, 0, 0, 0, 0, 0, 0}));
  CHECK(opened.ok());
  if (!opened.ok()) return;
  const auto weights = makeCheckpointWeights(
      opened.take(), {{"conv1.weight", "a"}, {"steps", "b"}, {"conv2.weight", "c"}});
  CHECK(weights->find("conv1.weight") != nullptr && weights->find("conv1.weight")->name == "a");
  CHECK(weights->find("conv2.weight") == nullptr && weights->find("a") == nullptr);
  float out[2] = {0, 0};
  CHECK(weights->read("conv1.weight", out, 2).ok());
  CHECK(out[0] == 1.5f && out[1] == -2.0f);
  CHECK_HAS(weights->read("conv1.weight", out, 1).message,
            "tensor \"a\" must have 1 elements, got shape [2]");
  const Status absent = weights->read("conv2.weight", out, 2);
  CHECK(absent.code == Code::kMismatch);
  CHECK_HAS(absent.message, "no tensor \"c\", named for parameter \"conv2.weight\"");
  const Status integer = weights->read("steps", out, 1);
  CHECK(integer.code == Code::kUnsupported);
  CHECK_HAS(integer.message, "must be F32, F16 or BF16 to be read, got I64");
}

TEST("weights: the packed store keeps the first of racing buffers") {
  const auto weights = makeFormulaWeights(0, {});
  CHECK(weights->packed().find("k") == nullptr);
  std::vector<std::shared_ptr<const PackedBuffer>> kept(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kept.size(); ++t)
    threads.emplace_back([&, t] {
      auto buffer = std::make_shared<PackedBuffer>();
      buffer->bytes = 100;
      kept[t] = weights->packed().insert("k", buffer);
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& buffer : kept) CHECK(buffer != nullptr && buffer == kept[0]);
  CHECK(weights->packed().find("k") == kept[0]);
  CHECK_EQ(weights->packed().bytes(), 100u);
}

}  // namespace

int main(int argc, char** argv) { return test::runCases(argc, argv); }
