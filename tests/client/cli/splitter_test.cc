#include "client/cli/splitter.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/client/cli/input.h"

namespace thermocline::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Split = std::unique_ptr<Splitter> (*)(ByteSource&, size_t);

// "line: text" of every record, or "line! problem".
std::vector<std::string> Records(Split split, const std::string& text, size_t piece = 4096,
                                 size_t limit = 1000) {
  Input input(text, piece);
  const auto splitter = split(input.source(), limit);
  std::vector<std::string> records;
  RawRecord record;
  while (splitter->Next(record)) {
    records.push_back(std::to_string(record.line) +
                      (record.problem.empty() ? ": " + record.text : "! " + record.problem));
  }
  EXPECT_TRUE(input.source().status().ok());
  EXPECT_FALSE(splitter->Next(record)) << "a splitter that has ended stays so";
  return records;
}

TEST(SplitLines, CutsAtLineBreaks) {
  EXPECT_THAT(Records(SplitLines, ""), IsEmpty());
  EXPECT_THAT(Records(SplitLines, "\n\r\n\n"), IsEmpty());
  EXPECT_THAT(Records(SplitLines, "a\nb\r\n\n  c"), ElementsAre("1: a", "2: b", "4:   c"));
  EXPECT_THAT(Records(SplitLines, "\xEF\xBB\xBF{}\n{}\n"), ElementsAre("1: {}", "2: {}"));
}

TEST(SplitLines, DoesNotDependOnHowTheInputArrives) {
  const std::string text =
      "\xEF\xBB\xBF"
      "first\r\nsecond\n\nthird";
  for (size_t piece = 1; piece < 8; ++piece) {
    EXPECT_THAT(Records(SplitLines, text, piece), ElementsAre("1: first", "2: second", "4: third"));
  }
}

TEST(SplitLines, RefusesALineOverTheLimitAndGoesOn) {
  EXPECT_THAT(Records(SplitLines, "12345\n123456\n1\n", 4096, 5),
              ElementsAre("1: 12345", "2! is longer than 5 B", "3: 1"));
}

TEST(SplitCsv, KeepsLineBreaksWithinQuotes) {
  EXPECT_THAT(
      Records(SplitCsv, "a,b\r\n\"x\r\ny\",2\n\n3,\"say \"\"hi\"\"\n\"\n5\" pipe,6\n7,8"),
      ElementsAre("1: a,b", "2: \"x\r\ny\",2", "5: 3,\"say \"\"hi\"\"\n\"", "7: 5\" pipe,6", "8: 7,8"));
}

TEST(SplitCsv, ReportsAQuoteThatIsNeverClosed) {
  const auto records = Records(SplitCsv, "a,b\n1,\"2\n3,4\n");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[1], "2! has a quote that is never closed");
}

TEST(SplitJsonArray, CutsAtTheTopLevel) {
  EXPECT_THAT(Records(SplitJsonArray, "[]"), IsEmpty());
  EXPECT_THAT(Records(SplitJsonArray, " [ \n ] \n"), IsEmpty());
  EXPECT_THAT(
      Records(SplitJsonArray, "[{\"a\":1},\n {\"b\":[1,{\"c\":2}]} ,3,\"x,]\\\"\\\\\",\n\n[4]]"),
      ElementsAre("1: {\"a\":1}", "2: {\"b\":[1,{\"c\":2}]}", "2: 3", "2: \"x,]\\\"\\\\\"", "4: [4]"));
}

TEST(SplitJsonArray, DoesNotDependOnHowTheInputArrives) {
  const std::string text = "\xEF\xBB\xBF [{\"a\":\"\\\"],[\"},\r\n{\"b\":{}}]\n";
  for (size_t piece = 1; piece < 8; ++piece) {
    EXPECT_THAT(Records(SplitJsonArray, text, piece), ElementsAre("1: {\"a\":\"\\\"],[\"}", "2: {\"b\":{}}"));
  }
}

TEST(SplitJsonArray, ReportsWhatIsWrongWithTheArray) {
  EXPECT_THAT(Records(SplitJsonArray, "{\"a\":1}\n"),
              ElementsAre(HasSubstr("1! the input does not begin with '['")));
  EXPECT_THAT(Records(SplitJsonArray, ""), ElementsAre(HasSubstr("does not begin with '['")));
  EXPECT_THAT(Records(SplitJsonArray, "[1,\n{\"a\":"),
              ElementsAre("1: 1", "2! the input ends before the array does"));
  EXPECT_THAT(Records(SplitJsonArray, "[1] x"), ElementsAre("1: 1", HasSubstr("1! the input goes on after")));
  EXPECT_THAT(Records(SplitJsonArray, "[] x"), ElementsAre(HasSubstr("1! the input goes on after")));
  EXPECT_THAT(Records(SplitJsonArray, "[1,,2,]"),
              ElementsAre("1: 1", HasSubstr("1! is empty"), "1: 2", HasSubstr("1! is empty")));
}

TEST(SplitJsonArray, RefusesAnElementOverTheLimitAndGoesOn) {
  EXPECT_THAT(Records(SplitJsonArray, "[1,\"0123456789\",2]", 4096, 8),
              ElementsAre("1: 1", "1! is longer than 8 B", "1: 2"));
}

TEST(ByteSource, TellsWhyAFileCannotBeOpened) {
  const auto source = ByteSource::Open("/nonexistent/file", 0);
  EXPECT_EQ(source.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(source.status().message()), HasSubstr("/nonexistent/file"));
}

TEST(ByteSource, TellsWhyAFileCannotBeRead) {
  const auto source = ByteSource::Open("/", 0);
  ASSERT_TRUE(source.ok());
  EXPECT_TRUE((*source)->Peek().empty());
  EXPECT_FALSE((*source)->status().ok());
}

}  // namespace
}  // namespace thermocline::cli
