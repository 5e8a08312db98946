#include "storage/log/format.h"

#include <cstring>

#include "gtest/gtest.h"

#include "storage/log/block.h"
#include "storage/system_clock.h"

namespace thermocline::testing {
namespace {

using storage::DecodeRecord;
using storage::EncodedBytes;
using storage::EncodeRecord;
using storage::Record;

std::string Encode(const Record& record, uint64_t position, uint64_t base_version) {
  std::string bytes(EncodedBytes(record, position, base_version), '\xee');
  EncodeRecord(record, position, base_version, bytes.data());
  return bytes;
}

void ExpectRoundTrip(const Record& record, uint64_t position, uint64_t base_version) {
  const std::string bytes = Encode(record, position, base_version);
  EXPECT_LE(bytes.size(), storage::MaxEncodedBytes(record.key.size(), record.value.size()));
  const std::string followed = bytes + "more";
  const auto decoded = DecodeRecord(followed, position, base_version);
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->bytes, bytes.size());
  EXPECT_EQ(decoded->record.key, record.key);
  EXPECT_EQ(decoded->record.value, record.value);
  EXPECT_EQ(decoded->record.version, record.version);
  EXPECT_EQ(decoded->record.expires_at_ms, record.expires_at_ms);
  EXPECT_EQ(decoded->record.displaced, record.displaced);
  EXPECT_EQ(decoded->record.tombstone, record.tombstone);
  EXPECT_EQ(decoded->record.unresolved, record.unresolved);
  EXPECT_EQ(decoded->record.deep, record.deep);
  EXPECT_EQ(decoded->record.behind, record.behind);
  EXPECT_EQ(decoded->record.grave, record.grave);
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    const auto partial = DecodeRecord(std::string_view(bytes).substr(0, cut), position, base_version);
    EXPECT_FALSE(partial.has_value()) << cut << " of " << bytes.size();
  }
}

TEST(RecordTest, RoundTrips) {
  ExpectRoundTrip({.key = "k", .value = "v", .version = 7}, 5000, 1);
  ExpectRoundTrip({.key = "k", .value = "", .version = 1}, 5000, 1'000'000);
  ExpectRoundTrip({.key = "key", .version = 9, .displaced = 4999, .tombstone = true}, 5000, 9);
  ExpectRoundTrip({.key = "key",
                   .value = "value",
                   .version = uint64_t{1} << 60,
                   .expires_at_ms = 1'800'000'000'000,
                   .displaced = 1,
                   .unresolved = true},
                  uint64_t{1} << 45, 3);
  ExpectRoundTrip(
      {.key = "k", .value = "v", .version = 7, .displaced = 4990, .unresolved = true, .behind = 4200}, 5000,
      1);
  ExpectRoundTrip({.key = "12345678", .displaced = 4096, .grave = true}, 5000, 9);
  const std::string long_key(300, 'k');
  const std::string long_value(3000, 'v');
  ExpectRoundTrip({.key = long_key, .value = long_value, .version = 5}, 5000, 5);
}

// The format of files that users have: a change of any byte here needs a new kFormatVersion.
TEST(RecordTest, GoldenBytes) {
  using std::string_literals::operator""s;
  EXPECT_EQ(Encode({.key = "key", .value = "value", .version = 105}, 5000, 100),
            "\x00\x03\x05\x8a\x80\x00keyvalue"s);
  EXPECT_EQ(Encode({.key = "key", .version = 99, .displaced = 4700, .tombstone = true}, 5000, 100),
            "\x05\x03\x81\x80\x00\xac\x02key"s);
  EXPECT_EQ(Encode({.key = "k",
                    .value = "v",
                    .version = 100,
                    .expires_at_ms = 1,
                    .displaced = 4999,
                    .unresolved = true},
                   5000, 100),
            "\x0e\x01\x01\x80\x80\x00\x01\x01kv"s);
  EXPECT_EQ(
      Encode({.key = "k", .version = 100, .displaced = 4999, .unresolved = true, .deep = true}, 5000, 100),
      "\x1c\x01\x00\x80\x80\x00\x01k"s);
  EXPECT_EQ(Encode({.key = "12345678", .displaced = 4700, .grave = true}, 5000, 100),
            "\x24\xac\x02"
            "12345678"s);
}

TEST(RecordTest, CostsLittle) {
  const std::string key(8, 'k');
  const std::string value(75, 'v');
  const Record record = {.key = key, .value = value, .version = 500'000};
  EXPECT_EQ(EncodedBytes(record, 1 << 26, 1) - key.size() - value.size(), 6u);
}

TEST(RecordTest, RefusesWhatIsNoRecord) {
  using std::string_literals::operator""s;
  EXPECT_FALSE(DecodeRecord("", 5000, 0));
  EXPECT_FALSE(DecodeRecord("\x80\x01\x01\x80\x80\x00kv"s, 5000, 0)) << "unknown flag";
  EXPECT_FALSE(
      DecodeRecord("\x20\x05"
                   "12345678"s,
                   5000, 0))
      << "a grave of nothing";
  EXPECT_FALSE(
      DecodeRecord("\x24\x88\x27"
                   "12345678"s,
                   5000, 0))
      << "a grave of position 0";
  EXPECT_FALSE(DecodeRecord("\x00\x00\x01\x80\x80\x00v"s, 5000, 0)) << "empty key";
  EXPECT_FALSE(DecodeRecord("\x04\x01\x01\x80\x80\x00\x00kv"s, 5000, 0)) << "displaces itself";
  EXPECT_FALSE(DecodeRecord("\x04\x01\x01\x80\x80\x00\x88\x27kv"s, 5000, 0)) << "displaces position 0";
  EXPECT_FALSE(DecodeRecord("\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01kv"s, 5000, 0))
      << "endless varint";
  EXPECT_FALSE(DecodeRecord("\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x80\x80\x00kv"s, 5000, 0))
      << "huge key";
}

TEST(RecordTest, RandomBytesAreNoCrash) {
  storage::SeededRandom random(1);
  for (int i = 0; i < 100'000; ++i) {
    char bytes[24];
    for (char& byte : bytes) byte = static_cast<char>(random.Next() % (i % 2 == 0 ? 256 : 16));
    const size_t size = random.Next() % sizeof(bytes);
    const auto decoded = DecodeRecord({bytes, size}, 1 + random.Next() % 10'000, random.Next());
    EXPECT_TRUE(!decoded || decoded->bytes <= size);
  }
}

TEST(BlockTest, GoldenHeaders) {
  storage::Block block(3, "3", 1 << 20);
  block.version_ceiling = 77;
  const std::string page = storage::EncodeBlockHeader(block, 2, 0x1122334455667788);
  EXPECT_EQ(page.size(), storage::kPageBytes);
  EXPECT_EQ(page.substr(8, 8), "THMBLOCK");
  uint64_t checksum = 0;
  std::memcpy(&checksum, page.data(), sizeof(checksum));
  EXPECT_EQ(checksum, 11407721714635793602u);
}

TEST(BlockTest, FileNames) {
  EXPECT_EQ(storage::BlockFileName(1), "0000000000000001.block");
  EXPECT_EQ(storage::SequenceOfFileName("0000000000000042.block"), 42u);
  for (const char* name :
       {"", "42.block", "0000000000000042.blockx", "000000000000004x.block", "0000000000000000.block"}) {
    EXPECT_EQ(storage::SequenceOfFileName(name), 0u) << name;
  }
}

TEST(ChunkTableTest, FindsWhatToReadForEveryOffset) {
  storage::SeededRandom random(2);
  for (int round = 0; round < 50; ++round) {
    storage::ChunkTable table(1 << 20);
    std::vector<uint32_t> starts;
    uint32_t at = 4096;
    while (at < (1 << 20) - 100'000) {
      starts.push_back(at);
      table.Add(at);
      at += storage::AlignChunk(40 + random.Next() % (random.Next() % 8 == 0 ? 90'000 : 3000));
    }
    for (size_t i = 0; i < starts.size(); ++i) {
      const uint32_t end = i + 1 < starts.size() ? starts[i + 1] : at;
      for (const uint32_t offset : {starts[i] + 40, end - 1}) {
        const auto range = table.Around(std::min(offset, end - 1), at);
        EXPECT_LE(range.begin, starts[i]);
        EXPECT_GE(range.end, end);
        EXPECT_TRUE(std::binary_search(starts.begin(), starts.end(), range.begin));
        EXPECT_LE(range.end - range.begin, end - starts[i] + storage::kPageBytes);
      }
    }
  }
}

}  // namespace
}  // namespace thermocline::testing
