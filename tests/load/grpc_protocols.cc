#include "tests/load/grpc_protocols.h"

#include <utility>

#include "absl/status/status.h"
#include <fmt/format.h>

#include "tests/load/messages.h"

namespace thermocline::load {
namespace {

constexpr const char* kService = "/thermocline.v1.KeyValue/";

std::vector<std::string> PathsOf(std::initializer_list<const char*> methods) {
  std::vector<std::string> paths;
  for (const char* const method : methods) paths.push_back(fmt::format("{}{}", kService, method));
  return paths;
}

// As UnaryProtocol orders them.
size_t MethodOf(const Call& call) {
  if (call.batch) return call.verb == Call::Verb::kGet ? 3 : 4;
  return static_cast<size_t>(call.verb);
}

// An id names a ticket and an item.
constexpr int kIndexBits = 20;

constexpr size_t kMaxMessageBytes = 1 << 20;
constexpr uint32_t kMaxOperations = 4096;

}  // namespace

UnaryProtocol::UnaryProtocol(std::string authority, uint32_t first_ticket, uint32_t tickets)
    : connection_(std::move(authority), PathsOf({"Get", "Set", "Delete", "BatchGet", "BatchWrite"})),
      first_ticket_(first_ticket),
      states_(tickets) {}

void UnaryProtocol::Send(uint32_t ticket, const Call& call, std::string& out) {
  State& state = states_[ticket - first_ticket_];
  state.verb = call.verb;
  state.batch = call.batch;
  state.answered = false;
  state.items = static_cast<uint32_t>(call.items.size());
  state.error.clear();
  message_.clear();
  AppendRequest(call, message_);
  connection_.Open(MethodOf(call), ticket, message_, /*last=*/true, out);
}

absl::StatusOr<size_t> UnaryProtocol::Receive(std::string_view in, Answers& answers, std::string& out) {
  answers_ = &answers;
  return connection_.Receive(in, *this, out);
}

void UnaryProtocol::OnMessage(uint64_t call, std::string_view message) {
  const auto ticket = static_cast<uint32_t>(call);
  State& state = states_[ticket - first_ticket_];
  uint32_t items = 0;
  const bool read = ParseResponse(state.verb, state.batch, message, [&](const ItemAnswer& answer) {
    ++items;
    if (!answer.error.empty()) {
      if (state.error.empty()) state.error = answer.error;
    } else if (state.verb == Call::Verb::kGet) {
      answers_->OnValue(ticket, static_cast<uint32_t>(answer.index), answer.value);
    }
  });
  state.answered = true;
  if (!read) {
    state.error = "a response that is not the message it should be";
  } else if (items != state.items) {
    state.error = "a response with another number of items than the request";
  }
}

void UnaryProtocol::OnEnd(uint64_t call, std::string_view error) {
  const auto ticket = static_cast<uint32_t>(call);
  const State& state = states_[ticket - first_ticket_];
  if (!error.empty()) return answers_->OnEnd(ticket, error);
  answers_->OnEnd(ticket, state.answered ? state.error : "status OK without a response");
}

StreamProtocol::StreamProtocol(std::string authority, uint32_t first_ticket, uint32_t tickets)
    : connection_(std::move(authority), PathsOf({"Pipeline"})),
      first_ticket_(first_ticket),
      states_(tickets) {}

bool StreamProtocol::CanSend() const {
  return stream_ == 0 ? connection_.CanOpen() : connection_.CanWrite() && !connection_.going_away();
}

void StreamProtocol::Send(uint32_t ticket, const Call& call, std::string& out) {
  if (stream_ == 0) stream_ = connection_.OpenStream(/*method=*/0, /*call=*/0, out);
  const auto items = static_cast<uint32_t>(call.items.size());
  if (operations_ + items > kMaxOperations || message_.size() >= kMaxMessageBytes) Flush(out);
  State& state = states_[ticket - first_ticket_];
  state.left = items;
  state.error.clear();
  ++under_way_;
  AppendOperations(call, uint64_t{ticket} << kIndexBits, message_);
  operations_ += items;
}

void StreamProtocol::Flush(std::string& out) {
  if (operations_ == 0) return;
  connection_.Write(stream_, message_, out);
  message_.clear();
  operations_ = 0;
}

absl::StatusOr<size_t> StreamProtocol::Receive(std::string_view in, Answers& answers, std::string& out) {
  answers_ = &answers;
  auto read = connection_.Receive(in, *this, out);
  if (read.ok() && !ended_.empty()) return absl::UnavailableError(ended_);
  return read;
}

void StreamProtocol::OnMessage(uint64_t /*call*/, std::string_view message) {
  const bool read = ParsePipelineResponse(message, [this](const ItemAnswer& answer) {
    const uint64_t at = (answer.index >> kIndexBits) - first_ticket_;
    if (at >= states_.size() || states_[at].left == 0) {
      ended_ = "an answer that nobody has asked for";
      return;
    }
    State& state = states_[at];
    const auto ticket = static_cast<uint32_t>(answer.index >> kIndexBits);
    if (!answer.error.empty()) {
      if (state.error.empty()) state.error = answer.error;
    } else if (answer.read) {
      answers_->OnValue(ticket, static_cast<uint32_t>(answer.index & ((1u << kIndexBits) - 1)), answer.value);
    }
    if (--state.left > 0) return;
    --under_way_;
    answers_->OnEnd(ticket, state.error);
  });
  if (!read) ended_ = "a response that is not the message it should be";
}

// The stream is meant to live as long as its connection.
void StreamProtocol::OnEnd(uint64_t /*call*/, std::string_view error) {
  ended_ = error.empty() ? "the server ended the stream" : std::string(error);
}

}  // namespace thermocline::load
