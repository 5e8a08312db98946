#pragma once

#include "tests/load/pending_calls.h"
#include "tests/load/protocol.h"

namespace thermocline::load {

// RESP2, as Redis speaks it: GET, SET, DEL; of batches MGET, MSET, and DEL with many keys. Durability is the
// server's affair.
class RedisProtocol final : public Protocol {
 public:
  void Send(uint32_t ticket, const Call& call, std::string& out) override;
  absl::StatusOr<size_t> Receive(std::string_view in, Answers& answers, std::string& out) override;

 private:
  PendingCalls pending_;
};

}  // namespace thermocline::load
