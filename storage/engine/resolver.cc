#include "storage/engine/resolver.h"

#include <algorithm>
#include <utility>

namespace thermocline::storage {

void Resolver::Resolve(uint64_t hash, Done done) {
  auto task = std::make_unique<Task>(Task{hash, Resolution(), std::move(done)});
  if (!parts_.gate.Enter()) {
    parts_.reads.Run(
        [task = std::move(task)]() mutable { task->done(absl::UnavailableError("the store is closing")); });
    return;
  }
  parts_.reads.Run([this, task = std::move(task)]() mutable { GoOn(std::move(task)); });
}

void Resolver::End(std::unique_ptr<Task> task, const absl::Status& status) {
  task->done(status);
  task.reset();
  parts_.gate.Leave();
}

void Resolver::GoOn(std::unique_ptr<Task> task) {
  Task* const at = task.get();
  switch (Try(*at)) {
    case Step::kDone:
      resolved_.fetch_add(1, std::memory_order_relaxed);
      return End(std::move(task), absl::OkStatus());
    case Step::kRead:
      disk_reads_.fetch_add(1, std::memory_order_relaxed);
      return at->resolution.ReadLater(parts_.log, parts_.disk,
                                      [this, task = std::move(task)](const absl::Status& status) mutable {
                                        status.ok() ? GoOn(std::move(task)) : End(std::move(task), status);
                                      });
    case Step::kRoom:
      return parts_.log.WhenRoom(
          [this, task = std::move(task)](const absl::Status& status) mutable {
            if (!status.ok()) return End(std::move(task), status);
            parts_.reads.Run([this, task = std::move(task)]() mutable { GoOn(std::move(task)); });
          },
          BlockLog::For::kCopies);
  }
}

Resolver::Step Resolver::Try(Task& task) {
  HashIndex::Latch latch(parts_.index, task.hash);
  const Slots heads = latch.Find();
  if (std::none_of(heads.begin(), heads.end(), [](const Slot& slot) { return slot.unresolved; }))
    return Step::kDone;
  const auto covers = [&](std::string_view key) { return latch.Covers(parts_.hash_of(key)); };
  if (task.resolution.Walk(parts_.chains, heads, covers) == Resolution::Step::kRead) return Step::kRead;
  // Whose record deep cold may hold an older one of, is not known any more.
  const bool deep = parts_.cold.exists();
  // First what may fail for want of room: the heads have changed then, and all is read again.
  // The oldest first: a copy makes its original a dead end, also for what is behind that.
  const auto& all_hidden = task.resolution.hidden();
  for (auto at = all_hidden.rbegin(); at != all_hidden.rend(); ++at) {
    const Resolution::Hidden& hidden = *at;
    const bool expired = hidden.expires_at_ms != 0 && hidden.expires_at_ms <= parts_.clock.NowMs();
    // What is dead goes unsaid, unless deep cold may say otherwise.
    if ((deep || (!hidden.tombstone && !expired)) && !Reveal(latch, hidden, deep)) return Step::kRoom;
  }
  for (const Position dead : task.resolution.stray())
    parts_.graves.Add(parts_.hash_of(task.resolution.KeyOf(dead)), dead);
  for (const Slot& slot : heads) {
    const bool newest = task.resolution.IsNewest(slot.position);
    // Its own hash: the one at hand may be cut off, or of another key.
    const uint64_t hash = newest ? 0 : parts_.hash_of(task.resolution.KeyOf(slot.position));
    Settle(latch, hash, slot, newest, deep);
  }
  return Step::kDone;
}

// Gives a record that stands behind another key's a copy with a slot of its own.
bool Resolver::Reveal(HashIndex::Latch& latch, const Resolution::Hidden& hidden, bool shadow) {
  const Position bound = parts_.log.bound();
  if (!latch.Reserve(bound)) return false;
  const auto appended = parts_.log.Append(hidden.record(), bound);
  if (!appended) return false;
  const Slot slot = {.position = appended->position, .tombstone = hidden.tombstone, .shadow = shadow};
  latch.Insert(slot);
  if (slot.tombstone) parts_.log.MarkDead(slot.position, appended->bytes);
  parts_.counts.Changed(std::nullopt, slot);
  return true;
}

void Resolver::Settle(HashIndex::Latch& latch, uint64_t hash, const Slot& slot, bool newest, bool shadow) {
  if (slot.unresolved) parts_.counts.Revealed();
  if (!newest) {
    latch.Erase(slot.position);
    parts_.counts.Changed(slot, std::nullopt);
    if (!slot.tombstone) parts_.log.MarkDead(slot.position, 0);
    parts_.graves.Add(hash, slot.position);
    return;
  }
  Slot settled = slot;
  settled.unresolved = false;
  settled.shadow |= shadow;
  if (settled == slot) return;
  latch.Replace(slot.position, settled);
  parts_.counts.Changed(slot, settled);
}

}  // namespace thermocline::storage
