#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"
#include "storage/log/block.h"
#include "storage/memory_budget.h"

namespace thermocline::storage {

// A block that compaction writes: filled with records that live on from other blocks, never resident, and not
// part of the log before it is finished. Not thread-safe.
class RelocatedBlock {
 public:
  struct Place {
    std::string directory;
    uint64_t store_id = 0;
    uint32_t block_bytes = 0;
    uint64_t sequence = 0;
  };

  // Creates the file and reserves its space. RESOURCE_EXHAUSTED if the disk or the budget has none.
  static absl::StatusOr<std::unique_ptr<RelocatedBlock>> Create(const Place& place, FileSystem& files,
                                                                MemoryBudget& budget);
  // Removes the file, unless it was finished.
  ~RelocatedBlock();

  // Where the record stands, with the version it has; nullopt: the block is full. Other errors as File.
  absl::StatusOr<std::optional<Position>> Append(const Record& record);

  // Ends the block, and returns it when it is on the disk.
  absl::StatusOr<std::unique_ptr<Block>> Finish();

  bool empty() const { return block_->use.records == 0; }
  uint32_t used() const { return cursor_; }

 private:
  RelocatedBlock(const Place& place, FileSystem& files);

  absl::Status WriteHeader(MemoryBudget& budget);
  void OpenChunk();
  void CloseChunk(uint32_t padded_end, bool last);
  absl::Status WriteOut();
  char* at(uint32_t offset) { return buffer_.data() + (offset - buffer_start_); }

  const Place place_;
  FileSystem& files_;
  std::unique_ptr<Block> block_;
  std::unique_ptr<File> file_;
  uint32_t cursor_ = kFirstChunkOffset;
  uint32_t chunk_start_ = 0;  // 0: no chunk is open
  uint32_t chunk_records_ = 0;
  std::string buffer_;  // of the file from buffer_start_ to cursor_
  uint32_t buffer_start_ = kFirstChunkOffset;
  bool finished_ = false;
};

}  // namespace thermocline::storage
