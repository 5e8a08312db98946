#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"
#include "storage/segment/id_stream.h"

// Id files: immutable sorted sets of 64-bit ids, written front to back and read in pieces. The layout is
// drawn in id_file_format.h. Nothing here reads: callers bring the bytes, from wherever the file lies.
namespace thermocline::storage::segment {

// The unit that is read, checked and decoded; all parts of a file are multiples of 8 bytes.
struct BlockEntry {
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t offset = 0;
  uint64_t checksum = 0;
  uint32_t count = 0;  // of ids, at least 1
  uint32_t bytes = 0;
};

// Entries of consecutive blocks.
struct IndexPageEntry {
  uint64_t first = 0;  // of the ids of its blocks
  uint64_t last = 0;
  uint64_t count = 0;
  uint64_t offset = 0;  // of the page itself; its blocks lie before it
  uint64_t checksum = 0;
  uint32_t blocks = 0;  // at least 1
  uint32_t bytes = 0;
};

struct IdFileFooter {
  uint64_t number = 0;  // that the file was written with
  uint64_t count = 0;   // of ids; may be 0
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t blocks = 0;
  uint64_t top_offset = 0;  // of the entries of the index pages
  uint64_t top_bytes = 0;
  uint64_t top_checksum = 0;
};

inline constexpr size_t kMaxBlockBytes = 16 << 10 | 64;  // two bitmaps
inline constexpr size_t kBlocksPerIndexPage = 512;
inline constexpr size_t kMaxIndexPageBytes = kBlocksPerIndexPage * sizeof(BlockEntry);
// Memory that is to be decoded must be followed by so many bytes that may be read; what they hold does not
// matter.
inline constexpr size_t kDecodeSlackBytes = 8;

// The first and the last bytes of a file.
inline constexpr size_t kHeaderBytes = 32;
inline constexpr size_t kFooterBytes = 96;

// All take apart what was read of the file called `name`, which is `file_bytes` long, and fail with
// DATA_LOSS, naming file, offset and what is wrong, unless it is exactly what was written: checksums, order
// and bounds are verified. FAILED_PRECONDITION: a format of another version.
absl::StatusOr<IdFileFooter> ReadFooter(std::span<const char> bytes, uint64_t file_bytes,
                                        std::string_view name);
// The header says nothing that the footer does not: only a check of the whole file reads it.
absl::Status ReadHeader(std::span<const char> bytes, const IdFileFooter& footer, std::string_view name);
absl::StatusOr<std::vector<IndexPageEntry>> ReadTop(std::span<const char> bytes, const IdFileFooter& footer,
                                                    std::string_view name);
absl::Status ReadIndexPage(std::span<const char> bytes, const IndexPageEntry& page, std::string_view name,
                           std::vector<BlockEntry>& blocks);

struct SectionHeader;

// Takes the blocks of one file apart, one at a time. For one thread.
class BlockDecoder {
 public:
  explicit BlockDecoder(std::string name) : name_(std::move(name)) {}

  // `bytes`, aligned to 8 and followed by kDecodeSlackBytes, must live until the last part was used.
  absl::Status Begin(const BlockEntry& block, std::span<const char> bytes);

  // The next part, kIds or kBitmap, whose views live until the next call of this object; false: none is left.
  // Damage that the checksum has not caught (it has been made by a faulty writer) is DATA_LOSS.
  absl::StatusOr<bool> Next(Part& part);

  // No id below this one is of interest: parts that are all below need not be decoded.
  void SkipTo(uint64_t id) { from_ = id; }

 private:
  absl::Status Damaged(std::string_view what) const;
  absl::Status Admit(const SectionHeader& section) const;
  // Whether no id of a section is of interest, which has `bytes` of payload.
  bool IsBelow(const SectionHeader& section, size_t bytes) const;
  void Pass(const SectionHeader& section, size_t bytes);
  // Take the section apart that `rest_` begins with; false: it has been passed over.
  absl::StatusOr<bool> NextBitmap(const SectionHeader& section, Part& part);
  absl::StatusOr<bool> NextRuns(const SectionHeader& section, Part& part);
  absl::StatusOr<bool> NextPacked(const SectionHeader& section, Part& part);
  absl::Status Unpack(const SectionHeader& section);
  absl::Status AtEnd() const;

  const std::string name_;
  BlockEntry block_;
  std::span<const char> rest_;  // sections that have not been looked at
  uint64_t from_ = 0;
  uint64_t left_ = 0;                  // ids that must still come
  bool begun_ = false;                 // a section of the block is behind us:
  uint64_t behind_ = 0;                // those that follow begin after this,
  std::optional<uint64_t> last_;       // and this was its last id; nullopt: it was passed over
  std::unique_ptr<uint64_t[]> ids_;    // kMaxPartIds
  std::unique_ptr<uint64_t[]> words_;  // kContainerWords
};

struct IdFileSummary {
  uint64_t count = 0;
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t blocks = 0;
  uint64_t bytes = 0;  // of the whole file
};

// Writes an id file. Each container becomes what takes the fewest bytes: a bitmap, runs, or packed
// differences, which may go on over many containers. For one thread at a time.
class IdFileWriter {
 public:
  // What a writer allocates at most, beside 64 bytes for each 512 blocks written.
  static constexpr size_t kMemoryBytes = 512 << 10;

  IdFileWriter(std::unique_ptr<ObjectWriter> object, uint64_t number);
  ~IdFileWriter();

  // Adds ids that are ascending and greater than all before (a CHECK).
  absl::Status Add(std::span<const uint64_t> ids);
  // Adds a part that is kIds or kBitmap, on the same condition.
  absl::Status Add(const Part& part);

  // Ids that were added.
  uint64_t count() const;
  // Bytes that the file has so far.
  uint64_t bytes() const;

  // Writes what is left and finishes the object. Errors as ObjectWriter, also of Add.
  absl::StatusOr<IdFileSummary> Finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thermocline::storage::segment
