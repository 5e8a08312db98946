#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/load/grpc_connection.h"
#include "tests/load/protocol.h"

namespace thermocline::load {

// thermocline.v1.KeyValue: a unary call for each call, a batch method for a batch.
class UnaryProtocol final : public Protocol, private GrpcConnection::Events {
 public:
  // Tickets are `first_ticket` and the `tickets` - 1 after it.
  UnaryProtocol(std::string authority, uint32_t first_ticket, uint32_t tickets);

  void Begin(std::string& out) override { connection_.Begin(out); }
  bool CanSend() const override { return connection_.CanOpen(); }
  void Send(uint32_t ticket, const Call& call, std::string& out) override;
  absl::StatusOr<size_t> Receive(std::string_view in, Answers& answers, std::string& out) override;
  bool exhausted() const override { return connection_.exhausted(); }

 private:
  struct State {
    Call::Verb verb = Call::Verb::kGet;
    bool batch = false;
    bool answered = false;
    uint32_t items = 0;
    std::string error;  // of the first item that failed
  };

  void OnMessage(uint64_t call, std::string_view message) override;
  void OnEnd(uint64_t call, std::string_view error) override;

  GrpcConnection connection_;
  const uint32_t first_ticket_;
  std::vector<State> states_;  // by ticket
  std::string message_;
  Answers* answers_ = nullptr;  // while Receive runs
};

// The Pipeline method: everything goes through one stream, what is sent together in one message.
class StreamProtocol final : public Protocol, private GrpcConnection::Events {
 public:
  StreamProtocol(std::string authority, uint32_t first_ticket, uint32_t tickets);

  void Begin(std::string& out) override { connection_.Begin(out); }
  bool CanSend() const override;
  void Send(uint32_t ticket, const Call& call, std::string& out) override;
  void Flush(std::string& out) override;
  absl::StatusOr<size_t> Receive(std::string_view in, Answers& answers, std::string& out) override;
  bool exhausted() const override { return connection_.going_away() && under_way_ == 0; }

 private:
  struct State {
    uint32_t left = 0;  // items that are not answered
    std::string error;
  };

  void OnMessage(uint64_t call, std::string_view message) override;
  void OnEnd(uint64_t call, std::string_view error) override;

  GrpcConnection connection_;
  const uint32_t first_ticket_;
  uint32_t stream_ = 0;  // 0: not open
  std::string ended_;    // why the stream ended, if it has
  std::vector<State> states_;
  std::string message_;      // what Flush will send
  uint32_t operations_ = 0;  // in it
  uint32_t under_way_ = 0;   // calls
  Answers* answers_ = nullptr;
};

}  // namespace thermocline::load
