#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/objects_config.h"
#include "storage/cached_store.h"
#include "storage/disk_reads.h"
#include "storage/file_system.h"
#include "storage/object_store.h"
#include "storage/s3_client.h"
#include "storage/thread_pool.h"

namespace thermocline::server {

// The objects of segments: files of the data directory, or objects of an S3 store behind a cache of blocks on
// the disk.
class SegmentObjects {
 public:
  // `memory_bytes` are for S3 and the cache: 0 if there is neither, else kMinObjectsMemory at least. Waits
  // for the store. Everything but the options must outlive it. Errors name the store.
  static absl::StatusOr<std::unique_ptr<SegmentObjects>> Open(const ObjectsConfig& config,
                                                              const std::string& data_directory,
                                                              uint64_t memory_bytes,
                                                              storage::FileSystem& files,
                                                              storage::DiskReads& reads);

  storage::ObjectStore& store() { return cache_ != nullptr ? *cache_ : *store_; }
  const std::string& url() const { return url_; }
  uint64_t cache_bytes() const { return cache_bytes_; }
  // nullptr: there is no such thing.
  storage::S3Client* s3() const { return s3_.get(); }
  const storage::CachedStore* cache() const { return cache_.get(); }

  uint64_t memory_bytes() const { return memory_bytes_; }
  uint64_t memory_used() const;

 private:
  SegmentObjects() = default;

  absl::Status OpenS3(const ObjectsConfig& config, uint64_t memory_bytes);
  absl::Status OpenBucket(const ObjectsConfig& config, const std::string& owner,
                          const std::string& data_directory, uint64_t memory_bytes,
                          storage::FileSystem& files, storage::DiskReads& reads);

  std::string url_;
  uint64_t cache_bytes_ = 0;
  uint64_t memory_bytes_ = 0;
  std::unique_ptr<storage::S3Client> s3_;
  std::unique_ptr<storage::ObjectStore> store_;
  std::unique_ptr<storage::ThreadPool> cache_writes_;
  std::unique_ptr<storage::CachedStore> cache_;
};

}  // namespace thermocline::server
