#include "storage/engine/resolution.h"

#include <algorithm>
#include <utility>

namespace thermocline::storage {

Record Resolution::Hidden::record() const {
  return {.key = key,
          .value = value,
          .version = version,
          .expires_at_ms = expires_at_ms,
          .displaced = position,
          .tombstone = tombstone};
}

bool Resolution::IsNewest(Position head) const {
  return std::find(newest_.begin(), newest_.end(), head) != newest_.end();
}

void Resolution::Take(const Record& record, absl::FunctionRef<bool(std::string_view)> covers) {
  walk_.GoBehind(record);
  if (!covers(record.key)) return;
  const Position position = walk_.position();
  const auto known = static_cast<size_t>(std::find(keys_.begin(), keys_.end(), record.key) - keys_.begin());
  members_.emplace_back(position, known);
  if (known < keys_.size()) {
    const auto leads = std::find_if(members_.begin(), members_.end(),
                                    [&](const auto& member) { return member.first == walk_.from(); });
    const bool own = leads != members_.end() && leads->second == known;
    if (walk_.from() != 0 && !own) stray_.push_back(position);
    return;
  }
  keys_.emplace_back(record.key);
  const bool head =
      std::any_of(heads_.begin(), heads_.end(), [&](const Slot& slot) { return slot.position == position; });
  if (head) {
    newest_.push_back(position);
  } else {
    hidden_.push_back({.position = position,
                       .key = std::string(record.key),
                       .value = std::string(record.value),
                       .version = record.version,
                       .expires_at_ms = record.expires_at_ms,
                       .tombstone = record.tombstone});
  }
}

Resolution::Step Resolution::Walk(const Chains& chains, const Slots& heads,
                                  absl::FunctionRef<bool(std::string_view)> covers) {
  if (heads != heads_) {
    *this = Resolution();
    heads_ = heads;
    walk_ = ChainWalk(heads);
  }
  if (const auto chunk = read_.Take()) Take(chunk->RecordAt(walk_.position())->record, covers);
  while (walk_.Next(chains)) {
    const auto resident = chains.log.Resident(walk_.position());
    if (!resident) {
      read_.Aim(chains.log.Hold(walk_.position()), walk_.position());
      return Step::kRead;
    }
    Take(resident->record, covers);
  }
  return Step::kDone;
}

}  // namespace thermocline::storage
