#include "storage/object/cache/chunk_keeper.h"

#include <algorithm>
#include <utility>

#include <xxhash.h>

namespace thermocline::storage::object_cache {
namespace {

// So many chunks are let pass after a failed write, twice as many after each that follows.
constexpr uint32_t kFirstSkip = 8;
constexpr uint32_t kLongestSkip = 4096;
// So many chunks come in for others before a disk that had no room for another file is asked again.
constexpr uint32_t kGrowthSkip = 256;
// Steps under the lock at a time.
constexpr uint32_t kStepsAtOnce = 4096;

constexpr uint64_t kObjectSeed = 0x6f626a6563742d31;
constexpr uint64_t kChecksumSeed = 0x636865636b2d3031;
constexpr uint64_t kDraftSeed = 0x64726166742d3031;

}  // namespace

ObjectKey ObjectKey::Of(std::string_view name) {
  const uint64_t object = XXH3_64bits_withSeed(name.data(), name.size(), kObjectSeed);
  return {std::max<uint64_t>(object, 1), XXH3_64bits_withSeed(name.data(), name.size(), kChecksumSeed)};
}

uint64_t ChecksumOf(std::string_view bytes, uint64_t seed, uint32_t chunk) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed + chunk * 0x9e3779b97f4a7c15);
}

ChunkKeeper::ChunkKeeper(std::unique_ptr<ChunkDisk> disk)
    : disk_(std::move(disk)), table_(disk_->max_slots()) {
  MutexLock lock(mutex_);
  table_.AddSlots(disk_->slots());
  disk_->LoadIndex(table_);
}

ChunkKeeper::~ChunkKeeper() {
  MutexLock lock(mutex_);
  // Without it the next cache begins with less, which is all that can be done about it here.
  disk_->SaveIndex(table_).IgnoreError();
}

std::optional<ChunkKeeper::Place> ChunkKeeper::Pin(ChunkId id, bool counts) {
  MutexLock lock(mutex_);
  const std::optional<ChunkTable::Found> found = table_.Find(id);
  if (!found.has_value()) return std::nullopt;
  if (counts) table_.CountUse(found->slot);
  table_.Pin(found->slot);
  return Place{found->slot, found->checksum, disk_->FileOf(found->slot), disk_->OffsetOf(found->slot)};
}

void ChunkKeeper::Unpin(uint32_t slot) {
  MutexLock lock(mutex_);
  table_.Unpin(slot);
}

void ChunkKeeper::UnpinBad(uint32_t slot, ChunkId id, const absl::Status& why) {
  MutexLock lock(mutex_);
  const std::optional<ChunkTable::Found> found = table_.Find(id);
  if (found.has_value() && found->slot == slot) table_.Drop(slot);
  table_.Unpin(slot);
  if (why.ok()) {
    ++counts_.rotten;
  } else {
    ++counts_.disk_failures;
    counts_.last_disk_failure = std::string(why.message());
  }
}

bool ChunkKeeper::Has(ChunkId id) const {
  MutexLock lock(mutex_);
  return table_.Find(id).has_value();
}

void ChunkKeeper::NoteFailure(const absl::Status& why) {
  ++counts_.disk_failures;
  counts_.last_disk_failure = std::string(why.message());
}

bool ChunkKeeper::rests() const {
  MutexLock lock(mutex_);
  return skip_ > 0;
}

bool ChunkKeeper::Skips() {
  MutexLock lock(mutex_);
  if (skip_ == 0) return false;
  --skip_;
  ++counts_.not_kept;
  return true;
}

std::optional<uint32_t> ChunkKeeper::TakeSlotAtHand() {
  std::optional<uint32_t> slot = table_.TakeFree();
  if (slot.has_value()) return slot;
  if (disk_->slots() < disk_->max_slots() && growth_skip_ == 0) return std::nullopt;
  if (growth_skip_ > 0) --growth_skip_;
  slot = table_.TakeVictim();
  if (slot.has_value()) ++counts_.evictions;
  return slot;
}

std::optional<uint32_t> ChunkKeeper::TakeSlot() {
  uint32_t slots;
  {
    MutexLock lock(mutex_);
    slots = disk_->slots();
    const std::optional<uint32_t> slot = TakeSlotAtHand();
    if (slot.has_value() || slots == disk_->max_slots()) return slot;
    if (growth_skip_ > 0) return std::nullopt;
  }
  const absl::Status grown = disk_->Grow(slots);
  MutexLock lock(mutex_);
  table_.AddSlots(disk_->slots());
  if (!grown.ok()) {
    NoteFailure(grown);
    growth_skip_ = kGrowthSkip;
  }
  return TakeSlotAtHand();
}

void ChunkKeeper::Keep(const ObjectKey& key, uint32_t chunk, std::string_view bytes, bool ahead) {
  KeepAs({key.object, chunk}, key.seed, bytes, ahead, nullptr);
}

void ChunkKeeper::KeepAs(ChunkId id, uint64_t seed, std::string_view bytes, bool ahead, Draft* draft) {
  if (Skips()) return;
  const std::optional<uint32_t> slot = TakeSlot();
  if (!slot.has_value()) return CountNotKept();
  const uint64_t checksum = ChecksumOf(bytes, seed, id.chunk);
  const absl::Status written = disk_->Write(*slot, bytes);
  MutexLock lock(mutex_);
  if (!written.ok()) {
    NoteFailure(written);
    ++counts_.not_kept;
    last_skip_ = std::clamp(2 * last_skip_, kFirstSkip, kLongestSkip);
    skip_ = last_skip_;
    // A bad place of the disk is not tried again; a full disk may have room later.
    if (!absl::IsResourceExhausted(written)) return;
  } else {
    last_skip_ = 0;
    if (draft != nullptr && draft->state_ == Draft::State::kPublished) id.object = draft->key_.object;
    if (draft == nullptr || draft->state_ != Draft::State::kAbandoned) {
      table_.Put(*slot, id, checksum, ahead);
      ++counts_.kept;
    }
  }
  table_.Unpin(*slot);
}

std::shared_ptr<Draft> ChunkKeeper::NewDraft(const ObjectKey& key) {
  MutexLock lock(mutex_);
  const uint64_t number = ++drafts_;
  const uint64_t object = XXH3_64bits_withSeed(&number, sizeof(number), kDraftSeed ^ key.seed);
  return std::shared_ptr<Draft>(new Draft(std::max<uint64_t>(object, 1), key));
}

void ChunkKeeper::KeepDraft(Draft& draft, uint32_t chunk, std::string_view bytes) {
  KeepAs({draft.object_, chunk}, draft.key_.seed, bytes, false, &draft);
}

void ChunkKeeper::Publish(Draft& draft, uint32_t chunks) {
  for (uint32_t chunk = 0; chunk < chunks;) {
    MutexLock lock(mutex_);
    draft.state_ = Draft::State::kPublished;
    for (const uint32_t end = chunk + std::min(kStepsAtOnce, chunks - chunk); chunk < end; ++chunk) {
      table_.Rename({draft.object_, chunk}, {draft.key_.object, chunk});
    }
  }
}

void ChunkKeeper::Abandon(Draft& draft, uint32_t chunks) {
  for (uint32_t chunk = 0; chunk < chunks;) {
    MutexLock lock(mutex_);
    draft.state_ = Draft::State::kAbandoned;
    for (const uint32_t end = chunk + std::min(kStepsAtOnce, chunks - chunk); chunk < end; ++chunk) {
      const std::optional<ChunkTable::Found> found = table_.Find({draft.object_, chunk});
      if (found.has_value()) table_.Drop(found->slot);
    }
  }
}

void ChunkKeeper::Forget(const std::vector<uint64_t>& objects) {
  std::vector<uint64_t> sorted = objects;
  std::sort(sorted.begin(), sorted.end());
  for (uint32_t slot = 0;;) {
    MutexLock lock(mutex_);
    const uint32_t end = std::min(table_.usable(), slot + kStepsAtOnce);
    if (slot >= end) return;
    for (; slot < end; ++slot) {
      const std::optional<ChunkTable::Content> content = table_.At(slot);
      if (content.has_value() && std::binary_search(sorted.begin(), sorted.end(), content->id.object)) {
        table_.Drop(slot);
      }
    }
  }
}

void ChunkKeeper::CountNotKept() {
  MutexLock lock(mutex_);
  ++counts_.not_kept;
}

void ChunkKeeper::AddStats(CachedStoreStats& stats) const {
  MutexLock lock(mutex_);
  stats.kept = counts_.kept;
  stats.not_kept = counts_.not_kept;
  stats.evictions = counts_.evictions;
  stats.rotten = counts_.rotten;
  stats.disk_failures = counts_.disk_failures;
  stats.last_disk_failure = counts_.last_disk_failure;
  stats.chunks = table_.chunks();
  stats.chunks_at_most = disk_->max_slots();
  stats.disk_bytes = disk_->bytes();
}

}  // namespace thermocline::storage::object_cache
