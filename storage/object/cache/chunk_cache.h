#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "storage/cached_store.h"
#include "storage/disk_reads.h"
#include "storage/executor.h"
#include "storage/gate.h"
#include "storage/object/cache/chunk_keeper.h"
#include "storage/object/cache/read_pattern.h"
#include "storage/object_store.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::object_cache {

// Where the chunks of an object come from.
struct Source {
  ObjectKey key;
  std::unique_ptr<Object> remote;
};

// Brings chunks to readers: from the cache's disk, or from the remote, which is asked once for each however
// many want it. Thread-safe.
//
// A read is cut into windows. A window waits in line until there are buffers for all its chunks; then each
// chunk is found on its way already (in a fetch), or on the disk (a hit), or is fetched together with its
// neighbours. A fetch that has arrived stays where readers find it until its chunks are on the disk.
class ChunkCache {
 public:
  struct Limits {
    uint32_t chunk_bytes;
    uint32_t fetch_bytes;   // a multiple of chunk_bytes
    uint64_t buffer_bytes;  // at least four times fetch_bytes
  };

  // `reads` and `writes` must outlive it; `writes` runs what waits for the disk.
  ChunkCache(std::unique_ptr<ChunkDisk> disk, const Limits& limits, DiskReads& reads, Executor& writes);
  // Every read must have completed. Waits for all else that is under way. Not from a completion.
  ~ChunkCache();

  // Contract of Object::Read, of a range within the object. Then brings in what is advised to be read ahead,
  // unless others need the memory.
  void Read(const std::shared_ptr<Source>& source, uint64_t offset, std::span<char> out,
            const ReadPattern::Advice& advice, absl::AnyInvocable<void(absl::Status)> done);
  // The object is no more. Its chunks go soon.
  void Forget(const ObjectKey& key);

  // Memory for a chunk, counted as long as this lives.
  class Buffer {
   public:
    Buffer(Buffer&& other) noexcept
        : cache_(std::exchange(other.cache_, nullptr)), memory_(std::move(other.memory_)) {}
    Buffer& operator=(Buffer&& other) noexcept {
      std::swap(cache_, other.cache_);
      std::swap(memory_, other.memory_);
      return *this;
    }
    ~Buffer();
    char* data() const { return memory_.get(); }

   private:
    friend class ChunkCache;
    Buffer(ChunkCache& cache, uint32_t bytes) : cache_(&cache), memory_(new char[bytes]) {}

    ChunkCache* cache_;
    std::unique_ptr<char[]> memory_;
  };
  // Nullopt, and a chunk counted as not kept, if there is no memory to spare.
  std::optional<Buffer> TryBuffer();
  // Puts the first `bytes` of the buffer on the disk, later.
  void KeepLater(std::shared_ptr<Draft> draft, uint32_t chunk, Buffer buffer, uint32_t bytes);

  ChunkKeeper& keeper() { return keeper_; }
  uint32_t chunk_bytes() const { return limits_.chunk_bytes; }
  CachedStoreStats stats() const;

 private:
  class Inside;
  class Reading;
  struct Window;
  struct Piece;
  struct Fetch;
  struct Hit;
  struct Plan;

  uint32_t BytesOf(const Source& source, uint32_t chunk) const;
  uint64_t Need(const Window& window) const;
  void Admit(Window window);
  uint64_t Start(const Window& window);
  void Assign(const Window& window, uint32_t chunk, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Join(Piece piece, const std::shared_ptr<Source>& source, Plan& plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<Fetch> NewFetch(const std::shared_ptr<Source>& source, uint32_t first)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Extend(const std::shared_ptr<Fetch>& fetch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadAhead(const std::shared_ptr<Source>& source, uint32_t first, uint32_t end);
  bool MayFetchAhead(uint64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Run(std::unique_ptr<Hit> hit);
  void Completed(std::unique_ptr<Hit> hit, absl::Status status);
  void Run(const std::shared_ptr<Fetch>& fetch);
  void Completed(std::shared_ptr<Fetch> fetch, const absl::Status& status);
  void KeepAll(Fetch& fetch);
  void Release(uint64_t bytes);
  void Sweep();

  const Limits limits_;
  DiskReads& reads_;
  Executor& writes_;
  ChunkKeeper keeper_;
  Gate gate_;  // inside: whoever touches this

  mutable Mutex mutex_;  // may be held when the keeper's is taken
  absl::flat_hash_map<ChunkId, std::shared_ptr<Fetch>> fetches_ ABSL_GUARDED_BY(mutex_);
  std::deque<Window> line_ ABSL_GUARDED_BY(mutex_);
  uint64_t used_ ABSL_GUARDED_BY(mutex_) = 0;   // buffers, of limits_.buffer_bytes
  uint64_t kept_ ABSL_GUARDED_BY(mutex_) = 0;   // of these, what is or will be written: at most half
  uint64_t ahead_ ABSL_GUARDED_BY(mutex_) = 0;  // of these, what is being read ahead: at most a quarter
  std::vector<uint64_t> forgotten_ ABSL_GUARDED_BY(mutex_);
  bool sweeping_ ABSL_GUARDED_BY(mutex_) = false;
  // Of these, what the keeper does not know.
  CachedStoreStats counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::storage::object_cache
