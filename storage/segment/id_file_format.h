#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"

#include "storage/segment/id_file.h"
#include "storage/segment/kernels.h"

// The bytes of an id file. All numbers are little-endian, all parts begin at multiples of 8:
//
//   FileHeader
//   block  block  ...  index page      kBlocksPerIndexPage blocks, and a BlockEntry for each of them
//   block  block  ...  index page      as often as it takes; the last page may have fewer
//   top                                an IndexPageEntry for each index page
//   FileFooter
//
// What is read is trusted because something that was read before has its checksum (XXH3-64, not seeded): the
// footer its own, those of the header and of the top; the top those of the pages; a page those of its blocks.
//
// A block is one or more sections, in the order of their ids. A section:
//
//   SectionHeader   what follows, how many ids, and where they begin
//   payload         by kind
//   zeros           up to a multiple of 8
//
//   kBitmap   8192 bytes: bit i of byte b is the id first + 8 b + i. `first` begins a container.
//   kRuns     for each run of consecutive ids, two numbers of 16 bits: where it begins in the container, and
//             how many ids follow the first one. As many as it takes to make `count` ids. Between two runs
//             there is a gap. `first` begins a container.
//   kPacked   `first` is the first id; the others are differences to the one before, less one, in groups of
//             128 (the last may have fewer):
//               for each group, a byte: how many bits each of its differences has, 0 to 64
//               for each group, its differences, packed into so many bits each, the lowest bit first, then
//               zero bits to the next byte
//             At most kMaxPartIds in a block.
//
// A container that has a bitmap or runs has all its ids there. An empty file is a header and a footer.
namespace thermocline::storage::segment {

inline constexpr uint32_t kIdFileVersion = 1;

struct FileHeader {
  uint64_t magic;    // kMagic
  uint32_t version;  // kIdFileVersion
  uint32_t zero;
  uint64_t number;    // that the writer was given
  uint64_t checksum;  // of the bytes before

  static constexpr uint64_t kMagic = 0x454c494644494354;  // "TCIDFILE"
};
static_assert(sizeof(FileHeader) == kHeaderBytes);

struct FileFooter {
  IdFileFooter file;
  uint64_t header_checksum;  // of the whole FileHeader
  uint32_t version;          // kIdFileVersion
  uint32_t zero;
  uint64_t checksum;  // of the bytes before
  uint64_t magic;     // kMagic

  static constexpr uint64_t kMagic = 0x444e454644494354;  // "TCIDFEND"
};
static_assert(sizeof(IdFileFooter) == 64);
static_assert(sizeof(FileFooter) == kFooterBytes);

// Entries lie in the file as they do in memory.
static_assert(sizeof(BlockEntry) == 40);
static_assert(sizeof(IndexPageEntry) == 48);

enum class SectionKind : uint8_t { kBitmap = 1, kRuns = 2, kPacked = 3 };

struct SectionHeader {
  SectionKind kind;
  uint8_t zeros[3];
  uint32_t count;  // of ids, at least 1
  uint64_t first;
};
static_assert(sizeof(SectionHeader) == 16);

struct Run {
  uint16_t first;
  uint16_t more;
};
static_assert(sizeof(Run) == 4);

inline constexpr size_t kBitmapBytes = kContainerWords * sizeof(uint64_t);

constexpr size_t PaddedBytes(size_t bytes) { return (bytes + 7) & ~size_t{7}; }

// Groups of a packed section of `count` ids.
constexpr size_t PackedGroups(size_t count) { return (count - 1 + kPackedGroup - 1) / kPackedGroup; }

uint64_t ChecksumOf(std::span<const char> bytes);

FileHeader MakeHeader(uint64_t number);

// The bytes of a struct.
template <typename T>
std::span<const char> BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// DATA_LOSS that says where.
absl::Status Damaged(std::string_view name, uint64_t offset, std::string_view what);

}  // namespace thermocline::storage::segment
