// A fault on purpose for scripts/compile-check.mjs: each thread wants 64 sums at once and is granted 32 registers, so that
// it must spill. x [64][n], y [n]; never launched.
__global__ void __launch_bounds__(1024, 2) spillingKernel(const float* x, float* y, int n) {
  float sum[64];
#pragma unroll
  for (int i = 0; i < 64; ++i) sum[i] = x[i * n + threadIdx.x];
  for (int round = 0; round < n; ++round) {
#pragma unroll
    for (int i = 0; i < 64; ++i) sum[i] = sum[i] * sum[(i + 7) % 64] + float(round);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < 64; ++i) total += sum[i];
  y[threadIdx.x] = total;
}
