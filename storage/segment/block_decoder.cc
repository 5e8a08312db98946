#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "storage/segment/id_file.h"
#include "storage/segment/id_file_format.h"
#include "storage/segment/kernels.h"

namespace thermocline::storage::segment {
namespace {

constexpr uint64_t kLowBits = kContainerIds - 1;

// Runs of fewer ids are listed: such a list is shorter than a bitmap.
constexpr uint64_t kMinBitmapIds = kContainerWords;

// Differences of so many bits, as many as a group has, do not wrap more than once when summed up.
constexpr unsigned kMaxSummedBits = 56;

bool AreZeros(std::span<const char> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; });
}

// Sets the bits of `first` to `last`.
void SetRange(uint64_t* words, uint32_t first, uint32_t last) {
  const uint64_t from = ~uint64_t{0} << first % 64;
  const uint64_t to = ~uint64_t{0} >> (63 - last % 64);
  if (first / 64 == last / 64) {
    words[first / 64] |= from & to;
    return;
  }
  words[first / 64] |= from;
  std::fill(words + first / 64 + 1, words + last / 64, ~uint64_t{0});
  words[last / 64] |= to;
}

// Looks at `payload` as the runs of `count` ids: how many runs there are; 0: it is none.
size_t CountRuns(std::span<const char> payload, uint64_t count) {
  uint32_t free = 0;  // where a run may begin
  const std::span<const Run> runs(reinterpret_cast<const Run*>(payload.data()), payload.size() / sizeof(Run));
  for (const Run& run : runs) {
    const uint64_t ids = uint64_t{run.more} + 1;
    if (run.first < free || run.first + ids > kContainerIds || ids > count) return 0;
    if ((count -= ids) == 0) return &run - runs.data() + 1;
    free = uint32_t{run.first} + run.more + 2;
  }
  return 0;
}

}  // namespace

absl::Status BlockDecoder::Damaged(std::string_view what) const {
  const uint64_t at = block_.offset + block_.bytes - rest_.size();
  return segment::Damaged(name_, at, fmt::format("{}, in the block at {}", what, block_.offset));
}

absl::Status BlockDecoder::Begin(const BlockEntry& block, std::span<const char> bytes) {
  block_ = block;
  rest_ = {};
  left_ = block.count;
  begun_ = false;
  last_ = std::nullopt;
  if (bytes.size() != block.bytes || bytes.size() % 8 != 0 || ChecksumOf(bytes) != block.checksum) {
    return segment::Damaged(name_, block.offset, "a block fails its checksum");
  }
  rest_ = bytes;
  return absl::OkStatus();
}

absl::StatusOr<bool> BlockDecoder::Next(Part& part) {
  while (!rest_.empty()) {
    if (rest_.size() < sizeof(SectionHeader)) return Damaged("a section is cut off");
    SectionHeader section;
    std::memcpy(&section, rest_.data(), sizeof(section));
    if (absl::Status status = Admit(section); !status.ok()) return status;
    absl::StatusOr<bool> found = section.kind == SectionKind::kBitmap ? NextBitmap(section, part)
                                 : section.kind == SectionKind::kRuns ? NextRuns(section, part)
                                                                      : NextPacked(section, part);
    if (!found.ok() || *found) return found;
  }
  if (absl::Status status = AtEnd(); !status.ok()) return status;
  return false;
}

absl::Status BlockDecoder::Admit(const SectionHeader& section) const {
  if (section.kind < SectionKind::kBitmap || section.kind > SectionKind::kPacked ||
      (section.zeros[0] | section.zeros[1] | section.zeros[2]) != 0) {
    return Damaged("there is no such section");
  }
  if (section.count == 0 || section.count > left_) return Damaged("a section has the wrong number of ids");
  const bool packed = section.kind == SectionKind::kPacked;
  if (!packed && (section.first & kLowBits) != 0) return Damaged("a section begins inside of a container");
  const uint64_t earliest = packed ? block_.first : ContainerOf(block_.first);
  if (begun_ ? section.first <= behind_ : section.first != earliest) {
    return Damaged("a section is out of order");
  }
  return absl::OkStatus();
}

bool BlockDecoder::IsBelow(const SectionHeader& section, size_t bytes) const {
  uint64_t end = block_.last;
  if (section.kind != SectionKind::kPacked) {
    end = section.first | kLowBits;
  } else if (rest_.size() >= 2 * sizeof(section) + bytes) {
    SectionHeader next;
    std::memcpy(&next, &rest_[sizeof(section) + bytes], sizeof(next));
    end = next.first - 1;
  }
  return end < from_;
}

void BlockDecoder::Pass(const SectionHeader& section, size_t bytes) {
  rest_ = rest_.subspan(sizeof(section) + bytes);
  left_ -= section.count;
  begun_ = true;
  behind_ = section.kind == SectionKind::kPacked ? last_.value_or(section.first) : section.first | kLowBits;
}

absl::Status BlockDecoder::AtEnd() const {
  if (left_ != 0) return Damaged("ids are missing");
  if (last_.has_value() && *last_ != block_.last) return Damaged("the last id is not the one of the index");
  return absl::OkStatus();
}

absl::StatusOr<bool> BlockDecoder::NextBitmap(const SectionHeader& section, Part& part) {
  if (rest_.size() < sizeof(section) + kBitmapBytes) return Damaged("a bitmap is cut off");
  last_ = std::nullopt;
  if (IsBelow(section, kBitmapBytes)) {
    Pass(section, kBitmapBytes);
    return false;
  }
  const auto* const words = reinterpret_cast<const uint64_t*>(rest_.data() + sizeof(section));
  if (CountWords(words) != section.count) return Damaged("a bitmap has the wrong number of ids");
  part = {.kind = Part::Kind::kBitmap,
          .count = section.count,
          .first = LowestId(words, section.first),
          .last = HighestId(words, section.first),
          .words = words};
  if (part.first < block_.first || part.last > block_.last || (!begun_ && part.first != block_.first)) {
    return Damaged("a bitmap is beyond the bounds of its block");
  }
  last_ = part.last;
  Pass(section, kBitmapBytes);
  return true;
}

absl::StatusOr<bool> BlockDecoder::NextRuns(const SectionHeader& section, Part& part) {
  const std::span<const char> payload = rest_.subspan(sizeof(section));
  const size_t count = CountRuns(payload, section.count);
  const size_t used = count * sizeof(Run);
  const size_t bytes = PaddedBytes(used);
  // A block is a multiple of 8 bytes, so that the padding cannot be cut off.
  if (count == 0 || !AreZeros(payload.subspan(used, bytes - used))) return Damaged("runs that are none");
  last_ = std::nullopt;
  if (IsBelow(section, bytes)) {
    Pass(section, bytes);
    return false;
  }
  const std::span<const Run> runs(reinterpret_cast<const Run*>(payload.data()), count);
  part = {.kind = Part::Kind::kBitmap,
          .count = section.count,
          .first = section.first + runs.front().first,
          .last = section.first + runs.back().first + runs.back().more};
  if (part.last > block_.last || (!begun_ && part.first != block_.first)) {
    return Damaged("runs are beyond the bounds of their block");
  }
  if (section.count < kMinBitmapIds) {
    if (ids_ == nullptr) ids_ = std::make_unique_for_overwrite<uint64_t[]>(kMaxPartIds);
    uint64_t* out = ids_.get();
    for (const Run& run : runs) {
      for (uint64_t i = 0; i <= run.more; ++i) *out++ = section.first + run.first + i;
    }
    part.kind = Part::Kind::kIds;
    part.ids = ids_.get();
  } else {
    if (words_ == nullptr) words_ = std::make_unique_for_overwrite<uint64_t[]>(kContainerWords);
    std::fill_n(words_.get(), kContainerWords, 0);
    for (const Run& run : runs) {
      SetRange(words_.get(), run.first, uint32_t{run.first} + run.more);
    }
    part.words = words_.get();
  }
  last_ = part.last;
  Pass(section, bytes);
  return true;
}

absl::StatusOr<bool> BlockDecoder::NextPacked(const SectionHeader& section, Part& part) {
  if (section.count > kMaxPartIds) return Damaged("a section has the wrong number of ids");
  const std::span<const char> payload = rest_.subspan(sizeof(section));
  const size_t groups = PackedGroups(section.count);
  if (payload.size() < groups) return Damaged("a packed section is cut off");
  size_t used = groups;
  for (size_t group = 0; group < groups; ++group) {
    const unsigned bits = static_cast<uint8_t>(payload[group]);
    if (bits > 64) return Damaged("differences of more than 64 bits");
    used += PackedBytes(std::min<size_t>(section.count - 1 - group * kPackedGroup, kPackedGroup), bits);
  }
  const size_t bytes = PaddedBytes(used);
  if (payload.size() < bytes) return Damaged("a packed section is cut off");
  if (!AreZeros(payload.subspan(used, bytes - used))) return Damaged("padding that is none");
  last_ = std::nullopt;
  if (IsBelow(section, bytes)) {
    Pass(section, bytes);
    return false;
  }
  if (absl::Status status = Unpack(section); !status.ok()) return status;
  part = {.kind = Part::Kind::kIds,
          .count = section.count,
          .first = section.first,
          .last = ids_[section.count - 1],
          .ids = ids_.get()};
  last_ = part.last;
  Pass(section, bytes);
  return true;
}

absl::Status BlockDecoder::Unpack(const SectionHeader& section) {
  if (ids_ == nullptr) ids_ = std::make_unique_for_overwrite<uint64_t[]>(kMaxPartIds);
  const char* const widths = rest_.data() + sizeof(section);
  const char* packed = widths + PackedGroups(section.count);
  uint64_t* out = ids_.get();
  uint64_t last = *out++ = section.first;
  size_t left = section.count - 1;
  for (size_t group = 0; left > 0; ++group) {
    const size_t count = std::min(left, kPackedGroup);
    const unsigned bits = static_cast<uint8_t>(widths[group]);
    const uint64_t before = last;
    last = UnpackDeltas(packed, count, bits, before, out);
    bool ascending = last > before;
    if (bits > kMaxSummedBits) {
      for (size_t i = 0; i < count; ++i) ascending &= out[i] > (i == 0 ? before : out[i - 1]);
    }
    if (!ascending || last > block_.last) return Damaged("ids are out of order or beyond their block");
    packed += PackedBytes(count, bits);
    out += count;
    left -= count;
  }
  return absl::OkStatus();
}

}  // namespace thermocline::storage::segment
