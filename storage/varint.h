#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace thermocline::storage {

// Numbers of seven bits a byte, the lowest first; all but the last byte have bit 7 set.

inline constexpr uint32_t kMaxVarintBytes = 10;

// Bytes that PutVarint writes.
inline uint32_t VarintBytes(uint64_t value, int at_least = 1) {
  int bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return static_cast<uint32_t>(bytes > at_least ? bytes : at_least);
}

// Returns the end of what it wrote to `out`.
inline char* PutVarint(char* out, uint64_t value, int at_least = 1) {
  for (int i = 1; value >= 0x80 || i < at_least; ++i, value >>= 7) *out++ = static_cast<char>(value | 0x80);
  *out++ = static_cast<char>(value);
  return out;
}

// Advances `in`; false at the end of the input or after 10 bytes.
inline bool GetVarint(std::string_view& in, uint64_t& value) {
  value = 0;
  for (size_t i = 0; i < in.size() && i < kMaxVarintBytes; ++i) {
    const auto byte = static_cast<uint8_t>(in[i]);
    value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      in.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

}  // namespace thermocline::storage
