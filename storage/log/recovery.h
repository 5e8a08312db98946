#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"
#include "storage/log/block.h"
#include "storage/log/format.h"
#include "storage/log/log_visitor.h"
#include "storage/memory_budget.h"

namespace thermocline::storage {

// Where the log ended when it was last closed in order.
struct CleanEnd {
  Position position = 0;
  uint64_t next_version = 1;
};

// Which blocks are left after compaction. Below it says all; blocks from `below` on follow one another
// without gaps, but for those that compaction was about to write when it stopped.
struct Roster {
  uint64_t generation = 0;
  uint64_t below = 0;
  std::vector<uint64_t> sequences;  // ascending, all smaller than `below`
};

// What is in the directory of the log, and what has to be done to it before it can be written again.
struct RecoveredLog {
  // In the order of the log; the newest are resident as far as memory allows, the last one always.
  std::vector<std::unique_ptr<Block>> blocks;
  uint64_t next_sequence = 1;
  uint64_t next_version = 1;
  uint64_t records = 0;          // that were visited
  uint64_t truncated_bytes = 0;  // of chunks that were torn, or stood behind a torn one

  Position on_disk = 0;              // everything before it certainly is
  Position end = 0;                  // of what was appended; 0: nothing, or all of it was compacted away
  Block* tail = nullptr;             // the last block that was appended to, if the roster does not list it
  bool seal_last = false;            // that block was still open
  std::vector<std::string> garbage;  // files of blocks in which nothing is valid, oldest first
};

// The sequence numbers of all blocks in `directory`, ascending. FAILED_PRECONDITION for files that are not
// this store's.
absl::StatusOr<std::vector<uint64_t>> ListBlocks(const std::string& directory, FileSystem& files);

// Blocks of which a checkpoint has kept what reading them would tell; by their sequence numbers. They were
// sealed and on the disk.
using KnownBlocks = absl::flat_hash_map<uint64_t, std::unique_ptr<Block>>;

// The log that is to be read, and what is known of it. What it names outlives the call.
struct LogSource {
  std::string directory;
  uint64_t store_id = 0;
  uint32_t block_bytes = 0;
  const Roster& roster;
  std::optional<CleanEnd> clean_end;
  FileSystem& files;
  MemoryBudget& budget;
  size_t threads = 1;  // that verify, decode and visit; one more waits for the disk
};

// Reads the blocks in the directory that are not known, and visits their records; nullptr: nobody wants to
// know of them. Changes nothing. Of what is known only the header is read, and the size of the file. What
// comes out depends neither on the number of threads nor on which of them is faster.
//
// The rule: chunks count up to the first place where no valid one stands. If any valid chunk in the directory
// says that the log was on the disk beyond that place (its horizon), or the log was closed in order beyond
// it, acknowledged data is gone: DATA_LOSS. Otherwise the rest is a torn tail that nobody was promised.
//
// A block that the roster lists must be whole. What it does not list, and what compaction wrote but did not
// publish, counts for nothing.
//
// DATA_LOSS also for a missing block or a damaged block header; FAILED_PRECONDITION for files that are not
// this store's. Messages name the file and offset. An error of the visitor ends the recovery. Of several
// errors it is the first in the order of the log.
absl::StatusOr<RecoveredLog> ReadLog(const LogSource& source, KnownBlocks known, const LogVisitor* visitor);

// Gives back the space of the garbage and behind the end of the log, and changes nothing else: a new block
// needs it where the disk is full.
absl::Status FreeGarbage(const RecoveredLog& log, FileSystem& files);

// Removes the garbage and seals the last block, durably. To be done once a new block stands that keeps their
// versions and sequence numbers from being used again; a crash in between leaves a log that reads the same.
absl::Status FinishRecovery(const std::string& directory, uint64_t store_id, RecoveredLog& log,
                            FileSystem& files);

}  // namespace thermocline::storage
