#include "cuda/ceilings.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/json.h"
#include "core/roofline.h"

namespace resnet::cuda {
namespace {

// FLOP of one SM in one clock, dense, sums in float32; of the cards of a generation those of the fastest.
// From NVIDIA's architecture white papers (Turing, Ampere GA100 and GA10x, Ada, Hopper, Blackwell).
struct PerClock {
  int capability;
  double float16, bfloat16, tf32, float32;
};
constexpr PerClock kGenerations[] = {
    {75, 1024, 128, 128, 128},    {80, 2048, 2048, 1024, 128},  {86, 1024, 1024, 512, 256},
    {87, 1024, 1024, 512, 256},   {89, 1024, 1024, 512, 256},   {90, 4096, 4096, 2048, 256},
    {100, 8192, 8192, 4096, 256}, {103, 8192, 8192, 4096, 256}, {120, 1024, 1024, 512, 256},
};

double attribute(cudaDeviceAttr name, int device) {
  int value = 0;
  if (cudaDeviceGetAttribute(&value, name, device) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return value;
}

double scaleOf(const std::string& unit) {
  if (unit.empty()) return 0;
  return unit[0] == 'T' ? 1e12 : unit[0] == 'G' ? 1e9 : unit[0] == 'P' ? 1e15 : 0;
}

const std::string& textOf(const json::Value& value, const char* key) {
  static const std::string none;
  const json::Value* found = value.find(key);
  return found != nullptr && found->is(json::Value::Kind::kString) ? found->string : none;
}

double rateFor(DType dtype, bool tf32, const Ceilings& ceilings) {
  switch (dtype) {
    case DType::kFloat16:
      return ceilings.float16;
    case DType::kBFloat16:
      return ceilings.bfloat16;
    default:
      return tf32 ? ceilings.tf32 : ceilings.float32;
  }
}

}  // namespace

Ceilings theoreticalCeilings(int device, int capability) {
  Ceilings ceilings;
  const double kilohertz = attribute(cudaDevAttrClockRate, device),
               memoryKilohertz = attribute(cudaDevAttrMemoryClockRate, device),
               busBits = attribute(cudaDevAttrGlobalMemoryBusWidth, device),
               processors = attribute(cudaDevAttrMultiProcessorCount, device);
  ceilings.bytesPerSecond = 2 * memoryKilohertz * 1e3 * busBits / 8;  // two transfers a clock
  for (const PerClock& each : kGenerations) {
    if (each.capability != capability) continue;
    const double clocks = processors * kilohertz * 1e3;
    ceilings.float16 = clocks * each.float16;
    ceilings.bfloat16 = clocks * each.bfloat16;
    ceilings.tf32 = clocks * each.tf32;
    ceilings.float32 = clocks * each.float32;
  }
  ceilings.source =
      ceilings.bytesPerSecond > 0 && ceilings.float32 > 0
          ? "theoretical: memory clock x bus width, SMs x highest clock x rate of the generation"
          : "unknown: the driver or this version does not state clocks and rates of this device";
  return ceilings;
}

void readMeasuredCeilings(const std::string& cardName, Ceilings& ceilings) {
  const char* path = std::getenv("RESNET_DEVICE_CEILINGS");
  if (path == nullptr || *path == '\0') return;
  const auto refuse = [&](const std::string& why) {
    ceilings.source += "; '" + std::string(path) + "' is not used: " + why;
  };
  std::ifstream file(path, std::ios::binary);
  if (!file) return refuse("it cannot be read");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const Result<json::Value> parsed = json::parse(text);
  if (!parsed.ok()) return refuse(parsed.status().message);
  const json::Value* card = parsed.value().find("card");
  const std::string measured = card == nullptr ? "" : textOf(*card, "name");
  if (measured != cardName) return refuse("it was measured on '" + measured + "'");
  const json::Value* list = parsed.value().find("ceilings");
  if (list == nullptr) return refuse("it has no ceilings");
  bool any = false;
  for (const json::Value& row : list->array) {
    const json::Value* value = row.find("value");
    if (value == nullptr || !value->is(json::Value::Kind::kNumber)) continue;
    const double rate = value->number * scaleOf(textOf(row, "unit"));
    if (!(rate > 0)) continue;
    const std::string& name = textOf(row, "name");
    double* to = name == "device copy"       ? &ceilings.bytesPerSecond
                 : name == "matrix float16"  ? &ceilings.float16
                 : name == "matrix bfloat16" ? &ceilings.bfloat16
                 : name == "matrix tf32"     ? &ceilings.tf32
                 : name == "matrix float32"  ? &ceilings.float32
                                             : nullptr;
    if (to == nullptr) continue;
    *to = rate;
    any = true;
  }
  if (!any) return refuse("none of its ceilings is known here");
  ceilings.source = "measured: '" + std::string(path) + "'; what it lacks is " + ceilings.source;
}

double leastMilliseconds(const Plan& plan, const Step& step, int images, bool tf32,
                         const Ceilings& ceilings) {
  const StepCost cost = stepCost(plan, step);
  const std::vector<ValueId> reads = stepInputs(step), writes = stepOutputs(step);
  const ValueId value = reads.empty() ? writes.front() : reads.front();
  const DType dtype = plan.values[size_t(value)].dtype;
  const double rate = rateFor(dtype, tf32, ceilings);
  if (rate <= 0 || ceilings.bytesPerSecond <= 0) return 0;
  const double weights = cost.weightBytes / sizeof(float) * double(dtypeBytes(dtype));
  const double bytes = (cost.bytes - cost.weightBytes) * images + weights;
  return 1e3 * std::max(bytes / ceilings.bytesPerSecond, cost.flop * images / rate);
}

}  // namespace resnet::cuda
