#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "tests/load/driver.h"
#include "tests/load/protocol.h"

namespace thermocline::load {

// Drives any Protocol over plain TCP: non-blocking sockets and one epoll. A wake-up reads a connection once,
// hears all answers, sends what takes their places, and writes once. A connection that breaks fails the calls
// that were under way on it and is made again.
struct SocketOptions {
  std::string host;
  uint16_t port = 0;
  uint32_t connections = 1;
  uint32_t in_flight = 1;  // calls of each connection; its tickets are that many, connection after connection
  // The protocol of a fresh connection, whose tickets are `first` .. `first` + in_flight - 1.
  std::function<std::unique_ptr<Protocol>(uint32_t first)> protocol;
};

// Connects. UNAVAILABLE if the server is not there.
absl::StatusOr<std::unique_ptr<Driver>> MakeSocketDriver(const SocketOptions& options);

}  // namespace thermocline::load
