#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "storage/sort/field_reader.h"

// Keys as bytes that memcmp puts in their order (SortOptions tells which).
namespace thermocline::storage::sort {

// A number takes so many bytes. A record has at most kMaxKeys keys.
inline constexpr size_t kNumberKeyBytes = 11;
inline constexpr size_t kMaxKeys = 16;

// Appends the keys of the fields to `key`. No encoding of a list of fields is the beginning of another one's.
void AppendKey(std::span<const Field> fields, std::string& key);

// The first 16 bytes of a key, which decide most comparisons; inverted if the order is descending.
struct KeyPrefix {
  uint64_t high = 0;
  uint64_t low = 0;

  static constexpr size_t kBytes = 16;

  friend bool operator==(const KeyPrefix&, const KeyPrefix&) = default;
  friend auto operator<=>(const KeyPrefix&, const KeyPrefix&) = default;
};

inline uint64_t BigEndian(const char* bytes) {
  static_assert(std::endian::native == std::endian::little);
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return __builtin_bswap64(word);
}

inline KeyPrefix PrefixOf(std::string_view key, bool descending) {
  char padded[KeyPrefix::kBytes] = {};
  if (key.size() < KeyPrefix::kBytes) {
    std::memcpy(padded, key.data(), key.size());
    key = {padded, sizeof(padded)};
  }
  const uint64_t mask = descending ? ~uint64_t{0} : 0;
  return {BigEndian(key.data()) ^ mask, BigEndian(key.data() + 8) ^ mask};
}

// The order of two keys with the same prefix, as memcmp tells it.
inline int CompareRest(std::string_view a, std::string_view b, bool descending) {
  int order = 0;
  if (a.size() > KeyPrefix::kBytes && b.size() > KeyPrefix::kBytes) {
    a.remove_prefix(KeyPrefix::kBytes);
    b.remove_prefix(KeyPrefix::kBytes);
    order = a.compare(b);
  } else {
    order = a.size() < b.size() ? -1 : a.size() > b.size();
  }
  return descending ? -order : order;
}

}  // namespace thermocline::storage::sort
