// wgmma.mma_async for the probe: c[64][N] += a[64][16] * b[16][N], float16 with float32 sums, N = 64, 128, 256; A from shared memory
// (a descriptor) or from registers. sm_90a alone.
#pragma once

#include <cstdint>

namespace resnet::cuda::probe {

#define RESNET_SUM8(c, i)                                                                     \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), \
      "+f"(c[i + 6]), "+f"(c[i + 7])

template <int N>
__device__ void multiply(float (&c)[N / 2], uint64_t a, uint64_t b);
template <int N>
__device__ void multiply(float (&c)[N / 2], const unsigned (&a)[4], uint64_t b);

template <>
__device__ __forceinline__ void multiply<64>(float (&c)[32], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
      " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, 1, 1, 1, 0, 0;"
      : RESNET_SUM8(c, 0), RESNET_SUM8(c, 8), RESNET_SUM8(c, 16), RESNET_SUM8(c, 24)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void multiply<64>(float (&c)[32], const unsigned (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
      " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, 1, 1, 1, 0;"
      : RESNET_SUM8(c, 0), RESNET_SUM8(c, 8), RESNET_SUM8(c, 16), RESNET_SUM8(c, 24)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

template <>
__device__ __forceinline__ void multiply<128>(float (&c)[64], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
      " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
      " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
      " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, 1, 1, 1, 0, 0;"
      : RESNET_SUM8(c, 0), RESNET_SUM8(c, 8), RESNET_SUM8(c, 16), RESNET_SUM8(c, 24),
        RESNET_SUM8(c, 32), RESNET_SUM8(c, 40), RESNET_SUM8(c, 48), RESNET_SUM8(c, 56)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void multiply<128>(float (&c)[64], const unsigned (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
      " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
      " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
      " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
      : RESNET_SUM8(c, 0), RESNET_SUM8(c, 8), RESNET_SUM8(c, 16), RESNET_SUM8(c, 24),
        RESNET_SUM8(c, 32), RESNET_SUM8(c, 40), RESNET_SUM8(c, 48), RESNET_SUM8(c, 56)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

template <>
__device__ __forceinline__ void multiply<256>(float (&c)[128], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
      " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
      " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
      " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63,"
      " %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79,"
      " %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95,"
      " %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111,"
      " %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, "
      "%127}, "
      "%128, %129, 1, 1, 1, 0, 0;"
      : RESNET_SUM8(c, 0), RESNET_SUM8(c, 8), RESNET_SUM8(c, 16), RESNET_SUM8(c, 24),
        RESNET_SUM8(c, 32), RESNET_SUM8(c, 40), RESNET_SUM8(c, 48), RESNET_SUM8(c, 56),
        RESNET_SUM8(c, 64), RESNET_SUM8(c, 72), RESNET_SUM8(c, 80), RESNET_SUM8(c, 88),
        RESNET_SUM8(c, 96), RESNET_SUM8(c, 104), RESNET_SUM8(c, 112), RESNET_SUM8(c, 120)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void multiply<256>(float (&c)[128], const unsigned (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
      " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
      " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
      " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63,"
      " %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79,"
      " %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95,"
      " %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111,"
      " %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, "
      "%127}, "
      "{%128, %129, %130, %131}, %132, 1, 1, 1, 0;"
      : RESNET_SUM8(c, 0), RESNET_SUM8(c, 8), RESNET_SUM8(c, 16), RESNET_SUM8(c, 24),
        RESNET_SUM8(c, 32), RESNET_SUM8(c, 40), RESNET_SUM8(c, 48), RESNET_SUM8(c, 56),
        RESNET_SUM8(c, 64), RESNET_SUM8(c, 72), RESNET_SUM8(c, 80), RESNET_SUM8(c, 88),
        RESNET_SUM8(c, 96), RESNET_SUM8(c, 104), RESNET_SUM8(c, 112), RESNET_SUM8(c, 120)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef RESNET_SUM8

}  // namespace resnet::cuda::probe
