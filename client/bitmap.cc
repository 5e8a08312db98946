#include "client/bitmap.h"

#include <array>
#include <bit>
#include <cstring>

namespace thermocline::bitmap {
namespace {

static_assert(std::endian::native == std::endian::little, "a word of bits is read as it lies in memory");

// Where the bits of a byte are, and how many.
struct Places {
  std::array<uint8_t, 8> place{};
  uint8_t count = 0;
};

constexpr std::array<Places, 256> MakePlaces() {
  std::array<Places, 256> all{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    for (uint8_t bit = 0; bit < 8; ++bit) {
      if ((byte >> bit & 1U) != 0) all[byte].place[all[byte].count++] = bit;
    }
  }
  return all;
}

constexpr std::array<Places, 256> kPlaces = MakePlaces();

// Eight ids are written whatever the byte holds, for a branch on its bits would be guessed wrong again and
// again.
uint64_t* ExpandByte(uint64_t base, uint8_t byte, uint64_t* out) {
  const Places& places = kPlaces[byte];
  for (size_t i = 0; i < 8; ++i) out[i] = base + places.place[i];
  return out + places.count;
}

}  // namespace

size_t Expand(uint64_t first, const char* bits, uint64_t* ids) {
  uint64_t* out = ids;
  for (size_t offset = 0; offset < kBytes; offset += 8) {
    uint64_t word;
    std::memcpy(&word, bits + offset, sizeof word);
    const uint64_t base = first + offset * 8;
    if (word == ~uint64_t{0}) {
      for (uint64_t i = 0; i < 64; ++i) out[i] = base + i;
      out += 64;
    } else if (word != 0) {
      for (uint64_t i = 0; i < 8; ++i)
        out = ExpandByte(base + i * 8, static_cast<uint8_t>(word >> i * 8), out);
    }
  }
  return static_cast<size_t>(out - ids);
}

}  // namespace thermocline::bitmap
