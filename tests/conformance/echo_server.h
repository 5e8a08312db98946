#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "server/rpc/tls.h"

namespace thermocline::testing {

// Serves Echo (echo.proto) with the transport of the real server, on a free port of 127.0.0.1 and threads of
// its own. Start and destroy it on one thread.
class EchoServer {
 public:
  // nullopt: plain text.
  static absl::StatusOr<std::unique_ptr<EchoServer>> Start(std::optional<server::rpc::TlsFiles> tls);
  ~EchoServer();

  // "127.0.0.1:port"
  const std::string& address() const { return address_; }

 private:
  class Impl;
  explicit EchoServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
  std::string address_;
};

}  // namespace thermocline::testing
