#include <utility>

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "storage/engine/engine_impl.h"

namespace thermocline::storage {
namespace {

// A smaller value is copied: that is cheaper than to keep its block in memory.
constexpr size_t kPinBytes = 512;

}  // namespace

uint64_t Engine::Impl::HashOf(std::string_view key) const {
  return XXH3_64bits_withSeed(key.data(), key.size(), identity_.hash_seed) &
         (~uint64_t{0} << (64 - options_.hash_bits));
}

absl::Status Engine::Impl::CheckKey(std::string_view key) const {
  if (key.empty()) return absl::InvalidArgumentError("the key is empty; a key has 1 to 65536 bytes");
  if (key.size() <= kMaxKeyBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("the key has {} bytes; a key has 1 to {}", key.size(), kMaxKeyBytes));
}

bool Engine::Impl::IsLive(const Record& record) const {
  return !record.tombstone && (record.expires_at_ms == 0 || record.expires_at_ms > world_.clock.NowMs());
}

// The live value that a lookup found. Under the latch, unless the record is cold.
std::optional<Entry> Engine::Impl::EntryOf(Lookup& lookup) const {
  const Record& record = lookup.record();
  if (!IsLive(record)) return std::nullopt;
  Entry entry = {.value = {}, .version = record.version, .expires_at_ms = record.expires_at_ms};
  if (lookup.deep()) {
    entry.value = Value(lookup.TakeDeep());
    return entry;
  }
  if (record.value.size() >= kPinBytes) {
    if (lookup.cold()) {
      const std::string_view value = record.value;
      auto chunk = std::make_shared<const std::string>(lookup.TakeChunk());  // a chunk's bytes do not move
      entry.value = Value(std::move(chunk), value);
      return entry;
    }
    auto memory = log_->Pin(lookup.position(), record.value);
    if (memory == nullptr) memory = cache_->Pin(lookup.position(), record.value);
    if (memory != nullptr) {
      entry.value = Value(std::move(memory), record.value);
      return entry;
    }
  }
  entry.value = Value(std::string(record.value));
  return entry;
}

absl::Status Engine::Impl::ReadForLookup(Lookup& lookup) {
  Count(count_.disk_reads);
  return lookup.ReadNow(*log_);
}

void Engine::Impl::Get(std::string_view key, GetDone done) {
  absl::Status refusal = CheckKey(key);
  if (!refusal.ok() || !Enter(refusal)) return done(refusal);
  Count(count_.gets);
  const uint64_t hash = HashOf(key);
  Lookup lookup;
  std::optional<Entry> entry;
  Lookup::Step step;
  {
    HashIndex::Latch latch(*index_, hash);
    step = lookup.Walk(chains(), key, latch.Find(), latch.erasures());
    if (step == Lookup::Step::kFound) entry = EntryOf(lookup);
  }
  if (step == Lookup::Step::kRead || step == Lookup::Step::kDeep) {
    ReadOn(std::unique_ptr<ColdGet>(new ColdGet{std::string(key), hash, std::move(lookup), std::move(done)}),
           step);
    return;
  }
  Count(entry ? count_.hits_memory : count_.misses);
  done(std::move(entry));
  gate_.Leave();
}

void Engine::Impl::ExpectRecord(std::string_view key) {
  if (key.empty()) return;
  HashIndex::Latch latch(*index_, HashOf(key));
  for (const Slot& slot : latch.Find()) log_->Prefetch(slot.position);
}

void Engine::Impl::ReadOn(std::unique_ptr<ColdGet> get, Lookup::Step step) {
  ColdGet* const at = get.get();
  if (step == Lookup::Step::kDeep) {
    world_.reads.Run([this, get = std::move(get)]() mutable {
      const absl::Status status = get->lookup.ReadDeep(*cold_, get->key);
      GoOn(std::move(get), status);
    });
    return;
  }
  Count(count_.disk_reads);
  at->lookup.ReadLater(*log_, world_.disk, [this, get = std::move(get)](const absl::Status& status) mutable {
    GoOn(std::move(get), status);
  });
}

// Gives a record of deep cold a copy in the log, if there is room for it at once. Deep cold keeps its own
// until somebody finds out that it is of no more use.
void Engine::Impl::Promote(HashIndex::Latch& latch, const Record& record) {
  if (!IsLive(record) || counts_.slots() >= cold_->slots_limit() || log_->is_short_of_space()) return;
  const Position bound = log_->bound();
  if (!latch.Reserve(bound)) return;
  const auto appended = log_->Append(record, bound);
  if (!appended) return;
  const Slot slot = {.position = appended->position, .shadow = true};
  latch.Insert(slot);
  counts_.Changed(std::nullopt, slot);
  Count(count_.promoted);
}

void Engine::Impl::GoOn(std::unique_ptr<ColdGet> get, const absl::Status& status) {
  if (!status.ok()) {
    get->done(status);
    get.reset();  // it may hold a block
    return gate_.Leave();
  }
  std::optional<Entry> entry;
  Lookup::Step step;
  bool cold = false;
  {
    HashIndex::Latch latch(*index_, get->hash);
    step = get->lookup.Walk(chains(), get->key, latch.Find(), latch.erasures());
    const bool deep = step == Lookup::Step::kFound && get->lookup.deep();
    if (deep && cold_->IsReadAgain(get->hash)) Promote(latch, get->lookup.record());
    cold = get->lookup.cold();
    if (step == Lookup::Step::kFound) entry = EntryOf(get->lookup);
  }
  if (step == Lookup::Step::kRead || step == Lookup::Step::kDeep) return ReadOn(std::move(get), step);
  // The entry may own by now what the record consists of.
  if (step == Lookup::Step::kFound && cold) cache_->Offer(get->lookup.position(), get->lookup.record());
  Count(!entry ? count_.misses : get->lookup.deep() ? count_.hits_deep : count_.hits_disk);
  get->done(std::move(entry));
  gate_.Leave();
}

}  // namespace thermocline::storage
