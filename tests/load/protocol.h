#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "tests/load/call.h"

namespace thermocline::load {

// One connection's conversation, without the connection: turns calls into bytes to send, and received bytes
// into answers. Bytes to send are appended to `out`; the caller takes them away when it has sent them.
class Protocol {
 public:
  virtual ~Protocol() = default;

  // What a fresh connection begins with.
  virtual void Begin(std::string& /*out*/) {}
  // False while Send must not be called: the peer allows no more at the moment.
  virtual bool CanSend() const { return true; }
  // Sends a call. Its ticket is not under way.
  virtual void Send(uint32_t ticket, const Call& call, std::string& out) = 0;
  // Before bytes go out: the end of what is sent together.
  virtual void Flush(std::string& /*out*/) {}
  // Reads as many whole answers as `in` begins with, and returns how many bytes they took; the rest comes
  // again with more behind it. An error if these are no answers: the connection is then of no use any more.
  virtual absl::StatusOr<size_t> Receive(std::string_view in, Answers& answers, std::string& out) = 0;
  // The peer takes no more calls on this connection, and all have ended: make a new one.
  virtual bool exhausted() const { return false; }
};

}  // namespace thermocline::load
