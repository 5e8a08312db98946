#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <netinet/in.h>

#include "tests/load/protocol.h"
#include "tests/load/traffic.h"

namespace thermocline::load {

// What has been received and not yet understood: contiguous, filled at its end, consumed at its front.
class ReceiveBuffer {
 public:
  ReceiveBuffer();

  // Where at least kLeast bytes can be received.
  char* Space();
  size_t space() const { return capacity_ - end_; }
  void Filled(size_t bytes) { end_ += bytes; }
  std::string_view content() const { return {bytes_.get() + begin_, end_ - begin_}; }
  void Consume(size_t bytes);
  void Clear() { begin_ = end_ = 0; }

 private:
  static constexpr size_t kLeast = 64 << 10;

  size_t capacity_;
  size_t begin_ = 0;
  size_t end_ = 0;
  std::unique_ptr<char[]> bytes_;
};

// Resolves "host" and port. INVALID_ARGUMENT if there is no such host.
absl::StatusOr<sockaddr_storage> ResolveAddress(const std::string& host, uint16_t port);

// A non-blocking TCP connection with its protocol and the tickets of its calls. It passes answers on to the
// traffic and takes their tickets back.
class Connection final : private Answers {
 public:
  Connection(uint32_t first_ticket, uint32_t tickets);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Begins to connect; writable when it has an outcome.
  absl::Status Open(const sockaddr_storage& address, std::unique_ptr<Protocol> protocol);
  // The outcome; begins the conversation.
  absl::Status FinishOpen();
  // Fails the calls under way.
  void Close(std::string_view why, Traffic* traffic);

  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0 && connected_; }
  bool is_opening() const { return fd_ >= 0 && !connected_; }
  bool exhausted() const { return is_open() && protocol_->exhausted(); }
  bool CanSend() const { return is_open() && !free_.empty() && protocol_->CanSend(); }

  // Sends the traffic's next call, if there is one. The bytes leave with Write.
  bool SendOne(Traffic& traffic);
  // Reads once and hears the answers. An error: the connection is broken.
  absl::Status Read(Traffic* traffic);
  // Writes what it can, at once.
  absl::Status Write();
  // Something is left to write: wait until the socket is writable.
  bool has_output() const { return sent_ < out_.size(); }

  bool watched_for_writing = false;  // kept by whoever watches the socket
  TimePoint next_attempt;            // kept by whoever opens it again

 private:
  void OnValue(uint32_t ticket, uint32_t index, std::optional<std::string_view> value) override;
  void OnEnd(uint32_t ticket, std::string_view error) override;

  const uint32_t first_ticket_;
  std::vector<bool> busy_;      // by ticket - first_ticket_
  std::vector<uint32_t> free_;  // the others
  int fd_ = -1;
  bool connected_ = false;
  std::unique_ptr<Protocol> protocol_;
  ReceiveBuffer in_;
  std::string out_;
  size_t sent_ = 0;  // of out_
  Traffic* traffic_ = nullptr;
};

}  // namespace thermocline::load
