#include "client/cli/entry_json.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::cli {
namespace {

using ::testing::HasSubstr;

std::string Line(std::string_view key, std::string value, bool with_version = false) {
  return EntryJson(key, Entry{.value = std::move(value), .version = 9}, with_version).dump();
}

TEST(EntryJson, IsPlainWhereItCanBe) {
  EXPECT_EQ(Line("k", "v\n\"x\""), R"({"key":"k","value":"v\n\"x\""})");
  EXPECT_EQ(Line("k", "v", true), R"({"key":"k","value":"v","version":9})");
  EXPECT_EQ(Line("\xff", "\xfe\xfd"), R"({"key_base64":"/w==","value_base64":"/v0="})");
}

TEST(EntryJson, RoundTrips) {
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  for (const std::string& value : {std::string(), std::string("caf\xc3\xa9 {\"a\":1}"), all}) {
    const Entry entry{.value = value, .ttl = std::chrono::milliseconds(5000)};
    const auto record = ParseEntryJson(EntryJson(all, entry, true).dump());
    ASSERT_TRUE(record.ok()) << record.status();
    EXPECT_EQ(record->key, all);
    EXPECT_EQ(record->value, value);
    EXPECT_EQ(record->ttl, entry.ttl);
  }
}

TEST(ParseEntryJson, SaysWhatIsWrong) {
  const auto problem = [](std::string_view text) {
    return std::string(ParseEntryJson(text).status().message());
  };
  EXPECT_THAT(problem("{"), HasSubstr("is not JSON: parse error"));
  EXPECT_THAT(problem("[]"), HasSubstr("is not a JSON object"));
  EXPECT_THAT(problem(R"({"value":"v"})"), HasSubstr("neither \"key\" nor \"key_base64\""));
  EXPECT_THAT(problem(R"({"key":"k"})"), HasSubstr("neither \"value\""));
  EXPECT_THAT(problem(R"({"key":1,"value":"v"})"), HasSubstr("\"key\" is not a string"));
  EXPECT_THAT(problem(R"({"key_base64":"!","value":"v"})"), HasSubstr("\"key_base64\" is not base64"));
  EXPECT_THAT(problem(R"({"key":"k","value":"v","ttl_ms":"1"})"),
              HasSubstr("\"ttl_ms\" is not a whole number"));
  EXPECT_THAT(problem(R"({"key":"k","value":"v","ttl":1})"), HasSubstr("has the field \"ttl\""));
}

TEST(KeyLine, RoundTripsEveryKey) {
  for (const std::string& key :
       {std::string("plain"), std::string(" spaces "), std::string("a\nb"), std::string("a\r"),
        std::string("{x}"), std::string("\xff\0", 2), std::string("caf\xc3\xa9")}) {
    const std::string line = KeyLine(key);
    EXPECT_EQ(line.find_first_of("\r\n"), std::string::npos);
    EXPECT_EQ(*ParseKeyLine(line), key);
  }
  EXPECT_EQ(KeyLine("place:AD:1"), "place:AD:1");
}

TEST(ParseKeyLine, SaysWhatIsWrong) {
  EXPECT_FALSE(ParseKeyLine("{").ok());
  EXPECT_FALSE(ParseKeyLine("{}").ok());
}

TEST(CompactJson, TouchesOnlySpaceOutsideOfStrings) {
  EXPECT_EQ(CompactJson("{ \"a b\" :\t1.10 ,\r\n \"c\\\" \\\\\" : [ 1e400 , \" \" ] }"),
            "{\"a b\":1.10,\"c\\\" \\\\\":[1e400,\" \"]}");
}

}  // namespace
}  // namespace thermocline::cli
