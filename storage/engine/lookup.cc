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
  if (!cold() || heads != heads_) {
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
    const auto resident = chains.log.Resident(position());
    if (!resident) {
      read_.Aim(chains.log.Hold(position()), position());
      return Step::kRead;
    }
    if (Matches(key, *resident)) return Step::kFound;
  }
  return Step::kAbsent;
}

}  // namespace thermocline::storage
