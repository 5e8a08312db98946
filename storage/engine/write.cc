#include <utility>

#include <fmt/format.h>

#include "storage/engine/engine_impl.h"

namespace thermocline::storage {

absl::Status Engine::Impl::CheckWrite(const Write& write) const {
  if (absl::Status status = CheckKey(write.key); !status.ok()) return status;
  const uint32_t largest = MaxRecordBytes(identity_.block_bytes);
  if (MaxEncodedBytes(write.key.size(), 0) > largest) {
    return absl::InvalidArgumentError(fmt::format(
        "the key has {} bytes; with the block size of {} bytes that this store was created with, a key has "
        "at most {}",
        write.key.size(), identity_.block_bytes, largest - MaxEncodedBytes(0, 0)));
  }
  if (!write.value) return absl::OkStatus();
  if (write.value->size() > kMaxValueBytes) {
    return absl::InvalidArgumentError(
        fmt::format("the value has {} bytes; a value has at most {}", write.value->size(), kMaxValueBytes));
  }
  if (const uint64_t most = max_value_bytes(write.key.size()); write.value->size() > most) {
    return absl::InvalidArgumentError(
        fmt::format("the value has {} bytes; with a key of {} bytes and the block size of {} bytes that this "
                    "store was created with, a "
                    "value has at most {}",
                    write.value->size(), write.key.size(), identity_.block_bytes, most));
  }
  return absl::OkStatus();
}

void Engine::Impl::Apply(const Write& write, WriteDone done) {
  absl::Status refusal = CheckWrite(write);
  if (!refusal.ok() || !Enter(refusal)) return done(refusal);
  Count(write.value ? count_.sets : count_.deletes);
  const uint64_t hash = HashOf(write.key);
  Lookup lookup;
  WriteResult result;
  const WriteStep step = TryWrite(hash, write, lookup, result);
  if (step == WriteStep::kDone) return Acknowledge(write.durability, result, std::move(done));

  auto pending = std::make_unique<PendingWrite>();
  pending->key = write.key;
  if (write.value) pending->value = *write.value;
  pending->write = write;
  pending->write.key = pending->key;
  if (write.value) pending->write.value = *pending->value;
  pending->hash = hash;
  pending->lookup = std::move(lookup);
  pending->done = std::move(done);
  GoOn(std::move(pending), step);
}

void Engine::Impl::GoOn(std::unique_ptr<PendingWrite> pending, WriteStep step) {
  const auto try_again = [this](std::unique_ptr<PendingWrite> write, const absl::Status& status) {
    if (!status.ok()) {
      write->done(status);
      write.reset();  // it may hold a block
      gate_.Leave();
      return;
    }
    WriteResult result;
    const WriteStep next = TryWrite(write->hash, write->write, write->lookup, result);
    if (next == WriteStep::kDone) return Acknowledge(write->write.durability, result, std::move(write->done));
    GoOn(std::move(write), next);
  };
  if (step == WriteStep::kRoom) {
    const auto what = pending->write.value ? BlockLog::For::kWrites : BlockLog::For::kDeletes;
    log_->WhenRoom([try_again, pending = std::move(pending)](
                       const absl::Status& status) mutable { try_again(std::move(pending), status); },
                   what);
  } else if (step == WriteStep::kDeep) {
    world_.reads.Run([this, try_again, pending = std::move(pending)]() mutable {
      const absl::Status status = pending->lookup.ReadDeep(*cold_, pending->key);
      try_again(std::move(pending), status);
    });
  } else {
    Count(count_.disk_reads);
    PendingWrite* const at = pending.get();
    at->lookup.ReadLater(*log_, world_.disk,
                         [try_again, pending = std::move(pending)](const absl::Status& status) mutable {
                           try_again(std::move(pending), status);
                         });
  }
}

// Also for a write that changed nothing: what it saw must not be lost after it was acknowledged.
void Engine::Impl::Acknowledge(Durability durability, const WriteResult& result, WriteDone done) {
  if (durability == Durability::kMemory) {
    done(result);
    gate_.Leave();
    return;
  }
  log_->WhenDurable([this, result, done = std::move(done)](const absl::Status& status) mutable {
    if (status.ok()) {
      done(result);
    } else {
      done(status);
    }
    gate_.Leave();
  });
}

Engine::Impl::WriteStep Engine::Impl::TryWrite(uint64_t hash, const Write& write, Lookup& lookup,
                                               WriteResult& result) {
  HashIndex::Latch latch(*index_, hash);
  const Slots slots = latch.Find();
  const bool conditional = write.condition.kind != Condition::Kind::kNone;
  std::optional<Position> known;
  if (conditional) {
    const Lookup::Step step = lookup.Walk(chains(), write.key, slots, latch.erasures());
    if (step == Lookup::Step::kRead) return WriteStep::kRead;
    if (step == Lookup::Step::kDeep) return WriteStep::kDeep;
    if (!Holds(write.condition, step, lookup, result)) {
      Count(count_.conditions_failed);
      return WriteStep::kDone;
    }
    known = step == Lookup::Step::kFound && !lookup.deep() ? lookup.position() : 0;
  }
  Target target = Choose(write.key, slots, known);
  target.deep = known == 0 ? lookup.deep() : cold_->exists();
  if (target.same_key && target.bytes == 0 && known) target.bytes = lookup.record_bytes();
  return Put(latch, hash, write, target, result);
}

bool Engine::Impl::Holds(const Condition& condition, Lookup::Step step, const Lookup& lookup,
                         WriteResult& result) const {
  const bool live = step == Lookup::Step::kFound && IsLive(lookup.record());
  const uint64_t version = live ? lookup.record().version : 0;
  const bool holds = condition.kind == Condition::Kind::kIfAbsent    ? !live
                     : condition.kind == Condition::Kind::kIfPresent ? live
                                                                     : live && version == condition.version;
  if (!holds) result = {.applied = false, .version = version};
  return holds;
}

// `known` is where a lookup has found the key's newest record, 0 if it found none; absent if nobody looked.
//
// The slot of the same key, if that is known without reading the disk. Else the newest candidate that nobody
// can compare: it is displaced blindly, and stays reachable behind the new record. Else a new slot.
Engine::Impl::Target Engine::Impl::Choose(std::string_view key, const Slots& slots,
                                          std::optional<Position> known) const {
  Target target;
  if (known == 0) return target;
  std::optional<Slot> blind;
  int cold = 0;
  for (const Slot& slot : slots) {
    const auto record = chains().InMemory(slot.position, Use::kIgnore);
    // The cache has its own encoding.
    const uint32_t bytes = record ? log_->BytesAt(slot.position, record->record) : 0;
    if (slot.position == known) {
      return {.slot = slot, .record = record, .same_key = true, .bytes = bytes};
    }
    if (!record) {
      ++cold;
      if (!blind || slot.position > blind->position) blind = slot;
    } else if (record->record.key != key) {
      target.hidden |= slot.unresolved;
    } else if (!target.slot || slot.position > target.slot->position) {
      target.slot = slot;
      target.record = record;
      target.same_key = true;
      target.bytes = bytes;
    }
  }
  target.hidden |= cold > 0;
  if (blind && (!target.slot || blind->position > target.slot->position)) {
    return {.slot = blind, .hidden = true};
  }
  return target;
}

Engine::Impl::WriteStep Engine::Impl::Put(HashIndex::Latch& latch, uint64_t hash, const Write& write,
                                          const Target& target, WriteResult& result) {
  Record record = {.key = write.key,
                   .value = write.value.value_or(std::string_view()),
                   .expires_at_ms = write.value ? write.expires_at_ms : 0,
                   .displaced = target.slot ? target.slot->position : 0,
                   .tombstone = !write.value,
                   .unresolved = target.slot && (!target.same_key || target.slot->unresolved)};
  record.deep = record.unresolved && target.slot->unresolved;
  if (record.unresolved && target.same_key && target.record) {
    const Record& displaced = target.record->record;
    record.unresolved = displaced.unresolved;
    record.deep = displaced.deep;
    record.behind = displaced.unresolved ? displaced.link() : 0;
  }
  // Nothing to delete.
  const bool none = target.slot ? target.same_key && target.slot->tombstone : !target.deep;
  const bool absent = !target.hidden && none;
  if (record.tombstone && absent) {
    const auto version = log_->NextVersion();
    if (!version) return WriteStep::kRoom;
    result = {.applied = true, .version = *version};
    return WriteStep::kDone;
  }
  if (target.record && !record.tombstone && !target.record->record.tombstone) {
    Record update = record;
    update.displaced = target.record->record.displaced;
    update.unresolved = target.record->record.unresolved;
    update.deep = target.record->record.deep;
    update.behind = target.record->record.behind;
    if (const auto version = log_->UpdateInPlace(target.slot->position, target.record->bytes, update)) {
      Count(count_.updates_in_place);
      result = {.applied = true, .version = *version};
      return WriteStep::kDone;
    }
  }
  const Position bound = log_->bound();
  if (target.slot) {
    latch.ReserveReplace(bound);
  } else if (!latch.Reserve(bound)) {
    return WriteStep::kRoom;
  }
  const auto appended = log_->Append(record, bound);
  if (!appended) return WriteStep::kRoom;
  const Slot slot = {.position = appended->position,
                     .unresolved = target.slot && (!target.same_key || target.slot->unresolved),
                     .tombstone = record.tombstone,
                     .shadow = target.same_key ? target.slot->shadow : target.deep};
  if (target.slot) {
    if (target.same_key) {
      // Who is overwritten again is in use.
      log_->Touch(appended->position);
      cache_->Cool(target.slot->position);
    }
    latch.Replace(target.slot->position, slot);
    // A delete was counted as dead from the beginning.
    if (!target.slot->tombstone) log_->MarkDead(target.slot->position, target.bytes);
    if (!target.same_key) {
      counts_.Hid();
      blind_writes_.Add(hash);
    }
  } else {
    latch.Insert(slot);
  }
  if (slot.tombstone) log_->MarkDead(slot.position, appended->bytes);
  counts_.Changed(target.slot, slot);
  result = {.applied = true, .version = appended->version};
  return WriteStep::kDone;
}

}  // namespace thermocline::storage
