#include "client/cli/record_reader.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/client/cli/input.h"

namespace thermocline::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RecordShape Shape(Format format, const char* key, const char* value = nullptr) {
  RecordShape shape{.format = format, .key = *KeyTemplate::Parse(key)};
  if (value != nullptr) shape.value_field = value;
  return shape;
}

// "line: key=value" of every record, or "line! problem".
std::vector<std::string> Read(const std::string& text, RecordShape shape) {
  Input input(text);
  auto reader = RecordReader::Open(input.source(), std::move(shape));
  if (!reader.ok()) return {std::string(reader.status().message())};
  std::vector<std::string> lines;
  while (auto item = (*reader)->Next()) {
    std::string line = std::to_string(item->line);
    if (item->record.ok()) {
      EXPECT_EQ(item->record->line, item->line);
      line += ": " + item->record->key + "=" + item->record->value;
    } else {
      line += "! " + std::string(item->record.status().message());
    }
    lines.push_back(line);
  }
  return lines;
}

TEST(RecordReader, StoresNdjsonObjectsAsTheyCame) {
  EXPECT_THAT(Read("{\"id\": 7, \"x\": 1.10}\n{\"id\":\"b\"}\n", Shape(Format::kNdjson, "id")),
              ElementsAre("1: 7={\"id\":7,\"x\":1.10}", "2: b={\"id\":\"b\"}"));
}

TEST(RecordReader, StoresOneFieldWhenToldTo) {
  EXPECT_THAT(Read("{\"id\":1,\"v\":\"raw \\u00e9\"}\n{\"id\":2,\"v\":{\"a\":[1]}}\n{\"id\":3}\n",
                   Shape(Format::kNdjson, "k{id}", "v")),
              ElementsAre("1: k1=raw \xc3\xa9", "2: k2={\"a\":[1]}", "3! has no field \"v\""));
}

TEST(RecordReader, NumbersRecordsWhetherTheyAreGoodOrNot) {
  EXPECT_THAT(Read("[{\"a\":1},\n nonsense,\n{\"a\":2}]", Shape(Format::kJson, "{#}")),
              ElementsAre("1: 1={\"a\":1}", HasSubstr("2! is not JSON"), "3: 3={\"a\":2}"));
}

TEST(RecordReader, TellsWhyALineIsNoRecord) {
  EXPECT_THAT(Read("{\"id\":\n[1]\n{}\n{\"id\":null}\n{\"id\":1.5}\n{\"id\":123456789012345678901234567890}"
                   "\n{\"id\":{}}\n{\"id\":true}\n",
                   Shape(Format::kNdjson, "id")),
              ElementsAre(HasSubstr("1! is not JSON: parse error at line 1"),
                          HasSubstr("2! is not a JSON object"), HasSubstr("3! has no field \"id\""),
                          HasSubstr("4! its field \"id\" cannot be part of a key"),
                          HasSubstr("5! its field \"id\" cannot be part of a key"),
                          HasSubstr("6! its field \"id\" cannot be part of a key"), HasSubstr("7! its field"),
                          "8: true={\"id\":true}"));
}

TEST(RecordReader, TurnsCsvIntoJson) {
  EXPECT_THAT(
      Read("\xEF\xBB\xBFid,name\r\n1,\"A \"\"b\"\"\"\r\n2,\"x\ny\"\r\n3\r\n4,5,6\r\n5,\xff\r\n",
           Shape(Format::kCsv, "id")),
      ElementsAre("2: 1={\"id\":\"1\",\"name\":\"A \\\"b\\\"\"}", "3: 2={\"id\":\"2\",\"name\":\"x\\ny\"}",
                  "5! has 1 columns, the first line names 2", "6! has 3 columns, the first line names 2",
                  HasSubstr("7! column \"name\" is not UTF-8")));
}

TEST(RecordReader, StoresACsvColumnByteForByte) {
  EXPECT_THAT(Read("id,v\n1,\xff\n", Shape(Format::kCsv, "{#}-{id}", "v")), ElementsAre("2: 1-1=\xff"));
  EXPECT_THAT(Read("id,v\n1,2\n", Shape(Format::kCsv, "nope")), ElementsAre("2! has no column \"nope\""));
}

TEST(RecordReader, RefusesACsvWithoutColumns) {
  EXPECT_THAT(Read("", Shape(Format::kCsv, "id")), ElementsAre(HasSubstr("the CSV is empty")));
  EXPECT_THAT(Read("a,b,a\n", Shape(Format::kCsv, "a")), ElementsAre(HasSubstr("\"a\" comes twice")));
  EXPECT_THAT(Read("a,\"b", Shape(Format::kCsv, "a")), ElementsAre(HasSubstr("the first line")));
}

TEST(RecordReader, ReadsAnExport) {
  EXPECT_THAT(Read("{\"key\":\"k\",\"value\":\"v\"}\nx\n", {.format = Format::kExport}),
              ElementsAre("1: k=v", HasSubstr("2! is not JSON")));
}

TEST(RecordReader, GivesEachRecordTheTtl) {
  Input input("{\"id\":1}\n");
  RecordShape shape = Shape(Format::kNdjson, "id");
  shape.ttl = std::chrono::milliseconds(50);
  auto reader = RecordReader::Open(input.source(), shape);
  EXPECT_EQ((*reader)->Next()->record->ttl, std::chrono::milliseconds(50));
}

TEST(FormatOf, KnowsTheExtensions) {
  EXPECT_EQ(*FormatOf("a.b/c.ndjson"), Format::kNdjson);
  EXPECT_EQ(*FormatOf("x.jsonl"), Format::kNdjson);
  EXPECT_EQ(*FormatOf("x.json"), Format::kJson);
  EXPECT_EQ(*FormatOf("x.csv"), Format::kCsv);
  for (const char* path : {"-", "x", "x.txt", "x.json.gz"}) {
    EXPECT_THAT(std::string(FormatOf(path).status().message()), HasSubstr("--format")) << path;
  }
}

}  // namespace
}  // namespace thermocline::cli
