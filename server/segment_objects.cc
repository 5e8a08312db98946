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
// Buffers of uploads are lent one by one, so many small ones let more of them go on than few large ones.
constexpr uint64_t kManyParts = 16;

// The rest is for uploads.
constexpr uint64_t CacheMemory(uint64_t bytes) { return bytes / 4; }

absl::Status Annotate(const absl::Status& status, const std::string& what) {
  if (status.ok()) return status;
  return absl::Status(status.code(), fmt::format("{}: {}", what, std::string(status.message())));
}

// The file OBJECTS of a data directory: whose objects these are, and where they are ("" in the directory
// itself).
struct Home {
  std::string owner;  // 32 digits
  std::string url;
};

absl::StatusOr<Home> ReadHome(storage::File& file) {
  constexpr size_t kDigits = 32;
  const absl::StatusOr<uint64_t> size = file.Size();
  if (!size.ok()) return size.status();
  std::string text(*size, '\0');
  if (absl::Status status = file.ReadAt(0, text); !status.ok()) return status;
  if (text.size() < kDigits + 2 || text[kDigits] != '\n' || text.back() != '\n')
    return absl::DataLossError(
        "the file OBJECTS of the data directory is damaged: it names the owner and the URL "
        "of the objects of segments, a line each");
  return Home{text.substr(0, kDigits), text.substr(kDigits + 1, text.size() - kDigits - 2)};
}

absl::Status WriteHome(const Home& home, const std::string& data_directory, storage::FileSystem& files) {
  const std::string path = data_directory + "/OBJECTS";
  const std::string unfinished = path + ".new";
  files.Remove(unfinished).IgnoreError();
  auto created = files.Open(unfinished, storage::FileSystem::Mode::kCreate);
  absl::Status status = created.status();
  if (status.ok()) status = (*created)->WriteAt(0, fmt::format("{}\n{}\n", home.owner, home.url));
  if (status.ok()) status = (*created)->Sync();
  if (status.ok()) status = files.Rename(unfinished, path);
  if (status.ok()) status = files.SyncDirectory(data_directory);
  return status;
}

// For as long as the data directory lives. Elsewhere its files would be missing, and be taken for nobody's
// when it came back. FAILED_PRECONDITION: it began with another store.
absl::StatusOr<std::string> OwnerOf(const std::string& data_directory, const std::string& url,
                                    storage::FileSystem& files) {
  auto file = files.Open(data_directory + "/OBJECTS", storage::FileSystem::Mode::kReadWrite);
  if (file.ok()) {
    absl::StatusOr<Home> home = ReadHome(**file);
    if (!home.ok()) return home.status();
    if (home->url == url) return home->owner;
    const auto shown = [](const std::string& where) { return where.empty() ? "the data directory" : where; };
    return absl::FailedPreconditionError(fmt::format(
        "the files of its segments are in {}, not in {}: start the server with --segment-store \"{}\"",
        shown(home->url), shown(url), home->url));
  }
  if (!absl::IsNotFound(file.status())) return file.status();
  storage::SystemRandom random;
  const Home home{fmt::format("{:016x}{:016x}", random.Next(), random.Next()), url};
  if (absl::Status status = WriteHome(home, data_directory, files); !status.ok()) return status;
  return home.owner;
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
  const absl::StatusOr<std::string> owner = OwnerOf(data_directory, config.url, files);
  if (!owner.ok()) return Annotate(owner.status(), "cannot open the data directory " + data_directory);
  if (!config.url.empty()) {
    absl::Status status = objects->OpenBucket(config, *owner, data_directory, memory_bytes, files, reads);
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
  options.memory_bytes = config.url.empty() ? memory_bytes : memory_bytes - CacheMemory(memory_bytes);
  options.part_bytes =
      options.memory_bytes >= kManyParts * kLargePartBytes ? kLargePartBytes : kSmallPartBytes;
  absl::StatusOr<std::unique_ptr<storage::S3Client>> client = storage::S3Client::Open(std::move(options));
  if (!client.ok()) return client.status();
  s3_ = *std::move(client);
  return absl::OkStatus();
}

absl::Status SegmentObjects::OpenBucket(const ObjectsConfig& config, const std::string& owner,
                                        const std::string& data_directory, uint64_t memory_bytes,
                                        storage::FileSystem& files, storage::DiskReads& reads) {
  const std::optional<storage::S3Url> url = storage::ParseS3Url(config.url);
  absl::StatusOr<std::unique_ptr<storage::ObjectStore>> store =
      storage::OpenS3Store(*s3_, url->bucket, url->key, owner);
  if (!store.ok()) return store.status();
  store_ = *std::move(store);
  if (config.cache_bytes == 0) return absl::OkStatus();
  storage::CachedStoreOptions options;
  options.directory = data_directory + "/cache";
  options.disk_bytes = config.cache_bytes;
  options.memory_bytes = CacheMemory(memory_bytes);
  cache_writes_ = std::make_unique<storage::ThreadPool>("cache", 1);
  absl::StatusOr<std::unique_ptr<storage::CachedStore>> cache =
      storage::OpenCachedStore(*store_, options, files, reads, *cache_writes_);
  if (!cache.ok()) return cache.status();
  cache_ = *std::move(cache);
  return absl::OkStatus();
}

}  // namespace thermocline::server
