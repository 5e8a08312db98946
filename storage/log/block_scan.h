#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/log/block.h"
#include "storage/log/crew.h"
#include "storage/log/log_visitor.h"

namespace thermocline::storage {

// Verifies the chunks of blocks and visits their records, with all threads of a crew. What comes out is the
// same however many they are. Not thread-safe.
//
//   chunks of the block      part 0 | part 1 | ... | part 0 | part 1 | ...     verified, decoded, hashed
//                            ------- a round ------  ------ the next -----     and spread by their hashes:
//
//   shares of the hashes     records of all parts, in their order: share 0     visited, prefix by prefix,
//                                                                  share 1     while the parts of the
//                                                                  ...         next round are read
class BlockScan {
 public:
  // Up to `parts` of a block are read at a time. `visitor` is nullptr if nobody is to be told of records.
  BlockScan(uint32_t block_bytes, uint64_t store_id, size_t parts, Crew& crew, const LogVisitor* visitor);

  // As many parts as are of use, as far as a hundredth of so much memory goes; a few, at least.
  static size_t PartsFor(uint64_t memory_limit);
  // What it works with, at most, beside the block. No more threads than parts have something to do.
  static uint64_t memory_bytes(size_t parts, size_t threads);

  struct Found {
    uint32_t used = kFirstChunkOffset;  // end of the last chunk before the first place where none stands
    bool whole = false;                 // that chunk says that it is the last
    Position horizon = 0;               // the largest of the chunks
    uint64_t next_version = 0;          // behind all versions
  };
  // Looks at the block whose bytes these are. Adds to its chunks and its use, and sets its base. DATA_LOSS if
  // a record does not fit its chunk. When it returns, all records that stand before that have been visited,
  // or the visitor has returned an error; the first error in the order of the log counts.
  absl::StatusOr<Found> Scan(Block& block, std::string_view bytes);

 private:
  // Some chunks that follow one another, and what stands in them.
  struct Part {
    uint32_t begin = 0;
    uint32_t end = 0;  // as the chunks' headers say, which nobody has verified yet

    Found found;
    uint64_t base_version = 0;
    std::vector<uint32_t> chunks;  // where they begin
    BlockUse use;
    absl::Status status;
    std::vector<LoggedRecord> records;  // share by share, each in the order of the log
    std::vector<uint32_t> ends;         // of the shares in records
  };
  struct Round {
    std::vector<Part> parts;  // `count` of them are in use
    size_t count = 0;
    bool at_end = false;  // no chunk follows
  };

  size_t shares() const { return visitor_ == nullptr ? 0 : size_t{1} << share_bits_; }
  size_t ShareOf(uint64_t hash) const { return hash >> 1 >> (63 - share_bits_); }
  size_t GroupOf(uint64_t hash) const { return (hash << share_bits_) >> 1 >> (63 - group_bits_); }

  void Cut(const Block& block, std::string_view bytes, uint32_t from, Round& round) const;
  void Work(const Block& block, std::string_view bytes);
  void ReadPart(const Block& block, std::string_view bytes, size_t worker, Part& part);
  absl::Status ReadChunk(std::string_view chunk, Position position, std::vector<LoggedRecord>& records,
                         Part& part) const;
  void Spread(const std::vector<LoggedRecord>& records, Part& part) const;
  absl::Status VisitShare(size_t worker, size_t share);
  static void Count(Round& round, Block& block, Found& found, absl::Status& status);

  const uint64_t store_id_;
  const uint32_t part_bytes_;
  Crew& crew_;
  const LogVisitor* const visitor_;
  const int share_bits_;
  const int group_bits_;                            // of a prefix, behind those of the share
  std::vector<std::vector<LoggedRecord>> decoded_;  // by the workers, of a part
  std::vector<absl::Status> visited_;               // by the shares
  Round reading_;
  Round visiting_;
};

}  // namespace thermocline::storage
