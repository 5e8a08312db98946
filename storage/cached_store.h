#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "storage/disk_reads.h"
#include "storage/executor.h"
#include "storage/file_system.h"
#include "storage/object_store.h"

namespace thermocline::storage {

// Memory for each chunk that disk_bytes has room for, whether it is there or not: taken when the store is
// opened.
inline constexpr uint64_t kCacheMemoryPerChunk = 30;

struct CachedStoreOptions {
  // Holds the cache and nothing else; created if missing.
  std::string directory;
  // Of all files in it together, never exceeded. At least 16 chunks and 16 KiB.
  uint64_t disk_bytes = 0;
  // All memory of the cache that is more than some hundred bytes for each read under way:
  // kCacheMemoryPerChunk for each chunk, the rest for what is on its way between remote, disk and reader;
  // that must be at least four times fetch_bytes. When it is used up, reads wait in line for those before
  // them.
  uint64_t memory_bytes = 64 << 20;
  // What is kept, or not, as a whole. A read brings at least so much from the remote: a power of two from
  // 4 KiB to 1 MiB. A cache of another chunk size is thrown away.
  uint32_t chunk_bytes = 64 << 10;
  // The most that is asked of the remote at once: a multiple of chunk_bytes.
  uint32_t fetch_bytes = 1 << 20;
  // How far the cache reads ahead of who reads one chunk after the other; 0: not at all. All that is read
  // ahead at a time is bounded by a quarter of the memory for what is on its way.
  uint32_t ahead_bytes = 8 << 20;
};

// Since it was opened, except where "now" is said.
struct CachedStoreStats {
  // Of reads, cut into chunks.
  uint64_t hits = 0;       // found on the cache's disk
  uint64_t shared = 0;     // found on their way from the remote, for another read or ahead of this one
  uint64_t misses = 0;     // fetched
  uint64_t hit_bytes = 0;  // given to readers from the cache's disk
  uint64_t shared_bytes = 0;
  uint64_t miss_bytes = 0;

  uint64_t remote_reads = 0;  // those ahead included
  uint64_t remote_bytes = 0;
  uint64_t ahead_reads = 0;

  uint64_t kept = 0;           // chunks that came in
  uint64_t not_kept = 0;       // chunks that should have come in: the disk was too slow, full or failed
  uint64_t evictions = 0;      // chunks that went for others
  uint64_t rotten = 0;         // chunks that were not what had been written; they were fetched again
  uint64_t disk_failures = 0;  // calls of the cache's disk that failed
  std::string last_disk_failure;

  uint64_t chunks = 0;          // now
  uint64_t chunks_at_most = 0;  // what disk_bytes has room for
  uint64_t disk_bytes = 0;      // now: of the files that hold chunks
  uint64_t memory_bytes = 0;    // now
};

// A store of which chunks are kept on a local disk. See OpenCachedStore.
class CachedStore : public ObjectStore {
 public:
  virtual CachedStoreStats stats() const = 0;
};

// The objects of `remote`, read through a cache on a local disk. What every object store promises holds, as
// far as it holds for the remote.
//
//   - Objects never change and their names are never used again, so nothing in the cache is ever stale. Each
//     chunk has a checksum that also says of which object and which part it is: whatever a crash, a full disk
//     or a rotten one leaves behind is a miss.
//   - A read never fails for the cache's disk. Errors of it are counted, the remote is read instead, and
//   after
//     a failed write the cache takes nothing in for a while (8 chunks, twice as many after each failure that
//     follows, at most 4096).
//   - Chunks that are missing side by side are fetched by one read; who asks for what is on its way gets it
//     from there. Who reads chunks one after the other is read ahead of, more and more.
//   - What is written comes in on the way, once the object is finished: unless the cache's disk falls behind.
//   - Chunks go by a clock with a count of up to three uses; one that was read but once goes first.
//   - The destructor writes an index, and the next store finds what the last one had. After a crash it finds
//     what the last index knows and has not been overwritten since.
//
// `remote`, `files`, `reads` and `writes` must outlive it. `writes` runs tasks that wait for the cache's
// disk; reads do not wait for them. It must run what it was handed before the destructor returns, which waits
// for it. Completions run on threads of `reads` and of the remote.
//   INVALID_ARGUMENT     the options contradict each other; the message says what would do
//   FAILED_PRECONDITION  another store has the directory open
//   UNAVAILABLE, RESOURCE_EXHAUSTED, PERMISSION_DENIED  there can be no such directory
absl::StatusOr<std::unique_ptr<CachedStore>> OpenCachedStore(ObjectStore& remote, CachedStoreOptions options,
                                                             FileSystem& files, DiskReads& reads,
                                                             Executor& writes);

}  // namespace thermocline::storage
