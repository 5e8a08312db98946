#include "storage/cached_store.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "storage/object/cache/chunk_cache.h"
#include "storage/object/cache/read_pattern.h"

namespace thermocline::storage {
namespace {

using object_cache::ChunkCache;
using object_cache::ChunkDisk;
using object_cache::Draft;
using object_cache::ObjectKey;
using object_cache::ReadPattern;
using object_cache::Source;

static_assert(object_cache::ChunkTable::kBytesPerSlot == kCacheMemoryPerChunk);

constexpr uint32_t kSmallestChunk = 4 << 10;
constexpr uint32_t kLargestChunk = 1 << 20;
constexpr uint32_t kFewestChunks = 16;
constexpr uint64_t kFetchesInMemory = 4;

uint32_t ChunksOf(uint64_t bytes, uint32_t chunk_bytes) {
  return static_cast<uint32_t>(bytes / chunk_bytes + (bytes % chunk_bytes != 0 ? 1 : 0));
}

class CachedObject : public Object {
 public:
  CachedObject(ChunkCache& cache, std::shared_ptr<Source> source, uint32_t ahead_bytes)
      : cache_(cache),
        source_(std::move(source)),
        size_(source_->remote->size()),
        pattern_(ChunksOf(size_, cache.chunk_bytes()), ahead_bytes / cache.chunk_bytes()) {}

  uint64_t size() const override { return size_; }

  void Read(uint64_t offset, std::span<char> out, absl::AnyInvocable<void(absl::Status)> done) override {
    if (out.empty() || offset > size_ || out.size() > size_ - offset) {
      // The remote has the words for it.
      source_->remote->Read(offset, out, std::move(done));
      return;
    }
    const uint64_t chunk_bytes = cache_.chunk_bytes();
    const ReadPattern::Advice advice =
        pattern_.Note(static_cast<uint32_t>(offset / chunk_bytes),
                      static_cast<uint32_t>((offset + out.size() - 1) / chunk_bytes));
    // What the call needs is its own: this may be gone before it returns.
    cache_.Read(std::shared_ptr<Source>(source_), offset, out, advice, std::move(done));
  }

 private:
  ChunkCache& cache_;
  const std::shared_ptr<Source> source_;
  const uint64_t size_;
  ReadPattern pattern_;
};

// Puts what it writes to the remote into the cache as well.
class CachingWriter : public ObjectWriter {
 public:
  CachingWriter(ChunkCache& cache, const std::string& name, std::unique_ptr<ObjectWriter> remote)
      : cache_(cache), remote_(std::move(remote)), draft_(cache.keeper().NewDraft(ObjectKey::Of(name))) {}

  ~CachingWriter() override {
    if (!published_) cache_.keeper().Abandon(*draft_, ChunksOf(size_, cache_.chunk_bytes()));
  }

  absl::Status Append(std::string_view bytes) override {
    if (absl::Status status = remote_->Append(bytes); !status.ok()) return status;
    while (!bytes.empty()) {
      const uint64_t at = size_ % cache_.chunk_bytes();
      if (at == 0) buffer_ = cache_.TryBuffer();
      const uint64_t fits = std::min<uint64_t>(bytes.size(), cache_.chunk_bytes() - at);
      if (buffer_.has_value()) std::memcpy(buffer_->data() + at, bytes.data(), fits);
      size_ += fits;
      bytes.remove_prefix(fits);
      if (size_ % cache_.chunk_bytes() == 0) KeepBuffer();
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    if (absl::Status status = remote_->Finish(); !status.ok()) return status;
    KeepBuffer();
    cache_.keeper().Publish(*draft_, ChunksOf(size_, cache_.chunk_bytes()));
    published_ = true;
    return absl::OkStatus();
  }

 private:
  void KeepBuffer() {
    if (!buffer_.has_value()) return;
    const uint64_t last = (size_ - 1) % cache_.chunk_bytes();
    cache_.KeepLater(draft_, static_cast<uint32_t>((size_ - 1) / cache_.chunk_bytes()), *std::move(buffer_),
                     static_cast<uint32_t>(last + 1));
    buffer_.reset();
  }

  ChunkCache& cache_;
  const std::unique_ptr<ObjectWriter> remote_;
  const std::shared_ptr<Draft> draft_;
  uint64_t size_ = 0;
  std::optional<ChunkCache::Buffer> buffer_;  // of the chunk that has begun, unless there was none
  bool published_ = false;
};

class CachedStoreOnDisk : public CachedStore {
 public:
  CachedStoreOnDisk(ObjectStore& remote, uint32_t ahead_bytes, std::unique_ptr<ChunkDisk> disk,
                    const ChunkCache::Limits& limits, DiskReads& reads, Executor& writes)
      : remote_(remote), ahead_bytes_(ahead_bytes), cache_(std::move(disk), limits, reads, writes) {}

  absl::StatusOr<std::unique_ptr<Object>> Open(const std::string& name) override {
    absl::StatusOr<std::unique_ptr<Object>> object = remote_.Open(name);
    if (!object.ok()) return object.status();
    auto source = std::make_shared<Source>(Source{ObjectKey::Of(name), *std::move(object)});
    return std::make_unique<CachedObject>(cache_, std::move(source), ahead_bytes_);
  }

  absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string& name) override {
    absl::StatusOr<std::unique_ptr<ObjectWriter>> writer = remote_.Create(name);
    if (!writer.ok()) return writer.status();
    return std::make_unique<CachingWriter>(cache_, name, *std::move(writer));
  }

  absl::Status Remove(const std::string& name) override {
    absl::Status status = remote_.Remove(name);
    // Also if it is not known whether it is still there.
    if (!absl::IsInvalidArgument(status)) cache_.Forget(ObjectKey::Of(name));
    return status;
  }

  absl::Status List(const std::string& prefix, const std::function<bool(Listed)>& visit) override {
    return remote_.List(prefix, visit);
  }

  CachedStoreStats stats() const override { return cache_.stats(); }

 private:
  ObjectStore& remote_;
  const uint32_t ahead_bytes_;
  ChunkCache cache_;
};

absl::Status CheckOptions(const CachedStoreOptions& options, uint32_t slots) {
  const uint32_t chunk = options.chunk_bytes;
  if (!std::has_single_bit(chunk) || chunk < kSmallestChunk || chunk > kLargestChunk) {
    return absl::InvalidArgumentError(fmt::format(
        "chunks of the object cache cannot have {} bytes: give a power of two from 4096 to 1048576", chunk));
  }
  if (options.fetch_bytes == 0 || options.fetch_bytes % chunk != 0) {
    return absl::InvalidArgumentError(
        fmt::format("the object cache cannot fetch {} bytes at a time: give a multiple of its chunks' {}",
                    options.fetch_bytes, chunk));
  }
  if (slots < kFewestChunks) {
    return absl::InvalidArgumentError(
        fmt::format("{} bytes of disk are too few for the object cache: give it at least {}",
                    options.disk_bytes, (kFewestChunks + 1) * uint64_t{chunk} + (32 << 10)));
  }
  const uint64_t table = uint64_t{slots} * kCacheMemoryPerChunk;
  const uint64_t needed = table + kFetchesInMemory * options.fetch_bytes;
  if (options.memory_bytes >= needed) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "{} bytes of memory are too few for an object cache of {} bytes of disk: give it at least {}, "
      "or less disk",
      options.memory_bytes, options.disk_bytes, needed));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CachedStore>> OpenCachedStore(ObjectStore& remote, CachedStoreOptions options,
                                                             FileSystem& files, DiskReads& reads,
                                                             Executor& writes) {
  const uint32_t slots =
      options.chunk_bytes == 0 ? 0 : ChunkDisk::SlotsIn(options.disk_bytes, options.chunk_bytes);
  if (absl::Status status = CheckOptions(options, slots); !status.ok()) return status;
  auto disk = ChunkDisk::Open(options.directory, slots, options.chunk_bytes, files);
  if (!disk.ok()) return disk.status();
  const ChunkCache::Limits limits = {options.chunk_bytes, options.fetch_bytes,
                                     options.memory_bytes - slots * kCacheMemoryPerChunk};
  return std::make_unique<CachedStoreOnDisk>(remote, options.ahead_bytes, *std::move(disk), limits, reads,
                                             writes);
}

}  // namespace thermocline::storage
