#pragma once

#include <optional>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"

#include "storage/index/ordered_table.h"
#include "storage/log/block_log.h"

namespace thermocline::storage {

// Finds the newest record of one key among the candidates of the index. Candidates that are other keys, and
// records that were displaced without a comparison, are walked from the newest to the oldest over all chains,
// so the first match is the newest. What is not in memory has to be read in between, without a latch: chains
// below their heads never change, so a walk goes on if the heads are still the same.
//
// Not thread-safe; one caller at a time.
class Lookup {
 public:
  enum class Step {
    kFound,   // see position() and record()
    kAbsent,  // no record of the key, not even a tombstone
    kRead,    // call Read(), then go on
  };

  // Begins, or goes on after a Read if `heads` have not changed, or begins again. Under the latch that
  // `heads` were found under.
  Step Walk(const BlockLog& log, std::string_view key, const Slots& heads);

  // Reads from the disk what the last Walk stopped at. Blocks; without a latch.
  absl::Status Read(const BlockLog& log);

  // After kFound.
  Position position() const { return position_; }
  // Its views live as long as the latch if it is resident, else as long as this.
  const Record& record() const { return record_; }
  // True if the record was read from the disk.
  bool cold() const { return cold_.has_value(); }
  // Gives away the memory behind a cold record().
  std::string TakeChunk() { return std::move(cold_->bytes); }

 private:
  // Takes the record at position_ for the answer if it is of `key`, else goes down its chain.
  bool Matches(std::string_view key, const Record& record);

  Slots heads_;
  absl::InlinedVector<Position, 4> frontier_;
  Position position_ = 0;
  Record record_;
  std::optional<ColdChunk> cold_;  // what was read last, of position_
};

}  // namespace thermocline::storage
