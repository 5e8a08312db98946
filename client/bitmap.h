#pragma once

#include <cstddef>
#include <cstdint>

// The bitmaps in which dense ids travel. Private to the client.
namespace thermocline::bitmap {

inline constexpr size_t kBytes = 8192;
inline constexpr size_t kBits = kBytes * 8;
// Expand writes beyond the ids it finds, but no further than this many.
inline constexpr size_t kIdsRoom = kBits + 8;

// Writes first + i for each bit i of the kBytes at `bits` that is 1, ascending, to `ids`, which has room for
// kIdsRoom; returns how many they are. Bit i is bit (i % 8), counted from the lowest, of byte i / 8.
size_t Expand(uint64_t first, const char* bits, uint64_t* ids);

}  // namespace thermocline::bitmap
