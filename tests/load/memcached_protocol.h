#pragma once

#include "tests/load/pending_calls.h"
#include "tests/load/protocol.h"

namespace thermocline::load {

// memcached's meta protocol: mg, ms, md; a batch is as many of them. Keys must be printable.
class MemcachedProtocol final : public Protocol {
 public:
  void Send(uint32_t ticket, const Call& call, std::string& out) override;
  absl::StatusOr<size_t> Receive(std::string_view in, Answers& answers, std::string& out) override;

 private:
  PendingCalls pending_;
};

}  // namespace thermocline::load
