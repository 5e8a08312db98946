#include "storage/engine/lookup.h"

#include <algorithm>

namespace thermocline::storage {

bool Lookup::Matches(std::string_view key, const Record& record) {
  record_ = record;
  if (record.key == key) return true;
  if (record.unresolved && record.displaced != 0) frontier_.push_back(record.displaced);
  return false;
}

Lookup::Step Lookup::Walk(const BlockLog& log, std::string_view key, const Slots& heads) {
  if (!cold_ || heads != heads_) {
    heads_ = heads;
    frontier_.clear();
    for (const Slot& slot : heads) frontier_.push_back(slot.position);
    cold_.reset();
  }
  if (cold_) {
    // Read() has made sure that it decodes.
    if (Matches(key, cold_->RecordAt(position_)->record)) return Step::kFound;
    cold_.reset();
  }
  while (!frontier_.empty()) {
    const auto newest = std::max_element(frontier_.begin(), frontier_.end());
    position_ = *newest;
    frontier_.erase(newest);
    const auto resident = log.Resident(position_);
    if (!resident) return Step::kRead;
    if (Matches(key, resident->record)) return Step::kFound;
  }
  return Step::kAbsent;
}

absl::Status Lookup::Read(const BlockLog& log) {
  auto chunk = log.ReadCold(position_);
  if (!chunk.ok()) return chunk.status();
  if (auto record = chunk->RecordAt(position_); !record.ok()) return record.status();
  cold_ = *std::move(chunk);
  return absl::OkStatus();
}

}  // namespace thermocline::storage
