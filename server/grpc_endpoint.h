#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "server/rpc/tls.h"
#include "server/service/admin.h"
#include "server/service/key_value.h"
#include "server/service/segments.h"

namespace thermocline::server {

// The largest message the server receives: a value of 16 MiB, its key and what goes around them.
inline constexpr int kMaxMessageBytes = (16 << 20) + (256 << 10);

// Serves the services over gRPC on one port, with the standard health and reflection services: binds them to
// server/rpc, which is the transport. Stop and destroy it on one thread.
class GrpcEndpoint {
 public:
  struct Options {
    std::string host;
    uint16_t port = 0;                 // 0: any free one
    int loops = 1;                     // threads that serve connections
    uint64_t buffer_bytes = 0;         // of requests and answers that are not whole, not done or not sent
    std::optional<rpc::TlsFiles> tls;  // nullopt: plain text
  };

  // The services must outlive the endpoint. UNAVAILABLE, naming the address and the system's reason, if it
  // cannot listen; INVALID_ARGUMENT for TLS files that are of no use.
  static absl::StatusOr<std::unique_ptr<GrpcEndpoint>> Start(const Options& options,
                                                             KeyValueService& key_value,
                                                             SegmentsService& segments, AdminService& admin);

  // Stops as Stop(0) does, if that has not happened.
  ~GrpcEndpoint();

  // The port that is served.
  int port() const;

  // Refuses new calls (UNAVAILABLE), waits until those under way have ended, and after `patience` cancels
  // those that have not; then closes all connections. Returns when no call is left. Does not wait for
  // Compact, which it cancels, nor for what engine and segments still do for calls that are no more.
  void Stop(std::chrono::milliseconds patience);

 private:
  class Impl;
  explicit GrpcEndpoint(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace thermocline::server
