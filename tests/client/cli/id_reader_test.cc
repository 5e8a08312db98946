#include "client/cli/id_reader.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/client/cli/input.h"

namespace thermocline::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Ids as they are, problems as "line! problem"; all ids before all problems.
std::vector<std::string> Read(const std::string& text, const IdShape& shape = {}, size_t piece_bytes = 4096) {
  Input input(text, piece_bytes);
  const auto reader = IdReader::Open(input.source(), shape);
  if (!reader.ok()) return {std::string(reader.status().message())};
  std::vector<std::string> all;
  std::vector<std::string> problems;
  const auto reject = [&](uint64_t line, std::string_view problem) {
    problems.push_back(std::to_string(line) + "! " + std::string(problem));
    return true;
  };
  for (std::vector<uint64_t> ids; (*reader)->Next(ids, reject);) {
    for (const uint64_t id : ids) all.push_back(std::to_string(id));
  }
  all.insert(all.end(), problems.begin(), problems.end());
  return all;
}

TEST(IdReader, ReadsLinesHoweverTheyArrive) {
  const std::string text = "0\n18446744073709551615\n\n  7\t\r\n8\r\n \n00000000000000000000000009\n10";
  for (const size_t piece_bytes : {1, 2, 3, 7, 100}) {
    EXPECT_THAT(Read(text, {}, piece_bytes), ElementsAre("0", "18446744073709551615", "7", "8", "9", "10"))
        << piece_bytes;
  }
  EXPECT_THAT(Read("\xEF\xBB\xBF"
                   "5\n6\n"),
              ElementsAre("5", "6"));
  EXPECT_THAT(Read(""), ElementsAre());
  EXPECT_THAT(Read("\n\n"), ElementsAre());
}

TEST(IdReader, TellsWhichLinesAreNoIds) {
  const std::string text = "1\nabc\n-2\n3 4\n\n18446744073709551616\n1.5\n+6\n0x7\n8e1\n9\n\x01";
  for (const size_t piece_bytes : {1, 5, 4096}) {
    EXPECT_THAT(
        Read(text, {}, piece_bytes),
        ElementsAre("1", "9",
                    "2! \"abc\" is not an id: that is a whole number from 0 to 18446744073709551615",
                    HasSubstr("3! \"-2\""), HasSubstr("4! \"3 4\""), HasSubstr("6! \"18446744073709551616\""),
                    HasSubstr("7! \"1.5\""), HasSubstr("8! \"+6\""), HasSubstr("9! \"0x7\""),
                    HasSubstr("10! \"8e1\""), HasSubstr("12! \"\\x01\"")));
  }
}

TEST(IdReader, CountsLinesAcrossBatchesAndHoldsLittleOfALongOne) {
  std::string text;
  for (int i = 1; i <= 100'000; ++i) text += std::to_string(i) + "\n";
  text += std::string(5'000'000, '1') + "\n" + std::string(5'000, ' ') + "\nx\n7";
  const std::vector<std::string> read = Read(text, {}, 60'000);
  ASSERT_EQ(read.size(), 100'004U);
  EXPECT_EQ(read[49'999], "50000");
  EXPECT_EQ(read[100'000], "7");
  EXPECT_EQ(read[100'001], "100001! is longer than 4.0 KiB");
  EXPECT_EQ(read[100'002], "100002! is longer than 4.0 KiB");
  EXPECT_THAT(read[100'003], HasSubstr("100003! \"x\""));
}

TEST(IdReader, StopsWhenToldTo) {
  for (const auto& shape : {IdShape{}, IdShape{.format = IdFormat::kNdjson}}) {
    Input input("{\"id\":1}\nx\ny\n");
    const auto reader = IdReader::Open(input.source(), shape);
    ASSERT_TRUE(reader.ok());
    int rejected = 0;
    std::vector<uint64_t> ids;
    EXPECT_FALSE((*reader)->Next(ids, [&](uint64_t, std::string_view) { return ++rejected < 1; }));
    EXPECT_EQ(rejected, 1);
  }
}

TEST(IdReader, ReadsJson) {
  const std::string text =
      "{\"id\":1}\n{\"id\":\"18446744073709551615\",\"x\":[]}\n{\"id\":18446744073709551615}\n\n{\"id\":-1}\n"
      "{\"id\":1.0}\n{\"id\":18446744073709551616}\n{\"id\":null}\n{}\n[1]\n{\"id\":\n";
  const auto expected = [](const char* not_json) {
    return ElementsAre("1", "18446744073709551615", "18446744073709551615",
                       HasSubstr("5! \"-1\" is not an id"), HasSubstr("6! \"1.0\" is not an id"),
                       HasSubstr("7! \"1.8446"), HasSubstr("8! \"null\" is not an id"),
                       "9! has no field \"id\"", "10! is not a JSON object", HasSubstr(not_json));
  };
  EXPECT_THAT(Read(text, {.format = IdFormat::kNdjson}), expected("11! is not JSON"));
  EXPECT_THAT(Read("{\"user\":7}\n", {.format = IdFormat::kNdjson, .field = "user"}), ElementsAre("7"));
  EXPECT_THAT(Read("[{\"id\":1},\n {\"id\":\"2\"}]", {.format = IdFormat::kJson}), ElementsAre("1", "2"));
}

TEST(IdReader, ReadsACsvColumn) {
  EXPECT_THAT(Read("name,id\r\n\"a,\nb\",1\r\nc,\"2\"\r\nd\r\ne,x\r\n", {.format = IdFormat::kCsv}),
              ElementsAre("1", "2", "5! has no column \"id\"", HasSubstr("6! \"x\" is not an id")));
  EXPECT_THAT(Read("a,b\n1,2\n", {.format = IdFormat::kCsv, .field = "b"}), ElementsAre("2"));
  EXPECT_THAT(Read("a,b\n1,2\n", {.format = IdFormat::kCsv}),
              ElementsAre("the first line, which names the columns, has no \"id\": give --field"));
  EXPECT_THAT(Read("", {.format = IdFormat::kCsv}), ElementsAre(HasSubstr("the CSV is empty")));
}

TEST(IdFormatOf, KnowsTheExtensions) {
  EXPECT_EQ(IdFormatOf("a.ndjson"), IdFormat::kNdjson);
  EXPECT_EQ(IdFormatOf("a.jsonl"), IdFormat::kNdjson);
  EXPECT_EQ(IdFormatOf("a.json"), IdFormat::kJson);
  EXPECT_EQ(IdFormatOf("a.csv"), IdFormat::kCsv);
  for (const char* path : {"-", "a", "a.txt", "csv"}) EXPECT_EQ(IdFormatOf(path), IdFormat::kLines) << path;
}

}  // namespace
}  // namespace thermocline::cli
