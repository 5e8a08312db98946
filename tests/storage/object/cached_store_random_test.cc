// The cache among threads, over a remote and a disk that fail, rot, fill up and crash by chance: whatever is
// read is what was written, and nothing grows beyond its bounds.

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "storage/cached_store.h"
#include "storage/executor_reads.h"
#include "storage/object_store.h"
#include "storage/system_clock.h"
#include "storage/thread_annotations.h"
#include "storage/thread_pool.h"
#include "tests/storage/object/object_calls.h"
#include "tests/storage/object/watched_store.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::testing {
namespace {

using storage::CachedStore;
using storage::CachedStoreOptions;
using storage::CachedStoreStats;
using storage::ExecutorReads;
using storage::Object;
using storage::ObjectStore;
using storage::SeededRandom;
using storage::ThreadPool;
using Operation = SimulatedDisk::Operation;

constexpr uint32_t kChunk = 4096;
constexpr uint32_t kChunks = 30;
constexpr int kThreads = 4;

CachedStoreOptions TinyCache() {
  CachedStoreOptions options;
  options.directory = "/cache";
  options.chunk_bytes = kChunk;
  options.fetch_bytes = 4 * kChunk;
  options.ahead_bytes = 8 * kChunk;
  options.disk_bytes = kChunks * (kChunk + 48) + (16 << 10) + 64;
  options.memory_bytes = kChunks * storage::kCacheMemoryPerChunk + 24 * kChunk;
  return options;
}

class CacheInPeril {
 public:
  explicit CacheInPeril(uint64_t seed)
      : seed_(seed), random_(seed), faults_(seed + 1), disk_(seed), cache_disk_(seed + 1) {
    watched_.SetFaults([this] {
      return remote_fails_ && faults_.Next() % 10 == 0 ? absl::UnavailableError("by chance")
                                                       : absl::OkStatus();
    });
  }

  // Opens a cache, lets threads use it while things go wrong, and closes it, in order or not.
  void Round(int round) {
    const CachedStoreOptions options = TinyCache();
    store_ = storage::OpenCachedStore(watched_, options, cache_disk_, reads_, writes_).value();
    remote_fails_ = random_.Next() % 2 == 0;
    if (random_.Next() % 2 == 0) cache_disk_.SetCapacity((10 + random_.Next() % 40) * kChunk);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] { Work(seed_ * 1000 + round * 10 + i); });
    }
    Trouble();
    for (std::thread& thread : threads) thread.join();
    cache_disk_.ClearFaults();
    const CachedStoreStats stats = store_->stats();
    EXPECT_LE(stats.chunks, kChunks);
    EXPECT_LE(stats.memory_bytes, options.memory_bytes);
    hits_ += stats.hits;
    rotten_ += stats.rotten;
    evictions_ += stats.evictions;
    shared_ += stats.shared;
    failures_ += stats.disk_failures;
    if (random_.Next() % 3 == 0) cache_disk_.PowerOffAfter(random_.Next() % 4);
    store_.reset();
    EXPECT_LE(cache_disk_.used_bytes(), options.disk_bytes);
    if (random_.Next() % 2 == 0) {
      cache_disk_.Crash();
    } else {
      cache_disk_.Kill();
    }
    cache_disk_.SetCapacity(UINT64_MAX);
  }

  uint64_t hits_ = 0, rotten_ = 0, evictions_ = 0, shared_ = 0, failures_ = 0;
  std::atomic<uint64_t> right_ = 0;

 private:
  void Trouble() {
    constexpr Operation kFaults[] = {Operation::kRead, Operation::kWrite, Operation::kAllocate};
    for (int i = 0; i < 20; ++i) {
      cache_disk_.Fail(kFaults[random_.Next() % 3], 1 + random_.Next() % 5);
      for (const std::string& path : cache_disk_.Paths()) {
        if (!path.starts_with("/cache/chunks-")) continue;
        cache_disk_.FlipBit(path, random_.Next() % (14 * kChunk));
      }
      EXPECT_LE(cache_disk_.used_bytes(), TinyCache().disk_bytes);
      EXPECT_LE(store_->stats().memory_bytes, TinyCache().memory_bytes);
      std::this_thread::yield();
    }
  }

  static std::string NameOf(uint64_t number) { return fmt::format("objects/{}", number); }
  static std::string ContentOf(uint64_t number) {
    return ObjectBytes(number, number % 7 == 0 ? number % 4000 : (number * 2654435761) % (25 * kChunk));
  }

  void Work(uint64_t seed) {
    SeededRandom random(seed);
    for (int i = 0; i < 12; ++i) {
      switch (random.Next() % 4) {
        case 0:
          Write(random);
          break;
        case 1:
          if (random.Next() % 3 == 0) Remove(random);
          break;
        default:
          Read(random);
      }
    }
  }

  void Write(SeededRandom& random) {
    const uint64_t number = ++numbers_;
    const bool finish = random.Next() % 4 != 0;
    auto writer = store_->Create(NameOf(number));
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE(AppendAll(**writer, ContentOf(finish ? number : number + 1), 1 + random.Next() % 9000).ok());
    if (!finish) return;
    ASSERT_TRUE((*writer)->Finish().ok());
    storage::MutexLock lock(mutex_);
    objects_.push_back(number);
  }

  void Remove(SeededRandom& random) {
    uint64_t number;
    {
      storage::MutexLock lock(mutex_);
      if (objects_.size() < 6) return;
      std::swap(objects_[random.Next() % objects_.size()], objects_.back());
      number = objects_.back();
      objects_.pop_back();
    }
    EXPECT_TRUE(store_->Remove(NameOf(number)).ok());
  }

  // Several reads at a time of one object, side by side or anywhere.
  void Read(SeededRandom& random) {
    uint64_t number;
    {
      storage::MutexLock lock(mutex_);
      if (objects_.empty()) return;
      number = objects_[random.Next() % objects_.size()];
    }
    const absl::StatusOr<std::unique_ptr<Object>> object = store_->Open(NameOf(number));
    if (absl::IsNotFound(object.status())) return;
    ASSERT_TRUE(object.ok()) << object.status();
    const std::string content = ContentOf(number);
    ASSERT_EQ((*object)->size(), content.size());
    if (content.empty()) return;
    const bool onward = random.Next() % 2 == 0;
    const uint64_t size = 1 + random.Next() % (onward ? 3000 : std::min<uint64_t>(content.size(), 60'000));
    for (uint64_t at = 0; at < content.size(); at += 4 * size) {
      std::string out[4];
      std::promise<absl::Status> done[4];
      uint64_t offsets[4] = {};
      for (int i = 0; i < 4; ++i) {
        offsets[i] = std::min(onward ? at + i * size : random.Next() % content.size(), content.size() - 1);
        out[i].resize(std::min(size, content.size() - offsets[i]), '?');
        (*object)->Read(offsets[i], std::span(out[i]), [&done, i](absl::Status s) { done[i].set_value(s); });
      }
      for (int i = 0; i < 4; ++i) {
        const absl::Status status = done[i].get_future().get();
        if (status.ok()) ++right_;
        ASSERT_TRUE(status.ok() ? out[i] == content.substr(offsets[i], out[i].size())
                                : absl::IsUnavailable(status) || absl::IsNotFound(status))
            << status << " object " << number << " at " << offsets[i] << " bytes " << out[i].size();
      }
    }
  }

  const uint64_t seed_;
  SeededRandom random_;
  SeededRandom faults_;
  SimulatedDisk disk_;
  SimulatedDisk cache_disk_;
  ThreadPool threads_{"read", 3};
  ThreadPool writes_{"write", 2};
  ExecutorReads reads_{threads_};
  std::unique_ptr<ObjectStore> remote_ = storage::OpenDirectoryStore("/objects", disk_, reads_).value();
  WatchedStore watched_{*remote_};
  std::unique_ptr<CachedStore> store_;
  std::atomic<bool> remote_fails_ = false;
  std::atomic<uint64_t> numbers_ = 0;
  storage::Mutex mutex_;
  std::vector<uint64_t> objects_ ABSL_GUARDED_BY(mutex_);
};

TEST(CachedStoreRandomTest, WhatIsReadIsWhatWasWritten) {
  uint64_t hits = 0, rotten = 0, evictions = 0, shared = 0, failures = 0, right = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    CacheInPeril cache(seed);
    for (int round = 0; round < 10; ++round) {
      cache.Round(round);
      if (::testing::Test::HasFailure()) return;
    }
    hits += cache.hits_;
    rotten += cache.rotten_;
    evictions += cache.evictions_;
    shared += cache.shared_;
    failures += cache.failures_;
    right += cache.right_;
  }
  // Or it shows little.
  EXPECT_GT(hits, 2000u);
  EXPECT_GT(rotten, 100u);
  EXPECT_GT(evictions, 1000u);
  EXPECT_GT(shared, 100u);
  EXPECT_GT(failures, 100u);
  EXPECT_GT(right, 5000u);
}

}  // namespace
}  // namespace thermocline::testing
