#include "storage/segment/id_lines.h"

#include <array>
#include <cstring>

namespace thermocline::storage::segment {
namespace {

constexpr size_t kDigits = 4;

// The digits of 0000 to 9999, one after the other.
constexpr std::array<char, 40'000> MakeDigits() {
  std::array<char, 40'000> table{};
  for (size_t number = 0; number < 10'000; ++number) {
    size_t rest = number;
    for (size_t digit = kDigits; digit-- > 0; rest /= 10)
      table[number * kDigits + digit] = static_cast<char>('0' + rest % 10);
  }
  return table;
}

constexpr std::array<char, 40'000> kTable = MakeDigits();

const char* DigitsOf(uint64_t number) { return kTable.data() + number * kDigits; }

}  // namespace

char* IdLines::Write(std::span<const uint64_t> ids, char* out) {
  for (const uint64_t id : ids) {
    const uint64_t low = id - base_;
    if (base_ == 0 || low >= kSpan) {
      out = WriteFirst(id, out);
      continue;
    }
    std::memcpy(out, common_, sizeof common_);
    out += common_bytes_;
    std::memcpy(out, DigitsOf(low), kDigits);
    out[kDigits] = '\n';
    out += kDigits + 1;
  }
  return out;
}

char* IdLines::WriteFirst(uint64_t id, char* out) {
  std::array<uint64_t, 5> groups;  // of four digits, the lowest first
  size_t count = 0;
  for (uint64_t rest = id; count == 0 || rest > 0; rest /= kSpan) groups[count++] = rest % kSpan;
  const uint64_t highest = groups[--count];
  const size_t digits = size_t{1} + (highest >= 10) + (highest >= 100) + (highest >= 1000);
  const char* const begin = out;
  std::memcpy(out, DigitsOf(highest) + kDigits - digits, digits);
  out += digits;
  base_ = 0;
  for (; count > 0; out += kDigits) {
    if (count == 1) {
      base_ = id - groups[0];
      common_bytes_ = static_cast<size_t>(out - begin);
      std::memcpy(common_, begin, common_bytes_);
    }
    std::memcpy(out, DigitsOf(groups[--count]), kDigits);
  }
  *out++ = '\n';
  return out;
}

}  // namespace thermocline::storage::segment
