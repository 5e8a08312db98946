#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "server/rpc/exchange.h"
#include "server/rpc/tls.h"

namespace thermocline::server::rpc {

// Serves methods over gRPC (HTTP/2, with or without TLS) on one port, with event loops of its own: a call is
// handled by the loop of its connection, where it arrives. Start, stop and destroy it on one thread.
class Endpoint {
 public:
  struct Options {
    std::string host;   // a name or address; a name that stands for several is listened on at all of them
    uint16_t port = 0;  // 0: any free one
    int loops = 1;
    size_t max_message_bytes = 4 << 20;
    int64_t hold_bytes = 64 << 20;  // of requests and answers that are not whole, not done or not sent
    int max_connections = 10'000;
    std::chrono::seconds keepalive{60};
    std::chrono::seconds greeting{20};
    std::optional<TlsFiles> tls;  // nullopt: plain text
  };

  // UNAVAILABLE, naming the address and the system's reason, if it cannot listen; INVALID_ARGUMENT for TLS
  // files.
  static absl::StatusOr<std::unique_ptr<Endpoint>> Start(const Options& options, Methods methods);

  // Stops as Stop(0) does, if that has not happened.
  ~Endpoint();

  // The port that is served.
  uint16_t port() const;

  // Refuses new calls (UNAVAILABLE), waits until no operation is under way (Loop::OperationBegan) and its
  // answer is sent, and after `patience` ends the calls that are left; then waits for their operations, and
  // closes all connections.
  void Stop(std::chrono::milliseconds patience);

 private:
  class Impl;
  explicit Endpoint(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace thermocline::server::rpc
