#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "storage/segment/id_stream.h"

// The inner loops of set operations. Those over bitmaps use AVX2 where the processor has it, decided once at
// run time; what comes out is the same.
namespace thermocline::storage::segment {

// Bits of both, of either, of `a` alone; each returns how many there are. `out` may be one of the inputs.
uint64_t AndWords(const uint64_t* a, const uint64_t* b, uint64_t* out);
uint64_t OrWords(const uint64_t* a, const uint64_t* b, uint64_t* out);
uint64_t AndNotWords(const uint64_t* a, const uint64_t* b, uint64_t* out);
uint64_t CountWords(const uint64_t* words);

// Lists the ids of a bitmap whose container begins at `container`; `out` has room for all of them, and 8
// more, which may be written over. Returns how many there are.
size_t ListWords(const uint64_t* words, uint64_t container, uint64_t* out);

inline bool TestBit(const uint64_t* words, uint64_t id) {
  return (words[(id >> 6) & (kContainerWords - 1)] >> (id & 63)) & 1;
}
inline void SetBit(uint64_t* words, uint64_t id) {
  words[(id >> 6) & (kContainerWords - 1)] |= uint64_t{1} << (id & 63);
}
inline void ClearBit(uint64_t* words, uint64_t id) {
  words[(id >> 6) & (kContainerWords - 1)] &= ~(uint64_t{1} << (id & 63));
}

// The lowest and the highest id of a bitmap that has any.
inline uint64_t LowestId(const uint64_t* words, uint64_t container) {
  size_t word = 0;
  while (words[word] == 0) ++word;
  return container + 64 * word + std::countr_zero(words[word]);
}
inline uint64_t HighestId(const uint64_t* words, uint64_t container) {
  size_t word = kContainerWords - 1;
  while (words[word] == 0) --word;
  return container + 64 * word + 63 - std::countl_zero(words[word]);
}

// How far a merge got: so many of each input were looked at to the end, and so many ids written.
struct Merged {
  size_t a = 0;
  size_t b = 0;
  size_t out = 0;
};

// Merge two ascending lists until one of them ends or `out` is full; `out` must have room for at least 1 id,
// and must not overlap the inputs. What is left of an input is greater than all that was written. Branchless
// where both are of a size; in steps that double (galloping) where one is much shorter.
Merged IntersectIds(std::span<const uint64_t> a, std::span<const uint64_t> b, std::span<uint64_t> out);
Merged UniteIds(std::span<const uint64_t> a, std::span<const uint64_t> b, std::span<uint64_t> out);
// Of `a`, what is not in `b`. Ends when `a` ends, or when `b` ends before `a` (what is left of `a` may be in
// what follows `b`).
Merged SubtractIds(std::span<const uint64_t> a, std::span<const uint64_t> b, std::span<uint64_t> out);

// The first index of `ids` from `from` on whose id is at least `id`; ids.size() if there is none. Galloping.
size_t FirstAtLeast(std::span<const uint64_t> ids, size_t from, uint64_t id);

// Packs `count` (1 to 128) values of `bits` (0 to 64) bits each, the lowest bit first. `out` gets
// PackedBytes(count, bits) bytes.
inline constexpr size_t kPackedGroup = 128;
constexpr size_t PackedBytes(size_t count, unsigned bits) { return (count * bits + 7) / 8; }
void PackBits(const uint64_t* values, size_t count, unsigned bits, char* out);

// Unpacks differences that were packed so, less one each, and sums them up: out[i] = out[i-1] + 1 + value[i],
// with `before` for out[-1]. Reads up to kDecodeSlackBytes beyond the packed bytes. Returns out[count-1].
// Sums wrap; callers check bounds.
uint64_t UnpackDeltas(const char* packed, size_t count, unsigned bits, uint64_t before, uint64_t* out);

}  // namespace thermocline::storage::segment
