#include "tests/bench/lru_model.h"

#include <algorithm>
#include <list>
#include <utility>

#include "gtest/gtest.h"

#include "tests/bench/workload.h"

namespace thermocline::bench {
namespace {

// The same with a list that is searched.
class NaiveLru {
 public:
  explicit NaiveLru(uint64_t capacity) : capacity_(capacity) {}

  bool Touch(uint64_t key, uint32_t bytes) {
    const auto found = std::find_if(records_.begin(), records_.end(),
                                    [&](const auto& record) { return record.first == key; });
    const bool held = found != records_.end();
    if (held) records_.erase(found);
    if (!held && bytes > capacity_) return false;
    records_.emplace_front(key, bytes);
    Trim();
    return held;
  }
  void SetCapacity(uint64_t capacity) {
    capacity_ = capacity;
    Trim();
  }
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const auto& [key, bytes] : records_) sum += bytes;
    return sum;
  }

 private:
  void Trim() {
    while (bytes() > capacity_) records_.pop_back();
  }

  uint64_t capacity_;
  std::list<std::pair<uint64_t, uint32_t>> records_;  // the newest first
};

TEST(LruModelTest, AgreesWithANaiveOne) {
  RandomStream random(9);
  LruModel model(2000);
  NaiveLru naive(2000);
  int hits = 0;
  for (int i = 0; i < 50'000; ++i) {
    const uint64_t key = std::min(random.Below(200), random.Below(200));
    const uint32_t bytes = key == 0 ? 5000 : 10 + static_cast<uint32_t>(key % 50);
    const bool held = naive.Touch(key, bytes);
    ASSERT_EQ(model.Touch(key, bytes), held) << "step " << i;
    hits += held;
    if (random.Below(1000) == 0) {
      const uint64_t capacity = random.Below(4000);
      model.SetCapacity(capacity);
      naive.SetCapacity(capacity);
    }
    ASSERT_EQ(model.bytes(), naive.bytes());
  }
  EXPECT_GT(hits, 1000);
}

TEST(LruModelTest, NoCapacityHoldsNothing) {
  LruModel model(0);
  EXPECT_FALSE(model.Touch(1, 10));
  EXPECT_FALSE(model.Touch(1, 10));
  EXPECT_EQ(model.bytes(), 0u);
}

}  // namespace
}  // namespace thermocline::bench
