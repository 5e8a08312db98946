#include "storage/index/frames.h"

#include <algorithm>
#include <set>

#include "gtest/gtest.h"

namespace thermocline::testing {
namespace {

using storage::Frames;
using storage::MemoryBudget;

uint64_t IndexBytes(const MemoryBudget& budget) { return budget.used(MemoryBudget::Share::kIndex); }

TEST(FramesTest, FramesAreZerosOfTheirOwn) {
  MemoryBudget budget(16 << 20);
  Frames frames(budget);
  std::set<uint64_t*> taken;
  for (int i = 0; i < 2000; ++i) {
    uint64_t* const frame = frames.Take();
    ASSERT_NE(frame, nullptr);
    ASSERT_TRUE(std::all_of(frame, frame + Frames::kWords, [](uint64_t word) { return word == 0; }));
    std::fill(frame, frame + Frames::kWords, ~uint64_t{0});
    const auto next = taken.insert(frame).first;
    ASSERT_TRUE(next == taken.begin() || frame - *std::prev(next) >= Frames::kWords);
    ASSERT_TRUE(std::next(next) == taken.end() || *std::next(next) - frame >= Frames::kWords);
  }
}

TEST(FramesTest, TheBudgetKnowsOfAllMemoryAndLittleOfItWaits) {
  MemoryBudget budget(uint64_t{4} << 30);
  {
    Frames frames(budget);
    EXPECT_EQ(IndexBytes(budget), 0u);
    for (uint64_t taken = 1; taken <= 3000; ++taken) {
      ASSERT_NE(frames.Take(), nullptr);
      ASSERT_GE(IndexBytes(budget), taken * Frames::kBytes);
      ASSERT_LT(IndexBytes(budget), taken * Frames::kBytes + (2 << 20));
    }
  }
  EXPECT_EQ(IndexBytes(budget), 0u);
}

TEST(FramesTest, ASmallBudgetIsUsedToItsEnd) {
  MemoryBudget budget(uint64_t{1} << 20);
  const MemoryBudget::Grant others = budget.Take(MemoryBudget::Share::kBlocks, 100'000);
  Frames frames(budget);
  uint64_t taken = 0;
  while (frames.Take() != nullptr) ++taken;
  EXPECT_LE(budget.limit() - 100'000 - taken * Frames::kBytes, 4096u);
  EXPECT_EQ(IndexBytes(budget), taken * Frames::kBytes);
}

}  // namespace
}  // namespace thermocline::testing
