#include "storage/record_sort.h"

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/storage/sort/sort_run.h"

namespace thermocline::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Lines;
using testing::SortRun;
using ::testing::StartsWith;

SortOptions By(std::vector<std::string> keys, RecordFormat format = RecordFormat::kNdjson) {
  return {.format = format, .keys = std::move(keys), .memory_bytes = kMinSortBytes, .threads = 2};
}

std::vector<std::string> Sorted(std::string_view input, const SortOptions& options) {
  SortRun run;
  const absl::StatusOr<std::string> sorted = run.Sort(input, options);
  EXPECT_TRUE(sorted.ok()) << sorted.status();
  return sorted.ok() ? Lines(*sorted) : std::vector<std::string>();
}

std::string Failure(std::string_view input, const SortOptions& options) {
  SortRun run;
  const absl::Status status = run.Sort(input, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(RecordSort, OrdersKindsAndKeepsEqualOnesInOrder) {
  EXPECT_THAT(Sorted("{\"k\": \"b\"}\n"
                     "{\"k\": 2}\n"
                     "{\"k\": {\"a\": 1}}\n"
                     "{\"k\": true}\n"
                     "{\"k\": null}\n"
                     "{\"other\": 1}\n"
                     "{\"k\": 10}\n"
                     "{\"k\": \"a\"}\n"
                     "{\"k\": false}\n"
                     "{\"k\": [1, 2]}\n"
                     "17\n"
                     "{\"k\": 2.0, \"second\": 1}\n"
                     "{\"k\": -1.5e0}\n",
                     By({"k"})),
              ElementsAre("{\"other\": 1}", "17", "{\"k\": null}", "{\"k\": false}", "{\"k\": true}",
                          "{\"k\": -1.5e0}", "{\"k\": 2}", "{\"k\": 2.0, \"second\": 1}", "{\"k\": 10}",
                          "{\"k\": \"a\"}", "{\"k\": \"b\"}", "{\"k\": [1, 2]}", "{\"k\": {\"a\": 1}}"));
}

TEST(RecordSort, DescendingKeepsEqualOnesInOrder) {
  SortOptions options = By({"k"});
  options.descending = true;
  EXPECT_THAT(Sorted("{\"k\":1,\"n\":1}\n{\"k\":2}\n{\"k\":1,\"n\":2}\n{}\n", options),
              ElementsAre("{\"k\":2}", "{\"k\":1,\"n\":1}", "{\"k\":1,\"n\":2}", "{}"));
  options.unique = true;
  EXPECT_THAT(Sorted("{\"k\":1,\"n\":1}\n{\"k\":2}\n{\"k\":1,\"n\":2}\n{}\n", options),
              ElementsAre("{\"k\":2}", "{\"k\":1,\"n\":1}", "{}"));
}

TEST(RecordSort, SeveralKeysNestedFieldsAndEscapes) {
  EXPECT_THAT(
      Sorted("{\"a\":{\"b\":2},\"c\":1}\n{\"a\":{\"b\":1},\"c\":\"z\"}\n{\"a\":{\"b\":1},\"c\":5}\n",
             By({"a.b", "c"})),
      ElementsAre("{\"a\":{\"b\":1},\"c\":5}", "{\"a\":{\"b\":1},\"c\":\"z\"}", "{\"a\":{\"b\":2},\"c\":1}"));
  // Escapes are resolved in values and names; the last of several fields counts; a dot may be in a name.
  EXPECT_THAT(Sorted("{\"k\":\"c\"}\n{\"k\":\"\\u0062\"}\n{\"\\u006b\":\"a\"}\n{\"k\":\"z\",\"k\":\"A\"}\n",
                     By({"k"})),
              ElementsAre("{\"k\":\"z\",\"k\":\"A\"}", "{\"\\u006b\":\"a\"}", "{\"k\":\"\\u0062\"}",
                          "{\"k\":\"c\"}"));
  EXPECT_THAT(Sorted("{\"a.b\":2}\n{\"a.b\":1}\n", By({"a\\.b"})), ElementsAre("{\"a.b\":1}", "{\"a.b\":2}"));
  EXPECT_THAT(Sorted("{\"k\":\"\xf0\x9f\x8c\x8a\"}\n{\"k\":\"\xc3\xa4\"}\n{\"k\":\"z\"}\n", By({"k"})),
              ElementsAre("{\"k\":\"z\"}", "{\"k\":\"\xc3\xa4\"}", "{\"k\":\"\xf0\x9f\x8c\x8a\"}"));
}

TEST(RecordSort, WholeNumbersBeyondDoublesCompareExactly) {
  EXPECT_THAT(
      Sorted("{\"k\":9007199254740993}\n{\"k\":9007199254740992.0}\n{\"k\":18446744073709551615}\n"
             "{\"k\":9007199254740991}\n{\"k\":18446744073709551614}\n",
             By({"k"})),
      ElementsAre("{\"k\":9007199254740991}", "{\"k\":9007199254740992.0}", "{\"k\":9007199254740993}",
                  "{\"k\":18446744073709551614}", "{\"k\":18446744073709551615}"));
}

TEST(RecordSort, BreaksAndBlankLines) {
  SortRun run;
  EXPECT_EQ(*run.Sort("", By({"k"})), "");
  EXPECT_EQ(*run.Sort("\n  \n\r\n", By({"k"})), "");
  EXPECT_EQ(*run.Sort("{\"k\":2}\r\n\r\n{\"k\":1}", By({"k"})), "{\"k\":1}\r\n{\"k\":2}\r\n");
  EXPECT_EQ(*run.Sort("\xEF\xBB\xBF{\"k\":2}\n{\"k\":1}", By({"k"}), 1), "{\"k\":1}\n{\"k\":2}\n");
  EXPECT_EQ(*run.Sort("b\na\n\nc", By({}, RecordFormat::kLines)), "\na\nb\nc\n");
  EXPECT_EQ(*run.Sort("b\r\nab\r\na", By({}, RecordFormat::kLines)), "a\r\nab\r\nb\r\n");
  EXPECT_EQ(*run.Sort("{\"b\":1}\n{\"a\":1}\n", By({})), "{\"a\":1}\n{\"b\":1}\n");
}

TEST(RecordSort, CsvKeepsItsHeaderAndItsQuotes) {
  SortRun run;
  const SortOptions by_n = By({"n"}, RecordFormat::kCsv);
  EXPECT_EQ(*run.Sort("name,n\nada,10\n\"two\nlines\",9\n\"a \"\"q\"\", b\",-1\nnone,\nword,x\n", by_n),
            "name,n\nnone,\n\"a \"\"q\"\", b\",-1\n\"two\nlines\",9\nada,10\nword,x\n");
  EXPECT_EQ(*run.Sort("\xEF\xBB\xBFn,\"m \"\"x\"\"\"\r\n2,b\r\n1,\"c\r\nd\"",
                      By({"m \"x\""}, RecordFormat::kCsv), 1),
            "\xEF\xBB\xBFn,\"m \"\"x\"\"\"\r\n2,b\r\n1,\"c\r\nd\"\r\n");
  EXPECT_EQ(*run.Sort("n,m\n", by_n), "n,m\n");
  EXPECT_EQ(*run.Sort("zip\n02139\n1\n10\n9\n", By({"zip"}, RecordFormat::kCsv)), "zip\n1\n9\n10\n02139\n");
  SortOptions text = By({"zip"}, RecordFormat::kCsv);
  text.text = true;
  EXPECT_EQ(*run.Sort("zip\n9\n02139\n1\n10\n", text), "zip\n02139\n1\n10\n9\n");
  // A quote in the middle of a field is only a quote.
  EXPECT_EQ(*run.Sort("n,t\n2,6\" x\n1,y\n", by_n), "n,t\n1,y\n2,6\" x\n");
}

TEST(RecordSort, SaysWhichLineIsWrong) {
  EXPECT_THAT(Failure("{\"k\":1}\n\n{\"k\":\n{\"k\":0}\n", By({"k"})), StartsWith("line 3: is not JSON"));
  EXPECT_THAT(Failure("{\"k\":1} x\n", By({"k"})), StartsWith("line 1: is not JSON"));
  EXPECT_THAT(Failure("{\"k\":\"\xff\"}\n", By({"k"})), HasSubstr("UTF-8"));
  EXPECT_THAT(Failure("{\"k\":123456789012345678901}\n", By({"k"})), HasSubstr("64 bits"));
  EXPECT_THAT(Failure("a,n\n\"1\n2\",3\nx\n", By({"n"}, RecordFormat::kCsv)),
              "line 4: has 1 columns, where the header has 2");
  EXPECT_THAT(Failure("a,n\n1,2\n\"3,4\n", By({"n"}, RecordFormat::kCsv)),
              StartsWith("line 3: a quote is never"));
  EXPECT_THAT(Failure("a,n\n1,\"2\"3\n", By({"n"}, RecordFormat::kCsv)), HasSubstr("closing quote"));
  EXPECT_THAT(Failure("a,n\n1,2\n", By({"m"}, RecordFormat::kCsv)),
              "there is no column \"m\"; line 1 names these 2: a, n");
  EXPECT_THAT(Failure("", By({"m"}, RecordFormat::kCsv)), HasSubstr("there is no column"));
  EXPECT_THAT(Failure("a\n", By({"m"}, RecordFormat::kLines)), HasSubstr("lines have no fields"));
  EXPECT_THAT(Failure("{}\n", By({"a..b"})), HasSubstr("names no field"));
  EXPECT_THAT(Failure("x\n{\"k\":\"" + std::string(MaxRecordBytes(kMinSortBytes), 'x') + "\"}\n",
                      By({}, RecordFormat::kLines)),
              StartsWith("line 2: a record is longer than 65536 bytes"));
}

TEST(RecordSort, SkipsInvalidRecordsWhenAsked) {
  SortRun run;
  SortOptions options = By({"k"});
  options.skip_invalid = true;
  EXPECT_EQ(*run.Sort("{\"k\":2}\nnonsense\n{\"k\":1}\n{\n", options), "{\"k\":1}\n{\"k\":2}\n");
  EXPECT_EQ(run.summary.invalid, 2);
  EXPECT_THAT(run.summary.first_invalid, StartsWith("line 2: "));
  EXPECT_EQ(run.summary.records, 2);
}

// Random records, with few keys so that many are equal, and some that are long.
struct Sample {
  std::string text;
  std::vector<std::pair<int64_t, std::string>> records;  // by key
};

Sample RandomRecords(uint64_t seed, size_t count, int64_t keys, bool csv) {
  std::mt19937_64 random(seed);
  Sample sample;
  if (csv) sample.text = "text,key\n";
  for (size_t i = 0; i < count; ++i) {
    const auto key = static_cast<int64_t>(random() % static_cast<uint64_t>(keys)) - keys / 2;
    std::string filling(random() % 100 == 0 ? random() % 20'000 : random() % 300, 'x');
    if (csv && random() % 3 == 0) filling += "\n\"\"";
    std::string record = csv ? fmt::format("\"{} {}\",{}\n", i, filling, key)
                             : fmt::format("{{\"n\":{},\"filling\":\"{}\",\"key\":{}}}\n", i, filling, key);
    sample.text += record;
    sample.records.emplace_back(key, std::move(record));
  }
  return sample;
}

std::string Expected(Sample sample, bool descending, bool csv) {
  std::stable_sort(sample.records.begin(), sample.records.end(), [&](const auto& a, const auto& b) {
    return descending ? a.first > b.first : a.first < b.first;
  });
  std::string text = csv ? "text,key\n" : "";
  for (const auto& [key, record] : sample.records) text += record;
  return text;
}

TEST(RecordSort, SortsWhatIsMuchLargerThanItsMemory) {
  for (const bool csv : {false, true}) {
    for (const bool descending : {false, true}) {
      const Sample sample = RandomRecords(csv ? 1 : 2, 80'000, descending ? 1000 : 1'000'000'000, csv);
      ASSERT_GT(sample.text.size(), 2 * kMinSortBytes);
      SortRun run;
      SortOptions options = By({"key"}, csv ? RecordFormat::kCsv : RecordFormat::kNdjson);
      options.descending = descending;
      const absl::StatusOr<std::string> sorted = run.Sort(sample.text, options, 100'000);
      ASSERT_TRUE(sorted.ok()) << sorted.status();
      EXPECT_TRUE(*sorted == Expected(sample, descending, csv)) << csv << descending;
      EXPECT_GT(run.summary.runs, 5);
      EXPECT_EQ(run.summary.records, sample.records.size());
    }
  }
}

TEST(RecordSort, MergesInSeveralPassesWhenRunsAreMany) {
  // Long records make long blocks: few runs can be read at once.
  std::mt19937_64 random(3);
  std::vector<std::string> records;
  std::string text;
  for (int i = 0; i < 1500; ++i) {
    records.push_back(
        fmt::format("{:05} {} {}", random() % 300, i, std::string(50'000 + random() % 15'000, 'x')));
    text += records.back() + "\n";
  }
  SortRun run;
  SortOptions options = By({}, RecordFormat::kLines);
  const absl::StatusOr<std::string> sorted = run.Sort(text, options);
  ASSERT_TRUE(sorted.ok()) << sorted.status();
  EXPECT_GT(run.summary.merges, 0);
  std::stable_sort(records.begin(), records.end());
  EXPECT_TRUE(Lines(*sorted) == records);
}

TEST(RecordSort, TinyRecordsAndLongKeys) {
  std::mt19937_64 random(4);
  std::vector<std::string> records;
  std::string text;
  for (int i = 0; i < 1'000'000; ++i) {
    records.push_back(fmt::format("{}", random() % 100'000));
    text += records.back() + "\n";
  }
  std::sort(records.begin(), records.end());
  SortRun run;
  EXPECT_TRUE(Lines(*run.Sort(text, By({}, RecordFormat::kLines))) == records);
  SortOptions unique = By({}, RecordFormat::kLines);
  unique.unique = true;
  records.erase(std::unique(records.begin(), records.end()), records.end());
  EXPECT_TRUE(Lines(*run.Sort(text, unique)) == records);
  EXPECT_EQ(run.summary.duplicates, 1'000'000 - records.size());

  // Keys that differ behind a long beginning, and take more than their records with the text.
  records.clear();
  text.clear();
  for (int i = 0; i < 60'000; ++i) {
    records.push_back(fmt::format("{{\"k\":\"{}{:06}\"}}", std::string(200, 'k'), random() % 1'000'000));
    text += records.back() + "\n";
  }
  std::stable_sort(records.begin(), records.end());
  EXPECT_TRUE(Lines(*run.Sort(text, By({"k"}))) == records);
}

TEST(RecordSort, WhatFitsStaysInMemory) {
  SortRun run;
  const Sample sample = RandomRecords(5, 10'000, 1000, false);
  SortOptions options = By({"key"});
  options.memory_bytes = 64 << 20;
  EXPECT_TRUE(*run.Sort(sample.text, options) == Expected(sample, false, false));
  EXPECT_EQ(run.summary.runs, 0);
  EXPECT_EQ(run.disk.counts().written_bytes, 0);
}

}  // namespace
}  // namespace thermocline::storage
