#include "storage/engine/lookup.h"

namespace thermocline::storage {

bool Lookup::Matches(std::string_view key, const DecodedRecord& decoded) {
  record_ = decoded.record;
  record_bytes_ = decoded.bytes;
  if (record_.key == key) return true;
  walk_.GoBehind(record_);
  return false;
}

Lookup::Step Lookup::Walk(const Chains& chains, std::string_view key, const Slots& heads, uint64_t erasures) {
  from_deep_ = false;
  const bool same = SameHeads(heads, heads_);
  if (!same) ended_ = false;
  if (ended_) return Deep(chains, key, erasures);
  if (!cold() || !same) {
    heads_ = heads;
    walk_ = ChainWalk(heads);
    read_.Take();
  }
  if (cold()) {
    // The read has made sure that it decodes.
    if (Matches(key, *read_.chunk()->RecordAt(position()))) return Step::kFound;
    read_.Take();
  }
  while (walk_.Next(chains)) {
    const auto record = chains.InMemory(position(), Use::kCount);
    if (!record) {
      read_.Aim(chains.log.Hold(position()), position());
      return Step::kRead;
    }
    if (Matches(key, *record)) return Step::kFound;
  }
  ended_ = true;
  return Deep(chains, key, erasures);
}

// The log has no record of the key. What deep cold said still holds if none has moved there since.
Lookup::Step Lookup::Deep(const Chains& chains, std::string_view key, uint64_t erasures) {
  if (!chains.cold.exists()) return Step::kAbsent;
  if (!deep_known_ || erasures != erasures_) {
    deep_known_ = false;
    erasures_ = erasures;
    return Step::kDeep;
  }
  if (!deep_) return Step::kAbsent;
  record_ = {
      .key = key, .value = deep_->value, .version = deep_->version, .expires_at_ms = deep_->expires_at_ms};
  record_bytes_ = 0;
  from_deep_ = true;
  return Step::kFound;
}

absl::Status Lookup::ReadDeep(const DeepCold& cold, std::string_view key) {
  auto entry = cold.store()->Get(key);
  if (!entry.ok()) return entry.status();
  deep_ = *std::move(entry);
  deep_known_ = true;
  return absl::OkStatus();
}

}  // namespace thermocline::storage
