#include "storage/engine/lookup.h"

namespace thermocline::storage {

bool Lookup::Matches(std::string_view key, const DecodedRecord& decoded) {
  record_ = decoded.record;
  record_bytes_ = decoded.bytes;
  if (record_.key == key) return true;
  walk_.GoBehind(record_);
  return false;
}

Lookup::Step Lookup::Walk(const Chains& chains, std::string_view key, const Slots& heads) {
  if (!cold_ || heads != heads_) {
    heads_ = heads;
    walk_ = ChainWalk(heads);
    cold_.reset();
  }
  if (cold_) {
    // Read() has made sure that it decodes.
    if (Matches(key, *cold_->RecordAt(position()))) return Step::kFound;
    cold_.reset();
  }
  while (walk_.Next(chains)) {
    const auto resident = chains.log.Resident(position());
    if (!resident) {
      hold_ = chains.log.Hold(position());
      return Step::kRead;
    }
    if (Matches(key, *resident)) return Step::kFound;
  }
  return Step::kAbsent;
}

absl::Status Lookup::Read(const BlockLog& log) {
  const BlockHold hold = std::exchange(hold_, BlockHold());
  auto chunk = hold->ReadChunk(position(), log.store_id());
  if (!chunk.ok()) return chunk.status();
  if (auto record = chunk->RecordAt(position()); !record.ok()) return record.status();
  cold_ = *std::move(chunk);
  return absl::OkStatus();
}

}  // namespace thermocline::storage
