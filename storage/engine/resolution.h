#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

#include "storage/engine/chains.h"
#include "storage/log/cold_read.h"

namespace thermocline::storage {

// Reads all records that one hash leads to and tells which of them are the newest of their keys. Used as
// Lookup is: Walk under the latch, Read without, until it is done.
//
// Not thread-safe; one caller at a time.
class Resolution {
 public:
  enum class Step { kDone, kRead };

  // `covers` tells whether a key belongs to the hash; others, to which chains may lead as well, have slots of
  // their own.
  Step Walk(const Chains& chains, const Slots& heads, absl::FunctionRef<bool(std::string_view)> covers);
  // As Lookup::ReadLater.
  void ReadLater(const BlockLog& log, DiskReads& disk, absl::AnyInvocable<void(absl::Status)> done) {
    read_.Later(log.store_id(), disk, std::move(done));
  }

  // After kDone, of the heads that Walk was given last.

  // True if the head is the newest record of its key.
  bool IsNewest(Position head) const;

  // The newest record of a key that no head is: it stands behind another key's.
  struct Hidden {
    Position position = 0;
    std::string key;
    std::string value;
    uint64_t version = 0;
    uint64_t expires_at_ms = 0;
    bool tombstone = false;

    Record record() const;
  };
  const std::vector<Hidden>& hidden() const { return hidden_; }

  // Dead records that no record of their key leads to, but one of another key does: a later walk, after a
  // restart, must not take them for the newest.
  const std::vector<Position>& stray() const { return stray_; }
  // Of a head or a stray record.
  std::string_view KeyOf(Position met) const;

 private:
  void Remember(Position position, const Record& record);
  void Take(const Record& record, absl::FunctionRef<bool(std::string_view)> covers);

  Slots heads_;
  ChainWalk walk_;
  bool again_ = false;  // walk_ stands at a record that was not taken yet
  ColdRead read_;
  // What was read, encoded with base version 0: it is still right when the heads have changed.
  absl::flat_hash_map<Position, std::string> known_;
  std::vector<std::string> keys_;                     // met so far
  std::vector<std::pair<Position, size_t>> members_;  // records met so far, and which of the keys they have
  std::vector<Position> newest_;                      // heads that are the newest of their keys
  std::vector<Position> stray_;
  std::vector<Hidden> hidden_;
};

}  // namespace thermocline::storage
