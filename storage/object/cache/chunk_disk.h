#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"
#include "storage/object/cache/chunk_table.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::object_cache {

// The cache's directory: files of slots of one size, made and allocated one by one as they are needed, an
// index of what the slots held when it was written, and a lock. Nothing but the index is ever synced. All
// calls may wait for the disk, except those that say otherwise. Thread-safe where it says so.
class ChunkDisk {
 public:
  // How many slots fit into so many bytes of disk, index and its successor included; 0 if none.
  static uint32_t SlotsIn(uint64_t disk_bytes, uint32_t chunk_bytes);

  // Takes over the files that are there, cuts the last one where it has become too long, and removes what is
  // beyond `max_slots`. What goes wrong with the files makes them fewer; errors are those of the directory
  // and its lock.
  static absl::StatusOr<std::unique_ptr<ChunkDisk>> Open(const std::string& directory, uint32_t max_slots,
                                                         uint32_t chunk_bytes, FileSystem& files);
  ~ChunkDisk();

  uint32_t max_slots() const { return max_slots_; }
  // Of the files that hold slots. Does not wait. Thread-safe.
  uint64_t bytes() const { return uint64_t{slots()} * chunk_bytes_; }
  // Slots that have their place in a file. Does not wait. Thread-safe.
  uint32_t slots() const { return slots_.load(std::memory_order_acquire); }
  // Allocates another file, if there are still so many slots as the caller has seen. Thread-safe.
  absl::Status Grow(uint32_t seen);

  // Of a slot below slots(). Do not wait. Thread-safe.
  File& FileOf(uint32_t slot) const { return *open_[slot / slots_per_file_]; }
  uint64_t OffsetOf(uint32_t slot) const { return uint64_t{slot % slots_per_file_} * chunk_bytes_; }

  // Thread-safe.
  absl::Status Write(uint32_t slot, std::string_view bytes) {
    return FileOf(slot).WriteAt(OffsetOf(slot), bytes);
  }

  // Writes the index of this table, durably and in place of the one before.
  absl::Status SaveIndex(const ChunkTable& table);
  // Puts what the index has into an empty table that was given the slots. Without a sound index it stays
  // empty. An index that is larger than one of this cache can be is removed.
  void LoadIndex(ChunkTable& table);

 private:
  ChunkDisk(std::string directory, uint32_t max_slots, uint32_t chunk_bytes, FileSystem& files);

  std::string PathOf(uint32_t file) const;
  std::string IndexPath() const { return directory_ + "/INDEX"; }
  uint32_t SlotsOfFile(uint32_t file) const;
  uint64_t BytesOfFile(uint32_t file) const { return uint64_t{SlotsOfFile(file)} * chunk_bytes_; }
  absl::Status RemoveStrangers();
  absl::StatusOr<std::unique_ptr<File>> TakeOver(uint32_t file);
  absl::Status WriteIndex(const ChunkTable& table, File& file);
  bool ReadIndex(ChunkTable& table);

  const std::string directory_;
  const uint32_t max_slots_;
  const uint32_t chunk_bytes_;
  const uint32_t slots_per_file_;
  FileSystem& files_;
  std::unique_ptr<FileLock> lock_;

  Mutex grow_mutex_;  // held while a file is made
  // One for each file that there may be; the first ones are set, before slots_ says so, and never change.
  std::vector<std::unique_ptr<File>> open_;
  std::atomic<uint32_t> slots_{0};  // release when the file is in open_
};

}  // namespace thermocline::storage::object_cache
