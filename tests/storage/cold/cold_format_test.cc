#include "storage/cold/cold_format.h"

#include <string>

#include <gtest/gtest.h>

namespace thermocline::storage::cold {
namespace {

using namespace std::string_literals;  // NOLINT: zero bytes within

// What stores out there hold. A change here needs a new format version.
TEST(ColdFormatTest, GoldenBytes) {
  std::string encoded;
  EncodeEntry({.value = "warm", .version = 0x0102, .expires_at_ms = 0}, encoded);
  EXPECT_EQ(encoded, "\x02\x02\x01warm"s);
  EncodeEntry({.value = "", .version = 1, .expires_at_ms = 0x018bcfe56800}, encoded);
  EXPECT_EQ(encoded, "\x61\x01\x00\x68\xe5\xcf\x8b\x01"s);

  EXPECT_EQ(RecordKey("key"), "\x01key"s);
  EXPECT_EQ(ExpiryKey(0x018bcfe56800, "key"), "\x02\x00\x00\x01\x8b\xcf\xe5\x68\x00key"s);
  EXPECT_EQ(KeyPrefix(Space::kHeader), "\x03");
  EXPECT_EQ(EncodeHeader({.store_id = 0x0807060504030201, .live_keys = 9, .live_bytes = 258}),
            "\x01\0\0\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0"s);
}

TEST(ColdFormatTest, EntriesComeBack) {
  for (const uint64_t version : {uint64_t{1}, uint64_t{255}, uint64_t{256}, uint64_t{1} << 40, UINT64_MAX}) {
    for (const uint64_t expiry : {uint64_t{0}, uint64_t{1'700'000'000'000}, UINT64_MAX}) {
      for (const std::string& value : {""s, "v"s, std::string(5000, 'x')}) {
        std::string encoded;
        EncodeEntry({value, version, expiry}, encoded);
        EXPECT_LE(encoded.size(), value.size() + kMaxPrefaceBytes);
        const auto decoded = DecodeEntry(encoded);
        ASSERT_TRUE(decoded);
        EXPECT_EQ(decoded->value, value);
        EXPECT_EQ(decoded->version, version);
        EXPECT_EQ(decoded->expires_at_ms, expiry);
      }
    }
  }
}

TEST(ColdFormatTest, ExpiriesSortByTime) {
  EXPECT_LT(ExpiryKey(255, "z"), ExpiryKey(256, "a"));
  EXPECT_LT(ExpiryKey(256, "a"), ExpiryKey(256, "b"));
  const std::string key = ExpiryKey(1'700'000'000'000, "k\0"s);
  const auto decoded = DecodeExpiryKey(key);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->expires_at_ms, 1'700'000'000'000u);
  EXPECT_EQ(decoded->key, "k\0"s);
}

TEST(ColdFormatTest, RefusesWhatIsNone) {
  EXPECT_FALSE(DecodeEntry(""));
  EXPECT_FALSE(DecodeEntry("\x09"s + std::string(9, 'x')));
  EXPECT_FALSE(DecodeEntry("\x90"s + std::string(9, 'x')));
  EXPECT_FALSE(DecodeEntry("\x61\x01\x02"s));
  EXPECT_FALSE(DecodeExpiryKey("\x02short"s));
  EXPECT_FALSE(DecodeExpiryKey(RecordKey("a longer key")));
  EXPECT_FALSE(DecodeHeader("\x01\0"s));
  EXPECT_FALSE(DecodeHeader("\x01\0\0\0\0"s)) << "format 1 has 32 bytes";
  const auto later = DecodeHeader("\x02\0\0\0"s);
  ASSERT_TRUE(later) << "a later format may have others";
  EXPECT_EQ(later->format_version, 2u);
}

}  // namespace
}  // namespace thermocline::storage::cold
