// Peers that mean no good, over real sockets. Whatever they do, memory is bounded, others are served, and a
// stop does not wait for them.

#include <atomic>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "server/rpc/gzip.h"
#include "server/rpc/http2_session.h"
#include "tests/server/rpc/echo.pb.h"
#include "tests/server/rpc/endpoint_fixture.h"
#include "tests/server/rpc/heap_bytes.h"
#include "tests/server/rpc/http2_wire.h"
#include "tests/server/rpc/raw_client.h"

namespace thermocline::server::rpc {
namespace {

using thermocline::testing::Bytes;
using thermocline::testing::DownloadRequest;

constexpr size_t kMiB = 1 << 20;

std::string Path(const std::string& method) { return "/thermocline.testing.Echo/" + method; }

std::string BytesMessage(const std::string& bytes) {
  Bytes message;
  message.set_bytes(bytes);
  return Message(message.SerializeAsString());
}

// A whole unary request.
std::string Request(uint32_t stream, const std::string& method, const std::string& message,
                    const Fields& more = {}) {
  return HeadersFrame(stream, RequestBlock(Path(method), more), false) + DataFrames(stream, message, true);
}

class HostileTest : public EndpointFixture {
 protected:
  // Every test ends so.
  void TearDown() override {
    if (endpoint_ == nullptr) return;
    ExpectServed();
    std::thread finisher([this] {
      while (!stopped_) {
        service_.FinishLater();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
    ExpectStopAtOnce();
    stopped_ = true;
    finisher.join();
    EXPECT_EQ(service_.open_streams, 0);
  }

  RawClient Connect(int receive_buffer = 0) { return RawClient(endpoint_->port(), receive_buffer); }
  RawClient Greeted(const std::vector<std::pair<Setting, uint32_t>>& settings = {}, int receive_buffer = 0) {
    RawClient client = Connect(receive_buffer);
    client.Send(Greeting(settings));
    return client;
  }

 private:
  std::atomic<bool> stopped_ = false;
};

TEST_F(HostileTest, Garbage) {
  Start();
  std::mt19937 random(1);
  const HeapWatch heap;
  std::vector<RawClient> clients;
  for (int i = 0; i < 40; ++i) {
    std::string garbage(1 + random() % 30'000, '\0');
    for (char& byte : garbage) byte = static_cast<char>(random());
    clients.push_back(i % 2 == 0 ? Connect() : Greeted());
    clients.back().Send(garbage);
    if (i % 10 == 0) ExpectServed();
  }
  for (size_t i = 0; i < clients.size(); i += 2)
    EXPECT_EQ(clients[i].ReadToEnd(), "not the preface of HTTP/2");
  EXPECT_LT(heap.Peak(), 16 * kMiB);
}

TEST_F(HostileTest, AClientOfHttp1IsToldSo) {
  Start();
  RawClient client = Connect();
  client.Send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
  std::string answer;
  for (std::string bytes = client.Read(); !bytes.empty(); bytes = client.Read()) answer += bytes;
  EXPECT_THAT(answer, ::testing::StartsWith("HTTP/1.1 505"));
}

TEST_F(HostileTest, HalfFrames) {
  Start();
  const std::string request = Greeting() + Request(1, "Say", BytesMessage(std::string(10'000, 'x')));
  const HeapWatch heap;
  std::vector<RawClient> clients;
  for (size_t at = 1; at < request.size(); at += 101) {
    clients.push_back(Connect());
    ASSERT_TRUE(clients.back().Send(request.substr(0, at)));
  }
  ExpectServed();
  EXPECT_LT(heap.Peak(), clients.size() * 100'000);
}

TEST_F(HostileTest, HeaderBombs) {
  Start();
  const HeapWatch heap;
  RawClient client = Greeted();
  // 3 KB that go into the table, and then stand for 48 MB in each block.
  const std::string entry = std::string(
                                "\x40\x01"
                                "a\x7f\xa1\x17",
                                6) +
                            std::string(3104, 'x');
  ASSERT_TRUE(client.Send(HeadersFrame(1, entry, true)));
  for (uint32_t id = 3; id < 203; id += 2)
    ASSERT_TRUE(client.Send(HeadersFrame(id, std::string(16'000, '\xbe'), true)));
  EXPECT_TRUE(client.ReadUntil(
      [](const WireFrame& frame) { return frame.type == FrameType::kHeaders && frame.stream == 201; }));
  EXPECT_LT(heap.Peak(), 16 * kMiB);
}

TEST_F(HostileTest, AContinuationFlood) {
  Start();
  const HeapWatch heap;
  RawClient client = Greeted();
  client.Send(Frame(FrameType::kHeaders, 0, 1, ""));
  client.Flood(Frame(FrameType::kContinuation, 0, 1, std::string(1000, '\x82')), 4 * kMiB);
  EXPECT_EQ(client.ReadToEnd(), "a header block of more than 80 KiB");
  EXPECT_LT(heap.Peak(), 16 * kMiB);
}

// The answer to what is wrong is not much longer than what was wrong.
TEST_F(HostileTest, AnswersThatNobodyReads) {
  Start();
  const HeapWatch heap;
  std::vector<RawClient> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(Greeted({}, 4096));
    // A path of 3 KB that goes into the table; unknown.
    const std::string path(3104, '%');
    std::string bytes = HeadersFrame(1,
                                     "\x83\x44\x7f"
                                     "\xa1\x17" +
                                         path + Block({{"content-type", "application/grpc"}}),
                                     true);
    const std::string again = "\x83\xbe" + Block({{"content-type", "application/grpc"}});
    for (uint32_t id = 3; id < 40'001; id += 2) bytes += HeadersFrame(id, again, true);
    clients.back().Send(bytes, std::chrono::milliseconds(500));
  }
  ExpectServed();
  EXPECT_LT(heap.Peak(), 48 * kMiB);
}

TEST_F(HostileTest, RapidReset) {
  Start();
  const HeapWatch heap;
  RawClient client = Greeted();
  std::string bytes;
  for (uint32_t id = 1; id < 100'000; id += 2) {
    bytes += Request(id, "SayLater", BytesMessage("x")) + ResetFrame(id);
    if (bytes.size() < 100'000) continue;
    if (!client.Send(bytes)) break;
    bytes.clear();
  }
  EXPECT_EQ(client.ReadToEnd(), "too many streams were reset");
  EXPECT_LT(service_.later(), 40'000u);
  EXPECT_LT(heap.Peak(), 100 * kMiB);
}

TEST_F(HostileTest, FloodsOfPingsAndSettings) {
  Start();
  const HeapWatch heap;
  for (const std::string& frame : {PingFrame(), SettingsFrame({}), SettingsAck(), PingFrame(kFlagAck)}) {
    RawClient client = Greeted({}, 4096);
    client.Flood(frame, 4 * kMiB);
    EXPECT_EQ(client.ReadToEnd(), "too_many_pings");
    ExpectServed();
  }
  EXPECT_LT(heap.Peak(), 16 * kMiB);
}

// What the endpoint may hold, and what a connection may cost beside it.
constexpr size_t kHold = 16 * kMiB;
constexpr size_t kConnectionCost = 4 * kMiB;

TEST_F(HostileTest, ZeroWindows) {
  Start([](Endpoint::Options& options) { options.hold_bytes = kHold; });
  constexpr size_t kClients = 6;
  for (const uint32_t size : {100'000, 15'000}) {
    const HeapWatch heap;
    DownloadRequest request;
    request.set_messages(1000);
    request.set_bytes_each(size);
    std::vector<RawClient> clients;
    for (size_t i = 0; i < kClients; ++i) {
      clients.push_back(Greeted({{Setting::kInitialWindowSize, 0}}));
      for (uint32_t id = 1; id < 2000; id += 2) {
        ASSERT_TRUE(clients.back().Send(Request(id, "Download", Message(request.SerializeAsString()))));
      }
      clients.back().Send(PingFrame());
      EXPECT_TRUE(
          clients.back().ReadUntil([](const WireFrame& frame) { return frame.type == FrameType::kPing; }));
    }
    ExpectServed();
    // Not the peak: each stream makes one answer before it learns that there is no room.
    EXPECT_LT(heap.Growth(), kHold + kClients * kConnectionCost) << size;
  }
}

// Each promises a little more than it sends.
TEST_F(HostileTest, MessagesThatNeverEnd) {
  Start([](Endpoint::Options& options) { options.hold_bytes = kHold; });
  constexpr size_t kClients = 6;
  for (const uint32_t size : {400'000, 15'000}) {
    const HeapWatch heap;
    std::vector<RawClient> clients;
    const std::string most = BytesMessage(std::string(size, 'x')).substr(0, size);
    for (size_t i = 0; i < kClients; ++i) {
      clients.push_back(Greeted());
      for (uint32_t id = 1; id < 2000 && id * size < 200 * kMiB; id += 2) {
        ASSERT_TRUE(clients.back().Send(HeadersFrame(id, RequestBlock(Path("Say")), false) +
                                        DataFrames(id, most, false)));
      }
      clients.back().Send(PingFrame());
      EXPECT_TRUE(
          clients.back().ReadUntil([](const WireFrame& frame) { return frame.type == FrameType::kPing; }));
    }
    ExpectServed();
    EXPECT_LT(heap.Peak(), kHold + kClients * kConnectionCost) << size;
  }
  // And all of it comes back.
  Await([this] { return Say(*bystander_, std::string(kHold / 6, 'x')).ok(); });
}

TEST_F(HostileTest, AClientThatNeverReads) {
  Start([](Endpoint::Options& options) { options.hold_bytes = kHold; });
  const HeapWatch heap;
  std::vector<RawClient> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(Greeted({{Setting::kInitialWindowSize, 0x7fffffff}}, 4096));
    clients.back().Send(WindowUpdateFrame(0, 0x7fffffff - kDefaultWindowBytes));
    for (uint32_t id = 1; id < 2000; id += 2) {
      if (!clients.back().Send(Request(id, "Say", BytesMessage(std::string(12'000, 'x'))),
                               std::chrono::milliseconds(300))) {
        break;
      }
    }
    ExpectServed();
  }
  EXPECT_LT(heap.Peak(), kHold + clients.size() * kConnectionCost);
}

// Packed, it is small; what it unpacks to is held while the operation goes on.
TEST_F(HostileTest, MessagesThatUnpackToMuch) {
  Start();
  constexpr size_t kMessages = 30;
  Bytes request;
  request.set_bytes(std::string(16 * kMiB, '\0'));
  const std::string packed = Message(Gzip(request.SerializeAsString()), true);
  const HeapWatch heap;
  RawClient client = Greeted();
  for (uint32_t i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(client.Send(Request(2 * i + 1, "SayLater", packed, {{"grpc-encoding", "gzip"}})));
  }
  client.Send(PingFrame());
  EXPECT_TRUE(client.ReadUntil([](const WireFrame& frame) { return frame.type == FrameType::kPing; }));
  // Both loops' shares, as messages and as what they are unpacked into.
  EXPECT_LT(heap.Growth(), 150 * kMiB);
}

// Large answers that nobody waits for any more are not kept for later use.
TEST_F(HostileTest, LargeAnswersToCallsThatWereLeft) {
  Start();
  constexpr uint32_t kCalls = 60;
  DownloadRequest request;
  request.set_bytes_each(kMiB);
  const HeapWatch heap;
  for (uint32_t round = 0; round < 3; ++round) {
    RawClient client = Greeted();
    for (uint32_t i = 0; i < kCalls / 3; ++i) {
      ASSERT_TRUE(client.Send(Request(2 * i + 1, "GrowLater", Message(request.SerializeAsString()))));
    }
    Await([this] { return service_.later() == kCalls / 3; });
    for (uint32_t i = 0; i < kCalls / 3; ++i) client.Send(ResetFrame(2 * i + 1));
    client.Send(PingFrame());
    EXPECT_TRUE(client.ReadUntil([](const WireFrame& frame) { return frame.type == FrameType::kPing; }));
    service_.FinishLater();
  }
  Await([&] { return heap.Growth() < 20 * kMiB; });
}

// A connection that was busy once costs little when it is idle.
TEST_F(HostileTest, ABurstLeavesNothingBehind) {
  Start();
  const HeapWatch heap;
  RawClient client = Greeted();
  DownloadRequest request;
  request.set_messages(1);
  request.set_bytes_each(50'000);
  for (uint32_t id = 1; id < 1000; id += 2) {
    ASSERT_TRUE(client.Send(Request(id, "Download", Message(request.SerializeAsString()))));
  }
  client.Send(WindowUpdateFrame(0, 0x7fffffff - kDefaultWindowBytes));
  int ended = 0;
  EXPECT_TRUE(client.ReadUntil([&ended](const WireFrame& frame) {
    if (frame.type == FrameType::kHeaders && frame.has(kFlagEndStream)) ++ended;
    return ended == 500;
  }));
  Await([&] { return heap.Growth() < 4 * kMiB; });
}

TEST_F(HostileTest, SlowGreetings) {
  Start([](Endpoint::Options& options) { options.greeting = std::chrono::seconds(1); });
  std::vector<RawClient> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(Connect());
    if (i % 2 == 1) clients.back().Send(kClientPreface.substr(0, 10));
  }
  ExpectServed();
  for (RawClient& client : clients) client.ReadToEnd();
}

TEST_F(HostileTest, MoreConnectionsThanAllowed) {
  Start([](Endpoint::Options& options) {
    options.greeting = std::chrono::seconds(1);
    options.max_connections = 8;
  });
  std::vector<RawClient> clients;
  for (int i = 0; i < 30; ++i) clients.push_back(Connect());
  ExpectServed();
  // Whoever says nothing makes room.
  const auto stub = NewStub();
  EXPECT_TRUE(Say(*stub, "x").ok());
}

TEST_F(HostileTest, StreamsThatDoNothing) {
  Start();
  std::vector<RawClient> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(Greeted());
    for (uint32_t id = 1; id < 1000; id += 2) {
      ASSERT_TRUE(clients.back().Send(HeadersFrame(id, RequestBlock(Path("Ignore")), false)));
    }
  }
  Await([this] { return service_.open_streams == 2000; });
  ExpectServed();
  for (size_t i = 0; i < 2; ++i) clients[i].Close();
  Await([this] { return service_.open_streams == 1000; });
}

}  // namespace
}  // namespace thermocline::server::rpc
