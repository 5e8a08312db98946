#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "tests/conformance/echo_server.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace thermocline::testing {

enum class Security { kPlain, kTls, kMutualTls };

// PEM files.
struct Certificates {
  std::string ca;  // has signed the server's (of 127.0.0.1 and localhost) and the client's
  std::string server;
  std::string server_key;
  std::string client;
  std::string client_key;
  std::string other_ca;  // has signed the stranger's
  std::string stranger;
  std::string stranger_key;
};

// The real server and an echo server, as clients meet them. Start, restart and destroy it on one thread.
class Servers {
 public:
  // NOT_FOUND if there is no openssl to make certificates with.
  static absl::StatusOr<std::unique_ptr<Servers>> Start(Security security);

  // Stops the real server as an operator would, and starts it again at the same address.
  absl::Status Restart();
  // Stops it; OK if it left as it should.
  absl::Status Stop();

  Security security() const { return security_; }
  const std::string& address() const { return server_->address(); }
  const std::string& echo_address() const { return echo_->address(); }
  // Paths are empty if there is no security.
  const Certificates& certificates() const { return certificates_; }

 private:
  explicit Servers(Security security) : security_(security) {}

  absl::Status StartAll();

  const Security security_;
  const TempDirectory directory_;
  Certificates certificates_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<EchoServer> echo_;
};

}  // namespace thermocline::testing
