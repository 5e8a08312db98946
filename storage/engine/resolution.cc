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

std::string_view Resolution::KeyOf(Position met) const {
  const auto member =
      std::find_if(members_.begin(), members_.end(), [&](const auto& each) { return each.first == met; });
  return keys_[member->second];
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
    if (walk_.from() != 0 && !own && !IsNewest(position)) stray_.push_back(position);
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

void Resolution::Remember(Position position, const Record& record) {
  std::string bytes(EncodedBytes(record, position, 0), '\0');
  EncodeRecord(record, position, 0, bytes.data());
  known_[position] = std::move(bytes);
}

Resolution::Step Resolution::Walk(const Chains& chains, const Slots& heads,
                                  absl::FunctionRef<bool(std::string_view)> covers) {
  if (const auto chunk = read_.Take()) Remember(walk_.position(), chunk->RecordAt(walk_.position())->record);
  if (heads != heads_) {
    auto known = std::move(known_);
    *this = Resolution();
    known_ = std::move(known);
    heads_ = heads;
    walk_ = ChainWalk(heads);
    again_ = walk_.Next(chains);
  }
  for (; again_; again_ = walk_.Next(chains)) {
    const Position position = walk_.position();
    const auto known = known_.find(position);
    if (known != known_.end()) {
      Take(DecodeRecord(known->second, position, 0)->record, covers);
    } else if (const auto record = chains.InMemory(position, Use::kIgnore)) {
      Take(record->record, covers);
    } else if (chains.log.Stands(position)) {
      read_.Aim(chains.log.Hold(position), position);
      return Step::kRead;
    }
  }
  return Step::kDone;
}

}  // namespace thermocline::storage
