#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/cache/record_cache.h"
#include "storage/clock.h"
#include "storage/engine/deep_cold.h"
#include "storage/engine/grave_list.h"
#include "storage/engine/slot_counts.h"
#include "storage/engine/transfer.h"
#include "storage/file_system.h"
#include "storage/index/hash_index.h"
#include "storage/log/block_log.h"
#include "storage/log/chunk_reader.h"
#include "storage/log/relocation.h"
#include "storage/memory_budget.h"

namespace thermocline::storage {

// Copies what lives in some blocks of the log, the victims, into new ones or into the cold store, so that the
// victims can go. Once it has begun, nothing is appended to the log below the numbers of the new blocks: a
// copy is therefore older, in the order of the log, than whatever supersedes it meanwhile.
//
// Not thread-safe; it blocks on the disk.
class CompactionBatch {
 public:
  struct Parts {
    std::string log_directory;
    uint64_t store_id = 0;
    uint32_t block_bytes = 0;
    FileSystem& files;
    Clock& clock;
    MemoryBudget& budget;
    HashIndex& index;
    BlockLog& log;
    RecordCache& cache;
    SlotCounts& counts;
    GraveList& graves;
    DeepCold& cold;
    std::function<uint64_t(std::string_view)> hash_of;
  };
  // A grave that was written: for a record of block `dead`, into block `holder`.
  struct GraveNote {
    uint64_t dead = 0;
    uint64_t holder = 0;
    uint64_t bytes = 0;
  };
  struct Work {
    uint64_t records_moved = 0;
    uint64_t records_demoted = 0;
    uint64_t records_dropped = 0;
    uint64_t bytes_written = 0;
    uint64_t bytes_scanned = 0;
    std::vector<GraveNote> graves;
  };

  // What a batch works with, beside the tables of new blocks, which it takes from the budget itself.
  static uint64_t memory_bytes(uint32_t block_bytes);
  // A new block ends when it has so many records, however small they are.
  static uint64_t most_records(uint32_t block_bytes);

  enum class Aim {
    kCompact,  // what lives goes to new blocks
    kDemote,   // what lives goes to the cold store, which must have been made
  };
  // New blocks get the `count` sequence numbers from `first` on; OUT_OF_RANGE if they are too few.
  CompactionBatch(const Parts& parts, Aim aim, std::vector<uint64_t> victims, uint64_t first, uint64_t count);

  enum class Progress { kMore, kDoubts, kDone };
  // Does a slice of the work. kDoubts: the chains of doubts() must be resolved before the next call.
  absl::StatusOr<Progress> Step();
  const std::vector<uint64_t>& doubts() const { return doubtful_hashes_; }

  // After kDone: writes the graves that are due and ends the last new block. If it is OK, and the chains of
  // late_doubts() have been resolved, nothing points to the victims any more. A batch that fails or ends
  // early leaves a log that is whole: victims and copies stay.
  absl::Status Finish();
  const std::vector<uint64_t>& late_doubts() const { return late_doubts_; }

  // The batch has failed, and will not be published: its graves are still to be written.
  void GiveUp();

  const std::vector<uint64_t>& victims() const { return victims_; }
  const Work& work() const { return work_; }

 private:
  // A record that is on its way.
  struct Move {
    uint64_t hash;
    Position from : 63;
    Position linked : 1;  // it still names what it displaced
    Position to;
  };
  static_assert(sizeof(Move) == 24);
  struct Doubt {
    Position position;
    uint64_t base_version;
    std::string bytes;
  };

  absl::StatusOr<bool> OpenNextVictim();
  absl::Status Judge(Position position, const DecodedRecord& decoded, uint64_t base_version);
  absl::Status Judged(Position position, const DecodedRecord& decoded, std::optional<uint64_t>& doubtful);
  void Forget(uint64_t hash, Position head);
  absl::Status Relocate(Position from, Record record, uint64_t hash, bool unresolved);
  absl::Status Demote(Position from, const Record& record, uint64_t hash, std::optional<uint64_t>& doubtful);
  bool StaysAsHot(Position position, uint64_t hash) const;
  absl::Status FlushIfFull();
  void KeepHot(Position from, Position to, const Record& record, uint64_t hash);
  absl::Status BuryDisplaced(const Record& record, uint64_t hash, std::optional<uint64_t>& doubtful);
  absl::StatusOr<uint64_t> HashAt(Position position);
  absl::Status Bury(uint64_t hash, Position dead);
  absl::StatusOr<Position> Write(const Record& record);
  absl::Status OpenOutput();
  absl::Status FinishOutput();
  void Install(const Move& move);
  bool StandsAfterwards(Position position) const;

  const Parts parts_;
  const Aim aim_;
  const std::vector<uint64_t> victims_;
  uint64_t next_number_;
  const uint64_t end_number_;

  size_t next_victim_ = 0;
  BlockHold victim_;
  std::unique_ptr<ChunkReader> chunks_;
  Position chunk_position_ = 0;
  std::vector<Doubt> doubts_;
  std::vector<uint64_t> doubtful_hashes_;
  std::vector<uint64_t> late_doubts_;

  const bool cold_takes_writes_;
  Transfer transfer_;
  std::unique_ptr<RelocatedBlock> output_;
  std::vector<Move> moves_;
  std::vector<GraveList::Grave> taken_;  // that Finish was to write
  bool finishing_ = false;
  Work work_;
};

}  // namespace thermocline::storage
