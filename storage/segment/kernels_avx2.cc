#include <array>
#include <bit>

#include "storage/segment/kernel_variants.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define THERMOCLINE_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))

namespace thermocline::storage::segment {
namespace {

using Ids = std::span<const uint64_t>;

THERMOCLINE_AVX2 inline __m256i Load(const uint64_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
THERMOCLINE_AVX2 inline void Store(uint64_t* to, __m256i vector) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), vector);
}

struct And {
  THERMOCLINE_AVX2 static __m256i Of(__m256i a, __m256i b) { return _mm256_and_si256(a, b); }
};
struct Or {
  THERMOCLINE_AVX2 static __m256i Of(__m256i a, __m256i b) { return _mm256_or_si256(a, b); }
};
struct AndNot {
  THERMOCLINE_AVX2 static __m256i Of(__m256i a, __m256i b) { return _mm256_andnot_si256(b, a); }
};

// The bits of each byte, counted by looking up its halves (Mula, Kurz, Lemire, "Faster population counts
// using AVX2 instructions", 2018).
THERMOCLINE_AVX2 inline __m256i CountBytes(__m256i vector) {
  const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                          0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low_half = _mm256_set1_epi8(15);
  const __m256i low = _mm256_shuffle_epi8(counts, _mm256_and_si256(vector, low_half));
  const __m256i high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(vector, 4), low_half));
  return _mm256_add_epi8(low, high);
}

THERMOCLINE_AVX2 inline uint64_t SumOf(__m256i sums) {
  const __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(pair)) + static_cast<uint64_t>(_mm_extract_epi64(pair, 1));
}

// A byte holds the sum of 16 counts of at most 8.
constexpr size_t kVectorsInSum = 16;
constexpr size_t kWordsInVector = 4;

template <typename Operation>
THERMOCLINE_AVX2 uint64_t Combine(const uint64_t* a, const uint64_t* b, uint64_t* out) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i sums = zero;
  for (size_t i = 0; i < kContainerWords;) {
    __m256i bytes = zero;
    for (size_t vector = 0; vector < kVectorsInSum; ++vector, i += kWordsInVector) {
      const __m256i both = Operation::Of(Load(a + i), Load(b + i));
      Store(out + i, both);
      bytes = _mm256_add_epi8(bytes, CountBytes(both));
    }
    sums = _mm256_add_epi64(sums, _mm256_sad_epu8(bytes, zero));
  }
  return SumOf(sums);
}

THERMOCLINE_AVX2 uint64_t Count(const uint64_t* words) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i sums = zero;
  for (size_t i = 0; i < kContainerWords;) {
    __m256i bytes = zero;
    for (size_t vector = 0; vector < kVectorsInSum; ++vector, i += kWordsInVector) {
      bytes = _mm256_add_epi8(bytes, CountBytes(Load(words + i)));
    }
    sums = _mm256_add_epi64(sums, _mm256_sad_epu8(bytes, zero));
  }
  return SumOf(sums);
}

// For each byte, the places of its bits, lowest first, a byte each.
constexpr std::array<uint64_t, 256> kPlaces = [] {
  std::array<uint64_t, 256> all{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned found = 0;
    for (uint64_t bit = 0; bit < 8; ++bit) {
      if ((byte >> bit & 1) != 0) all[byte] |= bit << (8 * found++);
    }
  }
  return all;
}();

// Lists a word of many bits byte by byte: each writes eight places, and the next one begins behind those that
// count.
THERMOCLINE_AVX2 inline uint64_t* ListBytes(uint64_t word, uint64_t base, uint64_t* out) {
  __m256i bases = _mm256_set1_epi64x(static_cast<int64_t>(base));
  for (int byte = 0; byte < 8; ++byte, word >>= 8) {
    const auto* const places = reinterpret_cast<const uint32_t*>(&kPlaces[word & 0xff]);
    Store(out, _mm256_add_epi64(bases, _mm256_cvtepu8_epi64(_mm_loadu_si32(places))));
    Store(out + 4, _mm256_add_epi64(bases, _mm256_cvtepu8_epi64(_mm_loadu_si32(places + 1))));
    out += _mm_popcnt_u32(word & 0xff);
    bases = _mm256_add_epi64(bases, _mm256_set1_epi64x(8));
  }
  return out;
}

// In a word with few bits, to find each costs less.
constexpr int kFewBits = 12;

THERMOCLINE_AVX2 size_t List(const uint64_t* words, uint64_t container, uint64_t* out) {
  const uint64_t* const begin = out;
  for (size_t i = 0; i < kContainerWords; ++i) {
    const uint64_t base = container + 64 * i;
    if (std::popcount(words[i]) > kFewBits) {
      out = ListBytes(words[i], base, out);
      continue;
    }
    for (uint64_t word = words[i]; word != 0; word = _blsr_u64(word)) *out++ = base + _tzcnt_u64(word);
  }
  return out - begin;
}

// For each set of the four ids of a vector, where their halves are moved so that those of the set come first.
constexpr std::array<std::array<uint32_t, 8>, 16> kFront = [] {
  std::array<std::array<uint32_t, 8>, 16> all{};
  for (unsigned set = 0; set < 16; ++set) {
    unsigned found = 0;
    for (uint32_t id = 0; id < 4; ++id) {
      if ((set >> id & 1) == 0) continue;
      all[set][2 * found] = 2 * id;
      all[set][2 * found + 1] = 2 * id + 1;
      ++found;
    }
  }
  return all;
}();

// Compares four ids of one list with four of the other, and goes on in the list whose four end first.
THERMOCLINE_AVX2 Merged BeginIntersection(Ids a, Ids b, std::span<uint64_t> out) {
  Merged at;
  if (a.size() < 4 || b.size() < 4 || out.size() < 4) return at;
  const size_t a_end = a.size() - 4;
  const size_t b_end = b.size() - 4;
  const size_t out_end = out.size() - 4;
  while (at.a <= a_end && at.b <= b_end && at.out <= out_end) {
    const __m256i x = Load(&a[at.a]);
    const __m256i y = Load(&b[at.b]);
    const __m256i same = _mm256_or_si256(
        _mm256_or_si256(_mm256_cmpeq_epi64(x, y), _mm256_cmpeq_epi64(x, _mm256_permute4x64_epi64(y, 0x39))),
        _mm256_or_si256(_mm256_cmpeq_epi64(x, _mm256_permute4x64_epi64(y, 0x4e)),
                        _mm256_cmpeq_epi64(x, _mm256_permute4x64_epi64(y, 0x93))));
    const auto set = static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(same)));
    const __m256i front = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFront[set].data()));
    Store(&out[at.out], _mm256_permutevar8x32_epi32(x, front));
    at.out += _mm_popcnt_u32(set);
    const uint64_t x_last = a[at.a + 3];
    const uint64_t y_last = b[at.b + 3];
    at.a += x_last <= y_last ? 4 : 0;
    at.b += y_last <= x_last ? 4 : 0;
  }
  // Some of the next four may have been found already.
  while (at.out > 0 && at.a < a.size() && a[at.a] <= out[at.out - 1]) ++at.a;
  while (at.out > 0 && at.b < b.size() && b[at.b] <= out[at.out - 1]) ++at.b;
  return at;
}

constexpr KernelVariant kAvx2Kernels = {
    .and_words = Combine<And>,
    .or_words = Combine<Or>,
    .and_not_words = Combine<AndNot>,
    .count_words = Count,
    .list_words = List,
    .begin_intersection = BeginIntersection,
};

}  // namespace

const KernelVariant* Avx2Kernels() {
  static const bool supported =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  return supported ? &kAvx2Kernels : nullptr;
}

}  // namespace thermocline::storage::segment

#else

namespace thermocline::storage::segment {

const KernelVariant* Avx2Kernels() { return nullptr; }

}  // namespace thermocline::storage::segment

#endif
