#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

#include "storage/engine/chains.h"
#include "storage/engine/deep_cold.h"
#include "storage/index/ordered_table.h"
#include "storage/log/block_log.h"
#include "storage/log/cold_read.h"

namespace thermocline::storage {

// Finds the newest record of one key among the chains of its hash. What is not in memory has to be read in
// between, without a latch.
//
// Not thread-safe; one caller at a time.
class Lookup {
 public:
  enum class Step {
    kFound,   // see position() and record()
    kAbsent,  // no record of the key, not even a tombstone
    kRead,    // call ReadNow or ReadLater, then go on
    kDeep,    // it is not in the log: call ReadDeep, then go on
  };

  // Begins, or goes on after a read if `heads` have not changed, or begins again. Under the latch that
  // `heads` were found under; `erasures` is that latch's.
  Step Walk(const Chains& chains, std::string_view key, const Slots& heads, uint64_t erasures);

  // Brings from the disk what the last Walk stopped at. Without a latch.
  absl::Status ReadNow(const BlockLog& log) { return read_.Now(log.store_id()); }
  // The lookup must stay where it is until `done` is called.
  void ReadLater(const BlockLog& log, DiskReads& disk, absl::AnyInvocable<void(absl::Status)> done) {
    read_.Later(log.store_id(), disk, std::move(done));
  }
  // Looks for the key in deep cold. Blocks; without a latch.
  absl::Status ReadDeep(const DeepCold& cold, std::string_view key);

  // After kFound.

  // True if the record is in deep cold, and has no position.
  bool deep() const { return from_deep_; }
  Position position() const { return walk_.position(); }
  // Its views live as long as the latch if it is in memory, else as long as this.
  const Record& record() const { return record_; }
  uint32_t record_bytes() const { return record_bytes_; }
  // True if the record was read from the disk.
  bool cold() const { return read_.chunk().has_value(); }
  // Gives away the memory behind a cold record().
  std::string TakeChunk() { return std::move(read_.Take()->bytes); }
  // Gives away the value of a deep() record.
  std::string TakeDeep() { return std::move(deep_->value); }

 private:
  // Takes the record for the answer if it is of `key`, else goes down its chain.
  bool Matches(std::string_view key, const DecodedRecord& decoded);
  Step Deep(const Chains& chains, std::string_view key, uint64_t erasures);

  Slots heads_;
  ChainWalk walk_;
  Record record_;
  uint32_t record_bytes_ = 0;
  ColdRead read_;       // of position()
  bool ended_ = false;  // no record that heads_ lead to is of the key

  // What deep cold says of the key; true as long as no slot is erased and the log has none of it.
  bool deep_known_ = false;
  uint64_t erasures_ = 0;
  std::optional<ColdEntry> deep_;
  bool from_deep_ = false;  // record_ is
};

}  // namespace thermocline::storage
