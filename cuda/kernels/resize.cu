// to[y,x,c] = (r / 255 - mean[c]) / std[c], r the pixel (cropTop + y, cropLeft + x) of the picture
// resized to resizedHeight x resizedWidth as PIL's Image.resize(BILINEAR) does, bit for bit: a triangle
// as wide as the pixels that become one, weights of 22 bits, two passes each rounded to 8 bits, first
// the direction that shrinks the picture most (Pillow 13).
// source [height][width][C] uint8 dense; to [1,H,W,C] NHWC with pitch; normalised in float32.
// Four launches: the weights of each direction, one thread an output coordinate, in float64; the first
// pass over those rows or columns that the second needs; the second with the normalisation.
// bound: memory, the source read once: height*width*C bytes; small pictures latency.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/kernels.h"

namespace resnet::cuda {

namespace {

constexpr int kPrecision = 22;

// One direction: output i is the sum of count[i] inputs from first[i] on. In the scratch memory.
struct Taps {
  int from, to, window, length;  // sizes before and after; the outputs that are kept
  int stride;                    // weights kept for one output
  int *first, *count, *weights;  // [length], [length], [length][stride]
};

struct Plan {
  Taps x, y;
  bool verticalFirst;
  uint8_t* between;  // after the first pass: [rows][columns][C]
  int rows, columns;
  size_t floats;  // of scratch memory
};

int strideOf(int from, int to) {
  const double reach = from > to ? double(from) / to : 1.0;
  return int(ceil(reach)) * 2 + 1;
}

Plan planOf(const ResizeArguments& a) {
  Plan plan = {};
  plan.x = {a.width, a.resizedWidth, a.cropLeft, a.to.w, strideOf(a.width, a.resizedWidth),
            nullptr, nullptr,        nullptr};
  plan.y = {a.height, a.resizedHeight, a.cropTop, a.to.h, strideOf(a.height, a.resizedHeight),
            nullptr,  nullptr,         nullptr};
  const int64_t shrinkY = int64_t(a.height) - a.resizedHeight;
  plan.verticalFirst = shrinkY > 0 && shrinkY > 2 * (int64_t(a.width) - a.resizedWidth);
  plan.rows = plan.verticalFirst ? a.to.h : a.height;
  plan.columns = plan.verticalFirst ? a.width : a.to.w;
  int* next = reinterpret_cast<int*>(a.scratch);
  size_t ints = 0;
  const auto take = [&](size_t count) {
    int* const taken = next == nullptr ? nullptr : next + ints;
    ints += count;
    return taken;
  };
  for (Taps* taps : {&plan.x, &plan.y}) {
    taps->first = take(size_t(taps->length));
    taps->count = take(size_t(taps->length));
    taps->weights = take(size_t(taps->length) * taps->stride);
  }
  const size_t bytes = size_t(plan.rows) * plan.columns * a.to.c;
  plan.between = reinterpret_cast<uint8_t*>(take((bytes + 3) / 4));
  plan.floats = ints;
  return plan;
}

// Never fused with an addition: the weights must be those of plain float64 arithmetic.
__device__ double product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}
__device__ double triangle(double x) {
  const double t = 1.0 - fabs(x);
  return t > 0 ? t : 0;
}

__global__ void __launch_bounds__(kMaxThreads) tapsKernel(Taps taps) {
  const int i = int(itemIndex());
  if (i >= taps.length) return;
  const double scale = double(taps.from) / taps.to, widened = scale > 1 ? scale : 1.0;
  const double centre = product(taps.window + i + 0.5, scale);
  int start = int(centre - widened + 0.5), end = int(centre + widened + 0.5);
  if (start < 0) start = 0;
  if (end > taps.from) end = taps.from;
  const double inverse = 1 / widened;
  double sum = 0;
  for (int n = 0; n < end - start; ++n) sum += triangle(product(start + n - centre + 0.5, inverse));
  taps.first[i] = start;
  taps.count[i] = end - start;
  for (int n = 0; n < end - start; ++n) {
    const double weight = triangle(product(start + n - centre + 0.5, inverse)) / sum;
    taps.weights[size_t(i) * taps.stride + n] = int(product(weight, double(1 << kPrecision)) + 0.5);
  }
}

__device__ __forceinline__ int weighted(const uint8_t* pixels, size_t step, const Taps& taps,
                                        int i) {
  const int* const weights = taps.weights + size_t(i) * taps.stride;
  int sum = 1 << (kPrecision - 1);
  for (int n = 0; n < taps.count[i]; ++n) sum += pixels[n * step] * weights[n];
  sum >>= kPrecision;
  return sum < 0 ? 0 : sum > 255 ? 255 : sum;
}

// Rows become to.w pixels long; only rows that a later pass down the columns reads.
__global__ void __launch_bounds__(kMaxThreads)
    acrossKernel(const uint8_t* source, int width, int c, Plan plan) {
  const unsigned item = itemIndex(), perRow = unsigned(plan.columns * c);
  if (item >= perRow) return;
  const int x = int(item / c), channel = int(item % c), last = plan.y.length - 1;
  const int begin = plan.y.first[0], end = plan.y.first[last] + plan.y.count[last];
  for (int row = begin + blockIdx.y; row < end; row += gridDim.y) {
    const uint8_t* const pixels = source + (size_t(row) * width + plan.x.first[x]) * c + channel;
    plan.between[size_t(row) * perRow + item] = uint8_t(weighted(pixels, c, plan.x, x));
  }
}

// Columns become to.h pixels long; only columns that a later pass along the rows reads.
__global__ void __launch_bounds__(kMaxThreads)
    downKernel(const uint8_t* source, int width, int c, Plan plan) {
  const unsigned item = itemIndex(), perRow = unsigned(width * c);
  const int last = plan.x.length - 1, column = int(item / c);
  if (column < plan.x.first[0] || column >= plan.x.first[last] + plan.x.count[last]) return;
  for (int row = blockIdx.y; row < plan.rows; row += gridDim.y) {
    const uint8_t* const pixels = source + size_t(plan.y.first[row]) * perRow + item;
    plan.between[size_t(row) * perRow + item] = uint8_t(weighted(pixels, perRow, plan.y, row));
  }
}

template <typename T, int V>
__global__ void __launch_bounds__(kMaxThreads)
    finishKernel(Plan plan, const float* mean, const float* std, View to, int groups, int written) {
  const unsigned item = itemIndex();
  if (item >= unsigned(to.h * to.w) * groups) return;
  const unsigned pixel = item / groups;
  const int channel = int(item % groups) * V, row = int(pixel / to.w), column = int(pixel % to.w);
  const size_t perRow = size_t(plan.columns) * to.c;
  const size_t step = plan.verticalFirst ? to.c : perRow;
  const uint8_t* const pixels =
      plan.between + (plan.verticalFirst ? row * perRow + size_t(plan.x.first[column]) * to.c
                                         : plan.y.first[row] * perRow + size_t(column) * to.c);
  float x[V];
  RESNET_UNROLL
  for (int i = 0; i < V; ++i) {
    const int c = channel + i;
    x[i] = 0;
    if (c >= to.c) continue;
    const int level = plan.verticalFirst ? weighted(pixels + c, step, plan.x, column)
                                         : weighted(pixels + c, step, plan.y, row);
    x[i] = normalised(float(level), mean, std, c);
  }
  storeChannels<T, V>(elementsOf<T>(to) + size_t(pixel) * to.pitch, channel, to.c, written, x);
}

}  // namespace

size_t resizeScratchFloats(const ResizeArguments& arguments) { return planOf(arguments).floats; }

cudaError_t resize(const ResizeArguments& a, cudaStream_t stream) {
  const bool inside = a.cropTop >= 0 && a.cropLeft >= 0 && a.to.h <= a.resizedHeight - a.cropTop &&
                      a.to.w <= a.resizedWidth - a.cropLeft;
  if (!inside || a.to.n != 1 || a.height < 1 || a.width < 1 || a.scratch == nullptr) {
    return cudaErrorInvalidValue;
  }
  const Plan plan = planOf(a);
  for (const Taps& taps : {plan.x, plan.y}) {
    const PerImage shape(taps.length, 1);
    const cudaError_t error = launch(tapsKernel, shape.grid, shape.block, 0, stream, taps);
    if (error != cudaSuccess) return error;
  }
  const PerImage shape(int64_t(plan.columns) * a.to.c, plan.rows);
  const cudaError_t error = launch(plan.verticalFirst ? downKernel : acrossKernel, shape.grid,
                                   shape.block, 0, stream, a.source, a.width, a.to.c, plan);
  if (error != cudaSuccess) return error;
  return forViews(
      [&](auto element, auto width) {
        constexpr int V = decltype(width)::value;
        const int groups = groupsOf(a.to, V);
        const PerImage last(pixelsOf(a.to) * groups, 1);
        return launch(finishKernel<decltype(element), V>, last.grid, last.block, 0, stream, plan,
                      a.mean, a.std, a.to, groups, writtenChannels(a.to));
      },
      a.to, a.to);
}

}  // namespace resnet::cuda
