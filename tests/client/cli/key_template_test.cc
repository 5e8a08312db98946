#include "client/cli/key_template.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::cli {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::string> Key(std::string_view text, uint64_t number) {
  const auto key = KeyTemplate::Parse(text);
  if (!key.ok()) return key.status();
  return key->Key(number, [](const std::string& name) -> absl::StatusOr<std::string> {
    static const std::map<std::string, std::string> kFields = {{"id", "42"}, {"country", "AD"}, {"a b", "x"}};
    const auto field = kFields.find(name);
    if (field == kFields.end()) return absl::InvalidArgumentError("has no field " + name);
    return field->second;
  });
}

TEST(KeyTemplate, IsAFieldOrATemplate) {
  EXPECT_EQ(*Key("id", 1), "42");
  EXPECT_EQ(*Key("a b", 1), "x");
  EXPECT_EQ(*Key("{id}", 1), "42");
  EXPECT_EQ(*Key("place:{country}:{#}", 7), "place:AD:7");
  EXPECT_EQ(*Key("{country}{id}", 7), "AD42");
  EXPECT_EQ(*Key("{{{id}}}", 1), "{42}");
  EXPECT_EQ(*Key("{#}", 18'446'744'073'709'551'615U), "18446744073709551615");
}

TEST(KeyTemplate, PassesOnThatAFieldIsMissing) {
  EXPECT_EQ(Key("nope", 1).status().message(), "has no field nope");
  EXPECT_EQ(Key("x{country}{nope}", 1).status().message(), "has no field nope");
}

TEST(KeyTemplate, RefusesWhatIsNoTemplate) {
  for (const char* text : {"", "a{", "a{id", "}", "{id}}", "{}", "a{}b"}) {
    const auto key = KeyTemplate::Parse(text);
    ASSERT_FALSE(key.ok()) << text;
    EXPECT_EQ(key.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(key.status().message()), HasSubstr("place:{country}:{#}"));
  }
}

}  // namespace
}  // namespace thermocline::cli
