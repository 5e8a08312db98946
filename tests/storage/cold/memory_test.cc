// The memory number holds, and a key costs little of it.

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "storage/cold/cold_store.h"
#include "storage/posix_file_system.h"
#include "storage/system_clock.h"
#include "tests/support/temp_directory.h"

namespace thermocline::storage {
namespace {

constexpr size_t kKeys = 1'000'000;
constexpr size_t kBatch = 250'000;
constexpr size_t kValueBytes = 40;
constexpr double kMostBytesPerKey = 2;

// Random, but the same for the same number: the odd ones are never put.
std::string KeyOf(uint64_t number) {
  uint64_t mixed = number * 0x9e3779b97f4a7c15;
  mixed = (mixed ^ mixed >> 32) * 0xbf58476d1ce4e5b9;
  std::string key(sizeof mixed, 0);
  std::memcpy(key.data(), &mixed, sizeof mixed);
  return key;
}

class ColdMemoryTest : public ::testing::Test {
 protected:
  void Open() {
    store_.reset();
    auto opened = ColdStore::Open(options_, files_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  void CheckMemory() {
    const ColdStats stats = store_->Stats();
    ASSERT_LE(stats.memory_bytes, stats.memory_limit);
  }

  void Fill() {
    std::vector<std::string> keys(kBatch);
    const std::string value(kValueBytes, 'v');
    for (size_t first = 0; first < kKeys; first += kBatch) {
      std::vector<ColdRecord> batch;
      for (size_t i = 0; i < kBatch; ++i) {
        keys[i] = KeyOf(2 * (first + i));
        batch.push_back({keys[i], value, 1});
      }
      const absl::Status status = store_->Put(batch);
      ASSERT_TRUE(status.ok()) << status;
      CheckMemory();
    }
  }

  testing::TempDirectory directory_;
  PosixFileSystem files_;
  ColdOptions options_{
      .directory = directory_.path() + "/cold", .store_id = 1, .memory_bytes = kMinColdMemoryBytes};
  std::unique_ptr<ColdStore> store_;
};

TEST_F(ColdMemoryTest, NeverAboveTheLimit) {
  Open();
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (uint64_t t = 0; t < 2; ++t) {
    readers.emplace_back([&, t] {
      SeededRandom random(t);
      while (!stop) {
        const auto entry = store_->Get(KeyOf(random.Next() % (2 * kKeys)));
        ASSERT_TRUE(entry.ok()) << entry.status();
        CheckMemory();
      }
    });
  }
  Fill();
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(store_->Stats().live_keys, kKeys);
  EXPECT_EQ(store_->Stats().live_bytes, kKeys * (8 + kValueBytes));

  // What all filters and indexes take: keys that are nowhere need filters and next to no data, and a few that
  // are there need indexes.
  Open();
  while (store_->Stats().pending_compaction_bytes > 0) std::this_thread::yield();
  Open();
  const uint64_t before = store_->Stats().memory_bytes;
  for (uint64_t i = 0; i < 4000; ++i) ASSERT_FALSE(store_->Get(KeyOf(2 * i + 1)).value());
  for (uint64_t i = 0; i < 60; ++i) ASSERT_TRUE(store_->Get(KeyOf(2 * i)).value());
  const double per_key = static_cast<double>(store_->Stats().memory_bytes - before) / kKeys;
  RecordProperty("bytes_per_key", std::to_string(per_key));
  EXPECT_GT(per_key, 0.5);
  EXPECT_LE(per_key, kMostBytesPerKey);
}

}  // namespace
}  // namespace thermocline::storage
