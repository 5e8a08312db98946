// The cache before a store: what every object store must do, and, one task after the other, what is fetched,
// kept, evicted, lost and found again.

#include "storage/cached_store.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/executor_reads.h"
#include "storage/object_store.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/storage/object/object_calls.h"
#include "tests/storage/object/object_store_conformance.h"
#include "tests/storage/object/watched_store.h"
#include "tests/support/manual_executor.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::testing {
namespace {

using storage::CachedStore;
using storage::CachedStoreOptions;
using storage::CachedStoreStats;
using storage::ExecutorReads;
using storage::Object;
using storage::ObjectStore;
using storage::OpenCachedStore;
using storage::OpenDirectoryStore;
using storage::ThreadPool;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Operation = SimulatedDisk::Operation;
using Range = WatchedStore::Range;
using Repeat = SimulatedDisk::Repeat;

constexpr uint32_t kChunk = 4096;

CachedStoreOptions SmallCache(uint32_t chunks) {
  CachedStoreOptions options;
  options.directory = "/cache";
  options.chunk_bytes = kChunk;
  options.fetch_bytes = 8 * kChunk;
  options.ahead_bytes = 16 * kChunk;
  options.disk_bytes = chunks * (kChunk + 48) + (16 << 10) + 64;
  options.memory_bytes = chunks * storage::kCacheMemoryPerChunk + 128 * kChunk;
  return options;
}

class OnSimulatedDisk {
 public:
  ObjectStore& store() { return *store_; }

 private:
  SimulatedDisk disk_{1};
  SimulatedDisk cache_disk_{2};
  ThreadPool threads_{"read", 2};
  ThreadPool writes_{"write", 1};
  ExecutorReads reads_{threads_};
  std::unique_ptr<ObjectStore> remote_ = OpenDirectoryStore("/objects", disk_, reads_).value();
  std::unique_ptr<CachedStore> store_ =
      OpenCachedStore(*remote_, SmallCache(40), cache_disk_, reads_, writes_).value();
};

INSTANTIATE_TYPED_TEST_SUITE_P(Cached, ObjectStoreConformance, OnSimulatedDisk);

// Nothing happens before it is told to.
class CachedStoreTest : public ::testing::Test {
 protected:
  ~CachedStoreTest() override { executor_.RunUntilIdle(); }

  void Open(const CachedStoreOptions& options) {
    Close();
    store_ = OpenCachedStore(watched_, options, cache_disk_, reads_, executor_).value();
  }
  void Close() {
    executor_.RunUntilIdle();
    store_.reset();
  }

  // An object that the cache does not know.
  std::string Put(const std::string& name, size_t bytes) {
    const std::string content = ObjectBytes(names_++, bytes);
    EXPECT_TRUE(WriteObject(*remote_, name, content).ok());
    return content;
  }

  // Begins a read; nullopt until it is done.
  struct Pending {
    std::string out;
    std::optional<absl::Status> status;
  };
  std::shared_ptr<Pending> Begin(Object& object, uint64_t offset, size_t bytes) {
    auto pending = std::make_shared<Pending>(Pending{std::string(bytes, '?'), std::nullopt});
    object.Read(offset, std::span(pending->out),
                [pending](absl::Status status) { pending->status = status; });
    return pending;
  }
  absl::StatusOr<std::string> Read(Object& object, uint64_t offset, size_t bytes) {
    const auto pending = Begin(object, offset, bytes);
    executor_.RunUntilIdle();
    if (!pending->status.has_value()) return absl::InternalError("it was never completed");
    if (!pending->status->ok()) return *pending->status;
    return pending->out;
  }
  CachedStoreStats stats() { return store_->stats(); }
  uint64_t CacheBytes() { return cache_disk_.used_bytes(); }

  ManualExecutor executor_{1};
  ExecutorReads reads_{executor_};
  SimulatedDisk disk_{1};
  SimulatedDisk cache_disk_{2};
  std::unique_ptr<ObjectStore> remote_ = OpenDirectoryStore("/objects", disk_, reads_).value();
  WatchedStore watched_{*remote_};
  std::unique_ptr<CachedStore> store_;
  uint64_t names_ = 0;
};

TEST_F(CachedStoreTest, ReadsTheRemoteOnce) {
  Open(SmallCache(100));
  const std::string content = Put("a", 10 * kChunk + 100);
  const auto object = store_->Open("a").value();
  EXPECT_EQ(Read(*object, 5000, 10).value(), content.substr(5000, 10));
  EXPECT_THAT(watched_.TakeReads(), ElementsAre(Range{kChunk, kChunk})) << "no more than the chunk";
  EXPECT_EQ(Read(*object, 4096, 4096).value(), content.substr(4096, 4096));
  EXPECT_EQ(Read(*object, 8000, 100).value(), content.substr(8000, 100));
  EXPECT_THAT(watched_.TakeReads(), IsEmpty());
  EXPECT_EQ(Read(*object, 10 * kChunk + 50, 50).value(), content.substr(10 * kChunk + 50));
  EXPECT_THAT(watched_.TakeReads(), ElementsAre(Range{10 * kChunk, 100})) << "the last one is short";
  EXPECT_EQ(Read(*object, 10 * kChunk, 100).value(), content.substr(10 * kChunk));
  EXPECT_THAT(watched_.TakeReads(), IsEmpty());
  const CachedStoreStats now = stats();
  EXPECT_EQ(now.hits, 3u);
  EXPECT_EQ(now.misses, 2u);
  EXPECT_EQ(now.hit_bytes, 4096u + 100 + 100);
  EXPECT_EQ(now.miss_bytes, 60u);
  EXPECT_EQ(now.remote_reads, 2u);
  EXPECT_EQ(now.remote_bytes, 4096u + 100);
  EXPECT_EQ(now.chunks, 2u);
  EXPECT_EQ(now.memory_bytes, now.chunks_at_most * storage::kCacheMemoryPerChunk);
}

TEST_F(CachedStoreTest, WhatIsWantedAtTheSameTimeIsFetchedOnce) {
  Open(SmallCache(100));
  const std::string content = Put("a", 10 * kChunk);
  const auto object = store_->Open("a").value();
  const auto same = store_->Open("a").value();
  std::vector<std::shared_ptr<Pending>> reads;
  for (int i = 0; i < 10; ++i) reads.push_back(Begin(i % 2 == 0 ? *object : *same, 100 * i, 1000));
  EXPECT_THAT(watched_.TakeReads(), ElementsAre(Range{0, kChunk}));
  executor_.RunUntilIdle();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(reads[i]->status.has_value() && reads[i]->status->ok());
    EXPECT_EQ(reads[i]->out, content.substr(100 * i, 1000));
  }
  EXPECT_EQ(stats().shared, 9u);
  EXPECT_EQ(stats().misses, 1u);
}

TEST_F(CachedStoreTest, NeighboursAreFetchedTogether) {
  Open(SmallCache(100));
  const std::string content = Put("a", 20 * kChunk);
  const auto object = store_->Open("a").value();
  EXPECT_EQ(Read(*object, 100, 4 * kChunk).value(), content.substr(100, 4 * kChunk));
  EXPECT_THAT(watched_.TakeReads(), ElementsAre(Range{0, 5 * kChunk}));
  EXPECT_EQ(Read(*object, 7 * kChunk, 1).value(), content.substr(7 * kChunk, 1));
  watched_.TakeReads();
  EXPECT_EQ(Read(*object, 3 * kChunk, 8 * kChunk).value(), content.substr(3 * kChunk, 8 * kChunk));
  EXPECT_THAT(watched_.TakeReads(), ElementsAre(Range{5 * kChunk, 2 * kChunk}, Range{8 * kChunk, 3 * kChunk}))
      << "but not what is there already";
  EXPECT_EQ(Read(*object, 0, 20 * kChunk).value(), content);
  EXPECT_THAT(watched_.TakeReads(),
              ElementsAre(Range{11 * kChunk, 5 * kChunk}, Range{16 * kChunk, 4 * kChunk}))
      << "in windows of eight chunks";
}

TEST_F(CachedStoreTest, ReadsAheadOfWhoReadsOnAndOn) {
  CachedStoreOptions options = SmallCache(1000);
  options.memory_bytes += 128 * kChunk;
  Open(options);
  const std::string content = Put("a", 400 * kChunk);
  const auto object = store_->Open("a").value();
  for (uint64_t at = 0; at < content.size(); at += 1024) {
    ASSERT_EQ(Read(*object, at, 1024).value(), content.substr(at, 1024));
  }
  const std::vector<Range> reads = watched_.TakeReads();
  EXPECT_LT(reads.size(), 80u) << "of 400 chunks";
  uint64_t bytes = 0;
  for (const Range& range : reads) bytes += range.bytes;
  EXPECT_EQ(bytes, content.size()) << "nothing twice, nothing behind the end";
  EXPECT_LT(stats().misses, 5u);
  EXPECT_LE(watched_.most_bytes_under_way(), 18 * kChunk);
}

TEST_F(CachedStoreTest, DoesNotReadAheadOfOthers) {
  Open(SmallCache(1000));
  const std::string content = Put("a", 1000 * kChunk);
  const auto object = store_->Open("a").value();
  storage::SeededRandom random(1);
  for (int i = 0; i < 100; ++i) {
    const uint64_t at = random.Next() % (content.size() - 100);
    ASSERT_EQ(Read(*object, at, 100).value(), content.substr(at, 100));
  }
  EXPECT_LE(stats().remote_bytes, 105 * kChunk);
  EXPECT_EQ(stats().ahead_reads, 0u);
}

TEST_F(CachedStoreTest, WhatIsWrittenIsThere) {
  Open(SmallCache(100));
  const std::string content = ObjectBytes(1, 20 * kChunk + 17);
  {
    const auto writer = store_->Create("a").value();
    for (size_t at = 0; at < content.size(); at += 1000) {
      ASSERT_TRUE(writer->Append(content.substr(at, 1000)).ok());
      if (at % 3000 == 0) executor_.RunUntilIdle();
    }
    ASSERT_TRUE(writer->Finish().ok());
  }
  const auto object = store_->Open("a").value();
  executor_.RunUntilIdle();
  EXPECT_TRUE(Read(*object, 0, content.size()).value() == content);
  EXPECT_THAT(watched_.TakeReads(), IsEmpty());
}

TEST_F(CachedStoreTest, OfTwoWritersOfANameOneCounts) {
  Open(SmallCache(100));
  const std::string content = ObjectBytes(1, 5 * kChunk);
  {
    const auto first = store_->Create("a").value();
    const auto second = store_->Create("a").value();
    ASSERT_TRUE(first->Append(content).ok());
    ASSERT_TRUE(second->Append(ObjectBytes(2, 9 * kChunk)).ok());
    executor_.RunUntilIdle();
    EXPECT_EQ(stats().chunks, 14u);
    ASSERT_TRUE(first->Finish().ok());
    EXPECT_TRUE(absl::IsAlreadyExists(second->Finish()));
  }
  EXPECT_EQ(stats().chunks, 5u) << "what was abandoned is gone";
  const auto object = store_->Open("a").value();
  EXPECT_TRUE(Read(*object, 0, 5 * kChunk).value() == content);
  EXPECT_THAT(watched_.TakeReads(), IsEmpty());
}

TEST_F(CachedStoreTest, AWriterDoesNotWaitForTheCache) {
  const CachedStoreOptions options = SmallCache(1000);
  Open(options);
  ASSERT_TRUE(WriteObject(*store_, "a", ObjectBytes(1, 300 * kChunk)).ok()) << "although nothing was run";
  EXPECT_LE(stats().memory_bytes, options.memory_bytes);
  executor_.RunUntilIdle();
  EXPECT_EQ(stats().kept, 64u) << "half of the buffers";
  EXPECT_EQ(stats().not_kept, 300u - 64);
  const auto object = store_->Open("a").value();
  watched_.TakeReads();
  EXPECT_TRUE(Read(*object, 0, 64 * kChunk).ok());
  EXPECT_THAT(watched_.TakeReads(), IsEmpty()) << "what came in after Finish is the object's";
}

TEST_F(CachedStoreTest, WhatIsNeverFinishedLeavesNothing) {
  Open(SmallCache(100));
  for (const bool early : {true, false}) {
    const auto writer = store_->Create("a").value();
    ASSERT_TRUE(writer->Append(ObjectBytes(1, 10 * kChunk + 1)).ok());
    if (early) executor_.RunUntilIdle();
  }
  executor_.RunUntilIdle();
  EXPECT_EQ(stats().chunks, 0u);
  EXPECT_EQ(stats().memory_bytes, stats().chunks_at_most * storage::kCacheMemoryPerChunk);
}

TEST_F(CachedStoreTest, StaysWithinItsDisk) {
  const CachedStoreOptions options = SmallCache(40);
  Open(options);
  const std::string content = Put("a", 200 * kChunk);
  const auto object = store_->Open("a").value();
  storage::SeededRandom random(1);
  for (int i = 0; i < 500; ++i) {
    const uint64_t at = random.Next() % (content.size() - 2000);
    ASSERT_EQ(Read(*object, at, 2000).value(), content.substr(at, 2000));
    ASSERT_LE(CacheBytes(), options.disk_bytes);
  }
  EXPECT_EQ(stats().chunks_at_most, 40u);
  EXPECT_EQ(stats().chunks, 40u);
  EXPECT_EQ(stats().disk_bytes, 40u * kChunk);
  EXPECT_GT(stats().evictions, 300u);
  EXPECT_GT(stats().hits, 50u);
  Close();
  EXPECT_LE(CacheBytes(), options.disk_bytes) << "with the index";
}

TEST_F(CachedStoreTest, AScanDoesNotPushOutWhatIsReadOften) {
  Open(SmallCache(50));
  const std::string hot = Put("hot", 20 * kChunk);
  const std::string scanned = Put("scanned", 70 * kChunk);
  const auto object = store_->Open("hot").value();
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(Read(*object, (i * 7 % 20) * kChunk, 100).ok());
  }
  const auto scan = store_->Open("scanned").value();
  for (uint64_t at = 0; at < scanned.size(); at += 1024) {
    ASSERT_EQ(Read(*scan, at, 1024).value(), scanned.substr(at, 1024));
  }
  watched_.TakeReads();
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(Read(*object, (i * 7 % 20) * kChunk, 100).value(), hot.substr((i * 7 % 20) * kChunk, 100));
  }
  EXPECT_THAT(watched_.TakeReads(), IsEmpty());
}

TEST_F(CachedStoreTest, ARestartIsWarm) {
  const CachedStoreOptions options = SmallCache(100);
  Open(options);
  const std::string content = Put("a", 50 * kChunk + 1);
  EXPECT_TRUE(Read(*store_->Open("a").value(), 0, content.size()).value() == content);
  watched_.TakeReads();
  for (const bool crashed : {false, true}) {
    Close();
    if (crashed) cache_disk_.Crash();
    Open(options);
    EXPECT_EQ(stats().chunks, 51u);
    EXPECT_TRUE(Read(*store_->Open("a").value(), 0, content.size()).value() == content);
  }
  EXPECT_EQ(stats().hits + stats().rotten + stats().misses, stats().hits + 2 * stats().rotten);
  CachedStoreOptions other = options;
  other.disk_bytes += 40 * kChunk;
  Open(other);
  EXPECT_EQ(stats().chunks, 51u) << "a larger one";
  Open(SmallCache(30));
  EXPECT_EQ(stats().chunks, 30u) << "a smaller one";
  EXPECT_LE(CacheBytes(), SmallCache(30).disk_bytes);
  EXPECT_TRUE(Read(*store_->Open("a").value(), 0, content.size()).value() == content);
  other.chunk_bytes *= 2;
  Open(other);
  EXPECT_EQ(stats().chunks, 0u) << "one of other chunks";
  EXPECT_TRUE(Read(*store_->Open("a").value(), 0, content.size()).value() == content);
}

TEST_F(CachedStoreTest, AKilledCacheKnowsWhatItsLastIndexKnew) {
  Open(SmallCache(40));
  const std::string content = Put("a", 100 * kChunk);
  EXPECT_TRUE(Read(*store_->Open("a").value(), 0, 20 * kChunk).ok());
  Open(SmallCache(40));
  EXPECT_TRUE(Read(*store_->Open("a").value(), 30 * kChunk, 30 * kChunk).ok());
  const std::string index = cache_disk_.Contents("/cache/INDEX").value();
  Close();
  cache_disk_.SetContents("/cache/INDEX", index);  // as if it had not come to write another one
  Open(SmallCache(40));
  EXPECT_EQ(stats().chunks, 20u);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(Read(*store_->Open("a").value(), 0, 20 * kChunk).value() == content.substr(0, 20 * kChunk));
  }
  EXPECT_GT(stats().hits, 20u);
  EXPECT_GT(stats().rotten, 0u) << "of what was overwritten";
}

TEST_F(CachedStoreTest, ADamagedIndexIsNone) {
  Open(SmallCache(40));
  const std::string content = Put("a", 20 * kChunk);
  EXPECT_TRUE(Read(*store_->Open("a").value(), 0, content.size()).ok());
  Close();
  const std::string index = cache_disk_.Contents("/cache/INDEX").value();
  for (size_t at = 0; at < index.size(); at += 5) {
    cache_disk_.FlipBit("/cache/INDEX", at, static_cast<int>(at % 8));
    Open(SmallCache(40));
    EXPECT_EQ(stats().chunks, 0u) << at;
    Close();
    cache_disk_.SetContents("/cache/INDEX", index.substr(0, at));
    Open(SmallCache(40));
    EXPECT_EQ(stats().chunks, 0u) << at;
    Close();
    cache_disk_.SetContents("/cache/INDEX", index);
  }
  Open(SmallCache(40));
  EXPECT_EQ(stats().chunks, 20u);
}

TEST_F(CachedStoreTest, RotIsAMissAndHeals) {
  Open(SmallCache(40));
  const std::string content = Put("a", 10 * kChunk);
  const auto object = store_->Open("a").value();
  EXPECT_TRUE(Read(*object, 0, content.size()).ok());
  watched_.TakeReads();
  for (uint64_t at = 17; at < 10 * kChunk; at += kChunk) cache_disk_.FlipBit("/cache/chunks-000", at);
  EXPECT_TRUE(Read(*object, 0, content.size()).value() == content) << "whole chunks";
  EXPECT_EQ(stats().rotten, 10u);
  EXPECT_EQ(stats().disk_failures, 0u);
  watched_.TakeReads();
  EXPECT_TRUE(Read(*object, 0, content.size()).value() == content);
  EXPECT_THAT(watched_.TakeReads(), IsEmpty());
  for (uint64_t at = 17; at < 10 * kChunk; at += kChunk) cache_disk_.FlipBit("/cache/chunks-000", at);
  EXPECT_EQ(Read(*object, 3 * kChunk + 5, 3).value(), content.substr(3 * kChunk + 5, 3)) << "a part of one";
  EXPECT_EQ(stats().rotten, 11u);
}

TEST_F(CachedStoreTest, AFailingDiskIsNoError) {
  Open(SmallCache(100));
  const std::string content = Put("a", 60 * kChunk);
  const auto object = store_->Open("a").value();
  const auto read_all = [&] {
    for (int i = 0; i < 60; ++i) {
      const uint64_t at = (i * 7 % 60) * kChunk + 100;
      ASSERT_EQ(Read(*object, at, 500).value(), content.substr(at, 500));
    }
  };
  read_all();
  cache_disk_.Fail(Operation::kRead, 1, Repeat::kForGood);
  read_all();
  EXPECT_EQ(stats().disk_failures, 60u);
  EXPECT_THAT(stats().last_disk_failure, HasSubstr("cannot read /cache/chunks-00"));
  cache_disk_.Fail(Operation::kWrite, 1, Repeat::kForGood);
  cache_disk_.Fail(Operation::kAllocate, 1, Repeat::kForGood);
  read_all();
  ASSERT_TRUE(WriteObject(*store_, "b", content).ok());
  executor_.RunUntilIdle();
  EXPECT_LT(stats().disk_failures, 130u) << "it is not tried for each chunk";
  EXPECT_EQ(stats().chunks, 0u);
  cache_disk_.ClearFaults();
  for (int i = 0; i < 5; ++i) read_all();
  watched_.TakeReads();
  read_all();
  EXPECT_THAT(watched_.TakeReads(), IsEmpty()) << "it is used again";
}

TEST_F(CachedStoreTest, AFullDiskIsNoError) {
  cache_disk_.SetCapacity(20 * kChunk);
  Open(SmallCache(100));
  const std::string content = Put("a", 60 * kChunk);
  const auto object = store_->Open("a").value();
  EXPECT_TRUE(Read(*object, 0, content.size()).value() == content);
  EXPECT_EQ(stats().chunks, 16u) << "one file";
  EXPECT_GT(stats().disk_failures, 0u);
  EXPECT_LE(CacheBytes(), 20 * kChunk);
  cache_disk_.SetCapacity(1 << 30);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Read(*object, 0, content.size()).value() == content);
  EXPECT_EQ(stats().chunks, 60u) << "there is room again";
}

TEST_F(CachedStoreTest, AFailingRemoteIsAnErrorToThoseWhoNeedIt) {
  Open(SmallCache(100));
  const std::string content = Put("a", 60 * kChunk);
  const auto object = store_->Open("a").value();
  EXPECT_TRUE(Read(*object, 0, kChunk).ok());
  watched_.SetFaults([] { return absl::UnavailableError("the remote is away"); });
  const auto first = Begin(*object, kChunk - 10, 20);
  const auto second = Begin(*object, kChunk + 20, 20);
  const auto cached = Begin(*object, 20, 20);
  executor_.RunUntilIdle();
  EXPECT_EQ(first->status.value(), absl::UnavailableError("the remote is away"));
  EXPECT_EQ(second->status.value(), absl::UnavailableError("the remote is away"));
  EXPECT_TRUE(cached->status.value().ok());
  watched_.SetFaults(nullptr);
  EXPECT_EQ(Read(*object, kChunk - 10, 20).value(), content.substr(kChunk - 10, 20));
}

TEST_F(CachedStoreTest, RemoveDropsChunks) {
  Open(SmallCache(100));
  Put("a", 30 * kChunk);
  Put("b", 10 * kChunk);
  const auto a = store_->Open("a").value();
  EXPECT_TRUE(Read(*a, 0, 20 * kChunk).ok());
  EXPECT_TRUE(Read(*store_->Open("b").value(), 0, 10 * kChunk).ok());
  EXPECT_EQ(stats().chunks, 30u);
  const auto under_way = Begin(*a, 20 * kChunk, 10 * kChunk);
  EXPECT_TRUE(store_->Remove("a").ok());
  executor_.RunUntilIdle();
  EXPECT_EQ(stats().chunks, 10u);
  EXPECT_TRUE(under_way->status.has_value());
  EXPECT_TRUE(absl::IsNotFound(store_->Open("a").status()));
}

TEST_F(CachedStoreTest, ReadsWaitInLineForMemory) {
  CachedStoreOptions options = SmallCache(100);
  options.memory_bytes = 100 * storage::kCacheMemoryPerChunk + 32 * kChunk;
  Open(options);
  const std::string content = Put("a", 100 * kChunk);
  const auto object = store_->Open("a").value();
  for (int round = 0; round < 2; ++round) {
    std::vector<std::shared_ptr<Pending>> reads;
    for (int i = 0; i < 100; ++i) reads.push_back(Begin(*object, (i * 37 % 99) * kChunk + 5, kChunk));
    do {
      ASSERT_LE(stats().memory_bytes, options.memory_bytes);
    } while (executor_.RunOne());
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(reads[i]->status.has_value() && reads[i]->status->ok());
      EXPECT_EQ(reads[i]->out, content.substr((i * 37 % 99) * kChunk + 5, kChunk));
    }
  }
  EXPECT_LE(watched_.most_bytes_under_way(), 32 * kChunk);
}

TEST_F(CachedStoreTest, OneCacheAtATime) {
  Open(SmallCache(40));
  const absl::Status second =
      OpenCachedStore(watched_, SmallCache(40), cache_disk_, reads_, executor_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(second)) << second;
  EXPECT_THAT(std::string(second.message()), HasSubstr("/cache/LOCK"));
}

TEST_F(CachedStoreTest, OptionsThatContradictEachOther) {
  const auto message = [&](const std::function<void(CachedStoreOptions&)>& change) {
    CachedStoreOptions options = SmallCache(100);
    change(options);
    const absl::Status status = OpenCachedStore(watched_, options, cache_disk_, reads_, executor_).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message([](auto& o) { o.chunk_bytes = 5000; }), HasSubstr("give a power of two from 4096"));
  EXPECT_THAT(message([](auto& o) { o.chunk_bytes = 0; }), HasSubstr("0 bytes: give a power of two"));
  EXPECT_THAT(message([](auto& o) { o.fetch_bytes = 5000; }),
              HasSubstr("give a multiple of its chunks' 4096"));
  EXPECT_THAT(message([](auto& o) { o.disk_bytes = 50'000; }), HasSubstr("give it at least 102400"));
  EXPECT_THAT(message([](auto& o) { o.memory_bytes = 100'000; }),
              HasSubstr("give it at least 134072, or less disk"));
}

}  // namespace
}  // namespace thermocline::testing
