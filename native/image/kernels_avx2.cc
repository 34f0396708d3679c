// A weight w of 22 bits and sign is hi * 2^11 + lo with both in 16 bits, so that one pmaddwd each multiplies two
// pixels; (sum of hi) * 2^11 + (sum of lo) is the exact sum modulo 2^32, whatever the order.
//
// bound: across is bound by one shuffle and two pmaddwd per 4 taps of an RGB pixel or 16 of a grey one, down by eight
// pmaddwd per 2 taps of 32 bytes, grey by two shuffles per 4 pixels.
#include <immintrin.h>

#include <cstring>

#include "image/kernels.h"

namespace resnet::image {
namespace {

constexpr int kGroupWords = 32;  // 16 of hi, 16 of lo
constexpr int kGreyTaps = 16;    // taps of a grey pixel in a group of these words

int16_t high(int32_t weight) { return int16_t(weight >> kLowBits); }
int16_t low(int32_t weight) { return int16_t(weight & ((1 << kLowBits) - 1)); }

// Words of one output pixel's grey weights.
size_t greyPitch(const Taps& taps) {
  return size_t((taps.stride + kGreyTaps - 1) / kGreyTaps) * kGroupWords;
}

// Per output pixel and group of 16 taps: hi of each, then lo; weights of 0 fill the last group.
void packGrey(RowTaps& row) {
  const Taps& taps = *row.taps;
  const size_t pitch = greyPitch(taps);
  row.pairs.assign(size_t(taps.length()) * pitch, 0);
  for (int i = 0; i < taps.length(); ++i) {
    const int32_t* weights = taps.weights.data() + size_t(i) * size_t(taps.stride);
    int16_t* out = row.pairs.data() + size_t(i) * pitch;
    for (int n = 0; n < taps.count[size_t(i)]; ++n) {
      int16_t* group = out + n / kGreyTaps * kGroupWords + n % kGreyTaps;
      group[0] = high(weights[n]);
      group[kGreyTaps] = low(weights[n]);
    }
  }
}

// Grey as above. Colours per output pixel and group of 4 taps: hi of taps 0, 1 four times (a lane: r, g, b and a
// spare), of taps 2, 3 four times, then lo in the same way.
void pack(RowTaps& row, int channels) {
  if (channels == 1) return packGrey(row);
  if (channels != 3) return;
  const Taps& taps = *row.taps;
  const size_t groups = taps.weights.size() / kTapGroup;
  row.pairs.resize(groups * kGroupWords);
  for (size_t g = 0; g < groups; ++g) {
    const int32_t* weights = taps.weights.data() + g * kTapGroup;
    int16_t* out = row.pairs.data() + g * kGroupWords;
    for (int word = 0; word < 16; ++word) {
      const int32_t weight = weights[word / 8 * 2 + word % 2];
      out[word] = high(weight);
      out[word + 16] = low(weight);
    }
  }
}

__m128i rounded(__m128i sum) {
  return _mm_srai_epi32(_mm_add_epi32(sum, _mm_set1_epi32(1 << (kPrecision - 1))), kPrecision);
}

template <int kRows>
void acrossRows(const uint8_t* const* rows, const RowTaps& packed, uint8_t* const* outs) {
  const Taps& taps = *packed.taps;
  // Pixels 0, 1 of 12 bytes to the low lane, 2, 3 to the high one, as words r0 r1 g0 g1 b0 b1 0 0.
  const __m256i spread =
      _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7,
                       -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  const size_t pitch = size_t(taps.stride / kTapGroup) * kGroupWords;
  for (int i = 0; i < taps.length(); ++i) {
    const int16_t* pairs = packed.pairs.data() + size_t(i) * pitch;
    const size_t from = size_t(taps.first[size_t(i)] - taps.begin) * 3;
    __m256i sumHigh[kRows], sumLow[kRows];
    for (int r = 0; r < kRows; ++r) sumHigh[r] = sumLow[r] = _mm256_setzero_si256();
    for (int n = 0; n < taps.count[size_t(i)]; n += kTapGroup) {
      const auto* weights = reinterpret_cast<const __m256i*>(pairs + n / kTapGroup * kGroupWords);
      const __m256i highs = _mm256_loadu_si256(weights), lows = _mm256_loadu_si256(weights + 1);
      for (int r = 0; r < kRows; ++r) {
        const __m256i bytes = _mm256_broadcastsi128_si256(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r] + from + 3 * n)));
        const __m256i pixels = _mm256_shuffle_epi8(bytes, spread);
        sumHigh[r] = _mm256_add_epi32(sumHigh[r], _mm256_madd_epi16(pixels, highs));
        sumLow[r] = _mm256_add_epi32(sumLow[r], _mm256_madd_epi16(pixels, lows));
      }
    }
    for (int r = 0; r < kRows; ++r) {
      const __m256i both = _mm256_add_epi32(_mm256_slli_epi32(sumHigh[r], kLowBits), sumLow[r]);
      const __m128i sum =
          rounded(_mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1)));
      const __m128i words = _mm_packs_epi32(sum, sum);
      const int pixel = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
      std::memcpy(outs[r] + 3 * i, &pixel, 4);
    }
  }
}

// 16 pixels by 16 weights, whose products are added up across the vector at the end.
template <int kRows>
void acrossGrey(const uint8_t* const* rows, const RowTaps& packed, uint8_t* const* outs) {
  const Taps& taps = *packed.taps;
  const size_t pitch = greyPitch(taps);
  for (int i = 0; i < taps.length(); ++i) {
    const int16_t* pairs = packed.pairs.data() + size_t(i) * pitch;
    const size_t from = size_t(taps.first[size_t(i)] - taps.begin);
    __m256i sumHigh[kRows], sumLow[kRows];
    for (int r = 0; r < kRows; ++r) sumHigh[r] = sumLow[r] = _mm256_setzero_si256();
    for (int n = 0; n < taps.count[size_t(i)]; n += kGreyTaps, pairs += kGroupWords) {
      const auto* weights = reinterpret_cast<const __m256i*>(pairs);
      const __m256i highs = _mm256_loadu_si256(weights), lows = _mm256_loadu_si256(weights + 1);
      for (int r = 0; r < kRows; ++r) {
        const __m256i pixels = _mm256_cvtepu8_epi16(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r] + from + n)));
        sumHigh[r] = _mm256_add_epi32(sumHigh[r], _mm256_madd_epi16(pixels, highs));
        sumLow[r] = _mm256_add_epi32(sumLow[r], _mm256_madd_epi16(pixels, lows));
      }
    }
    for (int r = 0; r < kRows; ++r) {
      const __m256i both = _mm256_add_epi32(_mm256_slli_epi32(sumHigh[r], kLowBits), sumLow[r]);
      __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
      sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
      sum = rounded(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
      const __m128i words = _mm_packs_epi32(sum, sum);
      outs[r][i] = uint8_t(_mm_cvtsi128_si32(_mm_packus_epi16(words, words)));
    }
  }
}

void across(const uint8_t* const* rows, int count, const RowTaps& packed, int channels,
            uint8_t* const* outs) {
  static_assert(kRowsAtOnce == 4);
  if (channels == 1 && count == 4) return acrossGrey<4>(rows, packed, outs);
  if (channels == 1) {
    for (int r = 0; r < count; ++r) acrossGrey<1>(rows + r, packed, outs + r);
    return;
  }
  if (channels != 3) return kPortableKernels.across(rows, count, packed, channels, outs);
  if (count == 4) return acrossRows<4>(rows, packed, outs);
  for (int r = 0; r < count; ++r) acrossRows<1>(rows + r, packed, outs + r);
}

// 8 pixels as 32-bit levels. pmaddwd takes signed words, and the factor of green is larger: half of it twice.
__m256i greyOf8(const uint8_t* row) {
  const __m256i bytes =
      _mm256_set_m128i(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 12)),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
  const __m256i redGreen =
      _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                     0, -1, 1, -1, 3, -1, 4, -1, 6, -1, 7, -1, 9, -1, 10, -1)));
  const __m256i blueGreen =
      _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                     2, -1, 1, -1, 5, -1, 4, -1, 8, -1, 7, -1, 11, -1, 10, -1)));
  const __m256i sum =
      _mm256_add_epi32(_mm256_madd_epi16(redGreen, _mm256_set1_epi32(19235 << 16 | 19595)),
                       _mm256_madd_epi16(blueGreen, _mm256_set1_epi32(19235 << 16 | 7471)));
  return _mm256_srli_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(0x8000)), 16);
}

void grey(const uint8_t* row, int pixels, uint8_t* out) {
  int i = 0;
  for (; i + 16 <= pixels; i += 16) {
    const __m256i words = _mm256_permute4x64_epi64(
        _mm256_packus_epi32(greyOf8(row + 3 * i), greyOf8(row + 3 * i + 24)), 0xd8);
    const __m128i levels =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), levels);
  }
  kPortableKernels.grey(row + 3 * i, pixels - i, out + i);
}

__m256i load(const uint8_t* bytes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

// The words of both 16-bit halves of a weight pair, for pmaddwd.
__m256i pairOf(int16_t first, int16_t second) {
  return _mm256_set1_epi32(int(uint32_t(uint16_t(first)) | uint32_t(uint16_t(second)) << 16));
}

void down(const uint8_t* const* rows, const int32_t* weights, int count, int bytes, uint8_t* out) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i half = _mm256_set1_epi32(1 << (kPrecision - 1));
  int i = 0;
  for (; i + 32 <= bytes; i += 32) {
    __m256i sumHigh[4] = {zero, zero, zero, zero}, sumLow[4] = {half, half, half, half};
    for (int n = 0; n < count; n += 2) {
      const bool single = n + 1 == count;
      const int32_t second = single ? 0 : weights[n + 1];
      const __m256i highPair = pairOf(high(weights[n]), high(second));
      const __m256i lowPair = pairOf(low(weights[n]), low(second));
      const __m256i a = load(rows[n] + i), b = single ? zero : load(rows[n + 1] + i);
      const __m256i left = _mm256_unpacklo_epi8(a, b), right = _mm256_unpackhi_epi8(a, b);
      const __m256i words[4] = {_mm256_unpacklo_epi8(left, zero), _mm256_unpackhi_epi8(left, zero),
                                _mm256_unpacklo_epi8(right, zero),
                                _mm256_unpackhi_epi8(right, zero)};
      for (int k = 0; k < 4; ++k) {
        sumHigh[k] = _mm256_add_epi32(sumHigh[k], _mm256_madd_epi16(words[k], highPair));
        sumLow[k] = _mm256_add_epi32(sumLow[k], _mm256_madd_epi16(words[k], lowPair));
      }
    }
    __m256i levels[4];
    for (int k = 0; k < 4; ++k) {
      levels[k] = _mm256_srai_epi32(
          _mm256_add_epi32(_mm256_slli_epi32(sumHigh[k], kLowBits), sumLow[k]), kPrecision);
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i),
                        _mm256_packus_epi16(_mm256_packs_epi32(levels[0], levels[1]),
                                            _mm256_packs_epi32(levels[2], levels[3])));
  }
  if (i == bytes) return;
  if (bytes >= 32) {  // the last 32 bytes once more, some of them for the second time
    const uint8_t* last[64];
    if (count <= 64) {
      for (int n = 0; n < count; ++n) last[n] = rows[n] + (bytes - 32);
      return down(last, weights, count, 32, out + (bytes - 32));
    }
  }
  for (; i < bytes; ++i) {
    uint32_t sum = 1u << (kPrecision - 1);
    for (int n = 0; n < count; ++n) sum += uint32_t(rows[n][i]) * uint32_t(weights[n]);
    const int32_t level = int32_t(sum) >> kPrecision;
    out[i] = uint8_t(level < 0 ? 0 : level > 255 ? 255 : level);
  }
}

// x / divisor for most x: a product with the reciprocal, corrected by what it leaves over (Markstein).
__m256 quotient(__m256 x, __m256 divisor, __m256 reciprocal) {
  const __m256 near = _mm256_mul_ps(x, reciprocal);
  return _mm256_fmadd_ps(_mm256_fnmadd_ps(near, divisor, x), reciprocal, near);
}

struct Plane {
  __m256 mean, std, reciprocal;

  Plane(const Levels& levels, size_t c)
      : mean(_mm256_set1_ps(levels.mean[c])),
        std(_mm256_set1_ps(levels.std[c])),
        reciprocal(_mm256_set1_ps(1.0f / levels.std[c])) {}

  __m256 of(__m256i level) const {
    const __m256 share =
        quotient(_mm256_cvtepi32_ps(level), _mm256_set1_ps(255.0f), _mm256_set1_ps(1.0f / 255.0f));
    return quotient(_mm256_sub_ps(share, mean), std, reciprocal);
  }
};

void prepare(Levels& levels) {
  const __m256i steps = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  levels.exactByProduct = true;
  for (size_t c = 0; c < levels.mean.size(); ++c) {
    const Plane plane(levels, c);
    for (int level = 0; level < 256; level += 8) {
      const __m256 got = plane.of(_mm256_add_epi32(steps, _mm256_set1_epi32(level)));
      if (std::memcmp(&got, &levels.table[c * 256 + size_t(level)], sizeof got) != 0) {
        levels.exactByProduct = false;
      }
    }
  }
}

void normalise(const uint8_t* row, int pixels, int channels, const Levels& levels,
               float* const* planes) {
  if (channels != 3 || levels.mean.size() != 3 || !levels.exactByProduct || pixels < 8) {
    return kPortableKernels.normalise(row, pixels, channels, levels, planes);
  }
  const auto load16 = [](const uint8_t* bytes) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  };
  const Plane plane[3] = {{levels, 0}, {levels, 1}, {levels, 2}};
  const __m128i first = _mm_setr_epi8(0, -1, -1, -1, 3, -1, -1, -1, 6, -1, -1, -1, 9, -1, -1, -1);
  const __m128i step = _mm_setr_epi8(1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0);
  // 8 pixels are 24 bytes: 4 pixels of the first 16, 4 of the last 16. The last 8 pixels may be done twice.
  for (int i = 0; i < pixels; i += 8) {
    const int at = i + 8 <= pixels ? i : pixels - 8;
    const __m128i left = load16(row + 3 * at), right = load16(row + 3 * at + 8);
    __m128i leftPick = first, rightPick = _mm_add_epi8(first, _mm_slli_epi32(step, 2));
    for (int c = 0; c < 3; ++c) {
      const __m256i level =
          _mm256_set_m128i(_mm_shuffle_epi8(right, rightPick), _mm_shuffle_epi8(left, leftPick));
      _mm256_storeu_ps(planes[c] + at, plane[c].of(level));
      leftPick = _mm_add_epi8(leftPick, step);
      rightPick = _mm_add_epi8(rightPick, step);
    }
  }
}

}  // namespace

const Kernels kAvx2Kernels = {pack, across, grey, down, prepare, normalise};

}  // namespace resnet::image
