#include "storage/index/frames.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace thermocline::testing {
namespace {

using storage::Frames;
using storage::MemoryBudget;

uint64_t IndexBytes(const MemoryBudget& budget) { return budget.used(MemoryBudget::Share::kIndex); }

class FramesOfSizeTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  const uint64_t frame_bytes = GetParam();
};
INSTANTIATE_TEST_SUITE_P(Sizes, FramesOfSizeTest,
                         ::testing::Values(Frames::kMinBytes, 2 * Frames::kMinBytes, Frames::kMaxBytes));

TEST_P(FramesOfSizeTest, FramesAreZerosOfTheirOwn) {
  MemoryBudget budget(16 << 20);
  Frames frames(budget, frame_bytes);
  ASSERT_TRUE(frames.ok());
  std::set<uint64_t*> taken;
  for (int i = 0; i < 16'000'000 / static_cast<int>(frame_bytes); ++i) {
    const std::optional<uint32_t> number = frames.Take();
    ASSERT_TRUE(number.has_value());
    uint64_t* const frame = frames.At(*number);
    ASSERT_TRUE(std::all_of(frame, frame + frames.words(), [](uint64_t word) { return word == 0; }));
    std::fill(frame, frame + frames.words(), ~uint64_t{0});
    const auto next = taken.insert(frame).first;
    ASSERT_TRUE(next == taken.begin() || frame - *std::prev(next) >= frames.words());
    ASSERT_TRUE(std::next(next) == taken.end() || *std::next(next) - frame >= frames.words());
  }
}

TEST_P(FramesOfSizeTest, TheBudgetKnowsOfAllMemoryAndLittleOfItWaits) {
  MemoryBudget budget(uint64_t{4} << 30);
  {
    Frames frames(budget, frame_bytes);
    EXPECT_EQ(IndexBytes(budget), 0u);
    for (uint64_t taken = 1; taken <= 3000; ++taken) {
      ASSERT_TRUE(frames.Take().has_value());
      ASSERT_GE(IndexBytes(budget), taken * frame_bytes);
      ASSERT_LT(IndexBytes(budget), taken * frame_bytes + (2 << 20));
    }
  }
  EXPECT_EQ(IndexBytes(budget), 0u);
}

TEST_P(FramesOfSizeTest, ASmallBudgetIsUsedToItsEnd) {
  MemoryBudget budget(uint64_t{1} << 20);
  const MemoryBudget::Grant others = budget.Take(MemoryBudget::Share::kBlocks, 100'000);
  Frames frames(budget, frame_bytes);
  uint64_t taken = 0;
  while (frames.Take()) ++taken;
  EXPECT_LE(budget.limit() - 100'000 - taken * frame_bytes, std::max<uint64_t>(4096, frame_bytes));
  EXPECT_EQ(IndexBytes(budget), taken * frame_bytes);
}

TEST(FramesTest, ASystemThatRefusesTheAddressesIsFoundOut) {
  MemoryBudget budget(uint64_t{1} << 60);
  Frames frames(budget);
  EXPECT_FALSE(frames.ok());
  EXPECT_EQ(frames.Take(), std::nullopt);
  EXPECT_EQ(IndexBytes(budget), 0u);
}

// Addresses that wait for memory do not count as memory, where the system counts what it has promised.
TEST(FramesTest, MemoryIsPromisedOnlyAsItIsTaken) {
  const auto promised = [] {
    std::ifstream meminfo("/proc/meminfo");
    for (std::string line; std::getline(meminfo, line);) {
      if (line.starts_with("Committed_AS:")) return std::stoull(line.substr(13)) << 10;
    }
    return 0ull;
  };
  constexpr uint64_t kLimit = uint64_t{1} << 40;
  const uint64_t before = promised();
  MemoryBudget budget(kLimit);
  Frames frames(budget);
  ASSERT_TRUE(frames.ok());
  ASSERT_TRUE(frames.Take().has_value());
  EXPECT_LT(promised(), before + kLimit / 2);
}

}  // namespace
}  // namespace thermocline::testing
