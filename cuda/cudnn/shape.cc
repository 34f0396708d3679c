// What a ConvolutionShape means: its text, its output's size, and what is no convolution at all.
#include "cuda/cudnn/convolution.h"

namespace resnet::cuda {

OutputSize outputSize(const ConvolutionShape& shape) {
  const auto along = [](int size, int kernel, int stride, int pad, int dilation) {
    const int64_t room = int64_t{size} + 2 * int64_t{pad} - int64_t{dilation} * (kernel - 1) - 1;
    return room < 0 ? 0 : static_cast<int>(room / stride + 1);
  };
  return {along(shape.h, shape.kernelH, shape.strideH, shape.padH, shape.dilationH),
          along(shape.w, shape.kernelW, shape.strideW, shape.padW, shape.dilationW)};
}

Status checkShape(const ConvolutionShape& shape) {
  const auto refuse = [&](const std::string& why) {
    return Status::error(Code::kInvalidArgument, why + " in \"" + shapeText(shape) + "\"");
  };
  for (int value : {shape.n, shape.h, shape.w, shape.c, shape.k, shape.kernelH, shape.kernelW,
                    shape.strideH, shape.strideW, shape.dilationH, shape.dilationW, shape.groups})
    if (value < 1) return refuse("expected sizes of at least 1, got " + std::to_string(value));
  if (shape.padH < 0 || shape.padW < 0) return refuse("expected padding of at least 0");
  if (shape.c % shape.groups != 0 || shape.k % shape.groups != 0)
    return refuse("expected channels that groups divide");
  const auto tooSmall = [](int pitch, int channels) { return pitch != 0 && pitch < channels; };
  if (tooSmall(shape.inputPitch, shape.c) || tooSmall(shape.outputPitch, shape.k) ||
      tooSmall(shape.residualPitch, shape.k))
    return refuse("expected pitches of 0 or at least the channels");
  const OutputSize size = outputSize(shape);
  if (size.p < 1 || size.q < 1) return refuse("the kernel is larger than the padded input");
  if (shape.dtype == DType::kUint8 || shape.dtype == DType::kInt32 ||
      shape.outputType == DType::kUint8 || shape.outputType == DType::kInt32)
    return refuse("expected float32, float16 or bfloat16");
  return Status::okay();
}

bool isMatmul(const ConvolutionShape& shape) {
  for (int value : {shape.h, shape.w, shape.kernelH, shape.kernelW, shape.strideH, shape.strideW,
                    shape.dilationH, shape.dilationW, shape.groups})
    if (value != 1) return false;
  return shape.padH == 0 && shape.padW == 0 && !shape.residual;
}

std::string shapeText(const ConvolutionShape& shape) {
  std::string text = "conv";
  const auto part = [&](const char* name, int value) {
    text += std::string(" ") + name + std::to_string(value);
  };
  const auto pair = [&](const char* name, int a, int b) {
    part(name, a);
    text += "x" + std::to_string(b);
  };
  part("n", shape.n);
  part("c", shape.c);
  pair("in", shape.h, shape.w);
  part("k", shape.k);
  pair("kernel", shape.kernelH, shape.kernelW);
  pair("stride", shape.strideH, shape.strideW);
  pair("pad", shape.padH, shape.padW);
  pair("dilation", shape.dilationH, shape.dilationW);
  part("groups", shape.groups);
  const auto pitch = [&](const char* name, int value, int dense) {
    if (value != 0 && value != dense) part(name, value);
  };
  pitch("inputPitch", shape.inputPitch, shape.c);
  pitch("outputPitch", shape.outputPitch, shape.k);
  if (shape.residual) text += " +residual";
  if (shape.residual) pitch("residualPitch", shape.residualPitch, shape.k);
  if (shape.relu) text += " +relu";
  text += std::string(" ") + dtypeName(shape.dtype);
  if (shape.outputType != shape.dtype) text += std::string(" to ") + dtypeName(shape.outputType);
  if (shape.tf32) text += " tf32";
  return text;
}

}  // namespace resnet::cuda
