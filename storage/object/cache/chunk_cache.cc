#include "storage/object/cache/chunk_cache.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string_view>

namespace thermocline::storage::object_cache {

// Leaves the gate when it goes. Whoever comes in for a read finds it open, for it is closed when all reads
// have completed; others look.
class ChunkCache::Inside {
 public:
  explicit Inside(Gate& gate) : gate_(gate.Enter() ? &gate : nullptr) {}
  Inside(Inside&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
  Inside& operator=(Inside&&) = delete;
  ~Inside() {
    if (gate_ != nullptr) gate_->Leave();
  }
  explicit operator bool() const { return gate_ != nullptr; }

 private:
  Gate* gate_;
};

// Completes when all its parts have; the first failure counts.
class ChunkCache::Reading {
 public:
  explicit Reading(absl::AnyInvocable<void(absl::Status)> done) : done_(std::move(done)) {}

  void Add(uint32_t parts) { parts_.fetch_add(parts, std::memory_order_relaxed); }
  void PartDone(const absl::Status& status) {
    if (!status.ok()) {
      MutexLock lock(mutex_);
      if (failure_.ok()) failure_ = status;
    }
    if (parts_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    absl::Status failure;
    {
      MutexLock lock(mutex_);
      failure = std::move(failure_);
    }
    done_(std::move(failure));
  }

 private:
  std::atomic<uint32_t> parts_{1};  // the first is whoever makes the others
  Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  absl::AnyInvocable<void(absl::Status)> done_;
};

// A part of a read of at most fetch_bytes in whole chunks.
struct ChunkCache::Window {
  std::shared_ptr<Reading> reading;
  std::shared_ptr<Source> source;
  uint64_t offset;
  std::span<char> out;
  uint32_t counted_from;
};

// What a read wants of a chunk.
struct ChunkCache::Piece {
  std::shared_ptr<Reading> reading;
  uint32_t chunk;
  uint32_t begin;
  std::span<char> out;

  // `bytes` begin with chunk `first`.
  void CopyFrom(const char* bytes, uint32_t first, uint32_t chunk_bytes) const {
    std::memcpy(out.data(), bytes + uint64_t{chunk - first} * chunk_bytes + begin, out.size());
  }
};

// One read of the remote. All but what its makers set is guarded by the cache's lock until it has arrived.
struct ChunkCache::Fetch {
  Inside inside;
  std::shared_ptr<Source> source;
  uint32_t first;
  uint32_t chunks = 0;
  uint64_t bytes = 0;
  uint64_t reserved = 0;
  std::unique_ptr<char[]> memory;
  bool ahead = false;
  bool arrived = false;    // memory is set and does not change any more
  bool forgotten = false;  // not worth to be kept
  std::vector<Piece> waiting;

  uint32_t end() const { return first + chunks; }
};

// One read of the cache's disk.
struct ChunkCache::Hit {
  Inside inside;
  std::shared_ptr<Source> source;
  Piece piece;
  ChunkKeeper::Place place;
  uint32_t bytes;
  std::unique_ptr<char[]> memory;  // nullptr: straight to the reader
};

// What is to be done for a window once the lock is released.
struct ChunkCache::Plan {
  std::vector<std::pair<Piece, std::shared_ptr<Fetch>>> copies;
  std::vector<std::unique_ptr<Hit>> hits;
  std::vector<std::shared_ptr<Fetch>> fetches;
  uint64_t excess = 0;
};

ChunkCache::ChunkCache(std::unique_ptr<ChunkDisk> disk, const Limits& limits, DiskReads& reads,
                       Executor& writes)
    : limits_(limits), reads_(reads), writes_(writes), keeper_(std::move(disk)) {}

ChunkCache::~ChunkCache() { gate_.Close(); }

ChunkCache::Buffer::~Buffer() {
  if (cache_ == nullptr) return;
  memory_.reset();
  {
    MutexLock lock(cache_->mutex_);
    cache_->kept_ -= cache_->limits_.chunk_bytes;
  }
  cache_->Release(cache_->limits_.chunk_bytes);
}

uint32_t ChunkCache::BytesOf(const Source& source, uint32_t chunk) const {
  const uint64_t offset = uint64_t{chunk} * limits_.chunk_bytes;
  return static_cast<uint32_t>(std::min<uint64_t>(limits_.chunk_bytes, source.remote->size() - offset));
}

uint64_t ChunkCache::Need(const Window& window) const {
  const uint64_t chunk_bytes = limits_.chunk_bytes;
  const uint64_t first = window.offset / chunk_bytes;
  return ((window.offset + window.out.size() - 1) / chunk_bytes - first + 1) * chunk_bytes;
}

void ChunkCache::Read(const std::shared_ptr<Source>& source, uint64_t offset, std::span<char> out,
                      const ReadPattern::Advice& advice, absl::AnyInvocable<void(absl::Status)> done) {
  const auto reading = std::make_shared<Reading>(std::move(done));
  {
    const Inside inside(gate_);
    while (!out.empty()) {
      const uint64_t fits = limits_.fetch_bytes - offset % limits_.chunk_bytes;
      const std::span<char> part = out.first(std::min<uint64_t>(fits, out.size()));
      reading->Add(1);
      Admit({reading, source, offset, part, advice.counted_from});
      offset += part.size();
      out = out.subspan(part.size());
    }
    if (advice.ahead < advice.ahead_end) ReadAhead(source, advice.ahead, advice.ahead_end);
  }
  reading->PartDone(absl::OkStatus());
}

void ChunkCache::Admit(Window window) {
  {
    MutexLock lock(mutex_);
    const uint64_t need = Need(window);
    if (!line_.empty() || used_ + need > limits_.buffer_bytes) {
      line_.push_back(std::move(window));
      return;
    }
    used_ += need;
  }
  Release(Start(window));
}

// Gives buffers back, and lets in those at the head of the line.
void ChunkCache::Release(uint64_t bytes) {
  for (;;) {
    std::optional<Window> next;
    {
      MutexLock lock(mutex_);
      used_ -= bytes;
      if (line_.empty() || used_ + Need(line_.front()) > limits_.buffer_bytes) return;
      next = std::move(line_.front());
      line_.pop_front();
      used_ += Need(*next);
    }
    bytes = Start(*next);
  }
}

// The buffers that the window needs at most are taken. Returns how many of them it does not need.
uint64_t ChunkCache::Start(const Window& window) {
  Plan plan;
  const uint32_t first = static_cast<uint32_t>(window.offset / limits_.chunk_bytes);
  const uint32_t end = first + static_cast<uint32_t>(Need(window) / limits_.chunk_bytes);
  window.reading->Add(end - first);
  {
    MutexLock lock(mutex_);
    for (uint32_t chunk = first; chunk < end; ++chunk) Assign(window, chunk, plan);
  }
  for (auto& [piece, fetch] : plan.copies) {
    piece.CopyFrom(fetch->memory.get(), fetch->first, limits_.chunk_bytes);
    fetch.reset();
    piece.reading->PartDone(absl::OkStatus());
    plan.excess += limits_.chunk_bytes;
  }
  for (std::unique_ptr<Hit>& hit : plan.hits) Run(std::move(hit));
  for (const std::shared_ptr<Fetch>& fetch : plan.fetches) Run(fetch);
  window.reading->PartDone(absl::OkStatus());
  return plan.excess;
}

void ChunkCache::Assign(const Window& window, uint32_t chunk, Plan& plan) {
  const uint64_t chunk_offset = uint64_t{chunk} * limits_.chunk_bytes;
  const uint64_t from = std::max(window.offset, chunk_offset);
  const uint64_t to = std::min(window.offset + window.out.size(), chunk_offset + limits_.chunk_bytes);
  Piece piece{window.reading, chunk, static_cast<uint32_t>(from - chunk_offset),
              window.out.subspan(from - window.offset, to - from)};
  const ChunkId id = {window.source->key.object, chunk};
  // First the fetches: what they bring is on the disk before they go.
  if (fetches_.contains(id)) return Join(std::move(piece), window.source, plan);
  const uint32_t bytes = BytesOf(*window.source, chunk);
  if (const auto place = keeper_.Pin(id, chunk >= window.counted_from); place.has_value()) {
    ++counts_.hits;
    counts_.hit_bytes += piece.out.size();
    std::unique_ptr<char[]> memory(piece.out.size() == bytes ? nullptr : new char[bytes]);
    plan.hits.push_back(std::make_unique<Hit>(
        Hit{Inside(gate_), window.source, std::move(piece), *place, bytes, std::move(memory)}));
    return;
  }
  ++counts_.misses;
  counts_.miss_bytes += piece.out.size();
  if (plan.fetches.empty() || plan.fetches.back()->end() != chunk) {
    plan.fetches.push_back(NewFetch(window.source, chunk));
  }
  Extend(plan.fetches.back());
  plan.fetches.back()->waiting.push_back(std::move(piece));
}

void ChunkCache::Join(Piece piece, const std::shared_ptr<Source>& source, Plan& plan) {
  ++counts_.shared;
  counts_.shared_bytes += piece.out.size();
  const std::shared_ptr<Fetch>& fetch = fetches_.at({source->key.object, piece.chunk});
  if (fetch->arrived) {
    plan.copies.emplace_back(std::move(piece), fetch);
  } else {
    fetch->waiting.push_back(std::move(piece));
    plan.excess += limits_.chunk_bytes;
  }
}

std::shared_ptr<ChunkCache::Fetch> ChunkCache::NewFetch(const std::shared_ptr<Source>& source,
                                                        uint32_t first) {
  return std::make_shared<Fetch>(Fetch{.inside = Inside(gate_), .source = source, .first = first});
}

// By one chunk, whose buffer is taken already.
void ChunkCache::Extend(const std::shared_ptr<Fetch>& fetch) {
  fetches_[{fetch->source->key.object, fetch->end()}] = fetch;
  fetch->bytes += BytesOf(*fetch->source, fetch->end());
  fetch->reserved += limits_.chunk_bytes;
  ++fetch->chunks;
}

bool ChunkCache::MayFetchAhead(uint64_t bytes) const {
  return line_.empty() && used_ + bytes <= limits_.buffer_bytes / 2 &&
         ahead_ + bytes <= limits_.buffer_bytes / 4;
}

void ChunkCache::ReadAhead(const std::shared_ptr<Source>& source, uint32_t first, uint32_t end) {
  if (keeper_.rests()) return;
  std::vector<std::shared_ptr<Fetch>> fetches;
  {
    MutexLock lock(mutex_);
    for (uint32_t chunk = first; chunk < end; ++chunk) {
      const ChunkId id = {source->key.object, chunk};
      if (fetches_.contains(id) || keeper_.Has(id)) continue;
      if (!MayFetchAhead(limits_.chunk_bytes)) break;
      if (fetches.empty() || fetches.back()->end() != chunk || fetches.back()->bytes >= limits_.fetch_bytes) {
        const std::shared_ptr<Fetch> fetch = NewFetch(source, chunk);
        if (!fetch->inside) break;
        fetches.push_back(fetch);
        fetch->ahead = true;
        ++counts_.ahead_reads;
      }
      Extend(fetches.back());
      used_ += limits_.chunk_bytes;
      ahead_ += limits_.chunk_bytes;
    }
  }
  for (const std::shared_ptr<Fetch>& fetch : fetches) Run(fetch);
}

void ChunkCache::Run(std::unique_ptr<Hit> hit) {
  const std::span<char> out =
      hit->memory == nullptr ? hit->piece.out : std::span(hit->memory.get(), hit->bytes);
  File* const file = &hit->place.file;
  const uint64_t offset = hit->place.offset;
  reads_.Submit({file, offset, out, [this, hit = std::move(hit)](absl::Status status) mutable {
                   Completed(std::move(hit), std::move(status));
                 }});
}

void ChunkCache::Completed(std::unique_ptr<Hit> hit, absl::Status status) {
  const Source& source = *hit->source;
  const Piece& piece = hit->piece;
  const char* const bytes = hit->memory == nullptr ? piece.out.data() : hit->memory.get();
  const std::shared_ptr<Reading> reading = piece.reading;
  if (status.ok() && ChecksumOf({bytes, hit->bytes}, source.key.seed, piece.chunk) == hit->place.checksum) {
    keeper_.Unpin(hit->place.slot);
    if (hit->memory != nullptr) piece.CopyFrom(bytes, piece.chunk, limits_.chunk_bytes);
    hit->memory.reset();
    Release(limits_.chunk_bytes);
  } else {
    keeper_.UnpinBad(hit->place.slot, {source.key.object, piece.chunk}, status);
    hit->memory.reset();
    // Once more, with the buffer that was taken for the hit: it is missing now, or on its way.
    reading->Add(1);
    const uint64_t offset = uint64_t{piece.chunk} * limits_.chunk_bytes + piece.begin;
    Release(Start({reading, hit->source, offset, piece.out, UINT32_MAX}));
  }
  hit.reset();
  reading->PartDone(absl::OkStatus());
}

void ChunkCache::Run(const std::shared_ptr<Fetch>& fetch) {
  {
    MutexLock lock(mutex_);
    ++counts_.remote_reads;
    counts_.remote_bytes += fetch->bytes;
  }
  fetch->memory.reset(new char[fetch->bytes]);
  const std::span<char> out(fetch->memory.get(), fetch->bytes);
  const uint64_t offset = uint64_t{fetch->first} * limits_.chunk_bytes;
  fetch->source->remote->Read(
      offset, out, [this, fetch](absl::Status status) mutable { Completed(std::move(fetch), status); });
}

void ChunkCache::Completed(std::shared_ptr<Fetch> fetch, const absl::Status& status) {
  std::vector<Piece> waiting;
  bool keep;
  {
    MutexLock lock(mutex_);
    waiting = std::move(fetch->waiting);
    fetch->arrived = true;
    if (fetch->ahead) ahead_ -= fetch->reserved;
    keep = status.ok() && !fetch->forgotten && kept_ + fetch->reserved <= limits_.buffer_bytes / 2;
    if (keep) kept_ += fetch->reserved;
    for (uint32_t chunk = fetch->first; !keep && chunk < fetch->end(); ++chunk) {
      fetches_.erase({fetch->source->key.object, chunk});
      if (status.ok()) keeper_.CountNotKept();
    }
  }
  if (status.ok()) {
    for (const Piece& piece : waiting) piece.CopyFrom(fetch->memory.get(), fetch->first, limits_.chunk_bytes);
  }
  if (!keep) {
    fetch->memory.reset();
    Release(fetch->reserved);
  }
  // The remote may not like to lose the object within a completion of it, and has lost it when this is done.
  writes_.Run([this, keep, fetch = std::move(fetch)] {
    if (keep) KeepAll(*fetch);
    fetch->source.reset();
  });
  for (const Piece& piece : waiting) piece.reading->PartDone(status);
}

void ChunkCache::KeepAll(Fetch& fetch) {
  const ObjectKey key = fetch.source->key;
  for (uint32_t chunk = fetch.first; chunk < fetch.end(); ++chunk) {
    bool forgotten;
    {
      MutexLock lock(mutex_);
      forgotten = fetch.forgotten;
    }
    const char* const bytes = fetch.memory.get() + uint64_t{chunk - fetch.first} * limits_.chunk_bytes;
    if (!forgotten) keeper_.Keep(key, chunk, {bytes, BytesOf(*fetch.source, chunk)}, fetch.ahead);
    MutexLock lock(mutex_);
    fetches_.erase({key.object, chunk});
  }
  {
    MutexLock lock(mutex_);
    kept_ -= fetch.reserved;
  }
  Release(fetch.reserved);
}

std::optional<ChunkCache::Buffer> ChunkCache::TryBuffer() {
  const uint64_t bytes = limits_.chunk_bytes;
  MutexLock lock(mutex_);
  if (!line_.empty() || used_ + bytes > limits_.buffer_bytes || kept_ + bytes > limits_.buffer_bytes / 2) {
    keeper_.CountNotKept();
    return std::nullopt;
  }
  used_ += bytes;
  kept_ += bytes;
  return Buffer(*this, limits_.chunk_bytes);
}

void ChunkCache::KeepLater(std::shared_ptr<Draft> draft, uint32_t chunk, Buffer buffer, uint32_t bytes) {
  // The buffer goes before it leaves the gate.
  struct Task {
    Inside inside;
    ChunkKeeper& keeper;
    std::shared_ptr<Draft> draft;
    uint32_t chunk;
    Buffer buffer;
    uint32_t bytes;

    void operator()() { keeper.KeepDraft(*draft, chunk, {buffer.data(), bytes}); }
  };
  writes_.Run(Task{Inside(gate_), keeper_, std::move(draft), chunk, std::move(buffer), bytes});
}

void ChunkCache::Forget(const ObjectKey& key) {
  Inside inside(gate_);
  {
    MutexLock lock(mutex_);
    for (auto& [id, fetch] : fetches_) {
      if (id.object == key.object) fetch->forgotten = true;
    }
    forgotten_.push_back(key.object);
    if (std::exchange(sweeping_, true)) return;
  }
  writes_.Run([this, inside = std::move(inside)] { Sweep(); });
}

void ChunkCache::Sweep() {
  for (;;) {
    std::vector<uint64_t> objects;
    {
      MutexLock lock(mutex_);
      objects.swap(forgotten_);
      if (objects.empty()) sweeping_ = false;
    }
    if (objects.empty()) return;
    keeper_.Forget(objects);
  }
}

CachedStoreStats ChunkCache::stats() const {
  CachedStoreStats stats;
  {
    MutexLock lock(mutex_);
    stats = counts_;
    stats.memory_bytes = used_;
  }
  keeper_.AddStats(stats);
  stats.memory_bytes += stats.chunks_at_most * kCacheMemoryPerChunk;
  return stats;
}

}  // namespace thermocline::storage::object_cache
