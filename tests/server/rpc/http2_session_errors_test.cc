// What a session does with clients that break the protocol, or keep to it and are a nuisance.

#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "server/rpc/http2_session.h"
#include "tests/server/rpc/http2_wire.h"
#include "tests/server/rpc/session_client.h"
#include "tests/server/rpc/session_peer.h"

namespace thermocline::server::rpc {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Fault {
  const char* why;  // as the GOAWAY says it
  Http2Error error;
  std::string bytes;  // behind the greeting and streams 1 (/hold, open) and 3 (/hold, half-closed)
};

std::vector<Fault> Faults() {
  const std::string block = RequestBlock("/hold");
  const std::string setting_of_5_bytes(5, '\0');
  return {
      {"a frame of more than 16384 bytes", Http2Error::kFrameSizeError,
       Frame(FrameType::kData, 0, 1, std::string(16'385, 'x'))},
      {"a header block was interrupted", Http2Error::kProtocolError,
       Frame(FrameType::kHeaders, 0, 5, block) + PingFrame()},
      {"a header block was interrupted", Http2Error::kProtocolError,
       Frame(FrameType::kHeaders, 0, 5, block) + Frame(static_cast<FrameType>(99), 0, 5, "")},
      {"a client pushes", Http2Error::kProtocolError,
       Frame(FrameType::kPushPromise, kFlagEndHeaders, 1, Number32(2) + block)},
      {"PRIORITY of no stream", Http2Error::kProtocolError, Frame(FrameType::kPriority, 0, 0, "12345")},
      {"PRIORITY has not 5 bytes", Http2Error::kFrameSizeError, Frame(FrameType::kPriority, 0, 1, "1234")},
      {"DATA of a stream that was never opened", Http2Error::kProtocolError, DataFrame(0, "x", false)},
      {"DATA of a stream that was never opened", Http2Error::kProtocolError, DataFrame(2, "x", false)},
      {"DATA of a stream that was never opened", Http2Error::kProtocolError, DataFrame(5, "x", false)},
      {"more padding than there is frame", Http2Error::kProtocolError,
       Frame(FrameType::kData, kFlagPadded, 1, "")},
      {"more padding than there is frame", Http2Error::kProtocolError,
       Frame(FrameType::kData, kFlagPadded, 1, "\x01")},
      {"more padding than there is frame", Http2Error::kProtocolError,
       Frame(FrameType::kHeaders, kFlagPadded | kFlagEndHeaders, 5, "\xff" + std::string(254, 'x'))},
      {"HEADERS of a stream that no client opens", Http2Error::kProtocolError, HeadersFrame(0, block, true)},
      {"HEADERS of a stream that no client opens", Http2Error::kProtocolError, HeadersFrame(6, block, true)},
      {"HEADERS too short for their priority", Http2Error::kFrameSizeError,
       Frame(FrameType::kHeaders, kFlagPriority | kFlagEndHeaders, 5, "1234")},
      {"CONTINUATION of nothing", Http2Error::kProtocolError,
       Frame(FrameType::kContinuation, kFlagEndHeaders, 1, block)},
      {"CONTINUATION of nothing", Http2Error::kProtocolError,
       Frame(FrameType::kHeaders, 0, 5, block) + Frame(FrameType::kContinuation, kFlagEndHeaders, 7, "")},
      {"a header block that cannot be decoded", Http2Error::kCompressionError, HeadersFrame(5, "\xff", true)},
      // On a stream that is gone, too: it changes the table.
      {"a header block that cannot be decoded", Http2Error::kCompressionError,
       ResetFrame(1) + HeadersFrame(1, "\xff", true)},
      {"RST_STREAM of a stream that was never opened", Http2Error::kProtocolError, ResetFrame(0)},
      {"RST_STREAM of a stream that was never opened", Http2Error::kProtocolError, ResetFrame(5)},
      {"RST_STREAM of a stream that was never opened", Http2Error::kProtocolError, ResetFrame(2)},
      {"RST_STREAM has not 4 bytes", Http2Error::kFrameSizeError, Frame(FrameType::kRstStream, 0, 1, "123")},
      {"SETTINGS of a stream", Http2Error::kProtocolError, Frame(FrameType::kSettings, 0, 1, "")},
      {"an acknowledgement of SETTINGS with a payload", Http2Error::kFrameSizeError,
       Frame(FrameType::kSettings, kFlagAck, 0, "123456")},
      {"SETTINGS of a broken length", Http2Error::kFrameSizeError,
       Frame(FrameType::kSettings, 0, 0, setting_of_5_bytes)},
      {"ENABLE_PUSH is neither 0 nor 1", Http2Error::kProtocolError,
       SettingsFrame({{Setting::kEnablePush, 2}})},
      {"MAX_FRAME_SIZE out of its range", Http2Error::kProtocolError,
       SettingsFrame({{Setting::kMaxFrameSize, kDefaultMaxFrameBytes - 1}})},
      {"MAX_FRAME_SIZE out of its range", Http2Error::kProtocolError,
       SettingsFrame({{Setting::kMaxFrameSize, kLargestMaxFrameBytes + 1}})},
      {"INITIAL_WINDOW_SIZE out of range", Http2Error::kFlowControlError,
       SettingsFrame({{Setting::kInitialWindowSize, 0x80000000}})},
      {"INITIAL_WINDOW_SIZE makes a window too large", Http2Error::kFlowControlError,
       WindowUpdateFrame(1, 0x7fffffff - kDefaultWindowBytes) +
           SettingsFrame({{Setting::kInitialWindowSize, kDefaultWindowBytes + 1}})},
      {"PING of a stream", Http2Error::kProtocolError, Frame(FrameType::kPing, 0, 1, "12345678")},
      {"PING has not 8 bytes", Http2Error::kFrameSizeError, Frame(FrameType::kPing, 0, 0, "1234567")},
      {"WINDOW_UPDATE has not 4 bytes", Http2Error::kFrameSizeError,
       Frame(FrameType::kWindowUpdate, 0, 0, "123")},
      {"WINDOW_UPDATE of nothing", Http2Error::kProtocolError, WindowUpdateFrame(0, 0)},
      {"WINDOW_UPDATE of nothing", Http2Error::kProtocolError, WindowUpdateFrame(0, 0x80000000)},
      {"the window is too large", Http2Error::kFlowControlError, WindowUpdateFrame(0, 0x7fffffff)},
      {"WINDOW_UPDATE of a stream that was never opened", Http2Error::kProtocolError,
       WindowUpdateFrame(5, 1)},
      {"WINDOW_UPDATE of a stream that was never opened", Http2Error::kProtocolError,
       WindowUpdateFrame(2, 1)},
      {"GOAWAY of a stream", Http2Error::kProtocolError,
       Frame(FrameType::kGoAway, 0, 1, std::string(8, '\0'))},
      {"GOAWAY has less than 8 bytes", Http2Error::kFrameSizeError,
       Frame(FrameType::kGoAway, 0, 0, "1234567")},
  };
}

TEST(Http2SessionErrorsTest, EveryFaultOfAConnectionIsNamed) {
  for (const Fault& fault : Faults()) {
    SessionPeer peer;
    SessionClient client(peer.session);
    ASSERT_TRUE(client.Greet());
    client.Open("/hold");
    client.Open("/hold", true);
    EXPECT_FALSE(client.Send(fault.bytes + PingFrame())) << fault.why;
    ASSERT_TRUE(client.go_away().has_value()) << fault.why;
    EXPECT_EQ(client.go_away()->error, fault.error) << fault.why;
    EXPECT_EQ(client.go_away()->why, fault.why);
    EXPECT_EQ(client.go_away()->last_stream, 3u);
    // Nothing after it is heeded.
    EXPECT_EQ(client.ping_acks(), 0) << fault.why;
    EXPECT_FALSE(peer.session.Receive(PingFrame()));
    EXPECT_THAT(client.breaches(), IsEmpty()) << fault.why;
  }
}

TEST(Http2SessionErrorsTest, TheFirstFrameIsSettings) {
  for (const std::string& first :
       {PingFrame(), SettingsAck(), HeadersFrame(1, RequestBlock("/echo"), true)}) {
    SessionPeer peer;
    SessionClient client(peer.session);
    EXPECT_FALSE(client.Send(std::string(kClientPreface) + first));
    EXPECT_EQ(client.go_away()->why, "the first frame is not SETTINGS");
    EXPECT_THAT(peer.streams, IsEmpty());
  }
}

struct StreamFault {
  Http2Error error;
  std::string bytes;  // for stream 1 (open) or 3 (half-closed)
  uint32_t stream;
};

TEST(Http2SessionErrorsTest, AFaultOfAStreamHarmsNoOther) {
  const std::string too_much(Http2Session::kStreamWindow + 1, 'x');
  const std::vector<StreamFault> faults = {
      {Http2Error::kStreamClosed, DataFrame(3, "x", false), 3},
      {Http2Error::kStreamClosed, HeadersFrame(3, Block({{"a", "b"}}), true), 3},
      {Http2Error::kProtocolError, HeadersFrame(1, Block({{"a", "b"}}), false), 1},
      {Http2Error::kFlowControlError, DataFrames(1, too_much, false), 1},
      {Http2Error::kProtocolError, WindowUpdateFrame(1, 0), 1},
      {Http2Error::kFlowControlError, WindowUpdateFrame(1, 0x7fffffff), 1},
  };
  for (const StreamFault& fault : faults) {
    SessionPeer peer;
    SessionClient client(peer.session);
    client.Greet();
    client.Open("/hold");
    client.Open("/hold", true);
    EXPECT_TRUE(client.Send(fault.bytes));
    EXPECT_EQ(client.stream(fault.stream).reset, fault.error);
    EXPECT_EQ(peer.streams[fault.stream / 2]->closed, 1);
    EXPECT_EQ(peer.streams[1 - fault.stream / 2]->closed, 0);
    // What was under way for it, and the others.
    EXPECT_TRUE(client.Send(DataFrame(fault.stream, "late", true) + WindowUpdateFrame(fault.stream, 1)));
    const uint32_t next = client.Open("/echo");
    EXPECT_TRUE(client.SendData(next, "data", true));
    EXPECT_EQ(client.stream(next).data, "data");
    EXPECT_THAT(client.breaches(), IsEmpty());
  }
}

TEST(Http2SessionErrorsTest, AHeaderBlockInPiecesHasALimit) {
  SessionPeer peer;
  SessionClient client(peer.session);
  client.Greet();
  const std::string piece(16'384, '\x82');
  ASSERT_TRUE(client.Send(Frame(FrameType::kHeaders, 0, 1, piece)));
  int pieces = 1;
  while (client.Send(Frame(FrameType::kContinuation, 0, 1, piece))) ASSERT_LT(++pieces, 10);
  EXPECT_EQ(pieces, 5);
  EXPECT_EQ(client.go_away()->error, Http2Error::kEnhanceYourCalm);
}

TEST(Http2SessionErrorsTest, AListThatIsTooLargeCostsItsStreamOnly) {
  SessionPeer peer;
  SessionClient client(peer.session);
  client.Greet();
  const std::string bomb = std::string(
                               "\x40\x01"
                               "a\x7f\xa1\x17",
                               6) +
                           std::string(3104, 'x') + std::string(500, '\xbe');
  EXPECT_TRUE(client.Send(HeadersFrame(1, bomb, true)));
  ASSERT_EQ(peer.streams.size(), 1u);
  EXPECT_TRUE(peer.streams[0]->too_large);
  EXPECT_TRUE(client.Send(HeadersFrame(3, RequestBlock("/hold"), true)));
  EXPECT_FALSE(peer.streams[1]->too_large);
}

// Frames that ask for work and bring none, on a connection with stream 1 open; the number says which.
using Nuisance = std::function<std::string(uint32_t)>;

struct Flood {
  const char* name;
  Nuisance frame;
  int at_least;  // so many are borne
  int at_most;
};

std::vector<Flood> Floods() {
  const std::string block = RequestBlock("/hold");
  const auto always = [](const std::string& frame) { return [frame](uint32_t) { return frame; }; };
  return {
      {"PING", always(PingFrame()), 500, 2000},
      {"PING, acknowledged", always(PingFrame(kFlagAck)), 500, 2000},
      {"SETTINGS", always(SettingsFrame({})), 500, 2000},
      {"SETTINGS, acknowledged", always(SettingsAck()), 500, 2000},
      {"PRIORITY", always(Frame(FrameType::kPriority, 0, 1, "12345")), 500, 2000},
      {"unknown", always(Frame(static_cast<FrameType>(77), 0, 1, "")), 500, 2000},
      {"GOAWAY", always(GoAwayFrame(0, Http2Error::kNoError)), 500, 2000},
      {"empty DATA", always(DataFrame(1, "", false)), 500, 2000},
      {"DATA of nothing but padding",
       always(Frame(FrameType::kData, kFlagPadded, 1, std::string(10, '\x09'))), 500, 2000},
      {"WINDOW_UPDATE", always(WindowUpdateFrame(0, 1)), 500, 2000},
      {"WINDOW_UPDATE of a stream", always(WindowUpdateFrame(1, 1)), 500, 2000},
      {"trailers of a stream that is gone", always(ResetFrame(1) + HeadersFrame(1, Block({}), true)), 500,
       2000},
      {"empty CONTINUATION",
       [block](uint32_t i) {
         return Frame(i == 0 ? FrameType::kHeaders : FrameType::kContinuation, 0, 3, "");
       },
       500, 2000},
      {"rapid reset",
       [block](uint32_t i) { return HeadersFrame(3 + 2 * i, block, false) + ResetFrame(3 + 2 * i); }, 10'000,
       50'000},
      // The client has the server reset its streams.
      {"made to reset",
       [block](uint32_t i) { return HeadersFrame(3 + 2 * i, block, true) + WindowUpdateFrame(3 + 2 * i, 0); },
       10'000, 50'000},
      {"made to reset by data",
       [block](uint32_t i) {
         return HeadersFrame(3 + 2 * i, block, true) + DataFrame(3 + 2 * i, "x", false);
       },
       10'000, 50'000},
      {"made to reset by trailers",
       [block](uint32_t i) {
         return HeadersFrame(3 + 2 * i, block, false) + HeadersFrame(3 + 2 * i, "", false);
       },
       10'000, 50'000},
      // Beyond 1024 at once.
      {"too many streams", [block](uint32_t i) { return HeadersFrame(3 + 2 * i, block, false); }, 10'000,
       50'000},
  };
}

TEST(Http2SessionErrorsTest, FloodsEnd) {
  for (const Flood& flood : Floods()) {
    SessionPeer peer;
    SessionClient client(peer.session);
    peer.forgets = true;
    client.Greet();
    client.Open("/hold");
    int borne = 0;
    while (borne < flood.at_most) {
      if (!peer.session.Receive(flood.frame(static_cast<uint32_t>(borne)))) break;
      ++borne;
      if (peer.session.output().size() > 100'000) peer.session.Sent(peer.session.output().size());
    }
    EXPECT_GE(borne, flood.at_least) << flood.name;
    EXPECT_LT(borne, flood.at_most) << flood.name;
    EXPECT_LE(peer.session.stream_count(), Http2Session::kMaxStreams) << flood.name;
    std::vector<WireFrame> frames = FramesOf(peer.session.output());
    ASSERT_FALSE(frames.empty()) << flood.name;
    ASSERT_EQ(frames.back().type, FrameType::kGoAway) << flood.name;
    EXPECT_EQ(LoadBig32(frames.back().payload.data() + 4),
              static_cast<uint32_t>(Http2Error::kEnhanceYourCalm));
    EXPECT_THAT(frames.back().payload,
                AnyOf(HasSubstr("too_many_pings"), HasSubstr("too many streams were reset")));
  }
}

// Each change of the initial window goes through all streams, and one frame has room for 2730 of them.
TEST(Http2SessionErrorsTest, ChangesOfTheInitialWindowAreCountedOneByOne) {
  SessionPeer peer;
  SessionClient client(peer.session);
  client.Greet();
  client.Open("/hold");
  std::vector<std::pair<Setting, uint32_t>> changes;
  for (uint32_t i = 0; i < 2000; ++i) changes.emplace_back(Setting::kInitialWindowSize, i);
  EXPECT_FALSE(client.Send(SettingsFrame(changes)));
  EXPECT_EQ(client.go_away()->error, Http2Error::kEnhanceYourCalm);
}

TEST(Http2SessionErrorsTest, WhatComesAtAModestPaceGoesOnForEver) {
  SessionPeer peer;
  SessionClient client(peer.session);
  peer.forgets = true;
  client.Greet();
  uint32_t stream = 1;
  for (int second = 0; second < 30; ++second) {
    for (int i = 0; i < 90; ++i) ASSERT_TRUE(client.Send(PingFrame()));
    for (int i = 0; i < 1000; ++i, stream += 2) {
      ASSERT_TRUE(
          peer.session.Receive(HeadersFrame(stream, RequestBlock("/hold"), false) + ResetFrame(stream)));
    }
    peer.session.Tick();
  }
  EXPECT_EQ(client.ping_acks(), 30 * 90);
}

// A client that reads a stream returns the window of every frame, and may ping with each.
TEST(Http2SessionErrorsTest, WorkEarnsIdleFrames) {
  SessionPeer peer;
  SessionClient client(peer.session);
  peer.forgets = true;
  client.Greet();
  for (int i = 0; i < 2000; ++i) {
    const uint32_t stream = client.Open("/echo");
    ASSERT_TRUE(client.SendData(stream, "data", true));
    ASSERT_TRUE(client.GiveWindow(0, 4));
    ASSERT_TRUE(client.Send(PingFrame() + WindowUpdateFrame(stream, 4)));
  }
  EXPECT_THAT(client.breaches(), IsEmpty());
}

}  // namespace
}  // namespace thermocline::server::rpc
