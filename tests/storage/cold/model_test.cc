// Random calls, held against a std::map.

#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "storage/cold/cold_store.h"
#include "storage/system_clock.h"
#include "tests/storage/cold/cold_model.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::storage {
namespace {

using testing::SimulatedDisk;

class ColdModelTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  uint64_t Below(uint64_t bound) { return random_.Next() % bound; }

  void Open() {
    store_.reset();
    auto opened = ColdStore::Open(
        {.directory = "/cold", .store_id = GetParam(), .memory_bytes = kMinColdMemoryBytes}, disk_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  std::string Key() { return fmt::format("{}k{}", Below(4), Below(1500)); }

  ColdModel::Records Batch() {
    ColdModel::Records records(Below(10) == 0 ? Below(3000) : Below(100));
    for (auto& [key, entry] : records) {
      key = Key();
      entry.version = Below(20) == 0 ? 1 + Below(clock_) : ++clock_;
      if (Below(3) == 0) entry.expires_at_ms = clock_ + Below(20'000);
      entry.value = std::string(Below(50) == 0 ? Below(20'000) : Below(100), 'a' + Below(26));
    }
    return records;
  }

  void Step() {
    const uint64_t kind = Below(20);
    if (kind < 8) {
      const auto records = Batch();
      ASSERT_TRUE(Put(*store_, records).ok());
      model_.Put(records);
    } else if (kind < 11) {
      const auto records = Batch();
      ASSERT_TRUE(Delete(*store_, records).ok());
      model_.Delete(records);
    } else if (kind < 13) {
      Reclaim();
    } else if (kind < 14) {
      Open();
    } else if (kind < 17) {
      CheckScan();
    } else {
      CheckGets();
    }
  }

  void Reclaim() {
    const uint64_t expired = model_.Expired(clock_);
    const uint64_t most = 1 + Below(500);
    uint64_t reclaimed = 0;
    for (bool done = false; !done;) {
      const auto some = store_->ReclaimExpired(clock_, most * 136);
      ASSERT_TRUE(some.ok()) << some.status();
      ASSERT_LE(some->keys, most);
      reclaimed += some->keys;
      done = some->done;
    }
    EXPECT_EQ(reclaimed, expired);
    model_.RemoveExpired(clock_);
  }

  void CheckScan() {
    const std::string prefix = Below(2) == 0 ? "" : fmt::format("{}k{}", Below(4), Below(20));
    ColdModel::Entries expected;
    for (const auto& [key, entry] : model_.entries()) {
      if (key.starts_with(prefix)) expected.emplace(key, entry);
    }
    ASSERT_EQ(ScanAll(*store_, prefix, 1 + Below(2000)), expected);
    ASSERT_EQ(store_->Stats().live_keys, model_.entries().size());
    ASSERT_EQ(store_->Stats().live_bytes, model_.bytes());
  }

  void CheckGets() {
    std::vector<std::string> names(Below(200));
    for (std::string& name : names) name = Key();
    const auto entries = store_->MultiGet(std::vector<std::string_view>(names.begin(), names.end()));
    ASSERT_TRUE(entries.ok()) << entries.status();
    for (size_t i = 0; i < names.size(); ++i) {
      const auto single = store_->Get(names[i]);
      ASSERT_TRUE(single.ok()) << single.status();
      const auto found = model_.entries().find(names[i]);
      const bool present = found != model_.entries().end();
      ASSERT_EQ(single->has_value(), present) << names[i];
      ASSERT_EQ((*entries)[i].has_value(), present) << names[i];
      if (!present) continue;
      ASSERT_EQ(ToModel(**single), found->second);
      ASSERT_EQ(ToModel(*(*entries)[i]), found->second);
    }
  }

  SimulatedDisk disk_{GetParam()};
  SeededRandom random_{GetParam()};
  std::unique_ptr<ColdStore> store_;
  ColdModel model_;
  uint64_t clock_ = 0;
};

TEST_P(ColdModelTest, IsAMap) {
  Open();
  for (int step = 0; step < 200 && !HasFatalFailure(); ++step) Step();
  ExpectIs(*store_, model_);
  clock_ += 1'000'000;
  Reclaim();
  ExpectIs(*store_, model_);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ColdModelTest, ::testing::Range<uint64_t>(1, 9));

}  // namespace
}  // namespace thermocline::storage
