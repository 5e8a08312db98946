#include "tests/load/records.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace thermocline::load {
namespace {

std::string KeyOf(const Records& records, uint64_t number) {
  std::string key(records.key_bytes(), '\0');
  records.WriteKey(number, key.data());
  return key;
}

std::string ValueOf(const Records& records, uint64_t number, uint32_t revision) {
  std::string value(records.ValueBytes(number), '\0');
  records.WriteValue(number, revision, value.data());
  return value;
}

TEST(RecordsTest, NamesKeysByTheirNumber) {
  const Records records({});
  EXPECT_EQ(KeyOf(records, 0), "user000000000000");
  EXPECT_EQ(KeyOf(records, 123456789012), "user123456789012");
}

TEST(RecordsTest, RandomKeysDiffer) {
  const Records records({.random_keys = true});
  std::set<std::string> keys;
  for (uint64_t number = 0; number < 10'000; ++number) keys.insert(KeyOf(records, number));
  EXPECT_EQ(keys.size(), 10'000u);
  EXPECT_EQ(keys.begin()->size(), 8u);
}

TEST(RecordsTest, KnowsItsValuesAndNoOthers) {
  for (const uint32_t size : {8u, 9u, 11u, 12u, 13u, 100u, 1000u}) {
    const Records records({.min_value_bytes = size, .max_value_bytes = size});
    for (const uint32_t revision : {0u, 1u, 0xffffffffu}) {
      const std::string value = ValueOf(records, 7, revision);
      ASSERT_EQ(value.size(), size);
      EXPECT_TRUE(records.IsValueOf(7, value));
      EXPECT_FALSE(records.IsValueOf(8, value));
      EXPECT_FALSE(records.IsValueOf(7, value.substr(1)));
      for (size_t at = 0; at < size; ++at) {
        std::string damaged = value;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        EXPECT_FALSE(records.IsValueOf(7, damaged)) << size << " " << at;
      }
    }
  }
}

TEST(RecordsTest, LengthsStayWithinBounds) {
  const Records records({.random_keys = true, .min_value_bytes = 32, .max_value_bytes = 75});
  std::set<uint32_t> lengths;
  for (uint64_t number = 0; number < 2'000; ++number) {
    lengths.insert(records.ValueBytes(number));
    EXPECT_TRUE(records.IsValueOf(number, ValueOf(records, number, 3)));
  }
  EXPECT_EQ(lengths.size(), 44u);
  EXPECT_EQ(*lengths.begin(), 32u);
  EXPECT_EQ(*lengths.rbegin(), 75u);
}

TEST(RecordsTest, SeedsDiffer) {
  const Records one({.seed = 1});
  const Records other({.seed = 2});
  EXPECT_FALSE(other.IsValueOf(1, ValueOf(one, 1, 1)));
}

}  // namespace
}  // namespace thermocline::load
