// From operations to a recipe, and what real cuDNN would refuse on the way.
#include <algorithm>

#include "test/cuda/simulated/cudnn/descriptor.h"

namespace resnet::simulated {

namespace {

TensorShape shapeOf(const Descriptor& tensor) {
  TensorShape shape;
  shape.uid = tensor.value<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, 0);
  shape.alignment = tensor.value<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 16);
  shape.type = tensor.value(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT);
  shape.isVirtual = tensor.value(CUDNN_ATTR_TENSOR_IS_VIRTUAL, false);
  shape.dims = tensor.list<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
  shape.strides = tensor.list<int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
  if (shape.dims.size() == 3) {  // [1, rows, columns]: so many 1x1 maps of so many channels
    const std::vector<int64_t> dims = shape.dims, strides = shape.strides;
    shape.dims = {dims[0] * dims[1], dims[2], 1, 1};
    shape.strides = {strides[1], strides[2], strides[1], strides[1]};
  }
  return shape;
}

cudnnStatus_t refuse(std::string& why, cudnnStatus_t status, const std::string& text) {
  why = text;
  return status;
}

// Channels lie next to each other; pixels and rows may have gaps.
bool channelsLast(const TensorShape& shape) { return shape.dims[1] == 1 || shape.strides[1] == 1; }

bool broadcasts(const TensorShape& operand, const std::vector<int64_t>& dims) {
  for (size_t d = 0; d < 4; ++d)
    if (operand.dims[d] != dims[d] && operand.dims[d] != 1) return false;
  return true;
}

cudnnStatus_t parseConvolution(const Descriptor& operation, Recipe& recipe, TensorShape& result,
                               std::string& why) {
  const DescriptorPointer convolution =
      operation.descriptor(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
  recipe.x = shapeOf(*operation.descriptor(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X));
  recipe.w = shapeOf(*operation.descriptor(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W));
  result = shapeOf(*operation.descriptor(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y));
  const auto pair = [&](int name, int64_t* into) {
    const std::vector<int64_t> values = convolution->list<int64_t>(name);
    if (values.size() == 2) std::copy(values.begin(), values.end(), into);
    return values.size() == 2;
  };
  if (!pair(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, recipe.stride) ||
      !pair(CUDNN_ATTR_CONVOLUTION_DILATIONS, recipe.dilation) ||
      !pair(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, recipe.before) ||
      !pair(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, recipe.after))
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_SHAPE, "a convolution has two spatial axes");
  if (convolution->value(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_HALF) != CUDNN_DATA_FLOAT)
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "a convolution sums in float");
  recipe.flipped = convolution->value(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION) ==
                   CUDNN_CONVOLUTION;
  const std::vector<int64_t>&x = recipe.x.dims, &w = recipe.w.dims, &y = result.dims;
  if (w[1] == 0 || x[1] % w[1] != 0 || w[0] % (x[1] / w[1]) != 0 || y[0] != x[0] || y[1] != w[0])
    return refuse(why, CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "channels, groups or batch disagree");
  for (size_t d = 0; d < 2; ++d) {
    const int64_t span =
        x[2 + d] + recipe.before[d] + recipe.after[d] - recipe.dilation[d] * (w[2 + d] - 1) - 1;
    if (span < 0 || y[2 + d] != span / recipe.stride[d] + 1)
      return refuse(why, CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                    "the output's size does not follow");
  }
  if (recipe.w.type != recipe.x.type)
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "input and weights differ in type");
  if (!channelsLast(recipe.x) || !channelsLast(recipe.w))
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "NHWC and KRSC only");
  recipe.convType = result.type;
  return CUDNN_STATUS_SUCCESS;
}

// C [n, k] = A [n, c] B [c, k]: a convolution whose weights are B's transpose.
cudnnStatus_t parseMatmul(const Descriptor& operation, Recipe& recipe, TensorShape& result,
                          std::string& why) {
  const DescriptorPointer a = operation.descriptor(CUDNN_ATTR_OPERATION_MATMUL_ADESC),
                          b = operation.descriptor(CUDNN_ATTR_OPERATION_MATMUL_BDESC),
                          c = operation.descriptor(CUDNN_ATTR_OPERATION_MATMUL_CDESC);
  for (const DescriptorPointer& each : {a, b, c}) {
    const auto dims = each->list<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
    if (dims.size() != 3 || dims[0] != 1)
      return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_SHAPE, "one matrix product, of matrices");
  }
  const DescriptorPointer matmul = operation.descriptor(CUDNN_ATTR_OPERATION_MATMUL_DESC);
  if (matmul->value(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_HALF) != CUDNN_DATA_FLOAT)
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "a matrix product sums in float");
  recipe.matmul = true;
  recipe.x = shapeOf(*a);
  recipe.w = shapeOf(*b);
  result = shapeOf(*c);
  std::swap(recipe.w.dims[0], recipe.w.dims[1]);
  std::swap(recipe.w.strides[0], recipe.w.strides[1]);
  recipe.w.strides[2] = recipe.w.strides[3] = recipe.w.strides[0];
  if (recipe.x.dims[1] != recipe.w.dims[1] || result.dims[0] != recipe.x.dims[0] ||
      result.dims[1] != recipe.w.dims[0])
    return refuse(why, CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "rows or columns disagree");
  if (recipe.w.type != recipe.x.type)
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "the operands differ in type");
  recipe.convType = result.type;
  return CUDNN_STATUS_SUCCESS;
}

// The pointwise operation that reads `uid`; null when none does.
const Descriptor* consumerOf(const Descriptor& graph, int64_t uid) {
  for (const DescriptorPointer& operation :
       graph.attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).descriptors) {
    if (operation->type != CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) continue;
    for (int name : {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC}) {
      const DescriptorPointer tensor = operation->descriptor(name);
      if (tensor != nullptr && shapeOf(*tensor).uid == uid) return operation.get();
    }
  }
  return nullptr;
}

cudnnStatus_t parseStage(const Descriptor& operation, int64_t uid, EpilogueStage& stage,
                         TensorShape& result, std::string& why) {
  const DescriptorPointer pointwise =
      operation.descriptor(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  const auto mode = pointwise->value(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_MUL);
  if (pointwise->value(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_HALF) != CUDNN_DATA_FLOAT)
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE,
                  "pointwise operations compute in float");
  const std::vector<int64_t> dims = result.dims;
  result = shapeOf(*operation.descriptor(CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
  if (result.dims != dims)
    return refuse(why, CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                  "a pointwise result of another shape");
  stage.resultType = result.type;
  if (mode == CUDNN_POINTWISE_RELU_FWD) {
    if (pointwise->value(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0.0) != 0.0 ||
        pointwise->value(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, 0.0) != 0.0)
      return refuse(why, CUDNN_STATUS_NOT_SUPPORTED, "a plain relu only");
    stage.relu = true;
    return CUDNN_STATUS_SUCCESS;
  }
  if (mode != CUDNN_POINTWISE_ADD)
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "additions and relu only");
  const TensorShape a = shapeOf(*operation.descriptor(CUDNN_ATTR_OPERATION_POINTWISE_XDESC));
  const TensorShape b = shapeOf(*operation.descriptor(CUDNN_ATTR_OPERATION_POINTWISE_BDESC));
  stage.operand = a.uid == uid ? b : a;
  if (stage.operand.isVirtual)
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "a chain only");
  if (!broadcasts(stage.operand, dims))
    return refuse(why, CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "an addend that does not broadcast");
  if (!channelsLast(stage.operand))
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "NHWC only");
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

cudnnStatus_t parseGraph(const Descriptor& graph, Recipe& recipe, std::string& why) {
  const std::vector<DescriptorPointer>& operations =
      graph.attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).descriptors;
  const Descriptor *convolution = nullptr, *matmul = nullptr;
  for (const DescriptorPointer& operation : operations) {
    if (operation->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
      convolution = operation.get();
    if (operation->type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR) matmul = operation.get();
  }
  if ((convolution == nullptr) == (matmul == nullptr))
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN,
                  "one convolution or one matrix product in a graph");
  TensorShape result;
  cudnnStatus_t status = matmul != nullptr ? parseMatmul(*matmul, recipe, result, why)
                                           : parseConvolution(*convolution, recipe, result, why);
  size_t used = 1;
  while (status == CUDNN_STATUS_SUCCESS && result.isVirtual) {
    const Descriptor* next = consumerOf(graph, result.uid);
    if (next == nullptr)
      return refuse(why, CUDNN_STATUS_BAD_PARAM, "a virtual tensor that nothing reads");
    EpilogueStage stage;
    status = parseStage(*next, result.uid, stage, result, why);
    recipe.epilogue.push_back(std::move(stage));
    if (++used > operations.size()) break;
  }
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (used != operations.size())
    return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "one chain of operations only");
  if (!channelsLast(result)) return refuse(why, CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "NHWC only");
  recipe.y = result;
  std::vector<int64_t> uids = {recipe.x.uid, recipe.w.uid, recipe.y.uid};
  for (const EpilogueStage& stage : recipe.epilogue)
    if (!stage.relu) uids.push_back(stage.operand.uid);
  std::sort(uids.begin(), uids.end());
  if (std::adjacent_find(uids.begin(), uids.end()) != uids.end())
    return refuse(why, CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "two tensors have one uid");
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace resnet::simulated
