#include "server/rpc/endpoint.h"

#include <algorithm>
#include <atomic>
#include <pthread.h>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "fmt/format.h"
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "server/rpc/connection.h"
#include "server/rpc/loop.h"

namespace thermocline::server::rpc {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

// How long accepting rests when the process has no more descriptors or the limit of connections is reached.
constexpr std::chrono::milliseconds kAcceptPause(50);
constexpr std::chrono::milliseconds kStopStep(2);
// How long clients have to close their connections after the last call.
constexpr std::chrono::milliseconds kGoodbye(100);

std::string Address(const std::string& host, uint16_t port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

std::string Reason(const error_code& error, uint16_t port) {
  if (error == boost::asio::error::address_in_use) return fmt::format("port {} is already in use", port);
  return error.message();
}

}  // namespace

class Endpoint::Impl {
 public:
  Impl(const Options& options, Methods methods)
      : options_(options),
        methods_(std::move(methods)),
        connection_options_{methods_, options.max_message_bytes, options.keepalive, options.greeting},
        hold_(options.hold_bytes),
        shares_(NewShares(options.loops, hold_)) {}

  ~Impl() { Stop(std::chrono::milliseconds(0)); }

  absl::Status Start() {
    if (options_.tls) {
      absl::StatusOr<std::shared_ptr<const TlsContext>> context = TlsContext::Load(*options_.tls);
      if (!context.ok()) return context.status();
      tls_ = *std::move(context);
    }
    if (absl::Status status = Listen(); !status.ok()) return status;
    for (auto& listener : listeners_) Accept(*listener);
    for (auto& share : shares_) {
      share->thread = std::thread([&share = *share] {
        pthread_setname_np(pthread_self(), "rpc");
        share.loop.Run([&share] {
          for (const auto& connection : Connections(share)) connection->Tick();
        });
      });
    }
    started_ = true;
    return absl::OkStatus();
  }

  uint16_t port() const { return port_; }

  void Stop(std::chrono::milliseconds patience) {
    if (!std::exchange(started_, false)) return;
    boost::asio::post(acceptor_context(), [this] {
      for (auto& listener : listeners_) {
        listener->pause.cancel();
        listener->acceptor.close();
      }
    });
    OnEveryLoop([](Share& share) {
      share.draining = true;
      for (const auto& connection : Connections(share)) connection->Drain();
    });
    const auto deadline = std::chrono::steady_clock::now() + patience;
    AwaitNoOperations(deadline);
    OnEveryLoop([](Share& share) {
      for (const auto& connection : Connections(share)) connection->CancelCalls();
    });
    AwaitNoOperations(std::nullopt);
    OnEveryLoop([](Share& share) {
      for (const auto& connection : Connections(share)) connection->CloseWhenSent();
    });
    const auto goodbye = std::chrono::steady_clock::now() + kGoodbye;
    AwaitNoOperations(std::max(deadline, goodbye));  // last words count as such
    while (ConnectionCount() > 0 && std::chrono::steady_clock::now() < goodbye) {
      std::this_thread::sleep_for(kStopStep);
    }
    OnEveryLoop([](Share& share) {
      for (const auto& connection : Connections(share)) connection->Close();
    });
    for (auto& share : shares_) share->loop.LetEnd();
    for (auto& share : shares_) share->thread.join();
  }

 private:
  // One address. For the first loop's thread.
  struct Listener {
    explicit Listener(boost::asio::io_context& context) : acceptor(context), pause(context) {}

    tcp::acceptor acceptor;
    boost::asio::steady_timer pause;
  };

  // A loop and what it serves.
  struct Share {
    explicit Share(HoldLimit& hold) : loop(hold) {}

    Loop loop;
    // For the loop's thread.
    absl::flat_hash_map<Connection*, std::shared_ptr<Connection>> connections;
    bool draining = false;
    std::thread thread;
  };

  static std::vector<std::unique_ptr<Share>> NewShares(int loops, HoldLimit& hold) {
    std::vector<std::unique_ptr<Share>> shares;
    for (int i = 0; i < loops; ++i) shares.push_back(std::make_unique<Share>(hold));
    return shares;
  }

  // A copy: what is done with them may close some.
  static std::vector<std::shared_ptr<Connection>> Connections(const Share& share) {
    std::vector<std::shared_ptr<Connection>> connections;
    connections.reserve(share.connections.size());
    for (const auto& [key, connection] : share.connections) connections.push_back(connection);
    return connections;
  }

  boost::asio::io_context& acceptor_context() { return shares_.front()->loop.context(); }

  absl::Status Listen() {
    error_code error;
    tcp::resolver resolver(acceptor_context());
    const auto addresses =
        resolver.resolve(options_.host, std::to_string(options_.port), tcp::resolver::passive, error);
    if (error) return CannotListen(error.message());
    port_ = options_.port;
    for (const auto& entry : addresses) {
      tcp::endpoint address = entry.endpoint();
      address.port(port_);
      auto listener = std::make_unique<Listener>(acceptor_context());
      tcp::acceptor& acceptor = listener->acceptor;
      acceptor.open(address.protocol(), error);
      if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
      if (!error && address.protocol() == tcp::v6())
        acceptor.set_option(boost::asio::ip::v6_only(false), error);
      if (!error) acceptor.bind(address, error);
      if (!error) acceptor.listen(boost::asio::socket_base::max_listen_connections, error);
      if (error) return CannotListen(Reason(error, port_));
      port_ = acceptor.local_endpoint().port();
      listeners_.push_back(std::move(listener));
    }
    return absl::OkStatus();
  }

  absl::Status CannotListen(const std::string& reason) const {
    return absl::UnavailableError(
        fmt::format("cannot listen on {}: {}", Address(options_.host, options_.port), reason));
  }

  int ConnectionCount() const {
    int count = 0;
    for (const auto& share : shares_) count += share->loop.connections();
    return count;
  }

  void Accept(Listener& listener) {
    if (ConnectionCount() >= options_.max_connections) return AcceptLater(listener);
    // Whoever has least to do.
    Share& share = **std::min_element(shares_.begin(), shares_.end(), [](const auto& a, const auto& b) {
      return a->loop.connections() < b->loop.connections();
    });
    const auto accepted = [this, &listener, &share](const error_code& error, tcp::socket socket) {
      if (error == boost::asio::error::operation_aborted || !listener.acceptor.is_open()) return;
      if (error) return AcceptLater(listener);  // no descriptors, or the client has gone again
      Adopt(share, std::move(socket));
      Accept(listener);
    };
    listener.acceptor.async_accept(share.loop.context(), accepted);
  }

  void AcceptLater(Listener& listener) {
    listener.pause.expires_after(kAcceptPause);
    listener.pause.async_wait([this, &listener](const error_code& error) {
      if (!error && listener.acceptor.is_open()) Accept(listener);
    });
  }

  void Adopt(Share& share, tcp::socket socket) {
    auto connection = std::make_shared<Connection>(
        share.loop, std::move(socket), connection_options_, tls_ == nullptr ? nullptr : tls_->NewSession(),
        [&share](Connection& closed) { share.connections.erase(&closed); });
    boost::asio::post(share.loop.context(), [&share, connection = std::move(connection)] {
      share.connections.emplace(connection.get(), connection);
      connection->Start();
      if (share.draining) connection->Drain();
    });
  }

  template <typename Act>
  void OnEveryLoop(Act act) {
    for (auto& share : shares_)
      boost::asio::post(share->loop.context(), [&share = *share, act] { act(share); });
  }

  void AwaitNoOperations(std::optional<std::chrono::steady_clock::time_point> deadline) {
    // Each loop has then seen what was posted to it before.
    std::atomic<size_t> seen = 0;
    OnEveryLoop([&seen](Share&) { seen.fetch_add(1); });
    while (seen.load() < shares_.size()) std::this_thread::sleep_for(kStopStep);
    for (;;) {
      int64_t operations = 0;
      for (const auto& share : shares_) operations += share->loop.operations();
      if (operations == 0 || (deadline && std::chrono::steady_clock::now() >= *deadline)) return;
      std::this_thread::sleep_for(kStopStep);
    }
  }

  const Options options_;
  const Methods methods_;
  const ConnectionOptions connection_options_;
  std::shared_ptr<const TlsContext> tls_;
  HoldLimit hold_;
  const std::vector<std::unique_ptr<Share>> shares_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  uint16_t port_ = 0;
  bool started_ = false;
};

Endpoint::Endpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Endpoint::~Endpoint() = default;

absl::StatusOr<std::unique_ptr<Endpoint>> Endpoint::Start(const Options& options, Methods methods) {
  auto impl = std::make_unique<Impl>(options, std::move(methods));
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<Endpoint>(new Endpoint(std::move(impl)));
}

uint16_t Endpoint::port() const { return impl_->port(); }

void Endpoint::Stop(std::chrono::milliseconds patience) { impl_->Stop(patience); }

}  // namespace thermocline::server::rpc
