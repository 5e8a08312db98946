#include "tests/load/grpc_connection.h"

#include <array>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <fmt/format.h>

#include "tests/load/grpc_protocols.h"
#include "tests/load/http2_frames.h"
#include "tests/load/messages.h"
#include "tests/load/recorded_answers.h"

namespace thermocline::load {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// ---- What a server sends.

std::string Frame(FrameType type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string frame;
  AppendFrameHeader(payload.size(), type, flags, stream, frame);
  return frame.append(payload);
}

std::string Settings(std::vector<std::pair<uint16_t, uint32_t>> settings = {}) {
  std::string payload;
  for (const auto& [id, value] : settings) {
    AppendBigEndian(id, 2, payload);
    AppendBigEndian(value, 4, payload);
  }
  return Frame(FrameType::kSettings, 0, 0, payload);
}

std::string Message(std::string_view bytes) {
  std::string message(1, '\0');
  AppendBigEndian(bytes.size(), 4, message);
  return message.append(bytes);
}

const std::string kStatus200 = "\x88";

std::string Literal(std::string_view name, std::string_view value) {
  return fmt::format("{}{}{}{}{}", '\0', static_cast<char>(name.size()), name,
                     static_cast<char>(value.size()), value);
}

std::string Trailers(std::string_view status = "0") { return Literal("grpc-status", status); }

std::string Response(uint32_t stream, std::string_view message) {
  return Frame(FrameType::kHeaders, kEndHeaders, stream, kStatus200) +
         Frame(FrameType::kData, 0, stream, Message(message)) +
         Frame(FrameType::kHeaders, kEndHeaders | kEndStream, stream, Trailers());
}

std::string BigEndian(uint32_t number) {
  std::string bytes;
  AppendBigEndian(number, 4, bytes);
  return bytes;
}

// ---- What we send, taken apart: "HEADERS 1", "DATA 1 end <bytes>", ..

std::vector<std::string> FramesOf(std::string_view bytes) {
  std::vector<std::string> frames;
  while (bytes.size() >= kFrameHeaderBytes) {
    const size_t length = ReadBigEndian(bytes.substr(0, 3));
    const auto type = static_cast<FrameType>(bytes[3]);
    const bool end = (static_cast<uint8_t>(bytes[4]) & kEndStream) != 0;
    const uint32_t stream = ReadBigEndian(bytes.substr(5, 4));
    const std::string_view payload = bytes.substr(kFrameHeaderBytes, length);
    if (type == FrameType::kHeaders) {
      frames.push_back(fmt::format("HEADERS {}", stream));
    } else if (type == FrameType::kData) {
      frames.push_back(fmt::format("DATA {}{} {}", stream, end ? " end" : "", length));
    } else if (type == FrameType::kWindowUpdate) {
      frames.push_back(fmt::format("WINDOW_UPDATE {} {}", stream, ReadBigEndian(payload)));
    } else {
      frames.push_back(
          fmt::format("{} {} {}", static_cast<int>(type), static_cast<uint8_t>(bytes[4]), payload));
    }
    bytes.remove_prefix(kFrameHeaderBytes + length);
  }
  return frames;
}

class RecordedEvents final : public GrpcConnection::Events {
 public:
  void OnMessage(uint64_t call, std::string_view message) override {
    heard.push_back(
        fmt::format("message {} {}", call,
                    message.size() < 50 ? std::string(message) : fmt::format("{} bytes", message.size())));
  }
  void OnEnd(uint64_t call, std::string_view error) override {
    heard.push_back(error.empty() ? fmt::format("end {}", call) : fmt::format("end {}: {}", call, error));
  }
  std::vector<std::string> Take() { return std::exchange(heard, {}); }

  std::vector<std::string> heard;
};

class GrpcConnectionTest : public ::testing::Test {
 protected:
  absl::Status Feed(const std::string& bytes) {
    const auto read = connection_.Receive(bytes, events_, out_);
    if (!read.ok()) return read.status();
    EXPECT_EQ(*read, bytes.size());
    return absl::OkStatus();
  }
  void Settle(std::vector<std::pair<uint16_t, uint32_t>> settings = {}) {
    ASSERT_TRUE(Feed(Settings(std::move(settings))).ok());
    out_.clear();
  }
  std::vector<std::string> Sent() { return FramesOf(std::exchange(out_, {})); }

  GrpcConnection connection_{"host:1", {"/s/Get"}};
  RecordedEvents events_;
  std::string out_;
};

TEST_F(GrpcConnectionTest, BeginsWithPrefaceAndSettings) {
  connection_.Begin(out_);
  ASSERT_TRUE(out_.starts_with(kPreface));
  const auto frames = FramesOf(std::string_view(out_).substr(kPreface.size()));
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_THAT(frames[0], HasSubstr("4 0 "));
  EXPECT_EQ(frames[1], fmt::format("WINDOW_UPDATE 0 {}", (64 << 20) - 65'535));
  EXPECT_FALSE(connection_.CanOpen());
  out_.clear();
  ASSERT_TRUE(Feed(Settings()).ok());
  EXPECT_THAT(Sent(), ElementsAre("4 1 "));
  EXPECT_TRUE(connection_.CanOpen());
}

TEST_F(GrpcConnectionTest, ReadsAnswersWhereverTheyAreSplit) {
  const std::string bytes = Settings() + Response(3, "three") + Response(1, "") +
                            Frame(FrameType::kHeaders, kEndHeaders | kEndStream, 5,
                                  kStatus200 + Trailers("5") + Literal("grpc-message", "gone%21 100%"));
  for (size_t first = 0; first <= bytes.size(); ++first) {
    GrpcConnection connection("host:1", {"/s/Get"});
    RecordedEvents events;
    std::string out;
    for (uint64_t call = 0; call < 3; ++call) connection.Open(0, call, "m", true, out);
    const auto one = connection.Receive(std::string_view(bytes).substr(0, first), events, out);
    ASSERT_TRUE(one.ok());
    const auto two = connection.Receive(std::string_view(bytes).substr(*one), events, out);
    ASSERT_TRUE(two.ok());
    EXPECT_EQ(*one + *two, bytes.size());
    EXPECT_THAT(events.heard, ElementsAre("message 1 three", "end 1", "message 0 ", "end 0",
                                          "end 2: grpc-status 5: gone! 100%"));
  }
}

TEST_F(GrpcConnectionTest, PutsMessagesTogetherFromManyFrames) {
  Settle();
  connection_.Open(0, 7, "m", true, out_);
  const std::string message = Message(std::string(20'000, 'x')) + Message("second");
  ASSERT_TRUE(Feed(Frame(FrameType::kHeaders, kEndHeaders, 1, kStatus200)).ok());
  ASSERT_TRUE(Feed(Frame(FrameType::kData, 0, 1, message.substr(0, 3))).ok());
  ASSERT_TRUE(Feed(Frame(FrameType::kData, 0, 1, message.substr(3, 16'000))).ok());
  EXPECT_THAT(events_.Take(), IsEmpty());
  // Padded by 2 bytes.
  ASSERT_TRUE(Feed(Frame(FrameType::kData, kPadded, 1, "\x02" + message.substr(16'003) + "pp")).ok());
  EXPECT_THAT(events_.Take(), ElementsAre("message 7 20000 bytes", "message 7 second"));
}

TEST_F(GrpcConnectionTest, ReadsHeadersWithContinuationPaddingAndPriority) {
  Settle();
  connection_.Open(0, 1, "m", true, out_);
  const std::string block = kStatus200 + Trailers("3");
  ASSERT_TRUE(Feed(Frame(FrameType::kHeaders, kEndStream | kPadded | kPriority, 1,
                         std::string("\x01", 1) + "12345" + block.substr(0, 4) + "p") +
                   Frame(FrameType::kContinuation, 0, 1, block.substr(4, 3)) +
                   Frame(FrameType::kContinuation, kEndHeaders, 1, block.substr(7)))
                  .ok());
  EXPECT_THAT(events_.heard, ElementsAre("end 1: grpc-status 3: "));
}

TEST_F(GrpcConnectionTest, AnswersPingsAndIgnoresWhatItDoesNotKnow) {
  Settle();
  ASSERT_TRUE(Feed(Frame(FrameType::kPing, 0, 0, "12345678") + Frame(FrameType::kPing, kAck, 0, "abcdefgh") +
                   Frame(static_cast<FrameType>(0x42), 3, 9, "what") +
                   Frame(FrameType::kPriority, 0, 1, "12345") + Frame(FrameType::kSettings, kAck, 0, ""))
                  .ok());
  EXPECT_THAT(Sent(), ElementsAre("6 1 12345678"));
}

TEST_F(GrpcConnectionTest, KeepsToTheWindowsOfItsPeer) {
  Settle({{kSettingInitialWindow, 100}});
  connection_.Open(0, 0, std::string(145, 'x'), true, out_);  // 150 bytes with its prefix
  EXPECT_THAT(Sent(), ElementsAre("HEADERS 1", "DATA 1 100"));
  EXPECT_FALSE(connection_.CanOpen());
  ASSERT_TRUE(Feed(Frame(FrameType::kWindowUpdate, 0, 1, BigEndian(20))).ok());
  EXPECT_THAT(Sent(), ElementsAre("DATA 1 20"));
  ASSERT_TRUE(Feed(Settings({{kSettingInitialWindow, 110}})).ok());
  EXPECT_THAT(Sent(), ElementsAre("4 1 ", "DATA 1 10"));
  ASSERT_TRUE(Feed(Frame(FrameType::kWindowUpdate, 0, 1, BigEndian(1000))).ok());
  EXPECT_THAT(Sent(), ElementsAre("DATA 1 end 20"));
  EXPECT_TRUE(connection_.CanOpen());
}

TEST_F(GrpcConnectionTest, KeepsToTheConnectionsWindowAndTheLargestFrame) {
  Settle({{kSettingInitialWindow, 1 << 20}});
  connection_.Open(0, 0, std::string(80'000 - 5, 'x'), true, out_);
  EXPECT_THAT(Sent(),
              ElementsAre("HEADERS 1", "DATA 1 16384", "DATA 1 16384", "DATA 1 16384", "DATA 1 16383"));
  ASSERT_TRUE(Feed(Frame(FrameType::kWindowUpdate, 0, 0, BigEndian(100'000))).ok());
  EXPECT_THAT(Sent(), ElementsAre("DATA 1 end 14465"));
}

TEST_F(GrpcConnectionTest, KeepsToTheNumberOfStreams) {
  Settle({{kSettingMaxStreams, 2}});
  connection_.Open(0, 0, "a", true, out_);
  EXPECT_TRUE(connection_.CanOpen());
  connection_.Open(0, 1, "b", true, out_);
  EXPECT_FALSE(connection_.CanOpen());
  ASSERT_TRUE(Feed(Response(1, "x")).ok());
  EXPECT_TRUE(connection_.CanOpen());
}

TEST_F(GrpcConnectionTest, GivesBackWhatItReceived) {
  Settle();
  connection_.OpenStream(0, 0, out_);
  out_.clear();
  ASSERT_TRUE(Feed(Frame(FrameType::kHeaders, kEndHeaders, 1, kStatus200)).ok());
  const std::string frame = Frame(FrameType::kData, 0, 1, Message(std::string(16'384 - 5, 'x')));
  for (int i = 0; i < 2048; ++i) ASSERT_TRUE(Feed(frame).ok());
  EXPECT_THAT(Sent(), ElementsAre(fmt::format("WINDOW_UPDATE 0 {}", 32 << 20),
                                  fmt::format("WINDOW_UPDATE 1 {}", 32 << 20)));
}

TEST_F(GrpcConnectionTest, ManyCallsWhileOneStaysOpen) {
  Settle();
  connection_.OpenStream(0, 999, out_);
  uint32_t stream = 1;
  for (uint64_t round = 0; round < 100; ++round) {
    for (uint64_t call = 0; call < 10; ++call) connection_.Open(0, call, "m", true, out_);
    for (uint64_t call = 0; call < 10; ++call) ASSERT_TRUE(Feed(Response(stream += 2, "x")).ok());
  }
  EXPECT_EQ(events_.Take().size(), 2'000u);
  ASSERT_TRUE(Feed(Frame(FrameType::kData, 0, 1, Message("still there"))).ok());
  EXPECT_THAT(events_.heard, ElementsAre("message 999 still there"));
}

TEST_F(GrpcConnectionTest, GoAwayRefusesTheNewerCalls) {
  Settle();
  for (uint64_t call = 0; call < 3; ++call) connection_.Open(0, call, "m", true, out_);
  ASSERT_TRUE(Feed(Frame(FrameType::kGoAway, 0, 0, BigEndian(1) + BigEndian(0) + "bye")).ok());
  EXPECT_THAT(events_.Take(),
              ElementsAre("end 1: refused by GOAWAY, error 0 bye", "end 2: refused by GOAWAY, error 0 bye"));
  EXPECT_FALSE(connection_.CanOpen());
  EXPECT_FALSE(connection_.exhausted());
  ASSERT_TRUE(Feed(Response(1, "x")).ok());
  EXPECT_TRUE(connection_.exhausted());
}

TEST_F(GrpcConnectionTest, AResetEndsItsCallOnly) {
  Settle();
  connection_.Open(0, 0, "m", true, out_);
  connection_.Open(0, 1, "m", true, out_);
  ASSERT_TRUE(
      Feed(Frame(FrameType::kReset, 0, 1, BigEndian(8)) + Response(1, "too late") + Response(3, "x")).ok());
  EXPECT_THAT(events_.heard, ElementsAre("end 0: RST_STREAM, error 8", "message 1 x", "end 1"));
}

TEST_F(GrpcConnectionTest, SeesAnEndWithoutAStatusAndHttpErrors) {
  Settle();
  for (uint64_t call = 0; call < 3; ++call) connection_.Open(0, call, "m", true, out_);
  ASSERT_TRUE(Feed(Frame(FrameType::kHeaders, kEndHeaders, 1, kStatus200) +
                   Frame(FrameType::kData, kEndStream, 1, Message("x")) +
                   Frame(FrameType::kHeaders, kEndHeaders | kEndStream, 3, "\x8d") +  // :status 404
                   Frame(FrameType::kHeaders, kEndHeaders, 5, kStatus200) +
                   Frame(FrameType::kData, 0, 5, Message("half of it").substr(0, 9)) +
                   Frame(FrameType::kHeaders, kEndHeaders | kEndStream, 5, Trailers()))
                  .ok());
  EXPECT_THAT(events_.heard, ElementsAre("message 0 x", "end 0: the response ended without a status",
                                         "end 1: HTTP status 404 without a grpc-status",
                                         "end 2: the response ended within a message"));
}

TEST_F(GrpcConnectionTest, RefusesWhatIsNotHttp2) {
  for (const std::string& bytes :
       {std::string("HTTP/1.1 400 Bad Request\r\n"), Frame(FrameType::kPing, 0, 0, "short"),
        Frame(FrameType::kPushPromise, 0, 1, "xxxx"), Frame(FrameType::kContinuation, 0, 1, "x"),
        Frame(FrameType::kHeaders, 0, 1, "x") + Frame(FrameType::kPing, 0, 0, "12345678"),
        Frame(FrameType::kHeaders, kEndHeaders, 1, "\xfe"), Frame(FrameType::kSettings, 0, 0, "12345"),
        Frame(FrameType::kGoAway, 0, 0, "1234"), Frame(FrameType::kWindowUpdate, 0, 0, "1"),
        Frame(FrameType::kHeaders, kEndHeaders | kPadded, 1, "\x05"),
        Settings({{kSettingInitialWindow, 0x80000000}})}) {
    GrpcConnection connection("host:1", {"/s/Get"});
    EXPECT_FALSE(connection.Receive(bytes, events_, out_).ok()) << bytes;
  }
}

// ---- The protocols above it.

const std::array<Item, 2> kItems = {{{"k1", "one"}, {"k2", "two"}}};

TEST(UnaryProtocolTest, AnswersSinglesAndBatches) {
  UnaryProtocol protocol("host:1", 10, 4);
  RecordedAnswers answers;
  std::string out;
  ASSERT_TRUE(protocol.Receive(Settings(), answers, out).ok());
  protocol.Send(10, {.verb = Call::Verb::kGet, .items = {kItems.data(), 1}}, out);
  protocol.Send(11, {.verb = Call::Verb::kSet, .items = {kItems.data(), 1}}, out);
  protocol.Send(12, {.verb = Call::Verb::kGet, .batch = true, .items = kItems}, out);
  protocol.Send(13, {.verb = Call::Verb::kGet, .items = {kItems.data(), 1}}, out);
  const std::string bytes = Response(1, "\x08\x01\x12\x03one") + Response(3, "\x08\x01\x10\x07") +
                            Response(5, std::string("\x0a\x07\x08\x01\x12\x03one\x0a\x00", 11)) +
                            Response(7, "\x12\x7fnonsense");
  const auto read = protocol.Receive(bytes, answers, out);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(*read, bytes.size());
  EXPECT_THAT(answers.heard,
              ElementsAre("value 10/0 one", "end 10", "end 11", "value 12/0 one", "miss 12/1", "end 12",
                          "end 13: a response that is not the message it should be"));
}

TEST(UnaryProtocolTest, ABatchMustAnswerEachItem) {
  UnaryProtocol protocol("host:1", 0, 1);
  RecordedAnswers answers;
  std::string out;
  protocol.Send(0, {.verb = Call::Verb::kGet, .batch = true, .items = kItems}, out);
  ASSERT_TRUE(protocol.Receive(Response(1, std::string("\x0a\x00", 2)), answers, out).ok());
  EXPECT_THAT(answers.heard,
              ElementsAre("miss 0/0", "end 0: a response with another number of items than the request"));
}

TEST(StreamProtocolTest, SendsTogetherWhatIsFlushedTogether) {
  StreamProtocol protocol("host:1", 0, 4);
  RecordedAnswers answers;
  std::string out;
  EXPECT_FALSE(protocol.CanSend());
  ASSERT_TRUE(protocol.Receive(Settings(), answers, out).ok());
  ASSERT_TRUE(protocol.CanSend());
  out.clear();
  const Call get{.verb = Call::Verb::kGet, .batch = true, .items = kItems};
  const Call set{.verb = Call::Verb::kSet, .items = {kItems.data(), 1}};
  std::string message;
  AppendOperations(get, uint64_t{2} << 20, message);
  AppendOperations(set, uint64_t{3} << 20, message);
  protocol.Send(2, get, out);
  protocol.Send(3, set, out);
  protocol.Flush(out);
  EXPECT_THAT(FramesOf(out), ElementsAre("HEADERS 1", fmt::format("DATA 1 {}", message.size() + 5)));
  EXPECT_TRUE(out.ends_with(message));
}

std::string Answer(uint64_t id, std::string_view rest) {
  std::string answer;
  for (answer = "\x08"; id >= 0x80; id >>= 7) answer.push_back(static_cast<char>(id | 0x80));
  answer.push_back(static_cast<char>(id));
  answer.append(rest);
  return fmt::format("\x0a{}{}", static_cast<char>(answer.size()), answer);
}

TEST(StreamProtocolTest, HearsAnswersInAnyOrder) {
  StreamProtocol protocol("host:1", 0, 4);
  RecordedAnswers answers;
  std::string out;
  ASSERT_TRUE(protocol.Receive(Settings(), answers, out).ok());
  protocol.Send(2, {.verb = Call::Verb::kGet, .batch = true, .items = kItems}, out);
  protocol.Send(3, {.verb = Call::Verb::kSet, .items = {kItems.data(), 1}}, out);
  protocol.Flush(out);
  const std::string bytes = Frame(FrameType::kHeaders, kEndHeaders, 1, kStatus200) +
                            Frame(FrameType::kData, 0, 1,
                                  Message(Answer((2 << 20) + 1, "\x12\x06\x08\x01\x12\x02vv") +
                                          Answer(3 << 20, "\x1a\x02\x08\x01")) +
                                      Message(Answer(2 << 20, std::string("\x12\x00", 2))));
  const auto read = protocol.Receive(bytes, answers, out);
  ASSERT_TRUE(read.ok());
  EXPECT_THAT(answers.heard, ElementsAre("value 2/1 vv", "end 3", "miss 2/0", "end 2"));
  // Once is enough.
  const auto again =
      protocol.Receive(Frame(FrameType::kData, 0, 1, Message(Answer(3 << 20, ""))), answers, out);
  EXPECT_THAT(std::string(again.status().message()), HasSubstr("nobody has asked"));
}

TEST(StreamProtocolTest, TheEndOfTheStreamIsTheEndOfItsConnection) {
  StreamProtocol protocol("host:1", 0, 1);
  RecordedAnswers answers;
  std::string out;
  ASSERT_TRUE(protocol.Receive(Settings(), answers, out).ok());
  protocol.Send(0, {.verb = Call::Verb::kGet, .items = {kItems.data(), 1}}, out);
  const auto read = protocol.Receive(
      Frame(FrameType::kHeaders, kEndHeaders | kEndStream, 1, kStatus200 + Trailers("12")), answers, out);
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("grpc-status 12"));
}

}  // namespace
}  // namespace thermocline::load
