#include <utility>

#include <gtest/gtest.h>

#include "storage/cached_store.h"
#include "storage/executor_reads.h"
#include "storage/posix_file_system.h"
#include "storage/s3_client.h"
#include "storage/thread_pool.h"
#include "tests/storage/segment/object_place.h"
#include "tests/support/s3_server.h"
#include "tests/support/temp_directory.h"

namespace thermocline::testing {
namespace {

using storage::CachedStore;
using storage::ObjectStore;
using storage::S3Client;

const S3Server* const kServer = UseS3Server();

std::unique_ptr<S3Client> NewClient() {
  storage::S3Options options = kServer->options();
  options.part_bytes = 5 << 20;
  options.memory_bytes = 20 << 20;
  return S3Client::Open(options).value();
}

class S3Place : public ObjectPlace {
 public:
  S3Place() {
    EXPECT_TRUE(client_->CreateBucket(bucket_).ok());
    store_ = storage::OpenS3Store(*client_, bucket_, "segments", "me").value();
  }
  ~S3Place() override {
    store_ = nullptr;
    EXPECT_EQ(client_->AbortUploadsUnder(bucket_, "").value(), 0u);
    EXPECT_EQ(client_->stats().buffer_bytes, 0u);
    EXPECT_EQ(client_->stats().active, 0u);
    EXPECT_EQ(client_->stats().failures, 0u) << client_->stats().last_failure;
  }

  ObjectStore& store() override { return *store_; }

 private:
  const std::unique_ptr<S3Client> client_ = NewClient();
  const std::string bucket_ = FreshBucket();
  std::unique_ptr<ObjectStore> store_;
};

// So small that much has to be fetched again.
class CachedPlace : public ObjectPlace {
 public:
  CachedPlace() {
    cache_ = storage::OpenCachedStore(s3_.store(),
                                      {.directory = directory_.path(),
                                       .disk_bytes = 4 << 20,
                                       .memory_bytes = 8 << 20,
                                       .chunk_bytes = 16 << 10},
                                      files_, reads_, writes_)
                 .value();
  }
  ~CachedPlace() override {
    const storage::CachedStoreStats stats = cache_->stats();
    EXPECT_EQ(stats.rotten, 0u);
    EXPECT_EQ(stats.disk_failures, 0u) << stats.last_disk_failure;
  }

  ObjectStore& store() override { return *cache_; }

 private:
  S3Place s3_;
  TempDirectory directory_;
  storage::PosixFileSystem files_;
  storage::ThreadPool writes_{"cache-write", 1};
  storage::ThreadPool read_threads_{"cache-read", 1};
  storage::ExecutorReads reads_{read_threads_};
  std::unique_ptr<CachedStore> cache_;
};

}  // namespace

std::vector<std::string> ObjectPlaceNames() { return {"s3", "cached_s3"}; }

std::unique_ptr<ObjectPlace> NewObjectPlace(const std::string& name) {
  if (name == "s3") return std::make_unique<S3Place>();
  return std::make_unique<CachedPlace>();
}

uint64_t ObjectPlaceSeeds() { return 1; }

}  // namespace thermocline::testing
