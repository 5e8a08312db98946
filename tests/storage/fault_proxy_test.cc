// The proxy that does harm, between a small HTTP client and a small HTTP server.

#include "tests/support/fault_proxy.h"

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "storage/thread_annotations.h"
#include "tests/support/http_stream.h"

namespace thermocline::testing {
namespace {

using boost::asio::ip::tcp;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Answers GET /<n> with n bytes, /chunked in chunks, /open without a length, and everything else with what it
// was sent. One connection at a time.
class SmallServer {
 public:
  SmallServer() : acceptor_(io_, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0)) {
    thread_ = std::thread([this] {
      for (;;) {
        boost::system::error_code error;
        tcp::socket socket = acceptor_.accept(error);
        if (error) return;
        HttpStream stream(std::move(socket));
        while (Answer(stream)) {
        }
      }
    });
  }
  ~SmallServer() {
    ::shutdown(acceptor_.native_handle(), SHUT_RDWR);
    thread_.join();
  }

  std::string address() const { return fmt::format("127.0.0.1:{}", acceptor_.local_endpoint().port()); }
  // "METHOD target body" of each.
  std::vector<std::string> TakeRequests() {
    storage::MutexLock lock(mutex_);
    return std::exchange(requests_, {});
  }

 private:
  bool Answer(HttpStream& stream) {
    HttpHead head;
    std::string body;
    if (!stream.ReadHead(head) || !stream.ReadBody(head, false, body)) return false;
    const std::string target(head.Word(1));
    {
      storage::MutexLock lock(mutex_);
      requests_.push_back(fmt::format("{} {} {}", head.Word(0), target, body));
    }
    if (head.Header("expect").has_value())
      return stream.Write("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
    if (target == "/chunked") {
      return stream.Write(
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    }
    if (target == "/open") return stream.Write("HTTP/1.1 200 OK\r\n\r\nuntil the end") && false;
    if (head.Word(0) == "GET") body = std::string(std::stoul(target.substr(1)), 'x');
    const std::string answer =
        fmt::format("HTTP/1.1 200 OK\r\neTag: \"right\"\r\nContent-Length: {}\r\n\r\n", body.size());
    return stream.Write(answer + (head.Word(0) == "HEAD" ? "" : body));
  }

  boost::asio::io_context io_;
  tcp::acceptor acceptor_;
  storage::Mutex mutex_;
  std::vector<std::string> requests_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

struct Answer {
  bool whole = false;
  HttpHead head;
  std::string body;  // what came of it

  std::string status() const { return std::string(head.Word(1)); }
};

class Client {
 public:
  explicit Client(const std::string& address) : stream_(Connect(io_, address, connected_)) {}

  bool connected() const { return connected_; }
  bool Send(const std::string& method, const std::string& target, const std::string& body = {},
            const std::string& headers = {}) {
    method_ = method;
    const std::string length = body.empty() ? "" : fmt::format("Content-Length: {}\r\n", body.size());
    return stream_.Write(
        fmt::format("{} {} HTTP/1.1\r\nHost: x\r\n{}{}\r\n{}", method, target, headers, length, body));
  }
  Answer Receive() {
    Answer answer;
    do {
      if (!stream_.ReadHead(answer.head)) return answer;
    } while (answer.status() == "100");
    answer.whole = method_ == "HEAD" || stream_.ReadBody(answer.head, true, answer.body);
    return answer;
  }
  Answer Call(const std::string& method, const std::string& target, const std::string& body = {},
              const std::string& headers = {}) {
    Send(method, target, body, headers);
    return Receive();
  }
  // Whether something, or the end, comes within the time.
  bool HasNews(milliseconds time) {
    pollfd wanted = {stream_.socket().native_handle(), POLLIN, 0};
    return ::poll(&wanted, 1, static_cast<int>(time.count())) != 0;
  }

 private:
  static tcp::socket Connect(boost::asio::io_context& io, const std::string& address, bool& connected) {
    const auto port = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
    tcp::socket socket(io, tcp::v4());
    boost::system::error_code error;
    socket.connect({boost::asio::ip::address_v4::loopback(), port}, error);
    connected = !error;
    return socket;
  }

  boost::asio::io_context io_;
  bool connected_ = false;
  HttpStream stream_;
  std::string method_;
};

class FaultProxyTest : public ::testing::Test {
 protected:
  ~FaultProxyTest() override { EXPECT_TRUE(proxy_->AwaitOpen(0)) << "connections are left"; }

  Answer Call(const std::string& method, const std::string& target, const std::string& body = {}) {
    return Client(proxy_->address()).Call(method, target, body);
  }
  void Script(Injection injection) { proxy_->Inject({}, injection); }

  SmallServer server_;
  std::unique_ptr<FaultProxy> proxy_ = FaultProxy::Start(server_.address(), 1).value();
};

TEST_F(FaultProxyTest, HandsOnWhatItIsNotToldToHarm) {
  Client client(proxy_->address());
  const Answer first = client.Call("GET", "/1000");
  EXPECT_EQ(first.status(), "200");
  EXPECT_EQ(first.body, std::string(1000, 'x'));
  EXPECT_EQ(first.head.Header("etag"), "\"right\"");
  EXPECT_EQ(client.Call("PUT", "/a?b", "content").body, "content");
  EXPECT_EQ(client.Call("PUT", "/c", "large", "Expect: 100-continue\r\n").body, "large");
  EXPECT_EQ(client.Call("GET", "/chunked").body, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  const Answer head = client.Call("HEAD", "/17");
  EXPECT_EQ(head.status(), "200");
  client.Send("PUT", "/d", "", "Transfer-Encoding: chunked\r\n");
  EXPECT_EQ(client.Call("2\r\nab\r\n0\r\n\r\nGET", "/3").body, "2\r\nab\r\n0\r\n\r\n");
  EXPECT_EQ(client.Receive().body, "xxx");
  EXPECT_EQ(client.Call("GET", "/open").body, "until the end");
  const FaultProxy::Counts counts = proxy_->counts();
  EXPECT_EQ(counts.connections, 1u);
  EXPECT_EQ(counts.requests, 8u);
  EXPECT_EQ(counts.forwarded, 8u);
  EXPECT_EQ(counts.injected(), 0u);
}

TEST_F(FaultProxyTest, ResetsBeforeTheTargetHasSeenAnything) {
  for (const Injection injection : {Injection{Fault::kResetBefore}, Injection{Fault::kResetInRequest, 3}}) {
    Script(injection);
    const Answer answer = Call("PUT", "/a", "content");
    EXPECT_FALSE(answer.whole);
    EXPECT_EQ(answer.head.text, "");
    EXPECT_EQ(proxy_->counts().faults[injection.fault], 1u);
  }
  EXPECT_EQ(proxy_->counts().forwarded, 0u);
  EXPECT_EQ(Call("PUT", "/a", "content").body, "content") << "the script is over";
}

TEST_F(FaultProxyTest, AnswersInPlaceOfTheTarget) {
  for (const auto& [fault, status, code] : std::vector<std::tuple<Fault, std::string, std::string>>{
           {Fault::kAnswer500, "500", "InternalError"},
           {Fault::kAnswer503, "503", "SlowDown"},
           {Fault::kExpired400, "400", "ExpiredToken"},
           {Fault::kExpired403, "403", "ExpiredToken"}}) {
    Client client(proxy_->address());
    Script({fault});
    const Answer answer = client.Call("PUT", "/a", "content");
    EXPECT_TRUE(answer.whole);
    EXPECT_EQ(answer.status(), status);
    EXPECT_THAT(answer.body, HasSubstr("<Code>" + code + "</Code>"));
    Script({fault});
    EXPECT_EQ(client.Call("HEAD", "/a").status(), status);
    EXPECT_TRUE(server_.TakeRequests().empty());
    EXPECT_EQ(client.Call("GET", "/3").body, "xxx") << "the connection is still good";
    server_.TakeRequests();
  }
}

TEST_F(FaultProxyTest, LeavesTheClientInDoubt) {
  Script({Fault::kAnswer500After});
  EXPECT_EQ(Call("PUT", "/a", "one").status(), "500");
  EXPECT_THAT(server_.TakeRequests(), ElementsAre("PUT /a one"));
  Script({Fault::kResetInAnswer});
  EXPECT_FALSE(Call("PUT", "/a", "two").whole);
  EXPECT_THAT(server_.TakeRequests(), ElementsAre("PUT /a two"));
  Script({Fault::kDuplicate});
  EXPECT_EQ(Call("PUT", "/a", "three").body, "three");
  EXPECT_THAT(server_.TakeRequests(), ElementsAre("PUT /a three", "PUT /a three"));
}

TEST_F(FaultProxyTest, SpoilsAnswers) {
  Script({Fault::kTruncate, 400});
  const Answer cut = Call("GET", "/1000");
  EXPECT_FALSE(cut.whole);
  EXPECT_EQ(cut.head.Header("content-length"), "1000");
  EXPECT_EQ(cut.body.size(), 400u);
  Script({Fault::kWrongEtag});
  EXPECT_EQ(Call("GET", "/10").head.Header("etag"), "\"00000000000000000000000000000000\"");
  Script({Fault::kFlipByte, 1003});
  EXPECT_EQ(Call("GET", "/1000").body, "xxx" + std::string("y") + std::string(996, 'x'));
  Script({Fault::kResetInAnswer, 400});
  EXPECT_FALSE(Call("GET", "/1000").whole);
}

TEST_F(FaultProxyTest, TakesItsTime) {
  const auto takes = [&](Injection injection) {
    Script(injection);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(Call("GET", "/10").body, "xxxxxxxxxx");
    return std::chrono::steady_clock::now() - begin;
  };
  EXPECT_GE(takes({Fault::kDelay, 0, milliseconds(20)}), milliseconds(20));
  EXPECT_GE(takes({Fault::kStall, 0, milliseconds(20)}), milliseconds(20));
  EXPECT_GE(takes({Fault::kStallInAnswer, 3, milliseconds(20)}), milliseconds(20));
  EXPECT_GE(takes({Fault::kTrickle, 10, milliseconds(5)}), milliseconds(15));
}

TEST_F(FaultProxyTest, StallsUntilTheClientHasEnough) {
  for (const Fault fault : {Fault::kStall, Fault::kStallInAnswer}) {
    ASSERT_TRUE(proxy_->AwaitOpen(0));
    Client client(proxy_->address());
    Script({fault});
    ASSERT_TRUE(client.Send("GET", "/10"));
    if (fault == Fault::kStall) {
      EXPECT_FALSE(client.HasNews(milliseconds(20)));
      EXPECT_EQ(proxy_->counts().forwarded, 0u);
    }
    while (proxy_->counts().faults[fault] == 0) std::this_thread::yield();
    EXPECT_EQ(proxy_->counts().open, 1u);
  }
  EXPECT_TRUE(proxy_->AwaitOpen(0));
  Client client(proxy_->address());
  Script({Fault::kStall});
  ASSERT_TRUE(client.Send("GET", "/10"));
  while (proxy_->counts().faults[Fault::kStall] < 2) std::this_thread::yield();
  proxy_->ResetAll();
  EXPECT_FALSE(client.Receive().whole);
}

TEST_F(FaultProxyTest, RefusesConnections) {
  {
    Client before(proxy_->address());
    EXPECT_EQ(before.Call("GET", "/1").body, "x");
    for (int i = 0; i < 3; ++i) {
      proxy_->Refuse(true);
      EXPECT_FALSE(Client(proxy_->address()).connected());
      proxy_->Refuse(false);
      EXPECT_EQ(Call("GET", "/3").body, "xxx");
    }
    proxy_->Refuse(true);
    EXPECT_EQ(before.Call("GET", "/2").body, "xx") << "connections that stand are kept";
  }
  proxy_->Clear();
  EXPECT_EQ(Call("GET", "/3").body, "xxx");
}

TEST_F(FaultProxyTest, FollowsScripts) {
  proxy_->Inject({"PUT", "/a", 2, 2}, {Fault::kAnswer503});
  proxy_->Inject({"", "partNumber=3", 1, 1}, {Fault::kAnswer500});
  std::vector<std::string> answers;
  for (const auto& [method, target] :
       std::vector<std::pair<std::string, std::string>>{{"PUT", "/a"},
                                                        {"GET", "/1"},
                                                        {"PUT", "/b"},
                                                        {"PUT", "/a/c"},
                                                        {"PUT", "/b?x=1&partNumber=3"},
                                                        {"PUT", "/a"},
                                                        {"PUT", "/a"},
                                                        {"PUT", "/b?x=1&partNumber=3"}}) {
    answers.push_back(Call(method, target, method == "PUT" ? "x" : "").status());
  }
  EXPECT_THAT(answers, ElementsAre("200", "200", "200", "503", "500", "503", "200", "200"));
  proxy_->Inject({"", "", 1, 1000}, {Fault::kAnswer503});
  EXPECT_EQ(Call("GET", "/1").status(), "503");
  proxy_->Clear();
  EXPECT_EQ(Call("GET", "/1").status(), "200");
}

TEST_F(FaultProxyTest, ChanceIsSeeded) {
  const auto run = [&](uint64_t seed) {
    const auto proxy = FaultProxy::Start(server_.address(), seed).value();
    proxy->InjectByChance(0.3, {{Fault::kAnswer500}, {Fault::kAnswer503}, {Fault::kResetBefore}});
    std::string answers;
    for (int i = 0; i < 100; ++i) answers += Client(proxy->address()).Call("GET", "/1").status() + " ";
    const FaultProxy::Counts counts = proxy->counts();
    EXPECT_GT(counts.injected(), 15u);
    EXPECT_LT(counts.injected(), 45u);
    EXPECT_EQ(counts.faults.size(), 3u);
    return answers;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST_F(FaultProxyTest, ManyClientsAtOnce) {
  proxy_->InjectByChance(0.3, {{Fault::kAnswer503},
                               {Fault::kResetInAnswer, 5},
                               {Fault::kTruncate, 5},
                               {Fault::kTrickle, 50},
                               {Fault::kDuplicate}});
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) {
        const Answer answer = Call("GET", "/100");
        if (answer.whole && answer.status() == "200" && answer.body == std::string(100, 'x')) ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(proxy_->AwaitOpen(0));
  const FaultProxy::Counts counts = proxy_->counts();
  EXPECT_EQ(counts.requests, 400u);
  EXPECT_EQ(static_cast<uint64_t>(good), 400 - counts.faults.at(Fault::kAnswer503) -
                                             counts.faults.at(Fault::kResetInAnswer) -
                                             counts.faults.at(Fault::kTruncate));
}

TEST_F(FaultProxyTest, ATargetThatIsAwayResetsTheClient) {
  const auto proxy = FaultProxy::Start("127.0.0.1:1", 1).value();
  EXPECT_FALSE(Client(proxy->address()).Call("GET", "/1").whole);
  EXPECT_EQ(FaultProxy::Start("nowhere", 1).status().message(),
            "\"nowhere\" is no target: give 127.0.0.1:PORT");
}

TEST_F(FaultProxyTest, EndsWithConnectionsOpen) {
  auto proxy = FaultProxy::Start(server_.address(), 1).value();
  Client idle(proxy->address());
  EXPECT_EQ(idle.Call("GET", "/1").body, "x");
  Client stalled(proxy->address());
  proxy->Inject({}, {Fault::kStall});
  ASSERT_TRUE(stalled.Send("GET", "/1"));
  while (proxy->counts().injected() == 0) std::this_thread::yield();
  proxy.reset();
  EXPECT_FALSE(stalled.Receive().whole);
  EXPECT_FALSE(idle.Call("GET", "/1").whole);
}

}  // namespace
}  // namespace thermocline::testing
