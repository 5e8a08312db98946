#include "server/rpc/request_head.h"

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "server/rpc/header_list.h"
#include "tests/server/rpc/echo.pb.h"
#include "tests/server/rpc/http2_wire.h"

namespace thermocline::server::rpc {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

RequestHead Read(const Fields& fields) {
  HeaderList list;
  for (const auto& [name, value] : fields) list.Add(name, value);
  return ReadRequestHead(list);
}

Fields Without(const std::string& name) {
  Fields fields;
  for (const auto& field : RequestFields("/a.B/C")) {
    if (field.first != name) fields.push_back(field);
  }
  return fields;
}

TEST(ParseTimeoutTest, ReadsEveryUnit) {
  EXPECT_EQ(ParseTimeout("3H"), 3h);
  EXPECT_EQ(ParseTimeout("3M"), 3min);
  EXPECT_EQ(ParseTimeout("3S"), 3s);
  EXPECT_EQ(ParseTimeout("3m"), 3ms);
  EXPECT_EQ(ParseTimeout("3u"), 3us);
  EXPECT_EQ(ParseTimeout("3n"), 3ns);
  EXPECT_EQ(ParseTimeout("0n"), 0ns);
  EXPECT_EQ(ParseTimeout("00000012m"), 12ms);
}

TEST(ParseTimeoutTest, TheLargestDoNotOverflow) {
  EXPECT_EQ(ParseTimeout("99999999M"), std::chrono::minutes(99'999'999));
  EXPECT_EQ(ParseTimeout("99999999S"), std::chrono::seconds(99'999'999));
  ASSERT_TRUE(ParseTimeout("99999999H").has_value());
  EXPECT_GT(*ParseTimeout("99999999H"), std::chrono::hours(24 * 365));
}

TEST(ParseTimeoutTest, RefusesWhatIsNone) {
  for (const char* text :
       {"", "S", "1", "123", "1s", "1 S", "-1S", "+1S", "1.5S", "100000000S", "S1", "1SS", " 1S", "1h"}) {
    EXPECT_EQ(ParseTimeout(text), std::nullopt) << text;
  }
}

TEST(PercentEncodeTest, EncodesWhatDoesNotTravel) {
  EXPECT_EQ(PercentEncode("plain text ~!"), "plain text ~!");
  EXPECT_EQ(PercentEncode("100%"), "100%25");
  EXPECT_EQ(PercentEncode("\n\x7f\xc3\xa4"), "%0A%7F%C3%A4");
  EXPECT_EQ(PercentEncode(std::string(1, '\0')), "%00");
  EXPECT_EQ(PercentEncode(""), "");
}

TEST(Base64Test, ReadsWhatItWrites) {
  std::mt19937 random(1);
  for (size_t size = 0; size < 100; ++size) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const std::string text = Base64Encode(bytes);
    EXPECT_EQ(text.find('='), std::string::npos);
    EXPECT_EQ(Base64Decode(text), bytes);
    // As other clients write it.
    std::string padded = text;
    while (padded.size() % 4 != 0) padded.push_back('=');
    EXPECT_EQ(Base64Decode(padded), bytes) << padded;
  }
  EXPECT_EQ(Base64Encode("any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw");
}

TEST(Base64Test, RefusesWhatIsNone) {
  for (const char* text : {"a", "abc!", "ab=c", "====", "abcde"})
    EXPECT_EQ(Base64Decode(text), std::nullopt) << text;
}

TEST(RequestHeadTest, ReadsACall) {
  const RequestHead head = Read(RequestFields("/a.B/C", {{"grpc-timeout", "5S"},
                                                         {"grpc-encoding", "gzip"},
                                                         {"grpc-accept-encoding", "deflate, gzip"},
                                                         {"user-agent", "test"},
                                                         {"key", "value"},
                                                         {"key", "other"},
                                                         {"some-bin", "AAH/"},
                                                         {"grpc-odd", "1"}}));
  EXPECT_EQ(head.http_status, 0);
  EXPECT_TRUE(head.status.ok());
  EXPECT_EQ(head.path, "/a.B/C");
  EXPECT_EQ(head.timeout, 5s);
  EXPECT_TRUE(head.gzip);
  EXPECT_TRUE(head.accepts_gzip);
  EXPECT_THAT(head.metadata, ElementsAre(Pair("key", "value"), Pair("key", "other"),
                                         Pair("some-bin", std::string("\0\1\xff", 3))));
}

TEST(RequestHeadTest, WithoutAnythingSpecialNothingIsSpecial) {
  const RequestHead head = Read(RequestFields("/a.B/C"));
  EXPECT_EQ(head.http_status, 0);
  EXPECT_TRUE(head.status.ok());
  EXPECT_EQ(head.timeout, std::nullopt);
  EXPECT_FALSE(head.gzip);
  EXPECT_FALSE(head.accepts_gzip);
  EXPECT_THAT(head.metadata, IsEmpty());
}

TEST(RequestHeadTest, AFieldMayHoldSeveralBinaryValues) {
  EXPECT_THAT(Read(RequestFields("/a.B/C", {{"k-bin", "YQ,Yg==,"}})).metadata,
              ElementsAre(Pair("k-bin", "a"), Pair("k-bin", "b"), Pair("k-bin", "")));
}

TEST(RequestHeadTest, TellsWhatIsNoCallOfGrpc) {
  EXPECT_EQ(Read({}).http_status, 400);
  EXPECT_EQ(Read(Without(":path")).http_status, 400);
  EXPECT_EQ(Read(Without(":method")).http_status, 400);
  EXPECT_EQ(Read(Without("content-type")).http_status, 415);
  Fields get = RequestFields("/a.B/C");
  get[0].second = "GET";
  EXPECT_EQ(Read(get).http_status, 405);
  for (const auto& [type, status] :
       std::vector<std::pair<std::string, int>>{{"application/grpc", 0},
                                                {"application/grpc+proto", 0},
                                                {"application/grpc;charset=utf-8", 0},
                                                {"application/grpc+json", 415},
                                                {"application/grpc-web", 415},
                                                {"text/html", 415},
                                                {"", 415}}) {
    Fields fields = Without("content-type");
    fields.emplace_back("content-type", type);
    EXPECT_EQ(Read(fields).http_status, status) << type;
  }
}

TEST(RequestHeadTest, TellsWhatIsMalformed) {
  const std::vector<std::pair<std::string, std::string>> malformed = {
      {"Upper", "x"},      {"sp ace", "x"},         {"", "x"},
      {"a\x7f", "x"},      {"connection", "close"}, {"transfer-encoding", "chunked"},
      {"keep-alive", "1"}, {"upgrade", "h2c"},      {"proxy-connection", "x"},
      {":path", "/again"}, {":method", "POST"}};
  for (const auto& field : malformed) {
    EXPECT_EQ(Read(RequestFields("/a.B/C", {field})).http_status, 400) << field.first;
  }
}

TEST(RequestHeadTest, TellsWhatIsWrongWithACall) {
  const RequestHead timeout = Read(RequestFields("/a.B/C", {{"grpc-timeout", "soon"}}));
  EXPECT_EQ(timeout.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(timeout.status.message()), HasSubstr("soon"));
  const RequestHead encoding = Read(RequestFields("/a.B/C", {{"grpc-encoding", "snappy"}}));
  EXPECT_EQ(encoding.status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(Read(RequestFields("/a.B/C", {{"grpc-encoding", "identity"}})).status.ok());
  const RequestHead binary = Read(RequestFields("/a.B/C", {{"key-bin", "!"}}));
  EXPECT_EQ(binary.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(binary.status.message()), HasSubstr("key-bin"));
}

// A few octets of HPACK may stand for a long value; an answer must not be much longer than its question.
TEST(RequestHeadTest, DoesNotRepeatAtLength) {
  const std::string longer(60'000, '%');
  for (const char* name : {"grpc-timeout", "grpc-encoding"}) {
    const RequestHead head = Read(RequestFields("/a.B/C", {{name, longer}}));
    EXPECT_LT(StatusFields(head.status, 3).size(), 1000u) << name;
  }
  const RequestHead binary = Read(RequestFields("/a.B/C", {{longer + "-bin", "!"}}));
  EXPECT_LT(StatusFields(binary.status, 3).size(), 1000u);
}

Fields ReadStatus(const absl::Status& status, int code) {
  return BlockReader().Read(StatusFields(status, code)).value_or(Fields{{"broken", ""}});
}

TEST(StatusFieldsTest, TellsCodeAndMessage) {
  EXPECT_THAT(ReadStatus(absl::NotFoundError("100% gone\n"), 5),
              ElementsAre(Pair("grpc-status", "5"), Pair("grpc-message", "100%25 gone%0A")));
  EXPECT_THAT(ReadStatus(absl::AbortedError(""), 10), ElementsAre(Pair("grpc-status", "10")));
  // The code on the wire is another than the status has.
  EXPECT_EQ(ValueOf(ReadStatus(absl::AbortedError("x"), 14), "grpc-status"), "14");
}

TEST(StatusFieldsTest, CutsALongMessage) {
  EXPECT_EQ(ValueOf(ReadStatus(absl::InternalError(std::string(10'000, 'x')), 13), "grpc-message").size(),
            4096u);
}

TEST(StatusFieldsTest, CarriesPayloads) {
  absl::Status status = absl::FailedPreconditionError(std::string("why\0not", 7));
  status.SetPayload("type.googleapis.com/a.B", absl::Cord("first"));
  status.SetPayload("type.googleapis.com/c.D", absl::Cord(std::string(300, '\xff')));
  const auto bytes = Base64Decode(ValueOf(ReadStatus(status, 9), "grpc-status-details-bin"));
  ASSERT_TRUE(bytes.has_value());
  thermocline::testing::RpcStatus read;
  ASSERT_TRUE(read.ParseFromString(*bytes));
  EXPECT_EQ(read.code(), 9);
  EXPECT_EQ(read.message(), std::string("why\0not", 7));
  ASSERT_EQ(read.details_size(), 2);
  for (const auto& detail : read.details()) {
    EXPECT_EQ(detail.value(), std::string(*status.GetPayload(detail.type_url())));
  }
}

}  // namespace
}  // namespace thermocline::server::rpc
