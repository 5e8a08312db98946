#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "storage/cached_store.h"
#include "storage/object/cache/chunk_disk.h"
#include "storage/object/cache/chunk_table.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::object_cache {

// Names an object to the cache.
struct ObjectKey {
  uint64_t object = 0;  // see ChunkId
  uint64_t seed = 0;    // made of the name by another hash

  static ObjectKey Of(std::string_view name);
};

// The checksum of a chunk, which says of which object and which part it is.
uint64_t ChecksumOf(std::string_view bytes, uint64_t seed, uint32_t chunk);

// The chunks of an object that is not finished: they are found only after Publish. Two objects that are being
// written under one name are two drafts.
class Draft {
 private:
  friend class ChunkKeeper;
  Draft(uint64_t object, ObjectKey key) : object_(object), key_(key) {}

  enum class State { kWriting, kPublished, kAbandoned };
  const uint64_t object_;
  const ObjectKey key_;
  State state_ = State::kWriting;  // guarded by the keeper's lock
};

// Which chunks are on the cache's disk, and where; what comes in and what goes for it. Thread-safe.
class ChunkKeeper {
 public:
  explicit ChunkKeeper(std::unique_ptr<ChunkDisk> disk);
  // Writes the index. Nothing may be pinned, and every draft published or abandoned.
  ~ChunkKeeper();

  struct Place {
    uint32_t slot;
    uint64_t checksum;
    File& file;
    uint64_t offset;
  };
  // Where the chunk is; it stays there until Unpin. `counts`: it is a use. Does not wait.
  std::optional<Place> Pin(ChunkId id, bool counts);
  void Unpin(uint32_t slot);
  // The disk did not give what Keep was given: the chunk is there no more. In place of Unpin. OK: it gave
  // something else.
  void UnpinBad(uint32_t slot, ChunkId id, const absl::Status& why);
  bool Has(ChunkId id) const;
  // It takes nothing in for a while, after failures of the disk.
  bool rests() const;

  // Puts the chunk on the disk, if that takes it. Waits for the disk. `ahead`: nobody has asked for it yet.
  void Keep(const ObjectKey& key, uint32_t chunk, std::string_view bytes, bool ahead);

  std::shared_ptr<Draft> NewDraft(const ObjectKey& key);
  // As Keep.
  void KeepDraft(Draft& draft, uint32_t chunk, std::string_view bytes);
  // What was kept, and what still will be, belongs to the object; or goes. Chunks are numbered below
  // `chunks`.
  void Publish(Draft& draft, uint32_t chunks);
  void Abandon(Draft& draft, uint32_t chunks);

  // Drops the chunks of these objects: looks at all there are, some thousand at a time.
  void Forget(const std::vector<uint64_t>& objects);

  // A chunk that should have come in did not.
  void CountNotKept();
  // Sets what it knows.
  void AddStats(CachedStoreStats& stats) const;

 private:
  std::optional<uint32_t> TakeSlot();
  std::optional<uint32_t> TakeSlotAtHand() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Skips();
  void KeepAs(ChunkId id, uint64_t seed, std::string_view bytes, bool ahead, Draft* draft);
  void NoteFailure(const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::unique_ptr<ChunkDisk> disk_;

  mutable Mutex mutex_;  // never held while something waits for the disk
  ChunkTable table_ ABSL_GUARDED_BY(mutex_);
  uint64_t drafts_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t skip_ ABSL_GUARDED_BY(mutex_) = 0;       // so many chunks are not tried
  uint32_t last_skip_ ABSL_GUARDED_BY(mutex_) = 0;  // how many it was; 0 once a write succeeds
  uint32_t growth_skip_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of these, what the keeper knows.
  CachedStoreStats counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::storage::object_cache
