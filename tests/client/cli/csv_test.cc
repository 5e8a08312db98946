#include "client/cli/csv.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseCsvRecord, SplitsFields) {
  EXPECT_THAT(*ParseCsvRecord("a,b,c"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(*ParseCsvRecord(""), ElementsAre(""));
  EXPECT_THAT(*ParseCsvRecord(",x,"), ElementsAre("", "x", ""));
}

TEST(ParseCsvRecord, TakesQuotesAsRfc4180HasThem) {
  EXPECT_THAT(*ParseCsvRecord(R"("a,b","say ""hi""","")"), ElementsAre("a,b", "say \"hi\"", ""));
  EXPECT_THAT(*ParseCsvRecord("\"two\r\nlines\",x"), ElementsAre("two\r\nlines", "x"));
  EXPECT_THAT(*ParseCsvRecord(R"(5" pipe,x)"), ElementsAre("5\" pipe", "x"));
}

TEST(ParseCsvRecord, NamesTheBrokenColumn) {
  EXPECT_THAT(std::string(ParseCsvRecord(R"(a,"b)").status().message()), HasSubstr("column 2 has a quote"));
  EXPECT_THAT(std::string(ParseCsvRecord(R"("a"b,c)").status().message()), HasSubstr("column 1 goes on"));
}

}  // namespace
}  // namespace thermocline::cli
