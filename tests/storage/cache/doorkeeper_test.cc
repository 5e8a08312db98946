#include "storage/cache/doorkeeper.h"

#include "gtest/gtest.h"

namespace thermocline::testing {
namespace {

using storage::Doorkeeper;

TEST(DoorkeeperTest, KnowsWhatCameAShortWhileAgo) {
  Doorkeeper door(1024);
  EXPECT_FALSE(door.Seen(4711));
  EXPECT_TRUE(door.Seen(4711));
  // It was forgotten when it was let in.
  EXPECT_FALSE(door.Seen(4711));
}

TEST(DoorkeeperTest, RemembersAboutAsManyAsItHasRoomFor) {
  constexpr uint64_t kWords = 1024;
  Doorkeeper door(kWords);
  const uint64_t capacity = kWords * Doorkeeper::kRecordsPerWord;
  uint64_t known = 0;
  for (uint64_t i = 1; i <= capacity / 2; ++i) EXPECT_FALSE(door.Seen(i * 100));
  for (uint64_t i = 1; i <= capacity / 2; ++i) known += door.Seen(i * 100) ? 1 : 0;
  // Few words got more than four.
  EXPECT_GT(known, capacity / 2 * 80 / 100);
}

TEST(DoorkeeperTest, ForgetsWhatWasLongAgoAndTakesFewStrangersForKnown) {
  constexpr uint64_t kWords = 1024;
  Doorkeeper door(kWords);
  const uint64_t capacity = kWords * Doorkeeper::kRecordsPerWord;
  for (uint64_t i = 1; i <= 20 * capacity; ++i) door.Seen(i * 100);
  uint64_t known = 0;
  for (uint64_t i = 1; i <= capacity; ++i) known += door.Seen(i * 100) ? 1 : 0;
  EXPECT_LT(known, capacity / 100);
}

}  // namespace
}  // namespace thermocline::testing
