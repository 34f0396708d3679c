#include "core/weights.h"

#include <cstring>

#include "glue/arguments.h"
#include "glue/boxes.h"
#include "glue/functions.h"

namespace resnet::glue {
namespace {

Napi::Value handleOf(Napi::Env env, std::shared_ptr<const Weights> weights, int64_t bytes) {
  auto box = std::make_shared<WeightsBox>();
  box->weights = std::move(weights);
  box->bytes = bytes;
  return makeHandle(env, std::move(box));
}

int64_t elementsOf(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (int64_t size : shape) elements *= size;
  return elements;
}

Result<OwnedTensor> ownedTensor(const Napi::Value& value, size_t index) {
  const std::string where = "weightsFromTensors.tensors[" + std::to_string(index) + "]";
  Arguments fields(value, where);
  OwnedTensor tensor;
  tensor.info.name = fields.text("name");
  tensor.info.shape = fields.shape("shape");
  const std::string dtype = fields.text("dtype");
  const std::optional<DType> parsed = parseDType(dtype);
  if (parsed != DType::kFloat32 && parsed != DType::kFloat16 && parsed != DType::kBFloat16) {
    fields.refuse("'" + where + ".dtype' must be 'float32', 'float16' or 'bfloat16', got '" +
                  dtype + "'");
  }
  const Napi::TypedArray view =
      fields.view(fields.value("data"), "data",
                  parsed == DType::kFloat32 ? napi_float32_array : napi_uint16_array);
  RESNET_RETURN_IF_ERROR(fields.status());

  tensor.info.dtype = *parsed;
  const Span span = spanOf(view);
  if (int64_t(span.elements) != elementsOf(tensor.info.shape)) {
    return Status::error(Code::kInvalidArgument, "'" + where + ".data' must hold the " +
                                                     std::to_string(elementsOf(tensor.info.shape)) +
                                                     " elements of its shape, got " +
                                                     std::to_string(span.elements));
  }
  tensor.bytes.resize(span.elements * dtypeBytes(*parsed));
  if (!tensor.bytes.empty()) std::memcpy(tensor.bytes.data(), span.data, tensor.bytes.size());
  return tensor;
}

Result<FormulaTensor> formulaTensor(const Napi::Value& value, size_t index) {
  Arguments fields(value, "weightsFromFormula.tensors[" + std::to_string(index) + "]");
  FormulaTensor tensor;
  tensor.name = fields.text("name");
  tensor.shape = fields.shape("shape");
  tensor.lo = float(fields.finite("lo"));
  tensor.hi = float(fields.finite("hi"));
  RESNET_RETURN_IF_ERROR(fields.status());
  return tensor;
}

}  // namespace

const napi_type_tag WeightsBox::kTag = {0xd25c8b03f7164e9a, 0x81f3a6d40be95c03};

std::vector<napi_property_descriptor> WeightsBox::methods() {
  return {method("dispose", rejecting<disposeAndWait<WeightsBox>>)};
}

Result<Napi::Value> weightsFromCheckpoint(const Napi::CallbackInfo& info) {
  Arguments call(info, "weightsFromCheckpoint");
  const auto checkpoint = call.handle<CheckpointBox>("checkpoint");
  const auto names = call.textByName("names");
  RESNET_RETURN_IF_ERROR(call.status());
  return handleOf(info.Env(),
                  makeCheckpointWeights(checkpoint->checkpoint, std::map<std::string, std::string>(
                                                                    names.begin(), names.end())),
                  0);
}

Result<Napi::Value> weightsFromTensors(const Napi::CallbackInfo& info) {
  Arguments call(info, "weightsFromTensors");
  const std::vector<Napi::Value> list = call.list("tensors");
  RESNET_RETURN_IF_ERROR(call.status());
  std::vector<OwnedTensor> tensors;
  int64_t bytes = 0;
  for (const Napi::Value& item : list) {
    Result<OwnedTensor> tensor = ownedTensor(item, tensors.size());
    if (!tensor.ok()) return tensor.takeStatus();
    bytes += int64_t(tensor.value().bytes.size());
    tensors.push_back(tensor.take());
  }
  return handleOf(info.Env(), makeOwnedWeights(std::move(tensors)), bytes);
}

Result<Napi::Value> weightsFromFormula(const Napi::CallbackInfo& info) {
  Arguments call(info, "weightsFromFormula");
  const int64_t seed = call.integer("seed", 0, kMaxSafeInteger);
  const std::vector<Napi::Value> list = call.list("tensors");
  RESNET_RETURN_IF_ERROR(call.status());
  std::vector<FormulaTensor> tensors;
  for (const Napi::Value& item : list) {
    Result<FormulaTensor> tensor = formulaTensor(item, tensors.size());
    if (!tensor.ok()) return tensor.takeStatus();
    tensors.push_back(tensor.take());
  }
  return handleOf(info.Env(), makeFormulaWeights(uint64_t(seed), std::move(tensors)), 0);
}

}  // namespace resnet::glue
