#include "storage/segment/id_lines.h"

#include <array>
#include <charconv>
#include <cstring>

namespace thermocline::storage::segment {
namespace {

using FourDigits = std::array<char, 4>;

constexpr std::array<FourDigits, 10'000> MakeFourDigits() {
  std::array<FourDigits, 10'000> table{};
  for (size_t i = 0; i < table.size(); ++i) {
    size_t rest = i;
    for (size_t digit = 4; digit-- > 0; rest /= 10) table[i][digit] = static_cast<char>('0' + rest % 10);
  }
  return table;
}

constexpr std::array<FourDigits, 10'000> kFourDigits = MakeFourDigits();

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
    std::memcpy(out, kFourDigits[low].data(), sizeof(FourDigits));
    out[4] = '\n';
    out += 5;
  }
  return out;
}

char* IdLines::WriteFirst(uint64_t id, char* out) {
  base_ = id - id % kSpan;
  char* end = std::to_chars(out, out + kMaxLineBytes, id).ptr;
  if (base_ != 0) {
    common_bytes_ = static_cast<size_t>(end - out) - sizeof(FourDigits);
    std::memcpy(common_, out, common_bytes_);
  }
  *end++ = '\n';
  return end;
}

}  // namespace thermocline::storage::segment
