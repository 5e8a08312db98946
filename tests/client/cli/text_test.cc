#include "client/cli/text.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::cli {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

TEST(ParseDuration, TakesEveryUnitAndSums) {
  EXPECT_EQ(*ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(*ParseDuration("90s"), milliseconds(90'000));
  EXPECT_EQ(*ParseDuration("10m"), milliseconds(600'000));
  EXPECT_EQ(*ParseDuration("2h"), milliseconds(7'200'000));
  EXPECT_EQ(*ParseDuration("30d"), milliseconds(2'592'000'000));
  EXPECT_EQ(*ParseDuration("1h30m5ms"), milliseconds(5'400'005));
}

TEST(ParseDuration, RefusesEverythingElseAndNamesIt) {
  for (const char* text : {"", "10", "m", "-5s", "5s-1s", "0s", "1.5h", "10 m", "10x",
                           "99999999999999999999s", "9223372036854775807d"}) {
    const auto duration = ParseDuration(text);
    ASSERT_EQ(duration.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(duration.status().message()), HasSubstr(std::string("\"") + text + "\""));
  }
}

TEST(ParseDuration, DoesNotOverflowInASum) {
  const auto duration = ParseDuration("100000000d100000000d100000000d100000000d");
  ASSERT_TRUE(duration.ok());
  EXPECT_GT(duration->count(), 0);
}

TEST(FormatDuration, UsesTwoUnitsAtMost) {
  EXPECT_EQ(FormatDuration(milliseconds(0)), "0 ms");
  EXPECT_EQ(FormatDuration(milliseconds(999)), "999 ms");
  EXPECT_EQ(FormatDuration(milliseconds(9800)), "9.8 s");
  EXPECT_EQ(FormatDuration(milliseconds(598'000)), "9 m 58 s");
  EXPECT_EQ(FormatDuration(milliseconds(7'260'000)), "2 h 1 m");
  EXPECT_EQ(FormatDuration(milliseconds(276'000'000)), "3 d 4 h");
}

TEST(FormatBytes, ChoosesTheUnit) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(uint64_t{17} << 20), "17.0 MiB");
  EXPECT_EQ(FormatBytes(UINT64_MAX), "16.0 EiB");
}

TEST(FormatCount, SeparatesThousands) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1 000");
  EXPECT_EQ(FormatCount(150'000), "150 000");
  EXPECT_EQ(FormatCount(1'234'567), "1 234 567");
}

TEST(FormatText, KeepsALineALine) {
  EXPECT_EQ(FormatText("Sant Juli\xc3\xa0", 100), "Sant Juli\xc3\xa0");
  EXPECT_EQ(FormatText(std::string_view("a\nb\tc\\d\0e\xff\x1b", 11), 100), "a\\nb\\tc\\\\d\\x00e\\xff\\x1b");
  EXPECT_EQ(FormatText("0123456789", 4), "0123... (10 B)");
}

TEST(IsUtf8, KnowsTheEdges) {
  for (const char* good :
       {"", "a", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xc1\xbf", "\xc3", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "a\xff"}) {
    EXPECT_FALSE(IsUtf8(bad)) << FormatText(bad, 10);
  }
}

}  // namespace
}  // namespace thermocline::cli
