#include "client/transport.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <random>
#include <utility>

#include "grpcpp/alarm.h"

#include "grpc/grpc.h"

namespace thermocline::transport {
namespace {

// The largest reply is one value of 16 MiB, or 65 536 entries of a BatchGet that each explain an error.
constexpr int kMaxReceivedBytes = 64 << 20;
constexpr std::chrono::hours kLongestTimeout{24 * 365};
// Servers of gRPC close connections that ask for a sign of life more often than every five minutes.
constexpr std::chrono::milliseconds kKeepAlive = std::chrono::minutes(6);

using KeyValueCalls = v1::KeyValue::StubInterface::async_interface;
using AdminCalls = v1::Admin::StubInterface::async_interface;

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& server) {
  // gRPC ends its threads with its last channel and waits for them; after a large message that can take ten
  // seconds. So it is begun once more than it is ended.
  [[maybe_unused]] static const bool begun = [] {
    grpc_init();
    return true;
  }();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceivedBytes);
  // gRPC's own would wait up to two minutes before it tries a server again that has come back.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A call without a deadline must notice that the other machine is gone.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAlive.count());
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no limit: the call may be silent for hours
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
}

struct Repetition {
  // For what is sent once, gRPC waits for the connection: whatever fails after that has an unknown outcome.
  bool wait_for_connection;
  Deadline until;  // repeat on UNAVAILABLE
};

Repetition SendOnce() { return {true, Deadline::min()}; }
Repetition RepeatUntil(Deadline deadline) { return {false, deadline}; }

// One unary call with its repetitions; deletes itself after `done`.
template <class Calls, class Request, class Response>
class Call {
 public:
  using Method = void (Calls::*)(grpc::ClientContext*, const Request*, Response*,
                                 std::function<void(grpc::Status)>);

  Call(InFlight& in_flight, Calls* calls, Method method, Request request, Repetition repetition,
       Deadline deadline, Transport::Done<Response> done)
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
  Transport::Done<Response> done_;
  Backoff backoff_;
  Response response_;
  std::optional<grpc::ClientContext> context_;
  std::optional<grpc::Alarm> pause_;
};

template <class Calls, class Request, class Response>
void Start(InFlight& in_flight, Calls* calls,
           void (Calls::*method)(grpc::ClientContext*, const Request*, Response*,
                                 std::function<void(grpc::Status)>),
           Request request, Repetition repetition, Deadline deadline, Transport::Done<Response> done) {
  in_flight.Enter();
  auto* call = new Call<Calls, Request, Response>(in_flight, calls, method, std::move(request), repetition,
                                                  deadline, std::move(done));
  call->Attempt();
}

}  // namespace

Deadline After(std::chrono::milliseconds timeout) {
  return std::chrono::system_clock::now() + std::min<std::chrono::milliseconds>(timeout, kLongestTimeout);
}

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

std::chrono::milliseconds Backoff::Next() {
  thread_local std::minstd_rand random(std::random_device{}());
  const std::chrono::milliseconds pause(
      std::uniform_int_distribution<int64_t>(bound_.count() / 2, bound_.count())(random));
  bound_ = std::min(bound_ * 2, kLast);
  return pause;
}

void InFlight::Enter() {
  std::lock_guard lock(mutex_);
  ++count_;
}

void InFlight::Leave() {
  std::lock_guard lock(mutex_);
  // Under the lock: whoever waits may destroy this as soon as it is released.
  if (--count_ == 0) none_.notify_all();
}

void InFlight::AwaitNone() {
  std::unique_lock lock(mutex_);
  none_.wait(lock, [this] { return count_ == 0; });
}

Transport::Transport(const std::string& server) : Transport(OpenChannel(server)) {}

Transport::Transport(const std::shared_ptr<grpc::Channel>& channel)
    : key_value_(v1::KeyValue::NewStub(channel)), admin_(v1::Admin::NewStub(channel)) {}

Transport::~Transport() { in_flight_.AwaitNone(); }

void Transport::Get(v1::GetRequest request, Deadline deadline, Done<v1::GetResponse> done) {
  Start(in_flight_, key_value_->async(), &KeyValueCalls::Get, std::move(request), RepeatUntil(deadline),
        deadline, std::move(done));
}

void Transport::BatchGet(v1::BatchGetRequest request, Deadline deadline, Done<v1::BatchGetResponse> done) {
  Start(in_flight_, key_value_->async(), &KeyValueCalls::BatchGet, std::move(request), RepeatUntil(deadline),
        deadline, std::move(done));
}

void Transport::Stats(Deadline deadline, Deadline repeat_until, Done<v1::StatsResponse> done) {
  Start(in_flight_, admin_->async(), &AdminCalls::Stats, v1::StatsRequest(), RepeatUntil(repeat_until),
        deadline, std::move(done));
}

void Transport::Flush(Deadline deadline, Done<v1::FlushResponse> done) {
  Start(in_flight_, admin_->async(), &AdminCalls::Flush, v1::FlushRequest(), RepeatUntil(deadline), deadline,
        std::move(done));
}

void Transport::Compact(Deadline deadline, Deadline repeat_until, Done<v1::CompactResponse> done) {
  Start(in_flight_, admin_->async(), &AdminCalls::Compact, v1::CompactRequest(), RepeatUntil(repeat_until),
        deadline, std::move(done));
}

void Transport::Set(v1::SetRequest request, Deadline deadline, Done<v1::WriteResponse> done) {
  Start(in_flight_, key_value_->async(), &KeyValueCalls::Set, std::move(request), SendOnce(), deadline,
        std::move(done));
}

void Transport::Delete(v1::DeleteRequest request, Deadline deadline, Done<v1::WriteResponse> done) {
  Start(in_flight_, key_value_->async(), &KeyValueCalls::Delete, std::move(request), SendOnce(), deadline,
        std::move(done));
}

void Transport::BatchWrite(v1::BatchWriteRequest request, Deadline deadline,
                           Done<v1::BatchWriteResponse> done) {
  Start(in_flight_, key_value_->async(), &KeyValueCalls::BatchWrite, std::move(request), SendOnce(), deadline,
        std::move(done));
}

}  // namespace thermocline::transport
