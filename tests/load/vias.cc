#include "tests/load/vias.h"

#include <fmt/format.h>

#include "tests/load/client_driver.h"
#include "tests/load/grpc_protocols.h"
#include "tests/load/memcached_protocol.h"
#include "tests/load/redis_protocol.h"
#include "tests/load/socket_driver.h"
#include "tests/load/stub_driver.h"

namespace thermocline::load {

const std::vector<Via>& Vias() {
  constexpr uint16_t kOurPort = 7070;
  static const auto& vias = *new std::vector<Via>{
      {"client", "our client library, asynchronously", kOurPort},
      {"stub", "stock grpc++ stubs, asynchronously, a unary call each", kOurPort},
      {"wire", "unary gRPC calls, written by a lean HTTP/2 client of our own", kOurPort},
      {"stream", "the batch stream (Pipeline), by the same client: what is sent together is one message",
       kOurPort},
      {"redis", "RESP2, pipelined", 6379, true, false, false},
      {"memcached", "memcached's meta protocol, pipelined", 11211, false, false, false},
  };
  return vias;
}

const Via* FindVia(std::string_view name) {
  for (const Via& via : Vias()) {
    if (via.name == name) return &via;
  }
  return nullptr;
}

absl::StatusOr<std::unique_ptr<Driver>> Connect(const Via& via, const DriverOptions& options) {
  if (via.name == "client") return MakeClientDriver(options);
  if (via.name == "stub") return MakeStubDriver(options);
  SocketOptions sockets{.host = options.host,
                        .port = options.port,
                        .connections = options.connections,
                        .in_flight = options.in_flight,
                        .protocol = nullptr};
  const std::string authority = fmt::format("{}:{}", options.host, options.port);
  const uint32_t tickets = options.in_flight;
  if (via.name == "wire") {
    sockets.protocol = [=](uint32_t first) {
      return std::make_unique<UnaryProtocol>(authority, first, tickets);
    };
  } else if (via.name == "stream") {
    sockets.protocol = [=](uint32_t first) {
      return std::make_unique<StreamProtocol>(authority, first, tickets);
    };
  } else if (via.name == "redis") {
    sockets.protocol = [](uint32_t) { return std::make_unique<RedisProtocol>(); };
  } else {
    sockets.protocol = [](uint32_t) { return std::make_unique<MemcachedProtocol>(); };
  }
  return MakeSocketDriver(sockets);
}

}  // namespace thermocline::load
