#include "server/rpc/hpack.h"

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "nghttp2/nghttp2.h"
#include "tests/server/rpc/http2_wire.h"

namespace thermocline::server::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using Result = HeaderDecoder::Result;

constexpr size_t kListBytes = 4096;

// A client's encoder that is not ours: nghttp2's.
class ClientEncoder {
 public:
  ClientEncoder() { nghttp2_hd_deflate_new(&deflater_, 4096); }
  ~ClientEncoder() { nghttp2_hd_deflate_del(deflater_); }
  ClientEncoder(const ClientEncoder&) = delete;
  ClientEncoder& operator=(const ClientEncoder&) = delete;

  std::string Encode(const Fields& fields) {
    std::vector<nghttp2_nv> pairs;
    for (const auto& [name, value] : fields) {
      pairs.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                       reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                       0});
    }
    std::string block(nghttp2_hd_deflate_bound(deflater_, pairs.data(), pairs.size()), '\0');
    const ssize_t size = nghttp2_hd_deflate_hd(deflater_, reinterpret_cast<uint8_t*>(block.data()),
                                               block.size(), pairs.data(), pairs.size());
    block.resize(static_cast<size_t>(size));
    return block;
  }

  void UseTable(size_t bytes) { nghttp2_hd_deflate_change_table_size(deflater_, bytes); }

 private:
  nghttp2_hd_deflater* deflater_ = nullptr;
};

Fields FieldsOf(const HeaderList& list) {
  Fields fields;
  for (size_t i = 0; i < list.size(); ++i) fields.emplace_back(list.name(i), list.value(i));
  return fields;
}

TEST(HeaderDecoderTest, ReadsWhatAClientWrites) {
  ClientEncoder client;
  HeaderDecoder decoder(kListBytes);
  const Fields fields =
      RequestFields("/a.B/C", {{"key", "value"}, {"empty", ""}, {"x-bin", std::string("\0\xff", 2)}});
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(decoder.Decode(client.Encode(fields)), Result::kDecoded);
    EXPECT_EQ(FieldsOf(decoder.headers()), fields);
  }
}

TEST(HeaderDecoderTest, ABlockOfIndexesIsRecognisedWhenItComesAgain) {
  ClientEncoder client;
  HeaderDecoder decoder(kListBytes);
  const Fields fields = {
      {":method", "POST"}, {"te", "trailers"}, {"user-agent", "test"}};  // it indexes no paths
  ASSERT_EQ(decoder.Decode(client.Encode(fields)), Result::kDecoded);
  EXPECT_FALSE(decoder.repeated());
  ASSERT_EQ(decoder.Decode(client.Encode(fields)), Result::kDecoded);  // indexes, for the first time
  EXPECT_FALSE(decoder.repeated());
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(decoder.Decode(client.Encode(fields)), Result::kDecoded);
    EXPECT_TRUE(decoder.repeated());
    EXPECT_EQ(FieldsOf(decoder.headers()), fields);
  }
}

// The same octets mean something else when the table has moved on between them.
TEST(HeaderDecoderTest, TheSameIndexesAfterAChangeOfTheTableAreReadAnew) {
  HeaderDecoder decoder(kListBytes);
  const std::string newest_entry = "\xbe";  // index 62
  ASSERT_EQ(decoder.Decode("\x40\x01"
                           "a\x01"
                           "1"),
            Result::kDecoded);
  ASSERT_EQ(decoder.Decode(newest_entry), Result::kDecoded);
  ASSERT_EQ(decoder.Decode(newest_entry), Result::kDecoded);
  EXPECT_TRUE(decoder.repeated());
  EXPECT_THAT(FieldsOf(decoder.headers()), ElementsAre(Pair("a", "1")));

  ASSERT_EQ(decoder.Decode("\x40\x01"
                           "b\x01"
                           "2"),
            Result::kDecoded);
  ASSERT_EQ(decoder.Decode(newest_entry), Result::kDecoded);
  EXPECT_FALSE(decoder.repeated());
  EXPECT_THAT(FieldsOf(decoder.headers()), ElementsAre(Pair("b", "2")));

  // A table of size 0 has no entries.
  ASSERT_EQ(decoder.Decode("\x20\x88"), Result::kDecoded);
  EXPECT_EQ(decoder.Decode(newest_entry), Result::kCorrupt);
}

TEST(HeaderDecoderTest, OtherBlocksBetweenMakeNothingRepeated) {
  HeaderDecoder decoder(kListBytes);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(decoder.Decode("\x82"), Result::kDecoded);
    EXPECT_FALSE(decoder.repeated());
    ASSERT_EQ(decoder.Decode("\x83"), Result::kDecoded);
    EXPECT_FALSE(decoder.repeated());
  }
  ASSERT_EQ(decoder.Decode(std::string_view("\0\1a\1b", 5)),
            Result::kDecoded);  // a literal is never remembered
  ASSERT_EQ(decoder.Decode(std::string_view("\0\1a\1b", 5)), Result::kDecoded);
  EXPECT_FALSE(decoder.repeated());
  EXPECT_THAT(FieldsOf(decoder.headers()), ElementsAre(Pair("a", "b")));
  ASSERT_EQ(decoder.Decode(""), Result::kDecoded);
  EXPECT_EQ(decoder.headers().size(), 0u);
}

TEST(HeaderDecoderTest, AListThatIsTooLargeDoesNotHarmTheNext) {
  ClientEncoder client;
  HeaderDecoder decoder(kListBytes);
  const Fields large = {{"key", "value"}, {"big", std::string(kListBytes, 'x')}};
  EXPECT_EQ(decoder.Decode(client.Encode(large)), Result::kTooLarge);
  EXPECT_EQ(decoder.Decode(client.Encode(large)), Result::kTooLarge);
  EXPECT_FALSE(decoder.repeated());
  // What went into the table meanwhile is there.
  const Fields small = {{"key", "value"}};
  ASSERT_EQ(decoder.Decode(client.Encode(small)), Result::kDecoded);
  EXPECT_EQ(FieldsOf(decoder.headers()), small);
}

TEST(HeaderDecoderTest, TheLimitIsExact) {
  const Fields fields = {{"abc", std::string(kListBytes - 32 - 3, 'x')}};
  EXPECT_EQ(HeaderDecoder(kListBytes).Decode(Block(fields)), Result::kDecoded);
  EXPECT_EQ(HeaderDecoder(kListBytes - 1).Decode(Block(fields)), Result::kTooLarge);
}

// A few octets that stand for a long list, and would need 4 KiB each.
TEST(HeaderDecoderTest, ABombIsTooLarge) {
  ClientEncoder client;
  HeaderDecoder decoder(kListBytes);
  ASSERT_EQ(decoder.Decode(client.Encode({{"a", std::string(3000, 'x')}})), Result::kDecoded);
  EXPECT_EQ(decoder.Decode(std::string(60'000, '\xbe')), Result::kTooLarge);
  EXPECT_LE(decoder.headers().size(), kListBytes / 3000);
  EXPECT_EQ(decoder.Decode(std::string(60'000, '\xbe')), Result::kTooLarge);
}

TEST(HeaderDecoderTest, TellsWhatIsCorrupt) {
  const std::vector<std::string> corrupt = {
      "\x80",                          // index 0
      "\xbe",                          // the table is empty
      "\xff",                          // a number that is cut
      "\xff\xff\xff\xff\xff\xff\x0f",  // a number that is too large
      "\x40\x05"
      "ab",                            // a name that is cut
      std::string("\0\1a", 3),         // no value
      "\x3f\xe2\x1f",                  // a table of more than 4096
      "\x82\x20",                      // the size of a table behind a field
      std::string("\0\x81\xff\0", 4),  // a string of Huffman's whose padding is too long
  };
  for (const std::string& block : corrupt) {
    EXPECT_EQ(HeaderDecoder(kListBytes).Decode(block), Result::kCorrupt) << ::testing::PrintToString(block);
  }
}

TEST(HeaderDecoderTest, FollowsTheTableThroughItsSizes) {
  ClientEncoder client;
  HeaderDecoder decoder(kListBytes);
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    if (i % 50 == 49) client.UseTable(random() % 4097);
    Fields fields;
    for (size_t n = random() % 8; n > 0; --n) {
      fields.emplace_back("name" + std::to_string(random() % 9), std::string(random() % 40, 'v'));
    }
    ASSERT_EQ(decoder.Decode(client.Encode(fields)), Result::kDecoded);
    ASSERT_EQ(FieldsOf(decoder.headers()), fields);
  }
}

// What every answer says.
const Fields kHead = {{":status", "200"}, {"content-type", "application/grpc"}};
const Fields kOk = {{"grpc-status", "0"}};

class HeaderEncoderTest : public ::testing::Test {
 protected:
  void ExpectHead(const Fields& more = {}) {
    std::string block;
    encoder_.AppendHead(Block(more), block);
    Fields expected = kHead;
    expected.insert(expected.end(), more.begin(), more.end());
    ExpectBlock(block, expected);
  }
  void ExpectOk() {
    std::string block;
    encoder_.AppendOk(block);
    ExpectBlock(block, kOk);
  }
  void ExpectFields(const Fields& fields) {
    std::string block;
    encoder_.AppendFields(Block(fields), block);
    ExpectBlock(block, fields);
  }

  HeaderEncoder encoder_;
  BlockReader client_;
  size_t last_bytes_ = 0;

 private:
  void ExpectBlock(const std::string& block, const Fields& expected) {
    last_bytes_ = block.size();
    const std::optional<Fields> read = client_.Read(block);
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(*read, expected);
  }
};

TEST_F(HeaderEncoderTest, WhatEveryAnswerSaysIsShortFromThenOn) {
  ExpectHead();
  ExpectOk();
  for (int i = 0; i < 3; ++i) {
    ExpectHead();
    EXPECT_EQ(last_bytes_, 2u);
    ExpectOk();
    EXPECT_EQ(last_bytes_, 1u);
  }
}

TEST_F(HeaderEncoderTest, TheOrderOfTheFirstOnesDoesNotMatter) {
  ExpectOk();
  ExpectOk();
  ExpectFields({{"grpc-status", "5"}, {"grpc-message", "no"}});
  ExpectHead({{"grpc-encoding", "gzip"}});
  ExpectOk();
  ExpectHead();
  EXPECT_EQ(last_bytes_, 2u);
}

TEST_F(HeaderEncoderTest, LiteralsOfAllLengths) {
  for (const size_t size : {0, 1, 126, 127, 128, 254, 255, 16'510, 16'511, 60'000}) {
    ExpectFields({{"name", std::string(size, 'v')}});
  }
  ExpectFields({{std::string(300, 'n'), std::string("\0\x80\xff", 3)}});
}

TEST_F(HeaderEncoderTest, WithoutATableEverythingIsLiteral) {
  encoder_.AllowTable(0);
  client_.AllowTable(0);
  for (int i = 0; i < 3; ++i) {
    ExpectHead();
    ExpectOk();
  }
}

TEST_F(HeaderEncoderTest, TheTableMayGoAtAnyTime) {
  ExpectHead();
  ExpectOk();
  encoder_.AllowTable(100);
  client_.AllowTable(100);
  ExpectOk();
  ExpectHead({{"a", "b"}});
  encoder_.AllowTable(0);
  client_.AllowTable(0);
  ExpectHead();
  encoder_.AllowTable(65'536);
  client_.AllowTable(65'536);
  ExpectHead();
  ExpectOk();
  ExpectFields({{"grpc-status", "1"}});
}

TEST_F(HeaderEncoderTest, ALargerTableChangesNothing) {
  encoder_.AllowTable(65'536);
  client_.AllowTable(65'536);
  ExpectHead();
  ExpectOk();
  ExpectHead();
  EXPECT_EQ(last_bytes_, 2u);
}

// A table that was small for a moment, between two blocks, is empty: the client has thrown away what it had.
TEST_F(HeaderEncoderTest, ATableThatIsSmallForAMomentLosesWhatItHad) {
  ExpectHead();
  ExpectOk();
  encoder_.AllowTable(0);
  client_.AllowTable(0);
  encoder_.AllowTable(4096);
  client_.AllowTable(4096);
  ExpectOk();
  ExpectHead();
}

}  // namespace
}  // namespace thermocline::server::rpc
