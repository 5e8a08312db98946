#include "server/rpc/http2_session.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/server/rpc/http2_wire.h"
#include "tests/server/rpc/session_client.h"
#include "tests/server/rpc/session_peer.h"

namespace thermocline::server::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr uint32_t kLargest = 0x7fffffff;

class Http2SessionTest : public ::testing::Test {
 protected:
  ~Http2SessionTest() override {
    EXPECT_THAT(client_.breaches(), IsEmpty());
    EXPECT_EQ(peer_.wrong_repeats, 0);
  }

  // The sizes of the frames of data of a stream, of those taken.
  std::vector<size_t> DataSizes(uint32_t stream) {
    std::vector<size_t> sizes;
    for (const WireFrame& frame : client_.TakenFrames()) {
      if (frame.type == FrameType::kData && frame.stream == stream) sizes.push_back(frame.payload.size());
    }
    return sizes;
  }

  SeenStream& Seen(size_t i) { return *peer_.streams.at(i); }

  SessionPeer peer_;
  Http2Session& session_ = peer_.session;
  SessionClient client_{peer_.session};
};

TEST_F(Http2SessionTest, BeginsWithSettingsAndAWindow) {
  // Not before the client: it may speak something else.
  client_.Take();
  EXPECT_THAT(client_.TakenFrames(), IsEmpty());
  EXPECT_FALSE(session_.greeted());
  ASSERT_TRUE(client_.Greet());
  EXPECT_TRUE(session_.greeted());
  const std::vector<WireFrame> frames = client_.TakenFrames();
  ASSERT_THAT(frames, SizeIs(3));
  EXPECT_EQ(frames[0].type, FrameType::kSettings);
  const std::string settings = SettingsFrame({{Setting::kMaxConcurrentStreams, 1024},
                                              {Setting::kInitialWindowSize, 1 << 20},
                                              {Setting::kMaxHeaderListSize, 64 << 10}});
  EXPECT_EQ(frames[0].payload, settings.substr(kFrameHeaderBytes));
  EXPECT_EQ(client_.send_window(), 16 << 20);
  EXPECT_EQ(client_.settings_acks(), 1);
}

TEST_F(Http2SessionTest, CarriesACall) {
  client_.Greet();
  client_.TakenFrames();
  const uint32_t id = client_.Open("/echo", false, {{"key", "value"}});
  EXPECT_EQ(Seen(0).headers, RequestFields("/echo", {{"key", "value"}}));
  client_.SendData(id, "some ");
  EXPECT_FALSE(Seen(0).ended);
  client_.SendData(id, "data", true);
  EXPECT_TRUE(Seen(0).ended);
  EXPECT_EQ(Seen(0).closed, 1);
  EXPECT_EQ(session_.stream_count(), 0u);
  const auto& stream = client_.stream(id);
  EXPECT_THAT(stream.head, ElementsAre(Pair(":status", "200"), Pair("content-type", "application/grpc")));
  EXPECT_EQ(stream.data, "some data");
  EXPECT_THAT(stream.trailers, ElementsAre(Pair("grpc-status", "0")));
  EXPECT_TRUE(stream.ended);
  EXPECT_EQ(stream.reset, std::nullopt);
  EXPECT_THAT(client_.TakenFrames(), SizeIs(3));
}

TEST_F(Http2SessionTest, AnAnswerWithoutDataIsOneFrame) {
  client_.Greet();
  client_.TakenFrames();
  const uint32_t id = client_.Open("/fails", true);
  // The client had not ended yet when the headers came: the end came with them.
  EXPECT_EQ(ValueOf(client_.stream(id).head, "grpc-status"), "5");
  EXPECT_TRUE(client_.stream(id).ended);
}

TEST_F(Http2SessionTest, AClientThatStillSendsIsToldToStop) {
  client_.Greet();
  for (const char* path : {"/fails", "/large"}) {
    const uint32_t id = client_.Open(path);
    client_.GiveWindow(0, 1 << 20);
    client_.GiveWindow(id, 1 << 20);
    EXPECT_TRUE(client_.stream(id).ended) << path;
    EXPECT_EQ(client_.stream(id).reset, Http2Error::kNoError) << path;
    EXPECT_TRUE(client_.SendData(id, "more", true));
  }
}

TEST_F(Http2SessionTest, HeadersMayComeInPiecesWithPaddingAndPriority) {
  client_.Greet();
  const std::string block = RequestBlock("/echo");
  const std::string padded =
      std::string("\x03") + std::string("\0\0\0\0\x10", 5) + block.substr(0, 7) + std::string(3, '\0');
  EXPECT_TRUE(
      client_.Send(Frame(FrameType::kHeaders, kFlagPadded | kFlagPriority | kFlagEndStream, 1, padded)));
  EXPECT_TRUE(client_.Send(Frame(FrameType::kContinuation, 0, 1, "")));
  EXPECT_TRUE(client_.Send(Frame(FrameType::kContinuation, 0, 1, block.substr(7, 10))));
  EXPECT_THAT(peer_.streams, IsEmpty());
  session_.ForEachStream([](Http2Stream&) { ADD_FAILURE(); });
  // Its answer is not one that this client knows of.
  EXPECT_TRUE(session_.Receive(Frame(FrameType::kContinuation, kFlagEndHeaders, 1, block.substr(17))));
  ASSERT_THAT(peer_.streams, SizeIs(1));
  EXPECT_EQ(Seen(0).headers, RequestFields("/echo"));
  EXPECT_TRUE(Seen(0).ended);
}

TEST_F(Http2SessionTest, PaddingIsNotDataButTakesWindow) {
  client_.Greet();
  const uint32_t id = client_.Open("/hold");
  client_.TakenFrames();
  // 16384 bytes a frame: 1 of length, 100 of data, 16283 of padding.
  const std::string payload = "\xff" + std::string(100, 'd') + std::string(255, '\0');
  const std::string frame = Frame(FrameType::kData, kFlagPadded, id, payload);
  size_t sent = 0;
  size_t data = 0;
  std::vector<WireFrame> updates;
  while (updates.empty() && sent < Http2Session::kStreamWindow) {
    ASSERT_TRUE(client_.Send(frame));
    sent += payload.size();
    data += 100;
    for (const WireFrame& taken : client_.TakenFrames()) updates.push_back(taken);
  }
  EXPECT_EQ(Seen(0).data, std::string(data, 'd'));
  // Padding is nobody's: it is returned when it makes half a window.
  ASSERT_THAT(updates, SizeIs(1));
  EXPECT_EQ(updates[0].stream, id);
  EXPECT_EQ(LoadBig32(updates[0].payload.data()), sent - data);
  EXPECT_GE(sent - data, Http2Session::kStreamWindow / 2);
}

TEST_F(Http2SessionTest, TrailersOfAClientEndItsStream) {
  client_.Greet();
  const uint32_t id = client_.Open("/echo");
  client_.SendData(id, "data");
  EXPECT_TRUE(client_.Send(HeadersFrame(id, Block({{"checksum", "1"}}), true)));
  EXPECT_TRUE(Seen(0).ended);
  EXPECT_EQ(client_.stream(id).data, "data");
}

// To the byte, of a stream and of the connection.
TEST_F(Http2SessionTest, DataKeepsToTheStreamsWindow) {
  client_.Greet({{Setting::kInitialWindowSize, 10}});
  const uint32_t id = client_.Open("/hold");
  session_.SendHead(Seen(0), "");
  peer_.Append(Seen(0), "0123456789abcdefghijklmnopq");
  client_.Take();
  EXPECT_THAT(DataSizes(id), ElementsAre(10));
  EXPECT_EQ(Seen(0).backlog(), 17u);
  client_.GiveWindow(id, 1);
  EXPECT_THAT(DataSizes(id), ElementsAre(1));
  client_.GiveWindow(id, 15);
  EXPECT_THAT(DataSizes(id), ElementsAre(15));
  session_.End(Seen(0), "");
  client_.Take();
  EXPECT_FALSE(client_.stream(id).ended);
  client_.GiveWindow(id, 1);
  EXPECT_EQ(client_.stream(id).data, "0123456789abcdefghijklmnopq");
  EXPECT_TRUE(client_.stream(id).ended);
}

TEST_F(Http2SessionTest, WhatFitsExactlyGoesAtOnce) {
  client_.Greet({{Setting::kInitialWindowSize, 10}});
  const uint32_t id = client_.Open("/hold");
  session_.SendHead(Seen(0), "");
  peer_.Append(Seen(0), "0123456789");
  EXPECT_EQ(Seen(0).backlog(), 0u);
  // An end needs no window.
  session_.End(Seen(0), "");
  client_.Take();
  EXPECT_EQ(client_.stream(id).data, "0123456789");
  EXPECT_TRUE(client_.stream(id).ended);
}

TEST_F(Http2SessionTest, DataKeepsToTheConnectionsWindow) {
  client_.Greet({{Setting::kInitialWindowSize, kLargest}});
  const uint32_t first = client_.Open("/hold");
  const uint32_t second = client_.Open("/hold");
  for (int i = 0; i < 2; ++i) {
    session_.SendHead(Seen(i), "");
    peer_.Append(Seen(i), std::string(40'000, 'x'));
  }
  client_.Take();
  EXPECT_EQ(client_.stream(first).data.size() + client_.stream(second).data.size(), kDefaultWindowBytes);
  EXPECT_EQ(Seen(0).backlog() + Seen(1).backlog(), 80'000 - kDefaultWindowBytes);
  client_.GiveWindow(0, 1);
  EXPECT_EQ(client_.stream(first).data.size() + client_.stream(second).data.size(), kDefaultWindowBytes + 1);
  client_.GiveWindow(0, 100'000);
  EXPECT_EQ(client_.stream(first).data.size(), 40'000u);
  EXPECT_EQ(client_.stream(second).data.size(), 40'000u);
}

TEST_F(Http2SessionTest, AWindowMayFallBelowZero) {
  client_.Greet({{Setting::kInitialWindowSize, 100}});
  const uint32_t id = client_.Open("/hold");
  session_.SendHead(Seen(0), "");
  peer_.Append(Seen(0), std::string(300, 'x'));
  client_.Take();
  EXPECT_THAT(DataSizes(id), ElementsAre(100));
  client_.ChangeSettings({{Setting::kInitialWindowSize, 20}});  // -80
  client_.GiveWindow(id, 80);
  EXPECT_THAT(DataSizes(id), IsEmpty());
  client_.GiveWindow(id, 1);
  EXPECT_THAT(DataSizes(id), ElementsAre(1));
  client_.ChangeSettings({{Setting::kInitialWindowSize, 0}});   // -20
  client_.ChangeSettings({{Setting::kInitialWindowSize, 50}});  // 30
  EXPECT_THAT(DataSizes(id), ElementsAre(30));
  client_.ChangeSettings({{Setting::kInitialWindowSize, 10}, {Setting::kInitialWindowSize, 60}});  // 10
  EXPECT_THAT(DataSizes(id), ElementsAre(10));
}

TEST_F(Http2SessionTest, FramesAreAsLongAsTheClientAllows) {
  client_.Greet({{Setting::kInitialWindowSize, kLargest}});
  client_.GiveWindow(0, 10'000'000);
  const uint32_t id = client_.Open("/hold");
  session_.SendHead(Seen(0), "");
  peer_.Append(Seen(0), std::string(40'000, 'x'));
  client_.Take();
  EXPECT_THAT(DataSizes(id), ElementsAre(16'384, 16'384, 7'232));
  client_.ChangeSettings({{Setting::kMaxFrameSize, 20'000}});
  peer_.Append(Seen(0), std::string(40'000, 'x'));
  client_.Take();
  EXPECT_THAT(DataSizes(id), ElementsAre(20'000, 20'000));
  // But not so long that they keep others waiting.
  client_.ChangeSettings({{Setting::kMaxFrameSize, kLargestMaxFrameBytes}});
  peer_.Append(Seen(0), std::string(100'000, 'x'));
  client_.Take();
  EXPECT_THAT(DataSizes(id), ElementsAre(65'536, 34'464));
}

TEST_F(Http2SessionTest, WindowsComeBackWhenDataIsConsumed) {
  client_.Greet();
  const uint32_t id = client_.Open("/hold");
  const std::string half(Http2Session::kStreamWindow / 2, 'x');
  client_.SendData(id, half);
  client_.SendData(id, half);
  EXPECT_EQ(client_.stream(id).send_window, 0);
  session_.Consumed(Seen(0), half.size() - 1);
  client_.Take();
  EXPECT_EQ(client_.stream(id).send_window, 0);
  session_.Consumed(Seen(0), 1);
  client_.Take();
  EXPECT_EQ(client_.stream(id).send_window, static_cast<int64_t>(half.size()));
  EXPECT_TRUE(client_.SendData(id, half));
  EXPECT_EQ(client_.stream(id).reset, std::nullopt);
  EXPECT_TRUE(client_.Send(DataFrame(id, "x", false)));
  EXPECT_EQ(client_.stream(id).reset, Http2Error::kFlowControlError);
}

// However slow one stream is.
TEST_F(Http2SessionTest, TheConnectionsWindowComesBackByItself) {
  client_.Greet();
  for (int i = 0; i < 20; ++i) {
    const uint32_t id = client_.Open("/hold");
    ASSERT_GE(client_.send_window(), 1 << 20);
    ASSERT_TRUE(client_.SendData(id, std::string(1 << 20, 'x')));
  }
  EXPECT_EQ(session_.stream_count(), 20u);
}

TEST_F(Http2SessionTest, StreamsTakeTurns) {
  client_.Greet({{Setting::kInitialWindowSize, kLargest}});
  const uint32_t first = client_.Open("/large", true);
  const uint32_t second = client_.Open("/large", true);
  client_.TakenFrames();
  client_.GiveWindow(0, 1'000'000);
  std::vector<uint32_t> order;
  for (const WireFrame& frame : client_.TakenFrames()) {
    if (frame.type == FrameType::kData) order.push_back(frame.stream);
  }
  ASSERT_GT(order.size(), 10u);
  for (size_t i = 2; i < 10; ++i) EXPECT_NE(order[i], order[i - 1]);
  EXPECT_EQ(client_.stream(first).data.size(), SessionPeer::kLarge);
  EXPECT_EQ(client_.stream(second).data.size(), SessionPeer::kLarge);
}

TEST_F(Http2SessionTest, AnOutputThatIsNotTakenStopsData) {
  client_.Greet({{Setting::kInitialWindowSize, kLargest}});
  client_.GiveWindow(0, kLargest - kDefaultWindowBytes);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(
        session_.Receive(HeadersFrame(static_cast<uint32_t>(2 * i + 1), RequestBlock("/large"), true)));
    session_.Pump();
  }
  EXPECT_LT(session_.output().size(), Http2Session::kOutputHighWater + 100 * 100 + 20'000);
}

TEST_F(Http2SessionTest, TellsWhenABacklogIsSmallAgain) {
  client_.Greet();
  const uint32_t id = client_.Open("/hold");
  session_.SendHead(Seen(0), "");
  const size_t all = kDefaultWindowBytes + Http2Session::kBacklogLowWater + 100;
  peer_.Append(Seen(0), std::string(all, 'x'));
  client_.Take();
  client_.GiveWindow(0, 1000);
  EXPECT_EQ(Seen(0).writable, 0);
  client_.GiveWindow(id, 99);
  EXPECT_EQ(Seen(0).writable, 0);
  client_.GiveWindow(id, 1);
  EXPECT_EQ(Seen(0).backlog(), Http2Session::kBacklogLowWater);
  EXPECT_EQ(Seen(0).writable, 1);
  client_.GiveWindow(id, 1);
  EXPECT_EQ(Seen(0).writable, 1);
}

TEST_F(Http2SessionTest, AnswersPingsAndSendsItsOwn) {
  client_.Greet();
  client_.TakenFrames();
  client_.Send(PingFrame());
  EXPECT_EQ(client_.TakenFrames().at(0).payload, "12345678");
  EXPECT_EQ(client_.ping_acks(), 1);
  session_.Ping();
  client_.Take();
  const std::vector<WireFrame> frames = client_.TakenFrames();
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_EQ(frames[0].type, FrameType::kPing);
  EXPECT_TRUE(client_.Send(PingFrame(kFlagAck)));
  EXPECT_THAT(client_.TakenFrames(), IsEmpty());
}

TEST_F(Http2SessionTest, WhatIsUnknownIsIgnored) {
  client_.Greet();
  const uint32_t id = client_.Open("/echo");
  client_.TakenFrames();
  EXPECT_TRUE(client_.Send(Frame(static_cast<FrameType>(200), 0xff, id, "anything")));
  EXPECT_TRUE(client_.Send(Frame(FrameType::kPriority, 0, 99, std::string(5, '\0'))));
  EXPECT_THAT(client_.TakenFrames(), IsEmpty());
  EXPECT_TRUE(client_.Send(SettingsFrame({{static_cast<Setting>(0x4d2), 7},
                                          {Setting::kMaxHeaderListSize, 1},
                                          {Setting::kMaxConcurrentStreams, 0}})));
  // The bit beside a stream's number means nothing.
  EXPECT_TRUE(client_.Send(Frame(FrameType::kData, kFlagEndStream | 0xf0, id | 0x80000000, "data")));
  EXPECT_EQ(client_.stream(id).data, "data");
}

TEST_F(Http2SessionTest, AStreamThatTheClientResetsIsForgotten) {
  client_.Greet({{Setting::kInitialWindowSize, 10}});
  const uint32_t id = client_.Open("/large");
  EXPECT_TRUE(client_.Reset(id));
  EXPECT_EQ(Seen(0).closed, 1);
  EXPECT_EQ(Seen(0).backlog(), 0u);
  client_.TakenFrames();
  EXPECT_TRUE(client_.GiveWindow(id, 100));
  EXPECT_TRUE(client_.SendData(id, "late", true));
  EXPECT_TRUE(client_.Send(HeadersFrame(id, Block({{"a", "b"}}), true)));
  EXPECT_THAT(client_.TakenFrames(), IsEmpty());
  EXPECT_THAT(peer_.streams, SizeIs(1));
}

TEST_F(Http2SessionTest, MoreStreamsThanAllowedAreRefused) {
  client_.Greet();
  for (size_t i = 0; i < Http2Session::kMaxStreams; ++i) client_.Open("/hold");
  const uint32_t refused = client_.Open("/hold");
  EXPECT_EQ(client_.stream(refused).reset, Http2Error::kRefusedStream);
  EXPECT_THAT(peer_.streams, SizeIs(Http2Session::kMaxStreams));
  client_.Reset(1);
  EXPECT_EQ(client_.stream(client_.Open("/hold")).reset, std::nullopt);
}

// Headers that nobody was given are not those of the stream before.
TEST_F(Http2SessionTest, HeadersAreRepeatedOnlyIfTheStreamBeforeHadThem) {
  client_.Greet();
  // Two requests that are nothing but indexes from then on.
  const std::string first =
      "\x83\x40\x05"
      ":path\x02"
      "/a";
  const std::string second =
      "\x83\x40\x05"
      ":path\x02"
      "/b";
  const std::string again_first = "\x83\xbf";
  const std::string again_second = "\x83\xbe";
  uint32_t id = 1;
  const auto send = [&](const std::string& block) {
    ASSERT_TRUE(session_.Receive(HeadersFrame(id, block, false)));
    id += 2;
  };
  const auto path = [&] { return ValueOf(peer_.streams.back()->headers, ":path"); };
  send(first);
  send(second);
  send(again_first);
  send(again_first);
  EXPECT_TRUE(peer_.streams.back()->repeated);
  EXPECT_EQ(path(), "/a");

  // Refused, and asked again.
  peer_.refuses = true;
  send(again_second);
  peer_.refuses = false;
  send(again_second);
  EXPECT_FALSE(peer_.streams.back()->repeated);
  EXPECT_EQ(path(), "/b");

  // Trailers, then a stream that begins with the same octets.
  ASSERT_TRUE(session_.Receive(HeadersFrame(1, again_first, true)));
  send(again_first);
  EXPECT_FALSE(peer_.streams.back()->repeated);
  EXPECT_EQ(path(), "/a");

  // A stream that is gone.
  ASSERT_TRUE(session_.Receive(ResetFrame(3) + HeadersFrame(3, again_second, true)));
  send(again_second);
  EXPECT_FALSE(peer_.streams.back()->repeated);
  EXPECT_EQ(path(), "/b");
}

TEST_F(Http2SessionTest, GoAwayLetsStreamsEndAndTakesNoNew) {
  client_.Greet();
  const uint32_t old = client_.Open("/echo");
  session_.GoAway(Http2Error::kNoError, "bye");
  client_.Take();
  ASSERT_TRUE(client_.go_away().has_value());
  EXPECT_EQ(client_.go_away()->last_stream, old);
  EXPECT_EQ(client_.go_away()->error, Http2Error::kNoError);
  EXPECT_EQ(client_.go_away()->why, "bye");
  EXPECT_TRUE(session_.leaving());
  // A busy client has sent many more before it hears of that: they are its to send elsewhere.
  for (int i = 0; i < 5000; ++i) {
    const uint32_t late = client_.last_opened() + 2;
    ASSERT_EQ(client_.Open("/echo"), late);
    ASSERT_TRUE(client_.SendData(late, "data", true));
  }
  EXPECT_THAT(peer_.streams, SizeIs(1));
  EXPECT_TRUE(client_.SendData(old, "data", true));
  EXPECT_EQ(client_.stream(old).data, "data");
  EXPECT_TRUE(client_.stream(old).ended);
  EXPECT_EQ(session_.stream_count(), 0u);
}

TEST_F(Http2SessionTest, AClientThatLeavesMayFinish) {
  client_.Greet();
  const uint32_t id = client_.Open("/echo");
  EXPECT_FALSE(session_.leaving());
  EXPECT_TRUE(client_.Send(GoAwayFrame(0, Http2Error::kNoError)));
  EXPECT_TRUE(session_.leaving());
  EXPECT_TRUE(client_.SendData(id, "data", true));
  EXPECT_TRUE(client_.stream(id).ended);
}

TEST_F(Http2SessionTest, CloseStreamsEndsThemAll) {
  client_.Greet();
  for (int i = 0; i < 5; ++i) client_.Open("/hold");
  session_.CloseStreams();
  for (const auto& stream : peer_.streams) EXPECT_EQ(stream->closed, 1);
  EXPECT_EQ(session_.stream_count(), 0u);
}

TEST_F(Http2SessionTest, LongHeaderBlocksAreCut) {
  client_.Greet();
  const uint32_t id = client_.Open("/hold", true);
  client_.TakenFrames();
  const Fields fields = {{"a", std::string(20'000, 'a')}, {"b", std::string(20'000, 'b')}};
  session_.SendHead(Seen(0), Block(fields));
  session_.End(Seen(0), Block(fields));
  client_.Take();
  std::vector<FrameType> types;
  for (const WireFrame& frame : client_.TakenFrames()) types.push_back(frame.type);
  const auto head = FrameType::kHeaders;
  const auto more = FrameType::kContinuation;
  EXPECT_THAT(types, ElementsAre(head, more, more, head, more, more));
  EXPECT_THAT(client_.stream(id).head, SizeIs(4));
  EXPECT_EQ(client_.stream(id).trailers, fields);
  EXPECT_TRUE(client_.stream(id).ended);
}

TEST_F(Http2SessionTest, WithoutAHeaderTableAnswersAreTheSame) {
  client_.Greet({{Setting::kHeaderTableSize, 0}});
  for (int i = 0; i < 3; ++i) {
    const uint32_t id = client_.Open("/echo");
    client_.SendData(id, "data", true);
    EXPECT_THAT(client_.stream(id).trailers, ElementsAre(Pair("grpc-status", "0")));
    if (i == 1) client_.ChangeSettings({{Setting::kHeaderTableSize, 4096}});
  }
}

// Streams that end while they wait leave nothing behind: a client may do this for ever.
TEST_F(Http2SessionTest, StreamsThatWaitedAreForgotten) {
  peer_.forgets = true;
  client_.Greet({{Setting::kInitialWindowSize, kLargest}});
  client_.Open("/large", true);  // all of the connection's window
  for (int i = 0; i < 300; ++i) {
    const uint32_t id = client_.Open("/large");
    ASSERT_EQ(session_.waiting_count(), 2u) << id;
    session_.Reset(*peer_.streams.back(), Http2Error::kCancel);
    ASSERT_EQ(session_.waiting_count(), 1u) << id;
  }
}

TEST(Http2SessionGreetingTest, OtherProtocolsAreToldSo) {
  for (const std::string request : {"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST /a HTTP/1.1\r\n\r\n"}) {
    for (const size_t step : {size_t{1}, size_t{3}, size_t{1000}}) {
      SessionPeer peer;
      peer.session.Sent(peer.session.output().size());
      bool goes_on = true;
      for (size_t at = 0; at < request.size() && goes_on; at += step) {
        goes_on = peer.session.Receive(request.substr(at, step));
      }
      EXPECT_FALSE(goes_on);
      EXPECT_THAT(std::string(peer.session.output()), StartsWith("HTTP/1.1 505")) << step;
      EXPECT_THAT(std::string(peer.session.output()), HasSubstr("gRPC"));
    }
  }
  for (const std::string garbage :
       {"garbage", "PRI * HTTP/1.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02", "GARBAGE"}) {
    SessionPeer peer;
    SessionClient client(peer.session);
    EXPECT_FALSE(client.Send(garbage));
    EXPECT_EQ(client.go_away()->error, Http2Error::kProtocolError);
    EXPECT_EQ(client.go_away()->why, "not the preface of HTTP/2");
  }
}

}  // namespace
}  // namespace thermocline::server::rpc
