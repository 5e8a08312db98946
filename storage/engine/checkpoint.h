#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/engine/compaction_batch.h"
#include "storage/engine/grave_list.h"
#include "storage/engine/store_files.h"
#include "storage/file_system.h"
#include "storage/index/hash_index.h"
#include "storage/log/block.h"

namespace thermocline::storage {

// A checkpoint is the file CHECKPOINT: what a start would otherwise have to read all blocks for. It is
// written while the store is in use, so it is of no one moment, and says nothing of the blocks that it does
// not name: those are replayed on top of it. The section of the state comes last, and says where the slots of
// each partition of the index begin.
//
//   CHECKPOINT                          section                         payload of slots
//  +------------------+ 0              +---------------------+ 0       +----------------------------+
//  | magic, identity  |                | checksum          8 |         | floor               varint |
//  +------------------+ 64             | offset in the file 8|         | shift               varint |
//  | blocks           |  one section   | subject           8 |         +----------------------------+
//  | ...              |  each          | kind              4 |         | hash - previous one,       |
//  +------------------+                | bytes             4 |         | >> shift            varint |
//  | slots            |  of some       +---------------------+ 32      | position - floor,          |
//  | ...              |  partition     | payload             |         | << 3 | flags        varint |
//  +------------------+                +---------------------+ bytes   +----------------------------+
//  | hot records      |  one section                                   +----------------------------+
//  | ...              |  a block                                       payload of hot records: offset
//  +------------------+                                                - previous one, varint each
//  | state            |                                                | ...                        |
//  +------------------+
//  | trailer          |  where the state stands
//  +------------------+
//
// It appears whole or not at all, and every section has a checksum. If it is not there, or damaged, or of an
// index with another number of partitions, all blocks are read instead: nothing but time depends on it.

// Records that were in memory for being used when the log was closed: offsets in blocks, ascending, by the
// blocks' sequence numbers.
using HotSet = std::map<uint64_t, std::vector<uint32_t>>;

// What a checkpoint holds beside slots and blocks.
struct CheckpointState {
  // Where the log ended, if it had been closed in order; else 0. The checkpoint of a closed log says all.
  CleanEnd end = {.position = 0, .next_version = 0};
  uint64_t end_dead_bytes = 0;           // of the block that it is in
  uint64_t generation = 0;               // of the roster
  uint64_t hidden = 0;                   // SlotCounts::hidden
  std::vector<HashIndex::Shape> shapes;  // of the partitions
  std::vector<GraveList::Grave> graves;  // still to be written
  std::vector<CompactionBatch::GraveNote> grave_notes;
  std::vector<Position> buried;  // see Chains
  std::vector<uint64_t> owed;    // see Compactor
};

// Writes a draft, which replaces the checkpoint before when it is finished. Blocks first, then the partitions
// in their order, then what is hot. After an error it is of no use. Not thread-safe.
class CheckpointWriter {
 public:
  static absl::StatusOr<std::unique_ptr<CheckpointWriter>> Create(const std::string& directory,
                                                                  const StoreIdentity& identity,
                                                                  size_t partitions, FileSystem& files);
  // Removes the draft, if it was not finished.
  ~CheckpointWriter();

  // A block that is sealed and on the disk.
  absl::Status AddBlock(const Block& block, uint64_t dead_bytes);
  // Some slots of a partition, in the order of their hashes; all of them one behind the other.
  absl::Status AddSlots(size_t partition, std::span<const HashIndex::Entry> slots);
  absl::Status AddHot(uint64_t block, std::span<const uint32_t> offsets);
  // Durable when it returns.
  absl::Status Finish(const CheckpointState& state);

 private:
  CheckpointWriter(const std::string& directory, const StoreIdentity& identity, size_t partitions,
                   FileSystem& files, std::unique_ptr<File> file);

  absl::Status WriteSection(uint32_t kind, uint64_t subject, std::string& section);
  absl::Status Write(std::string_view bytes);

  const std::string directory_;
  const StoreIdentity identity_;
  FileSystem& files_;
  std::unique_ptr<File> file_;
  uint64_t at_ = 0;
  uint64_t synced_ = 0;
  bool finished_ = false;
  std::vector<uint64_t> offsets_;  // of the partitions' slots; 0: it has none
  uint64_t hot_ = 0;               // offset of the first hot records; 0: there are none
  std::string section_;
};

// Errors: DATA_LOSS if a part is damaged, otherwise as File. Thread-safe.
class CheckpointReader {
 public:
  // NOT_FOUND: there is none. FAILED_PRECONDITION: it is of another format, or of an index with another
  // number of partitions.
  static absl::StatusOr<std::unique_ptr<CheckpointReader>> Open(const std::string& directory,
                                                                const StoreIdentity& identity,
                                                                size_t partitions, FileSystem& files);

  ~CheckpointReader();

  const CheckpointState& state() const { return state_; }
  // Gives its memory back. Not thread-safe.
  void DropState() { state_ = {}; }

  // All blocks, in their order, sealed, without their files.
  absl::Status ReadBlocks(const std::string& log_directory,
                          absl::FunctionRef<absl::Status(std::unique_ptr<Block>)> visit) const;
  // The slots of the partitions from `first` up to `end`, some at a time, in the order of their hashes.
  absl::Status ReadSlots(
      size_t first, size_t end,
      absl::FunctionRef<absl::Status(size_t partition, std::span<const HashIndex::Entry>)> visit) const;

  // The hot records of the next block that has any, and its sequence number; nullopt: there are no more. Not
  // thread-safe.
  absl::StatusOr<std::optional<uint64_t>> NextHot(std::vector<uint32_t>& offsets);

 private:
  CheckpointReader(std::string path, const StoreIdentity& identity, std::unique_ptr<File> file);

  class Sections;
  absl::Status Damaged(uint64_t offset) const;
  absl::Status ReadState(size_t partitions);

  const std::string path_;
  const StoreIdentity identity_;
  const std::unique_ptr<File> file_;
  uint64_t slots_end_ = 0;
  uint64_t hot_ = 0;  // as the writer's
  uint64_t hot_end_ = 0;
  CheckpointState state_;
  std::vector<uint64_t> offsets_;
  std::unique_ptr<Sections> hot_sections_;
};

// No error if there is none. Not durable.
absl::Status RemoveCheckpoint(const std::string& directory, FileSystem& files);

}  // namespace thermocline::storage
