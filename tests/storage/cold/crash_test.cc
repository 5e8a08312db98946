// The power goes off at any change of the disk, in writes, in compactions and while opening. What was
// acknowledged is there, the rest wholly or not at all, and the counts are exact.

#include <memory>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "storage/cold/cold_store.h"
#include "storage/system_clock.h"
#include "tests/storage/cold/cold_model.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::storage {
namespace {

using testing::SimulatedDisk;

constexpr uint64_t kNow = 1'000'000;

class ColdCrash {
 public:
  explicit ColdCrash(uint64_t seed) : disk_(seed), random_(seed) {}

  // Works until something goes wrong, crashes, and checks what is left.
  void Round() {
    const bool power = Below(4) != 0;
    if (power) {
      disk_.PowerOffAfter(Below(250));
    } else {
      disk_.Fail(static_cast<SimulatedDisk::Operation>(Below(2) == 0 ? SimulatedDisk::Operation::kSync
                                                                     : SimulatedDisk::Operation::kWrite),
                 1 + Below(60));
    }
    ColdModel with_last = model_;
    auto store = Open();
    if (store.ok()) {
      while (Step(**store, with_last)) {
      }
      store->reset();
    }
    if (Below(4) == 0) {
      disk_.Kill();
    } else {
      disk_.Crash();
    }
    store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    // The batch that failed may be there, but then all of it is.
    if (ScanAll(**store) == with_last.entries()) model_ = with_last;
    ExpectIs(**store, model_);
    // The index of expiries names just what expires.
    const auto reclaimed = (*store)->ReclaimExpired(kNow, SIZE_MAX);
    ASSERT_TRUE(reclaimed.ok()) << reclaimed.status();
    EXPECT_EQ(reclaimed->keys, model_.Expired(kNow));
    model_.RemoveExpired(kNow);
    ExpectIs(**store, model_);
  }

 private:
  uint64_t Below(uint64_t bound) { return random_.Next() % bound; }

  absl::StatusOr<std::unique_ptr<ColdStore>> Open() {
    return ColdStore::Open({.directory = "/cold", .store_id = 1, .memory_bytes = kMinColdMemoryBytes}, disk_);
  }

  // One write: to `last` first, and if the store took it, to model_. False if not.
  bool Step(ColdStore& store, ColdModel& last) {
    if (Below(10) == 0) {
      last.RemoveExpired(kNow);
      if (!store.ReclaimExpired(kNow, SIZE_MAX).ok()) return false;
      model_.RemoveExpired(kNow);
      return true;
    }
    const ColdModel::Records records = Batch();
    if (Below(4) == 0) {
      last.Delete(records);
      if (!Delete(store, records).ok()) return false;
      model_.Delete(records);
    } else {
      last.Put(records);
      if (!Put(store, records).ok()) return false;
      model_.Put(records);
    }
    return true;
  }

  ColdModel::Records Batch() {
    ColdModel::Records records(1 + Below(200));
    for (auto& [key, entry] : records) {
      key = fmt::format("k{}", Below(1000));
      entry.version = ++version_;
      if (Below(4) == 0) entry.expires_at_ms = 1 + Below(2 * kNow);
      entry.value = std::string(Below(40) == 0 ? 5000 : Below(80), 'a' + Below(26));
    }
    return records;
  }

  SimulatedDisk disk_;
  SeededRandom random_;
  ColdModel model_;  // what is there for sure
  Version version_ = 0;
};

TEST(ColdCrashTest, NothingAcknowledgedIsLost) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    ColdCrash crash(seed);
    for (int round = 0; round < 4; ++round) {
      crash.Round();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace thermocline::storage
