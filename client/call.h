#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <utility>

#include "grpcpp/alarm.h"
#include "grpcpp/grpcpp.h"

#include "client/transport.h"

// One unary call with its repetitions. Private to the client.
namespace thermocline::transport {

struct Repetition {
  // For what is sent once, gRPC waits for the connection: whatever fails after that has an unknown outcome.
  bool wait_for_connection;
  Deadline until;  // repeat on UNAVAILABLE
};

inline Repetition SendOnce() { return {true, Deadline::min()}; }
inline Repetition RepeatUntil(Deadline deadline) { return {false, deadline}; }

// Deletes itself after `done`.
template <class Calls, class Request, class Response>
class Call {
 public:
  using Method = void (Calls::*)(grpc::ClientContext*, const Request*, Response*,
                                 std::function<void(grpc::Status)>);

  Call(InFlight& in_flight, Calls* calls, Method method, Request request, Repetition repetition,
       Deadline deadline, Done<Response> done)
      : in_flight_(in_flight),
        calls_(calls),
        method_(method),
        request_(std::move(request)),
        repetition_(repetition),
        deadline_(deadline),
        done_(std::move(done)) {}

  void Attempt() {
    context_.emplace();
    context_->set_deadline(deadline_);
    context_->set_wait_for_ready(repetition_.wait_for_connection);
    response_.Clear();
    (calls_->*method_)(&*context_, &request_, &response_,
                       [this](const grpc::Status& status) { OnStatus(status); });
  }

 private:
  void OnStatus(const grpc::Status& status) {
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
      const Deadline next = std::chrono::system_clock::now() + backoff_.Next();
      if (next < repetition_.until) {
        pause_.emplace();
        pause_->Set(next, [this](bool) { Attempt(); });
        return;
      }
    }
    Finish(status);
  }

  void Finish(const grpc::Status& status) {
    InFlight& in_flight = in_flight_;
    if (status.ok()) {
      done_(std::move(response_));
    } else {
      done_(ToStatus(status));
    }
    delete this;
    in_flight.Leave();
  }

  InFlight& in_flight_;
  Calls* const calls_;
  const Method method_;
  const Request request_;
  const Repetition repetition_;
  const Deadline deadline_;
  Done<Response> done_;
  Backoff backoff_;
  Response response_;
  std::optional<grpc::ClientContext> context_;
  std::optional<grpc::Alarm> pause_;
};

// Begins a call. `done` is called exactly once, on a thread of gRPC; `in_flight` counts the call until then.
template <class Calls, class Request, class Response>
void Start(InFlight& in_flight, Calls* calls,
           void (Calls::*method)(grpc::ClientContext*, const Request*, Response*,
                                 std::function<void(grpc::Status)>),
           Request request, Repetition repetition, Deadline deadline, Done<Response> done) {
  in_flight.Enter();
  auto* call = new Call<Calls, Request, Response>(in_flight, calls, method, std::move(request), repetition,
                                                  deadline, std::move(done));
  call->Attempt();
}

}  // namespace thermocline::transport
