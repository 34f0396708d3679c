// to[y,x,c] = (r / 255 - mean[c]) / std[c], r a pixel of the window of a picture that is resized as PIL's
// Image.resize does, bilinear or bicubic, bit for bit: the filter widened by what becomes one pixel,
// weights of 22 bits, two passes each rounded to 8 bits, first the direction that shrinks the picture
// most (Pillow 13). Around a window smaller than `to` r is 0: what torchvision's CenterCrop pads with.
// source uint8, the part of the picture that the window is made of, rows at a pitch, C or one channel
// that goes to all; to [1,H,W,C] NHWC with pitch; normalised in float32.
// Three launches: the weights, one thread an output coordinate, in float64; the first pass over those
// rows or columns that the second needs; the second with the normalisation.
// bound: memory, the source read once: its bytes; small pictures latency.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/kernels.h"

namespace resnet::cuda {

namespace {

constexpr int kPrecision = 22;

// One direction: output i is the sum of count[i] inputs from first[i] on. In the scratch memory.
struct Taps {
  PictureAxis axis;
  double support;                // of the filter, before it is widened
  int stride;                    // weights kept for one output
  int *first, *count, *weights;  // [length], [length], [length][stride]

  __host__ __device__ int heldEnd() const { return axis.first + axis.held; }
};

struct Plan {
  Taps x, y;
  int channels;  // of the source
  bool verticalFirst;
  uint8_t* between;   // after the first pass: [rows][columns][channels]
  int rows, columns;  // held ones in the direction that is left
  size_t floats;      // of scratch memory
};

Taps tapsOf(const PictureAxis& axis, Interpolation interpolation) {
  const double support = interpolation == Interpolation::kBicubic ? 2.0 : 1.0;
  const double scale = axis.extent / axis.resized;
  const int stride = int(ceil(support * (scale > 1.0 ? scale : 1.0))) * 2 + 1;
  return {axis, support, stride, nullptr, nullptr, nullptr};
}

Plan planOf(const ResizeArguments& a) {
  const PictureAxis &x = a.picture.x, &y = a.picture.y;
  Plan plan = {};
  plan.x = tapsOf(x, a.interpolation);
  plan.y = tapsOf(y, a.interpolation);
  plan.channels = a.picture.channels;
  const int64_t shrinkY = int64_t(y.size) - y.resized;
  plan.verticalFirst = shrinkY > 0 && shrinkY > 2 * (int64_t(x.size) - x.resized);
  plan.rows = plan.verticalFirst ? y.length : y.held;
  plan.columns = plan.verticalFirst ? x.held : x.length;
  int* next = reinterpret_cast<int*>(a.scratch);
  size_t ints = 0;
  const auto take = [&](size_t count) {
    int* const taken = next == nullptr ? nullptr : next + ints;
    ints += count;
    return taken;
  };
  for (Taps* taps : {&plan.x, &plan.y}) {
    taps->first = take(size_t(taps->axis.length));
    taps->count = take(size_t(taps->axis.length));
    taps->weights = take(size_t(taps->axis.length) * taps->stride);
  }
  const size_t bytes = size_t(plan.rows) * plan.columns * plan.channels;
  plan.between = reinterpret_cast<uint8_t*>(take((bytes + 3) / 4));
  plan.floats = ints;
  return plan;
}

// Neither is ever fused with the other: the weights must be those of plain float64 arithmetic.
__device__ double product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}
__device__ double sum(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dadd_rn(a, b);
#else
  return a + b;
#endif
}

// The triangle for a support of 1; for 2 Keys' cubic with a = -0.5.
__device__ double filtered(double support, double x) {
  const double t = fabs(x);
  if (t >= support) return 0;
  if (support < 2) return 1.0 - t;
  constexpr double a = -0.5;
  if (t < 1) {
    return sum(product(product(sum(product(a + 2, t), -(a + 3)), t), t), 1);
  }
  return product(sum(product(sum(product(sum(t, -5), t), 8), t), -4), a);
}

// Output i of a direction.
__device__ __forceinline__ void findTaps(const Taps& taps, int i) {
  if (i >= taps.axis.length) return;
  const double scale = taps.axis.extent / taps.axis.resized, widened = scale > 1 ? scale : 1.0;
  const double reach = product(taps.support, widened);
  const double centre = product(taps.axis.from + i + 0.5, scale);
  int start = int(sum(sum(centre, -reach), 0.5)), end = int(sum(sum(centre, reach), 0.5));
  // All of it is held; that nothing else is read does not hang on it.
  if (start < taps.axis.first) start = taps.axis.first;
  if (end > taps.heldEnd()) end = taps.heldEnd();
  const double inverse = 1 / widened;
  const auto weightOf = [&](int n) {
    return filtered(taps.support, product(sum(sum(start + n, -centre), 0.5), inverse));
  };
  double total = 0;
  for (int n = 0; n < end - start; ++n) total = sum(total, weightOf(n));
  taps.first[i] = start - taps.axis.first;
  taps.count[i] = end - start;
  for (int n = 0; n < end - start; ++n) {
    const double exact = weightOf(n), weight = total != 0 ? exact / total : exact;
    const double scaled = product(weight, double(1 << kPrecision));
    taps.weights[size_t(i) * taps.stride + n] = int(sum(scaled, weight < 0 ? -0.5 : 0.5));
  }
}

__global__ void __launch_bounds__(kMaxThreads) tapsKernel(Taps x, Taps y) {
  const int i = int(itemIndex());
  // Not a choice of one of them: the parameters would be copied to local memory.
  if (blockIdx.y == 0) {
    findTaps(x, i);
  } else {
    findTaps(y, i);
  }
}

__device__ __forceinline__ int weighted(const uint8_t* pixels, size_t step, const Taps& taps,
                                        int i) {
  const int* const weights = taps.weights + size_t(i) * taps.stride;
  // Wraps around, though weights that add up to 2^22 never get there.
  unsigned total = 1u << (kPrecision - 1);
  for (int n = 0; n < taps.count[i]; ++n)
    total += unsigned(pixels[n * step]) * unsigned(weights[n]);
  const int level = int(total) >> kPrecision;
  return level < 0 ? 0 : level > 255 ? 255 : level;
}

// The inputs that any output reads.
__device__ __forceinline__ int beginOf(const Taps& taps) { return taps.first[0]; }
__device__ __forceinline__ int endOf(const Taps& taps) {
  const int last = taps.axis.length - 1;
  return taps.first[last] + taps.count[last];
}

// Rows become x.length pixels long; only rows that a later pass down the columns reads.
__global__ void __launch_bounds__(kMaxThreads)
    acrossKernel(const uint8_t* source, size_t pitch, Plan plan) {
  const unsigned item = itemIndex(), perRow = unsigned(plan.columns * plan.channels);
  if (item >= perRow) return;
  const int x = int(item / plan.channels), channel = int(item % plan.channels);
  for (int row = beginOf(plan.y) + blockIdx.y; row < endOf(plan.y); row += gridDim.y) {
    const uint8_t* const pixels =
        source + row * pitch + size_t(plan.x.first[x]) * plan.channels + channel;
    plan.between[size_t(row) * perRow + item] = uint8_t(weighted(pixels, plan.channels, plan.x, x));
  }
}

// Columns become y.length pixels long; only columns that a later pass along the rows reads.
__global__ void __launch_bounds__(kMaxThreads)
    downKernel(const uint8_t* source, size_t pitch, Plan plan) {
  const unsigned item = itemIndex(), perRow = unsigned(plan.columns * plan.channels);
  const int column = int(item / plan.channels);
  if (column < beginOf(plan.x) || column >= endOf(plan.x)) return;
  for (int row = blockIdx.y; row < plan.rows; row += gridDim.y) {
    const uint8_t* const pixels = source + plan.y.first[row] * pitch + item;
    plan.between[size_t(row) * perRow + item] = uint8_t(weighted(pixels, pitch, plan.y, row));
  }
}

template <typename T, int V>
__global__ void __launch_bounds__(kMaxThreads)
    finishKernel(Plan plan, const float* mean, const float* std, View to, int groups, int written) {
  const unsigned item = itemIndex();
  if (item >= unsigned(to.h * to.w) * groups) return;
  const unsigned pixel = item / groups;
  const int channel = int(item % groups) * V;
  const int row = int(pixel / to.w) - plan.y.axis.to, column = int(pixel % to.w) - plan.x.axis.to;
  const bool inside =
      row >= 0 && row < plan.y.axis.length && column >= 0 && column < plan.x.axis.length;
  const size_t perRow = size_t(plan.columns) * plan.channels;
  const size_t step = plan.verticalFirst ? plan.channels : perRow;
  const uint8_t* pixels = plan.between;
  if (inside) {
    pixels += plan.verticalFirst ? row * perRow + size_t(plan.x.first[column]) * plan.channels
                                 : plan.y.first[row] * perRow + size_t(column) * plan.channels;
  }
  float x[V];
  RESNET_UNROLL
  for (int i = 0; i < V; ++i) {
    const int c = channel + i;
    x[i] = 0;
    if (c >= to.c) continue;
    const uint8_t* const plane = pixels + (plan.channels == 1 ? 0 : c);
    const int level = !inside              ? 0
                      : plan.verticalFirst ? weighted(plane, step, plan.x, column)
                                           : weighted(plane, step, plan.y, row);
    x[i] = normalised(float(level), mean, std, c);
  }
  storeChannels<T, V>(elementsOf<T>(to) + size_t(pixel) * to.pitch, channel, to.c, written, x);
}

bool sound(const PictureAxis& axis) {
  return axis.size > 0 && axis.extent > 0 && axis.resized > 0 && axis.held > 0 && axis.first >= 0 &&
         axis.held <= axis.size - axis.first && axis.from >= 0 && axis.length > 0 &&
         axis.length <= axis.resized - axis.from;
}

}  // namespace

size_t resizeScratchFloats(const ResizeArguments& arguments) { return planOf(arguments).floats; }

cudaError_t resize(const ResizeArguments& a, cudaStream_t stream) {
  const Picture& picture = a.picture;
  if (!sound(picture.x) || !sound(picture.y) || a.to.n != 1 || a.scratch == nullptr ||
      !pictureMisfit(picture, a.to.h, a.to.w, a.to.c).empty()) {
    return cudaErrorInvalidValue;
  }
  const Plan plan = planOf(a);
  const int longer =
      plan.x.axis.length > plan.y.axis.length ? plan.x.axis.length : plan.y.axis.length;
  const PerImage each(longer, 2);
  cudaError_t error = launch(tapsKernel, each.grid, each.block, 0, stream, plan.x, plan.y);
  if (error != cudaSuccess) return error;
  const PerImage shape(int64_t(plan.columns) * plan.channels, plan.rows);
  error = launch(plan.verticalFirst ? downKernel : acrossKernel, shape.grid, shape.block, 0, stream,
                 a.source, picture.pitch, plan);
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
