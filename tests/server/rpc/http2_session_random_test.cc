// Random clients of a session: the same bytes in other pieces, and a good client against what it must see.

#include <algorithm>
#include <map>
#include <random>
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

using ::testing::IsEmpty;

std::string RandomBytes(std::mt19937& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// What a client might send, mostly sensible.
std::string RandomTraffic(std::mt19937& random) {
  std::string bytes = Greeting({{Setting::kInitialWindowSize, random() % 100'000}});
  const std::vector<std::string> paths = {"/echo", "/eager", "/fails", "/large", "/hold"};
  uint32_t next = 1;
  for (int i = 0; i < 60; ++i) {
    const uint32_t some = random() % (next + 2) | 1;
    switch (random() % 8) {
      case 0:
      case 1:
        bytes += HeadersFrame(next, RequestBlock(paths[random() % paths.size()]), random() % 2 == 0);
        next += 2;
        break;
      case 2:
      case 3:
        if (some < next) bytes += DataFrame(some, RandomBytes(random, random() % 3000), random() % 3 == 0);
        break;
      case 4:
        bytes += WindowUpdateFrame(some < next ? some : 0, 1 + random() % 50'000);
        break;
      case 5:
        bytes += PingFrame();
        break;
      case 6:
        bytes += SettingsFrame({{Setting::kInitialWindowSize, random() % 100'000},
                                {Setting::kMaxFrameSize, 16'384 + random() % 50'000}});
        break;
      default:
        if (some < next) bytes += ResetFrame(some);
        if (random() % 40 == 0) bytes += RandomBytes(random, 20);
    }
  }
  return bytes;
}

struct Outcome {
  bool goes_on = true;
  std::string output;
  std::vector<std::string> received;

  bool operator==(const Outcome&) const = default;
};

Outcome Play(const std::string& bytes, std::mt19937* random) {
  SessionPeer peer;
  Outcome outcome;
  for (size_t at = 0; at < bytes.size() && outcome.goes_on;) {
    const size_t most = random == nullptr ? bytes.size() : size_t{1} << (*random)() % 12;
    const size_t size = random == nullptr ? bytes.size() : 1 + (*random)() % most;
    outcome.goes_on = peer.session.Receive(std::string_view(bytes).substr(at, size));
    at += size;
  }
  for (;;) {
    peer.session.Pump();
    if (peer.session.output().empty()) break;
    outcome.output += peer.session.output();
    peer.session.Sent(peer.session.output().size());
  }
  for (const auto& stream : peer.streams) outcome.received.push_back(stream->data);
  EXPECT_EQ(peer.wrong_repeats, 0);
  return outcome;
}

TEST(Http2SessionRandomTest, PiecesMakeNoDifference) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const std::string bytes = RandomTraffic(random);
    const Outcome whole = Play(bytes, nullptr);
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(Play(bytes, &random) == whole) << "seed " << seed;
  }
}

// A client that does everything that is allowed, in any order, and knows what must come of it.
class GoodClient {
 public:
  explicit GoodClient(uint32_t seed) : random_(seed) {
    client_.Greet({{Setting::kInitialWindowSize, Below(1000)}, {Setting::kHeaderTableSize, Below(2) * 4096}});
  }

  void Step() {
    switch (Below(12)) {
      case 0:
      case 1:
      case 2:
        return Open();
      case 3:
      case 4:
      case 5:
        return SendData();
      case 6:
        client_.GiveWindow(0, 1 + Below(60'000));
        return;
      case 7:
        if (!calls_.empty()) client_.GiveWindow(Any()->first, 1 + Below(60'000));
        return;
      case 8:
        client_.ChangeSettings({{Setting::kInitialWindowSize, Below(100'000)},
                                {Setting::kMaxFrameSize, 16'384 + Below(100'000)}});
        return;
      case 9:
        ASSERT_TRUE(client_.Send(PingFrame()));
        ++pings_;
        return;
      case 10:
        if (Below(4) == 0 && !calls_.empty()) {
          const auto call = Any();
          ASSERT_TRUE(client_.Reset(call->first));
          calls_.erase(call);
        }
        return;
      default:
        peer_.session.Tick();
    }
  }

  // Sends what is left, allows everything, and looks at what came.
  void Finish() {
    client_.ChangeSettings({{Setting::kInitialWindowSize, 0x7fffffff / 2}});
    client_.GiveWindow(0, 0x7fffffff / 2);
    for (auto& [id, call] : calls_) {
      if (!call.ended) client_.SendData(id, "", true);
    }
    for (const auto& [id, call] : calls_) {
      const auto& stream = client_.stream(id);
      EXPECT_TRUE(stream.data == call.sent) << id << ": " << stream.data.size() << " of " << call.sent.size();
      EXPECT_EQ(ValueOf(stream.trailers, "grpc-status"), "0");
      EXPECT_TRUE(stream.ended);
      EXPECT_EQ(stream.reset, std::nullopt);
    }
    EXPECT_THAT(client_.breaches(), IsEmpty());
    EXPECT_EQ(client_.ping_acks(), pings_);
    EXPECT_EQ(peer_.session.stream_count(), 0u);
    EXPECT_EQ(client_.go_away().has_value(), false);
    for (const auto& stream : peer_.streams) EXPECT_EQ(stream->closed, 1);
    EXPECT_EQ(peer_.wrong_repeats, 0);
  }

 private:
  struct Call {
    std::string sent;
    bool ended = false;
  };

  uint32_t Below(uint32_t limit) { return random_() % limit; }

  std::map<uint32_t, Call>::iterator Any() {
    return std::next(calls_.begin(), Below(static_cast<uint32_t>(calls_.size())));
  }

  void Open() { calls_[client_.Open(Below(2) == 0 ? "/echo" : "/eager")]; }

  void SendData() {
    if (calls_.empty()) return;
    const auto [id, call] = *Any();
    if (call.ended) return;
    const int64_t window = std::min(client_.send_window(), client_.stream(id).send_window);
    const size_t size =
        std::min<size_t>(Below(2) == 0 ? Below(100) : Below(60'000), static_cast<size_t>(window));
    const std::string bytes = RandomBytes(random_, size);
    const bool end = Below(3) == 0;
    calls_[id].sent += bytes;
    calls_[id].ended = end;
    if (!bytes.empty() || end) client_.SendData(id, bytes, end);
  }

  std::mt19937 random_;
  SessionPeer peer_;
  SessionClient client_{peer_.session};
  std::map<uint32_t, Call> calls_;
  int pings_ = 0;
};

TEST(Http2SessionRandomTest, AGoodClientGetsWhatItAskedFor) {
  for (uint32_t seed = 0; seed < 25; ++seed) {
    SCOPED_TRACE(seed);
    GoodClient client(seed);
    for (int i = 0; i < 400 && !::testing::Test::HasFatalFailure(); ++i) client.Step();
    client.Finish();
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace thermocline::server::rpc
