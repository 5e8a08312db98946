#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace thermocline::storage::segment {

struct CodePoint {
  char32_t value = 0;
  size_t bytes = 0;  // 0: what is there is not UTF-8, or nothing is there
};

// What `text` begins with. Surrogates and overlong forms are not UTF-8.
inline CodePoint FirstCodePoint(std::string_view text) {
  if (text.empty()) return {};
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  char32_t value = lead & (0x7f >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<uint8_t>(text[i]);
    if (next >> 6 != 2) return {};
    value = value << 6 | (next & 0x3f);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xd800 && value < 0xe000;
  if (value < kSmallest[bytes] || value > 0x10ffff || surrogate) return {};
  return {value, bytes};
}

inline bool IsControl(char32_t value) { return value < 0x20 || (value >= 0x7f && value < 0xa0); }

}  // namespace thermocline::storage::segment
