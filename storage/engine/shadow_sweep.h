#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "absl/status/status.h"

#include "storage/engine/transfer.h"

namespace thermocline::storage {

// Finds out which keys of the log have an older record in the cold store, removes that, and so closes the
// bounds of the counts: a slice of the log at a time, round after round. A set does not look; so after it,
// nobody knows.
//
// Not thread-safe; it blocks on the disk.
class ShadowSweep {
 public:
  struct Parts {
    Transfer::Parts transfer;
    uint64_t store_id = 0;
    uint32_t block_bytes = 0;
    std::function<uint64_t(std::string_view)> hash_of;
  };

  explicit ShadowSweep(const Parts& parts) : parts_(parts), transfer_(parts.transfer) {}

  // Does a slice, if there is anything to find out. Errors as ColdStore and Engine.
  absl::Status Step();
  // Removes what was found so far, and frees the memory that it took. Errors as ColdStore.
  absl::Status Flush();

 private:
  bool MayBegin(Position end);
  absl::Status StepInBlock(Position end, uint64_t& scanned);
  void Look(Position position, const Record& record);

  const Parts parts_;
  Transfer transfer_;
  Position at_ = 0;        // of a chunk; 0: no round is under way
  Position last_end_ = 0;  // of the log, when the last round began
  int steps_to_wait_ = 0;  // until the next round, if little is written
};

}  // namespace thermocline::storage
