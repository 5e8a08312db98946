#include "storage/segment/kernels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "storage/segment/kernel_variants.h"

namespace thermocline::storage::segment {
namespace {

using Ids = std::span<const uint64_t>;

// Lists whose lengths differ by this factor are merged by galloping through the longer one.
constexpr size_t kGallopFactor = 32;

bool MuchShorter(Ids a, Ids b) { return a.size() < b.size() / kGallopFactor; }

uint64_t PortableAnd(const uint64_t* a, const uint64_t* b, uint64_t* out) {
  uint64_t count = 0;
  for (size_t i = 0; i < kContainerWords; ++i) count += std::popcount(out[i] = a[i] & b[i]);
  return count;
}

uint64_t PortableOr(const uint64_t* a, const uint64_t* b, uint64_t* out) {
  uint64_t count = 0;
  for (size_t i = 0; i < kContainerWords; ++i) count += std::popcount(out[i] = a[i] | b[i]);
  return count;
}

uint64_t PortableAndNot(const uint64_t* a, const uint64_t* b, uint64_t* out) {
  uint64_t count = 0;
  for (size_t i = 0; i < kContainerWords; ++i) count += std::popcount(out[i] = a[i] & ~b[i]);
  return count;
}

uint64_t PortableCount(const uint64_t* words) {
  uint64_t count = 0;
  for (size_t i = 0; i < kContainerWords; ++i) count += std::popcount(words[i]);
  return count;
}

size_t PortableList(const uint64_t* words, uint64_t container, uint64_t* out) {
  const uint64_t* const begin = out;
  for (size_t i = 0; i < kContainerWords; ++i) {
    const uint64_t base = container + 64 * i;
    for (uint64_t word = words[i]; word != 0; word &= word - 1) *out++ = base + std::countr_zero(word);
  }
  return out - begin;
}

Merged PortableBeginIntersection(Ids, Ids, std::span<uint64_t>) { return {}; }

const KernelVariant& Chosen() {
  static const KernelVariant& chosen = Avx2Kernels() != nullptr ? *Avx2Kernels() : kPortableKernels;
  return chosen;
}

uint64_t Load(const char* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

constexpr uint64_t MaskOf(unsigned bits) { return bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }

// The value that begins at bit `at`. If it ends in the byte behind the word that it begins in, that byte is
// shifted in two steps, for a shift by 64 is none.
uint64_t ValueAt(const char* packed, size_t at, unsigned bits) {
  uint64_t value = Load(packed + at / 8) >> at % 8;
  if (at % 8 + bits > 64) value |= uint64_t{static_cast<uint8_t>(packed[at / 8 + 8])} << (63 - at % 8) << 1;
  return value & MaskOf(bits);
}

// Eight values end where a byte ends: with the width known, all shifts are constants.
template <unsigned kBits>
uint64_t UnpackEights(const char* packed, size_t eights, uint64_t before, uint64_t* out) {
  for (; eights > 0; --eights, packed += kBits, out += 8) {
    [&]<size_t... kIndex>(std::index_sequence<kIndex...>) {
      ((out[kIndex] = before += 1 + ValueAt(packed, kIndex * kBits, kBits)), ...);
    }
    (std::make_index_sequence<8>());
  }
  return before;
}

using UnpackFunction = uint64_t (*)(const char* packed, size_t eights, uint64_t before, uint64_t* out);
constexpr auto kUnpackEights = []<unsigned... kBits>(std::integer_sequence<unsigned, kBits...>) {
  return std::array<UnpackFunction, sizeof...(kBits)>{UnpackEights<kBits>...};
}
(std::make_integer_sequence<unsigned, 65>());

// Each `step` of a merge takes at most one id of each input and writes at most one: so many can be made
// without looking whether one of the three has come to its end.
template <typename Step>
Merged Merge(Ids a, Ids b, std::span<uint64_t> out, Merged at, Step step) {
  for (;;) {
    size_t steps = std::min({a.size() - at.a, b.size() - at.b, out.size() - at.out});
    if (steps == 0) return at;
    for (; steps > 0; --steps) {
      const uint64_t x = a[at.a];
      const uint64_t y = b[at.b];
      step(x, y, out[at.out], at.out);
      at.a += x <= y;
      at.b += y <= x;
    }
  }
}

// `few` are at.a, `many` at.b.
Merged GallopIntersection(Ids few, Ids many, std::span<uint64_t> out) {
  Merged at;
  while (at.a < few.size() && at.out < out.size()) {
    at.b = FirstAtLeast(many, at.b, few[at.a]);
    if (at.b == many.size()) break;
    if (many[at.b] == few[at.a]) {
      out[at.out++] = few[at.a];
      ++at.b;
    }
    ++at.a;
  }
  return at;
}

// Copies what is below `end` (an index); false if `out` is full before.
bool CopyUntil(size_t end, Ids from, size_t& at, std::span<uint64_t> out, size_t& written) {
  const size_t size = std::min(end - at, out.size() - written);
  std::copy_n(from.begin() + at, size, out.begin() + written);
  at += size;
  written += size;
  return at == end;
}

Merged GallopUnion(Ids few, Ids many, std::span<uint64_t> out) {
  Merged at;
  while (at.a < few.size() && at.b < many.size()) {
    if (!CopyUntil(FirstAtLeast(many, at.b, few[at.a]), many, at.b, out, at.out)) break;
    if (at.b == many.size() || at.out == out.size()) break;
    at.b += many[at.b] == few[at.a];
    out[at.out++] = few[at.a++];
  }
  return at;
}

Merged GallopDifferenceOfFew(Ids few, Ids many, std::span<uint64_t> out) {
  Merged at;
  while (at.a < few.size() && at.out < out.size()) {
    at.b = FirstAtLeast(many, at.b, few[at.a]);
    if (at.b == many.size()) break;
    if (many[at.b] == few[at.a]) {
      ++at.b;
    } else {
      out[at.out++] = few[at.a];
    }
    ++at.a;
  }
  return at;
}

Merged GallopDifferenceOfMany(Ids many, Ids few, std::span<uint64_t> out) {
  Merged at;
  while (at.b < few.size() && at.a < many.size()) {
    if (!CopyUntil(FirstAtLeast(many, at.a, few[at.b]), many, at.a, out, at.out)) break;
    if (at.a == many.size()) break;
    at.a += many[at.a] == few[at.b];
    ++at.b;
    if (at.out == out.size()) break;
  }
  return at;
}

Merged Swapped(Merged merged) { return {.a = merged.b, .b = merged.a, .out = merged.out}; }

}  // namespace

const KernelVariant kPortableKernels = {
    .and_words = PortableAnd,
    .or_words = PortableOr,
    .and_not_words = PortableAndNot,
    .count_words = PortableCount,
    .list_words = PortableList,
    .begin_intersection = PortableBeginIntersection,
};

uint64_t AndWords(const uint64_t* a, const uint64_t* b, uint64_t* out) {
  return Chosen().and_words(a, b, out);
}
uint64_t OrWords(const uint64_t* a, const uint64_t* b, uint64_t* out) { return Chosen().or_words(a, b, out); }
uint64_t AndNotWords(const uint64_t* a, const uint64_t* b, uint64_t* out) {
  return Chosen().and_not_words(a, b, out);
}
uint64_t CountWords(const uint64_t* words) { return Chosen().count_words(words); }

size_t ListWords(const uint64_t* words, uint64_t container, uint64_t* out) {
  return Chosen().list_words(words, container, out);
}

Merged IntersectIds(Ids a, Ids b, std::span<uint64_t> out) {
  if (MuchShorter(a, b)) return GallopIntersection(a, b, out);
  if (MuchShorter(b, a)) return Swapped(GallopIntersection(b, a, out));
  return Merge(a, b, out, Chosen().begin_intersection(a, b, out),
               [](uint64_t x, uint64_t y, uint64_t& next, size_t& written) {
                 next = x;
                 written += x == y;
               });
}

Merged UniteIds(Ids a, Ids b, std::span<uint64_t> out) {
  if (MuchShorter(a, b)) return GallopUnion(a, b, out);
  if (MuchShorter(b, a)) return Swapped(GallopUnion(b, a, out));
  return Merge(a, b, out, {}, [](uint64_t x, uint64_t y, uint64_t& next, size_t& written) {
    next = std::min(x, y);
    ++written;
  });
}

Merged SubtractIds(Ids a, Ids b, std::span<uint64_t> out) {
  if (MuchShorter(a, b)) return GallopDifferenceOfFew(a, b, out);
  if (MuchShorter(b, a)) return GallopDifferenceOfMany(a, b, out);
  return Merge(a, b, out, {}, [](uint64_t x, uint64_t y, uint64_t& next, size_t& written) {
    next = x;
    written += x < y;
  });
}

size_t FirstAtLeast(Ids ids, size_t from, uint64_t id) {
  if (from >= ids.size()) return ids.size();
  if (ids[from] >= id) return from;
  // The id at `from` is less in each turn.
  size_t step = 1;
  while (step < ids.size() - from && ids[from + step] < id) {
    from += step;
    step *= 2;
  }
  const size_t end = from + std::min(step, ids.size() - from);
  return std::lower_bound(ids.begin() + from + 1, ids.begin() + end, id) - ids.begin();
}

void PackBits(const uint64_t* values, size_t count, unsigned bits, char* out) {
  uint64_t word = 0;    // bits that are not written yet,
  unsigned filled = 0;  // so many, less than 64
  for (size_t i = 0; i < count; ++i) {
    word |= bits == 0 ? 0 : values[i] << filled;
    if (filled + bits < 64) {
      filled += bits;
      continue;
    }
    std::memcpy(out, &word, sizeof(word));
    out += sizeof(word);
    word = filled == 0 ? 0 : values[i] >> (64 - filled);
    filled = filled + bits - 64;
  }
  std::memcpy(out, &word, (filled + 7) / 8);
}

uint64_t UnpackDeltas(const char* packed, size_t count, unsigned bits, uint64_t before, uint64_t* out) {
  const size_t eights = count / 8;
  before = kUnpackEights[bits](packed, eights, before, out);
  for (size_t i = 8 * eights; i < count; ++i) out[i] = before += 1 + ValueAt(packed, i * bits, bits);
  return before;
}

}  // namespace thermocline::storage::segment
