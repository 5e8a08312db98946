#include "server/segment_objects.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "fmt/format.h"

#include "storage/s3_url.h"
#include "storage/system_clock.h"

namespace thermocline::server {
namespace {

constexpr uint64_t kLargePartBytes = uint64_t{8} << 20;
constexpr uint64_t kSmallPartBytes = uint64_t{5} << 20;

absl::Status Annotate(const absl::Status& status, const std::string& what) {
  if (status.ok()) return status;
  return absl::Status(status.code(), fmt::format("{}: {}", what, std::string(status.message())));
}

// Says whose objects these are, for as long as the data directory lives.
absl::StatusOr<std::string> OwnerOf(const std::string& data_directory, storage::FileSystem& files) {
  const std::string path = data_directory + "/OBJECTS-OWNER";
  constexpr size_t kDigits = 32;
  auto file = files.Open(path, storage::FileSystem::Mode::kReadWrite);
  if (file.ok()) {
    std::string owner(kDigits, '\0');
    if (absl::Status status = (*file)->ReadAt(0, owner); !status.ok()) return status;
    return owner;
  }
  if (!absl::IsNotFound(file.status())) return file.status();
  storage::SystemRandom random;
  const std::string owner = fmt::format("{:016x}{:016x}", random.Next(), random.Next());
  const std::string unfinished = path + ".new";
  files.Remove(unfinished).IgnoreError();
  auto created = files.Open(unfinished, storage::FileSystem::Mode::kCreate);
  absl::Status status = created.status();
  if (status.ok()) status = (*created)->WriteAt(0, owner);
  if (status.ok()) status = (*created)->Sync();
  if (status.ok()) status = files.Rename(unfinished, path);
  if (status.ok()) status = files.SyncDirectory(data_directory);
  if (!status.ok()) return status;
  return owner;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SegmentObjects>> SegmentObjects::Open(const ObjectsConfig& config,
                                                                     const std::string& data_directory,
                                                                     uint64_t memory_bytes,
                                                                     storage::FileSystem& files,
                                                                     storage::DiskReads& reads) {
  std::unique_ptr<SegmentObjects> objects(new SegmentObjects);
  objects->url_ = config.url;
  objects->cache_bytes_ = config.cache_bytes;
  objects->memory_bytes_ = memory_bytes;
  if (memory_bytes > 0) {
    if (absl::Status status = objects->OpenS3(config, memory_bytes); !status.ok())
      return Annotate(status, "cannot use S3");
  }
  if (!config.url.empty()) {
    absl::Status status = objects->OpenBucket(config, data_directory, memory_bytes, files, reads);
    if (!status.ok()) return Annotate(status, "cannot open the objects of the segments, " + config.url);
    return objects;
  }
  const std::string directory = data_directory + "/objects";
  absl::StatusOr<std::unique_ptr<storage::ObjectStore>> store =
      storage::OpenDirectoryStore(directory, files, reads);
  if (!store.ok()) return Annotate(store.status(), "cannot open the objects of the segments, " + directory);
  objects->store_ = *std::move(store);
  return objects;
}

uint64_t SegmentObjects::memory_used() const {
  uint64_t bytes = s3_ == nullptr ? 0 : s3_->stats().buffer_bytes;
  if (cache_ != nullptr) bytes += cache_->stats().memory_bytes;
  return bytes;
}

absl::Status SegmentObjects::OpenS3(const ObjectsConfig& config, uint64_t memory_bytes) {
  storage::S3Options options = config.s3;
  options.memory_bytes = config.url.empty() ? memory_bytes : memory_bytes / 2;
  options.part_bytes = options.memory_bytes >= 3 * kLargePartBytes ? kLargePartBytes : kSmallPartBytes;
  absl::StatusOr<std::unique_ptr<storage::S3Client>> client = storage::S3Client::Open(std::move(options));
  if (!client.ok()) return client.status();
  s3_ = *std::move(client);
  return absl::OkStatus();
}

absl::Status SegmentObjects::OpenBucket(const ObjectsConfig& config, const std::string& data_directory,
                                        uint64_t memory_bytes, storage::FileSystem& files,
                                        storage::DiskReads& reads) {
  const std::optional<storage::S3Url> url = storage::ParseS3Url(config.url);
  absl::StatusOr<std::string> owner = OwnerOf(data_directory, files);
  if (!owner.ok()) return owner.status();
  absl::StatusOr<std::unique_ptr<storage::ObjectStore>> store =
      storage::OpenS3Store(*s3_, url->bucket, url->key, *owner);
  if (!store.ok()) return store.status();
  store_ = *std::move(store);
  if (config.cache_bytes == 0) return absl::OkStatus();
  storage::CachedStoreOptions options;
  options.directory = data_directory + "/cache";
  options.disk_bytes = config.cache_bytes;
  options.memory_bytes = memory_bytes / 2;
  cache_writes_ = std::make_unique<storage::ThreadPool>("cache", 1);
  absl::StatusOr<std::unique_ptr<storage::CachedStore>> cache =
      storage::OpenCachedStore(*store_, options, files, reads, *cache_writes_);
  if (!cache.ok()) return cache.status();
  cache_ = *std::move(cache);
  return absl::OkStatus();
}

}  // namespace thermocline::server
