#include "client/cli/progress.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::cli {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ProgressLine, TellsRateDoneAndRemaining) {
  EXPECT_EQ(ProgressLine(
                {.records = 63'000, .bytes = 1 << 20, .total_bytes = 4 << 20, .elapsed = milliseconds(1500)}),
            "[#####---------------]  25 %  63 000 records  42 000/s  1.0 MiB of 4.0 MiB  4.5 s left");
}

TEST(ProgressLine, DoesWithoutATotal) {
  EXPECT_EQ(ProgressLine({.records = 10, .bytes = 100, .elapsed = milliseconds(1000)}),
            "10 records  10/s  100 B");
}

TEST(ProgressLine, HoldsAtTheEdges) {
  EXPECT_THAT(ProgressLine({.total_bytes = 100}), HasSubstr("]   0 %  0 records  0/s"));
  EXPECT_THAT(ProgressLine({.total_bytes = 0}), HasSubstr("100 %"));
  EXPECT_THAT(ProgressLine({.records = 1, .bytes = 300, .total_bytes = 100, .elapsed = milliseconds(1)}),
              HasSubstr("] 100 %"));
}

TEST(Progress, WritesNotesAsLinesAndLeavesNothingBehind) {
  std::ostringstream plain;
  Progress display(plain, false, [] { return std::string("line"); });
  display.Note("line 3: is not JSON");
  display.Stop();
  EXPECT_EQ(plain.str(), "line 3: is not JSON\n");
}

TEST(Progress, ErasesItsLineOnATerminal) {
  std::ostringstream terminal;
  {
    Progress display(terminal, true, [] { return std::string("line"); });
    display.Note("note");
  }
  EXPECT_THAT(terminal.str(), HasSubstr("\r\x1b[Knote\n"));
  EXPECT_TRUE(terminal.str().ends_with("\r\x1b[K"));
}

}  // namespace
}  // namespace thermocline::cli
