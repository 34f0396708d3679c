// The convolution itself: from strided memory to float32, summed in float32, rounded once at the end and wherever the graph
// says that a value in between has another type.
#include "test/cuda/simulated/cudnn/recipe.h"

#include <algorithm>
#include <cstring>

namespace resnet::simulated {

namespace {

uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
float floatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

float fromHalf(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) return floatOf(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  if (magnitude < 0x400u) {
    const float value = float(magnitude) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  return floatOf(sign | ((magnitude << 13) + (112u << 23)));
}

// Nearest, ties to even.
uint16_t toHalf(float value) {
  const uint32_t bits = bitsOf(value), sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u);
  if (magnitude >= 0x47800000u) return uint16_t(sign | 0x7c00u);  // 65536 and above
  if (magnitude < 0x38800000u)  // below the normal range: the sum's last place is 2^-24
    return uint16_t(sign | (bitsOf(floatOf(magnitude) + 0.5f) - bitsOf(0.5f)));
  return uint16_t(sign | ((magnitude + 0xfffu + (magnitude >> 13 & 1u) - (112u << 23)) >> 13));
}

uint16_t toBFloat16(float value) {
  const uint32_t bits = bitsOf(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t(bits >> 16 | 0x40u);
  return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

float toTf32(float value) {
  const uint32_t bits = bitsOf(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return floatOf((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}

float load(const void* data, cudnnDataType_t type, int64_t index) {
  switch (type) {
    case CUDNN_DATA_HALF:
      return fromHalf(static_cast<const uint16_t*>(data)[index]);
    case CUDNN_DATA_BFLOAT16:
      return floatOf(uint32_t(static_cast<const uint16_t*>(data)[index]) << 16);
    default:
      return static_cast<const float*>(data)[index];
  }
}

float rounded(float value, cudnnDataType_t type) {
  switch (type) {
    case CUDNN_DATA_HALF:
      return fromHalf(toHalf(value));
    case CUDNN_DATA_BFLOAT16:
      return floatOf(uint32_t(toBFloat16(value)) << 16);
    default:
      return value;
  }
}

void store(void* data, cudnnDataType_t type, int64_t index, float value) {
  switch (type) {
    case CUDNN_DATA_HALF:
      static_cast<uint16_t*>(data)[index] = toHalf(value);
      break;
    case CUDNN_DATA_BFLOAT16:
      static_cast<uint16_t*>(data)[index] = toBFloat16(value);
      break;
    default:
      static_cast<float*>(data)[index] = value;
  }
}

// Weights as [group][r][s][c][k of the group], so that the innermost loop runs over outputs.
std::vector<float> transposedWeights(const Recipe& recipe, const void* w, bool tf32) {
  const TensorShape& shape = recipe.w;
  const int64_t groups = recipe.groups(), kg = shape.dims[0] / groups, c = shape.dims[1],
                height = shape.dims[2], width = shape.dims[3];
  std::vector<float> packed(size_t(shape.dims[0] * c * height * width));
  for (int64_t k = 0; k < shape.dims[0]; ++k)
    for (int64_t i = 0; i < c; ++i)
      for (int64_t r = 0; r < height; ++r)
        for (int64_t s = 0; s < width; ++s) {
          const int64_t row = recipe.flipped ? height - 1 - r : r;
          const int64_t column = recipe.flipped ? width - 1 - s : s;
          const float value = load(w, shape.type,
                                   k * shape.strides[0] + i * shape.strides[1] +
                                       row * shape.strides[2] + column * shape.strides[3]);
          const int64_t at = ((((k / kg) * height + r) * width + s) * c + i) * kg + k % kg;
          packed[size_t(at)] = tf32 ? toTf32(value) : value;
        }
  return packed;
}

int64_t offset(const TensorShape& shape, int64_t n, int64_t c, int64_t h, int64_t w) {
  const int64_t index[4] = {n, c, h, w};
  int64_t at = 0;
  for (int d = 0; d < 4; ++d)
    at += shape.dims[size_t(d)] == 1 ? 0 : index[d] * shape.strides[size_t(d)];
  return at;
}

}  // namespace

int64_t TensorShape::elements() const {
  int64_t last = 0;
  for (size_t d = 0; d < dims.size(); ++d) last += (dims[d] - 1) * strides[d];
  return last + 1;
}
int64_t TensorShape::bytes() const { return elements() * typeBytes(type); }

int64_t typeBytes(cudnnDataType_t type) {
  switch (type) {
    case CUDNN_DATA_FLOAT:
      return 4;
    case CUDNN_DATA_HALF:
    case CUDNN_DATA_BFLOAT16:
      return 2;
    default:
      return 0;
  }
}

void runRecipe(const Recipe& recipe, const Bindings& bindings, bool tf32) {
  const int64_t channels = recipe.x.dims[1], height = recipe.x.dims[2], width = recipe.x.dims[3];
  const int64_t k = recipe.y.dims[1], groups = recipe.groups(), kg = k / groups,
                cg = channels / groups;
  const int64_t kernelH = recipe.w.dims[2], kernelW = recipe.w.dims[3];
  const std::vector<float> weights = transposedWeights(recipe, bindings.w, tf32);
  std::vector<float> image(size_t(height * width * channels)), sums(static_cast<size_t>(k));
  for (int64_t n = 0; n < recipe.y.dims[0]; ++n) {
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x)
        for (int64_t c = 0; c < channels; ++c) {
          const float value = load(bindings.x, recipe.x.type, offset(recipe.x, n, c, y, x));
          image[size_t((y * width + x) * channels + c)] = tf32 ? toTf32(value) : value;
        }
    for (int64_t p = 0; p < recipe.y.dims[2]; ++p)
      for (int64_t q = 0; q < recipe.y.dims[3]; ++q) {
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (int64_t r = 0; r < kernelH; ++r)
          for (int64_t s = 0; s < kernelW; ++s) {
            const int64_t y = p * recipe.stride[0] - recipe.before[0] + r * recipe.dilation[0];
            const int64_t x = q * recipe.stride[1] - recipe.before[1] + s * recipe.dilation[1];
            if (y < 0 || y >= height || x < 0 || x >= width) continue;
            const float* pixel = &image[size_t((y * width + x) * channels)];
            for (int64_t g = 0; g < groups; ++g) {
              const float* w = &weights[size_t(((g * kernelH + r) * kernelW + s) * cg * kg)];
              float* sum = &sums[size_t(g * kg)];
              for (int64_t c = 0; c < cg; ++c) {
                const float factor = pixel[g * cg + c];
                for (int64_t i = 0; i < kg; ++i) sum[i] += factor * w[c * kg + i];
              }
            }
          }
        for (int64_t i = 0; i < k; ++i) {
          float value = rounded(sums[size_t(i)], recipe.convType);
          for (size_t stage = 0; stage < recipe.epilogue.size(); ++stage) {
            const EpilogueStage& step = recipe.epilogue[stage];
            if (step.relu)
              value = value < 0 ? 0 : value;  // NaN stays
            else
              value += load(bindings.operands[stage], step.operand.type,
                            offset(step.operand, n, i, p, q));
            value = rounded(value, step.resultType);
          }
          store(bindings.y, recipe.y.type, offset(recipe.y, n, i, p, q), value);
        }
      }
  }
}

}  // namespace resnet::simulated
