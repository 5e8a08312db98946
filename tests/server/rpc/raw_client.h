#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/server/rpc/http2_wire.h"

namespace thermocline::server::rpc {

// A socket to an endpoint on this machine, for a client that need not behave. Nothing waits for longer than a
// minute.
class RawClient {
 public:
  // `receive_buffer`: of the kernel's, in bytes; 0: its own choice.
  explicit RawClient(uint16_t port, int receive_buffer = 0);
  ~RawClient();
  RawClient(RawClient&& other) noexcept : socket_(other.socket_), partial_(std::move(other.partial_)) {
    other.socket_ = -1;
  }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  // False if the server has closed, or takes nothing for `patience`.
  bool Send(std::string_view bytes, std::chrono::milliseconds patience = std::chrono::minutes(1));
  // Sends `bytes` again and again until the server closes or takes nothing for a while; at most `most` bytes.
  size_t Flood(std::string_view bytes, size_t most);

  // The next bytes; "": the server has closed, or a minute has passed.
  std::string Read();
  // Reads frames until one is as wanted; false if the server closed before.
  bool ReadUntil(const std::function<bool(const WireFrame&)>& wanted);
  // Reads and throws away until the server closes; what the last GOAWAY said, "" if there was none.
  std::string ReadToEnd();

  void Close();
  int socket() const { return socket_; }

 private:
  bool Await(short events, std::chrono::milliseconds patience);

  int socket_;
  std::string partial_;
};

}  // namespace thermocline::server::rpc
