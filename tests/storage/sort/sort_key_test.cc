#include "storage/sort/sort_key.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace thermocline::storage::sort {
namespace {

using Kind = Field::Kind;
using Double = std::numeric_limits<double>;

std::string KeyOf(const Field& field) {
  std::string key;
  AppendKey(std::span(&field, 1), key);
  return key;
}

Field Whole(int64_t number) { return {.kind = Kind::kSigned, .number = number}; }
Field Natural(uint64_t number) { return {.kind = Kind::kUnsigned, .natural = number}; }
Field Real(double number) { return {.kind = Kind::kDouble, .real = number}; }
Field Text(std::string_view text) { return {.kind = Kind::kString, .text = text}; }

TEST(SortKey, OrdersAllKinds) {
  using std::string_view_literals::operator""sv;
  const std::vector<Field> ascending = {
      {.kind = Kind::kMissing},
      {.kind = Kind::kNull},
      {.kind = Kind::kFalse},
      {.kind = Kind::kTrue},
      Real(-Double::max()),
      Real(-1e300),
      Whole(INT64_MIN),
      Whole(INT64_MIN + 1),
      Whole(-9007199254740993),
      Real(-9007199254740992.0),
      Whole(-9007199254740991),
      Whole(-2),
      Real(-1.5),
      Real(-Double::denorm_min()),
      Whole(0),
      Real(Double::denorm_min()),
      Real(0.5),
      Whole(1),
      Real(9007199254740992.0),
      Whole(9007199254740993),
      Real(9007199254740994.0),
      Whole(INT64_MAX - 1),
      Whole(INT64_MAX),
      Natural(uint64_t{1} << 63),
      Natural((uint64_t{1} << 63) + 1),
      Natural(UINT64_MAX - 1),
      Natural(UINT64_MAX),
      Real(18446744073709551616.0),
      Real(Double::max()),
      Text(""),
      Text("\0"sv),
      Text("\0\0"sv),
      Text("\0\1"sv),
      Text("\0a"sv),
      Text("\1"),
      Text("a"),
      Text("a\0"sv),
      Text("a\0b"sv),
      Text("aa"),
      Text("\xc3\xa4"),
      Text("\xf0\x9f\x8c\x8a"),
      Text("\xff"),
      {.kind = Kind::kArray, .text = "[1]"},
      {.kind = Kind::kObject, .text = "{}"},
  };
  for (size_t i = 0; i < ascending.size(); ++i) {
    for (size_t j = 0; j < ascending.size(); ++j) {
      EXPECT_EQ(KeyOf(ascending[i]) < KeyOf(ascending[j]), i < j) << i << " and " << j;
      // No key is the beginning of another one, so that lists of keys can be compared as one.
      EXPECT_EQ(KeyOf(ascending[i]).starts_with(KeyOf(ascending[j])), i == j) << i << " and " << j;
    }
  }
}

TEST(SortKey, EqualNumbersHaveEqualKeys) {
  EXPECT_EQ(KeyOf(Whole(1)), KeyOf(Real(1.0)));
  EXPECT_EQ(KeyOf(Real(0.0)), KeyOf(Real(-0.0)));
  EXPECT_EQ(KeyOf(Whole(0)), KeyOf(Real(-0.0)));
  EXPECT_EQ(KeyOf(Natural(uint64_t{1} << 63)), KeyOf(Real(9223372036854775808.0)));
  EXPECT_EQ(KeyOf(Whole(INT64_MIN)), KeyOf(Real(-9223372036854775808.0)));
  EXPECT_EQ(KeyOf(Whole(7)).size(), kNumberKeyBytes);
}

TEST(SortKey, RandomWholeNumbersCompareExactly) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const auto a = static_cast<int64_t>(random()) >> (random() % 64);
    const int64_t b = random() % 2 == 0
                          ? static_cast<int64_t>(random()) >> (random() % 64)
                          : a + (a < INT64_MAX - 3000 ? static_cast<int64_t>(random() % 3000) : 0);
    EXPECT_EQ(KeyOf(Whole(a)) < KeyOf(Whole(b)), a < b) << a << " " << b;
    EXPECT_EQ(KeyOf(Whole(a)) == KeyOf(Whole(b)), a == b) << a << " " << b;
  }
}

TEST(SortKey, PrefixAndRestAreTheOrderOfTheBytes) {
  std::mt19937_64 random(2);
  const auto key = [&] {
    std::string text(random() % 20, '\0');
    for (char& c : text) c = random() % 4 == 0 ? '\0' : 'a';
    return text;
  };
  for (int i = 0; i < 20'000; ++i) {
    const std::string a = key();
    const std::string b = key();
    for (const bool descending : {false, true}) {
      const KeyPrefix left = PrefixOf(a, descending);
      const KeyPrefix right = PrefixOf(b, descending);
      const bool before = left != right ? left < right : CompareRest(a, b, descending) < 0;
      EXPECT_EQ(before, descending ? b < a : a < b);
    }
  }
}

}  // namespace
}  // namespace thermocline::storage::sort
