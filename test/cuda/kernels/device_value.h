// Values as the kernels see them, in host memory: prefilled with 0xFF (NaN in every float type) and
// between guards, so that whatever a kernel writes, leaves out or writes too much of shows.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "cuda/value.h"
#include "test/native/op_rows.h"

namespace resnet::test {

using cuda::View;

// What a case found; the first fault is kept.
struct Report {
  std::string fault;
  void add(const std::string& message) {
    if (fault.empty()) fault = message;
  }
};

// Bytes between guards; under the address sanitizer the allocation itself is the guard.
class Guarded {
 public:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kGuard = 0;
#else
  static constexpr size_t kGuard = 16384;
#endif
  explicit Guarded(size_t bytes) : bytes_(bytes) {
    memory_ = static_cast<unsigned char*>(::operator new(bytes + 2 * kGuard, std::align_val_t{64}));
    std::memset(memory_, 0xA5, bytes + 2 * kGuard);
    std::memset(data(), 0xFF, bytes);
    alive()[data()] = this;
  }
  ~Guarded() {
    alive().erase(data());
    ::operator delete(memory_, std::align_val_t{64});
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  unsigned char* data() const { return memory_ + kGuard; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data());
  }
  size_t bytes() const { return bytes_; }
  // The one that an address lies in; null: none. The tests on a device find its twin by it.
  static const Guarded* around(const unsigned char* address) {
    auto next = alive().upper_bound(address);
    if (next == alive().begin()) return nullptr;
    const Guarded* const memory = std::prev(next)->second;
    return address < memory->data() + memory->bytes() ? memory : nullptr;
  }
  void check(Report& report, const std::string& name) const {
    for (size_t i = 0; i < kGuard; ++i) {
      if (memory_[i] != 0xA5 || memory_[kGuard + bytes_ + i] != 0xA5) {
        return report.add(name + ": a byte outside was written");
      }
    }
  }

 private:
  static std::map<const unsigned char*, const Guarded*>& alive() {
    // Never destroyed: cases that hold memory are, later than a map that was made after them would be.
    static auto& byAddress = *new std::map<const unsigned char*, const Guarded*>;
    return byAddress;
  }

  size_t bytes_;
  unsigned char* memory_;
};

// Where a value's pixels lie.
enum class Placement {
  kPadded,    // aligned, channels padded to 8
  kDense,     // aligned, no padding: eight at a time only where c is a multiple of 8
  kSlice,     // channels 8... of an aligned buffer that is 16 wider
  kOddSlice,  // channels 3... of a buffer that is 5 wider: nothing is aligned
  kShifted,   // padded to 8, but one element off the alignment
};
inline const char* placementName(Placement placement) {
  constexpr const char* kNames[] = {"padded", "dense", "slice", "oddSlice", "shifted"};
  return kNames[int(placement)];
}
constexpr Placement kPlacements[] = {Placement::kPadded, Placement::kDense, Placement::kSlice,
                                     Placement::kOddSlice, Placement::kShifted};

inline double readElement(const unsigned char* at, DType dtype) {
  uint16_t bits = 0;
  float single = 0;
  int32_t integer = 0;
  switch (dtype) {
    case DType::kFloat32:
      std::memcpy(&single, at, 4);
      return single;
    case DType::kInt32:
      std::memcpy(&integer, at, 4);
      return integer;
    case DType::kFloat16:
      std::memcpy(&bits, at, 2);
      return float16ToFloat32(bits);
    case DType::kBFloat16:
      std::memcpy(&bits, at, 2);
      return bfloat16ToFloat32(bits);
    case DType::kUint8:
      return *at;
  }
  return NAN;
}

inline void writeElement(unsigned char* at, DType dtype, double value) {
  const float single = float(value);
  const __half half = __float2half_rn(single);
  const __nv_bfloat16 brain = __float2bfloat16_rn(single);
  const auto integer = int32_t(dtype == DType::kInt32 ? value : 0);
  switch (dtype) {
    case DType::kFloat32:
      std::memcpy(at, &single, 4);
      return;
    case DType::kInt32:
      std::memcpy(at, &integer, 4);
      return;
    case DType::kFloat16:
      std::memcpy(at, &half, 2);
      return;
    case DType::kBFloat16:
      std::memcpy(at, &brain, 2);
      return;
    case DType::kUint8:
      *at = uint8_t(value);
      return;
  }
}

// One rounding to the dtype, after float32 arithmetic on numbers of a few units.
inline Tolerance toleranceOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat16:
      return {0x1p-11 + 2e-6, 0x1p-25 + 2e-6};
    case DType::kBFloat16:
      return {0x1p-8 + 2e-6, 2e-6};
    case DType::kFloat32:
      return {2e-6, 2e-6};
    default:
      return {};
  }
}

class Value {
 public:
  Value(Shape shape, DType dtype, Placement placement)
      : shape_(shape),
        pitch_(pitchOf(shape.c, placement)),
        offset_(placement == Placement::kSlice      ? 8
                : placement == Placement::kOddSlice ? 3
                : placement == Placement::kShifted  ? 1
                                                    : 0),
        size_(dtypeBytes(dtype)),
        bytes_((size_t(shape.n) * shape.h * shape.w * pitch_ +
                (placement == Placement::kShifted ? 1 : 0)) *
               size_) {
    view.data = bytes_.data() + offset_ * size_;
    view.n = shape.n;
    view.h = shape.h;
    view.w = shape.w;
    view.c = shape.c;
    view.pitch = pitch_;
    view.dtype = dtype;
  }

  void fill(const Read& formula) {
    each([&](int n, int y, int x) {
      for (int c = 0; c < shape_.c; ++c)
        writeElement(at(n, y, x, c), view.dtype, formula(n, y, x, c));
    });
  }
  double get(int n, int y, int x, int c) const { return readElement(at(n, y, x, c), view.dtype); }
  Read reader() const {
    return [this](int n, int y, int x, int c) { return get(n, y, x, c); };
  }

  // Every channel as expected, padding zero, everything else untouched.
  void check(Report& report, const Read& expect, Tolerance tolerance) const {
    const int padding = view.pitch <= cuda::paddedChannels(view.c) ? view.pitch : view.c;
    each([&](int n, int y, int x) {
      if (!report.fault.empty()) return;
      for (int c = 0; c < padding; ++c) {
        const double got = get(n, y, x, c), expected = c < shape_.c ? expect(n, y, x, c) : 0;
        if (!agree(got, expected, c < shape_.c ? tolerance : Tolerance{})) {
          return report.add("at n" + std::to_string(n) + " y" + std::to_string(y) + " x" +
                            std::to_string(x) + " c" + std::to_string(c) + ": " +
                            std::to_string(got) + ", expected " + std::to_string(expected));
        }
      }
      for (int c = padding; c < pitch_; ++c) {
        const unsigned char* const byte = at(n, y, x, c);
        if (byte >= bytes_.data() + bytes_.bytes()) continue;
        for (size_t i = 0; i < size_; ++i) {
          if (byte[i] != 0xFF) return report.add("another slice's channels were written");
        }
      }
    });
    for (size_t i = 0; i < offset_ * size_; ++i) {
      if (bytes_.data()[i] != 0xFF) report.add("bytes before the first pixel were written");
    }
    bytes_.check(report, "value");
  }

  View view;

 private:
  static int pitchOf(int c, Placement placement) {
    const int padded = cuda::paddedChannels(c);
    switch (placement) {
      case Placement::kDense:
        return c;
      case Placement::kSlice:
        return padded + 16;
      case Placement::kOddSlice:
        return padded + 5;
      default:
        return padded;
    }
  }
  unsigned char* at(int n, int y, int x, int c) const {
    const size_t pixel = (size_t(n) * shape_.h + y) * shape_.w + x;
    return bytes_.data() + (pixel * pitch_ + offset_ + c) * size_;
  }
  template <typename Body>
  void each(Body body) const {
    for (int n = 0; n < shape_.n; ++n) {
      for (int y = 0; y < shape_.h; ++y) {
        for (int x = 0; x < shape_.w; ++x) body(n, y, x);
      }
    }
  }

  Shape shape_;
  int pitch_;
  size_t offset_, size_;
  Guarded bytes_;
};

}  // namespace resnet::test
