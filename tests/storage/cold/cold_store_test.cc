// What a ColdStore promises call by call, and what it says when the disk does not keep up.

#include "storage/cold/cold_store.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/posix_file_system.h"
#include "storage/system_clock.h"
#include "tests/storage/cold/cold_model.h"
#include "tests/support/simulated_disk.h"
#include "tests/support/temp_directory.h"

namespace thermocline::storage {
namespace {

using ::testing::HasSubstr;
using testing::SimulatedDisk;

constexpr const char* kDirectory = "/store/cold";

ColdModel::Records Numbered(int first, int last, Version version, size_t value_bytes = 40) {
  ColdModel::Records records;
  for (int i = first; i < last; ++i) {
    records.push_back({fmt::format("key{:07}", i), {std::string(value_bytes, 'a' + i % 26), version, 0}});
  }
  return records;
}

class ColdStoreTest : public ::testing::Test {
 protected:
  ColdStoreTest() { Open(); }

  void Open() {
    store_.reset();
    auto opened = ColdStore::Open(options_, disk_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }
  void PutBoth(const ColdModel::Records& records) {
    const absl::Status status = Put(*store_, records);
    ASSERT_TRUE(status.ok()) << status;
    model_.Put(records);
  }
  std::vector<std::string> FilesOf(std::string_view ending) const {
    std::vector<std::string> paths = disk_.Paths();
    std::erase_if(paths, [&](const std::string& path) { return !path.ends_with(ending); });
    return paths;
  }

  SimulatedDisk disk_{1};
  ColdOptions options_{.directory = kDirectory, .store_id = 7, .memory_bytes = kMinColdMemoryBytes};
  std::unique_ptr<ColdStore> store_;
  ColdModel model_;
};

TEST_F(ColdStoreTest, AMissIsAValue) {
  const auto missing = store_->Get("nowhere");
  ASSERT_TRUE(missing.ok()) << missing.status();
  EXPECT_FALSE(*missing);
  ExpectIs(*store_, model_);
}

TEST_F(ColdStoreTest, GivesBackWhatWasPut) {
  PutBoth(
      {{"b", {"value", 5, 1'700'000'000'000}}, {"a", {"", 1, 0}}, {std::string("\0\xff", 2), {"x", 9, 0}}});
  const auto entry = store_->Get("b");
  ASSERT_TRUE(entry.ok() && *entry);
  EXPECT_EQ(ToModel(**entry), (ModelEntry{"value", 5, 1'700'000'000'000}));
  ExpectIs(*store_, model_);
  Open();
  ExpectIs(*store_, model_);
}

TEST_F(ColdStoreTest, TheNewestVersionCounts) {
  PutBoth({{"k", {"two", 2, 0}}, {"k", {"three", 3, 0}}, {"k", {"one", 1, 0}}});
  PutBoth({{"k", {"old", 2, 0}}});
  PutBoth({{"k", {"again", 3, 0}}});
  EXPECT_EQ(store_->Get("k").value()->value, "three");
  PutBoth({{"k", {"four", 4, 0}}});
  EXPECT_EQ(store_->Get("k").value()->value, "four");
  ExpectIs(*store_, model_);
}

TEST_F(ColdStoreTest, DeletesUpToAVersion) {
  PutBoth({{"k", {"five", 5, 0}}, {"other", {"value", 1, 0}}});
  ASSERT_TRUE(store_->Delete(std::vector<ColdRemoval>{{"k", 4}, {"absent", 9}}).ok());
  ExpectIs(*store_, model_);
  ASSERT_TRUE(store_->Delete(std::vector<ColdRemoval>{{"k", 5}, {"k", 3}}).ok());
  EXPECT_FALSE(store_->Get("k").value());
  EXPECT_EQ(store_->Stats().live_keys, 1u);
  Open();
  EXPECT_EQ(store_->Stats().live_bytes, 10u);
}

TEST_F(ColdStoreTest, ManyAtOnceInTheirOrder) {
  PutBoth(Numbered(0, 500, 1));
  std::vector<std::string> names;
  for (int i = 600; i >= 0; i -= 7) names.push_back(fmt::format("key{:07}", i));
  names.push_back(names[40]);
  const std::vector<std::string_view> keys(names.begin(), names.end());
  const auto entries = store_->MultiGet(keys);
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto expected = model_.entries().find(names[i]);
    ASSERT_EQ((*entries)[i].has_value(), expected != model_.entries().end()) << keys[i];
    if ((*entries)[i]) {
      EXPECT_EQ(ToModel(*(*entries)[i]), expected->second);
    }
  }
}

TEST_F(ColdStoreTest, ScansInPages) {
  PutBoth(Numbered(0, 100, 1, 10));
  auto page = store_->Scan({.max_entries = 3});
  ASSERT_EQ(page->items.size(), 3u);
  EXPECT_EQ(page->items[2].key, "key0000002");
  EXPECT_FALSE(page->done);
  page = store_->Scan({.after_key = "key0000002", .max_bytes = 45});
  EXPECT_EQ(page->items.size(), 2u) << "20 bytes each";
  EXPECT_EQ(page->items[0].key, "key0000003");
  page = store_->Scan({.max_bytes = 1});
  EXPECT_EQ(page->items.size(), 1u) << "however large";

  EXPECT_EQ(ScanAll(*store_, "key000001", 4).size(), 10u);
  EXPECT_EQ(store_->Scan({.after_key = "a", .prefix = "key0000099"})->items.size(), 1u);
  EXPECT_TRUE(store_->Scan({.after_key = "key0000099"})->done);
  EXPECT_TRUE(store_->Scan({.after_key = "z", .prefix = "key"})->items.empty());
  EXPECT_TRUE(ScanAll(*store_, "\xff").empty());
}

TEST_F(ColdStoreTest, ReclaimsWhatHasExpired) {
  for (int i = 0; i < 10; ++i) {
    PutBoth({{fmt::format("k{}", i), {"v", 1, 1000u + i}}, {fmt::format("forever{}", i), {"v", 1, 0}}});
  }
  PutBoth({{"k0", {"longer", 2, 5000}}, {"k1", {"for good", 2, 0}}, {"k2", {"same", 2, 1002}}});
  auto reclaimed = store_->ReclaimExpired(1004, 300);
  ASSERT_TRUE(reclaimed.ok()) << reclaimed.status();
  EXPECT_EQ(reclaimed->keys, 2u);
  EXPECT_FALSE(reclaimed->done);
  reclaimed = store_->ReclaimExpired(1004, 300);
  EXPECT_EQ(reclaimed->keys, 1u);
  EXPECT_TRUE(reclaimed->done);
  model_.RemoveExpired(1004);
  ExpectIs(*store_, model_);

  PutBoth({{"late", {"already gone", 3, 7}}});
  EXPECT_EQ(store_->ReclaimExpired(1004, 10'000)->keys, 1u);
  model_.RemoveExpired(1004);
  ExpectIs(*store_, model_);
}

TEST_F(ColdStoreTest, LargeValuesMoveToBlobFilesAndBack) {
  for (Version version = 1; version <= 12; ++version) PutBoth(Numbered(0, 40, version, 20'000));
  ExpectIs(*store_, model_);
  for (int waited = 0; FilesOf(".blob").empty() && waited < 500; ++waited) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_FALSE(FilesOf(".blob").empty());
  Open();
  ExpectIs(*store_, model_);
  PutBoth({{"huge", {std::string(kMaxValueBytes, 'h'), 1, 0}}});
  EXPECT_EQ(store_->Get("huge").value()->value.size(), kMaxValueBytes);
  EXPECT_LE(store_->Stats().memory_bytes, options_.memory_bytes);
}

TEST_F(ColdStoreTest, KnowsItsLimits) {
  EXPECT_TRUE(absl::IsInvalidArgument(Put(*store_, {{"", {"v", 1, 0}}})));
  EXPECT_TRUE(absl::IsInvalidArgument(Put(*store_, {{std::string(kMaxKeyBytes + 1, 'k'), {"v", 1, 0}}})));
  EXPECT_TRUE(absl::IsInvalidArgument(Put(*store_, {{"k", {std::string(kMaxValueBytes + 1, 'v'), 1, 0}}})));
  PutBoth({{std::string(kMaxKeyBytes, 'k'), {"v", 1, 3}}});
  ExpectIs(*store_, model_);
}

TEST_F(ColdStoreTest, RefusesOtherStores) {
  PutBoth({{"k", {"v", 1, 0}}});
  EXPECT_TRUE(absl::IsFailedPrecondition(ColdStore::Open(options_, disk_).status())) << "locked";
  ASSERT_TRUE(store_->Close().ok());
  ColdOptions other = options_;
  other.store_id = 8;
  const absl::Status status = ColdStore::Open(other, disk_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("0000000000000007"));
  other = options_;
  other.memory_bytes = kMinColdMemoryBytes - 1;
  EXPECT_TRUE(absl::IsInvalidArgument(ColdStore::Open(other, disk_).status()));
  Open();
  ExpectIs(*store_, model_);
}

TEST_F(ColdStoreTest, AFullDiskIsNotTheEnd) {
  PutBoth(Numbered(0, 2000, 1));
  disk_.SetCapacity(disk_.used_bytes() + 10'000);
  const auto records = Numbered(1000, 9000, 2);
  const absl::Status full = Put(*store_, records);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_THAT(std::string(full.message()), HasSubstr(kDirectory));
  ExpectIs(*store_, model_);
  EXPECT_TRUE(store_->Stats().write_status.ok());

  disk_.SetCapacity(disk_.used_bytes() + (uint64_t{64} << 20));
  PutBoth(records);
  ExpectIs(*store_, model_);
  Open();
  ExpectIs(*store_, model_);
}

// Wherever the space runs out, also in compactions and manifests.
TEST_F(ColdStoreTest, FillsUpAgainAndAgain) {
  SeededRandom random(3);
  for (Version version = 1; version <= 60; ++version) {
    const auto records = Numbered(0, 300, version, 200);
    disk_.SetCapacity(disk_.used_bytes() + random.Next() % 200'000);
    const absl::Status status = Put(*store_, records);
    if (status.ok()) {
      model_.Put(records);
    } else {
      ASSERT_TRUE(absl::IsResourceExhausted(status)) << status;
    }
    if (version % 10 == 0) ExpectIs(*store_, model_);
  }
  disk_.SetCapacity(UINT64_MAX);
  PutBoth(Numbered(0, 300, 100, 200));
  Open();
  ExpectIs(*store_, model_);
}

TEST_F(ColdStoreTest, NoWriteAfterAFailedSync) {
  for (uint64_t nth = 1; nth <= 3; ++nth) {
    PutBoth(Numbered(0, 100, nth * 2));
    disk_.Fail(SimulatedDisk::Operation::kSync, nth);
    const absl::Status failed = Put(*store_, Numbered(0, 100, nth * 2 + 1));
    EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
    const absl::Status refused = Put(*store_, {{"k", {"v", 1, 0}}});
    EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("until it is opened again"));
    EXPECT_FALSE(store_->Stats().write_status.ok());
    EXPECT_TRUE(store_->Get("key0000001").ok());

    store_.reset();
    disk_.Crash();
    Open();
    const ColdModel::Entries found = ScanAll(*store_);
    ASSERT_EQ(found.size(), 100u);
    for (const auto& [key, entry] : found) EXPECT_EQ(entry.version, found.begin()->second.version);
    EXPECT_GE(found.begin()->second.version, nth * 2);
    model_ = {};
    model_.Put({found.begin(), found.end()});
  }
}

TEST_F(ColdStoreTest, CorruptionIsNeverAWrongValue) {
  PutBoth(Numbered(0, 3000, 1));
  PutBoth(Numbered(2000, 4000, 2));
  PutBoth(Numbered(100, 110, 3, 10'000));
  SeededRandom random(5);
  uint64_t lost = 0;
  for (int round = 0; round < 60; ++round) {
    ASSERT_TRUE(store_->Close().ok());
    const std::vector<std::string> tables = FilesOf(".sst");
    const std::string& path = tables[random.Next() % tables.size()];
    const uint64_t offset = random.Next() % disk_.Contents(path)->size();
    const int bit = static_cast<int>(random.Next() % 8);
    disk_.FlipBit(path, offset, bit);
    auto opened = ColdStore::Open(options_, disk_);
    if (opened.ok()) {
      for (const auto& [key, entry] : model_.entries()) {
        const auto found = (*opened)->Get(key);
        if (found.ok()) {
          ASSERT_TRUE(*found) << key << " is missing, bit " << bit << " of " << offset << " in " << path;
          ASSERT_EQ(ToModel(**found), entry);
        } else {
          ASSERT_TRUE(absl::IsDataLoss(found.status())) << found.status();
          ++lost;
        }
      }
      opened->reset();
    } else {
      EXPECT_TRUE(absl::IsDataLoss(opened.status())) << opened.status();
    }
    disk_.FlipBit(path, offset, bit);
    Open();
  }
  EXPECT_GT(lost, 0u);
  ExpectIs(*store_, model_);
}

TEST_F(ColdStoreTest, ReadersBesideWriters) {
  PutBoth(Numbered(0, 2000, 1));
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      for (int i = t; !stop; i = (i + 7) % 2000) {
        const auto entry = store_->Get(fmt::format("key{:07}", i));
        ASSERT_TRUE(entry.ok() && *entry) << entry.status();
        ASSERT_EQ((*entry)->value.size(), 40u);
        if (i % 100 == 0) {
          ASSERT_TRUE(store_->Scan({.max_entries = 50}).ok());
        }
        ASSERT_GE(store_->Stats().live_keys, 2000u);
      }
    });
  }
  for (Version version = 2; version < 40; ++version) PutBoth(Numbered(0, 2000, version));
  stop = true;
  for (std::thread& reader : readers) reader.join();
  ExpectIs(*store_, model_);
}

TEST(ColdStoreOnPosixTest, WorksOnARealDisk) {
  testing::TempDirectory directory;
  PosixFileSystem files;
  const ColdOptions options{.directory = directory.path() + "/a/cold", .store_id = 1};
  ColdModel model;
  for (Version version = 1; version <= 8; ++version) {
    auto store = ColdStore::Open(options, files);
    ASSERT_TRUE(store.ok()) << store.status();
    ExpectIs(**store, model);
    const auto records = Numbered(0, 5000, version, version % 3 == 0 ? 5000 : 50);
    ASSERT_TRUE(Put(**store, records).ok());
    model.Put(records);
    ExpectIs(**store, model);
    EXPECT_GT((*store)->Stats().disk_bytes, 10'000u);
    ASSERT_TRUE((*store)->Close().ok());
  }
}

}  // namespace
}  // namespace thermocline::storage
