#include "tests/conformance/echo_server.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "fmt/format.h"

#include "server/rpc/call.h"
#include "server/rpc/endpoint.h"
#include "server/rpc/exchange.h"
#include "server/rpc/streams.h"
#include "server/rpc/unary.h"
#include "tests/conformance/echo.pb.h"

namespace thermocline::testing {
namespace {

namespace rpc = server::rpc;
using conformance::CountRequest;
using conformance::DelayRequest;
using conformance::Failure;
using conformance::HeadResponse;
using conformance::MeetRequest;
using conformance::Message;
using conformance::Nothing;
using conformance::Number;
using conformance::TallyResponse;

constexpr int kLoops = 2;
constexpr size_t kMaxMessageBytes = 17 << 20;
constexpr int64_t kHoldBytes = 1 << 30;

absl::Status ToStatus(const Failure& failure) {
  absl::Status status(static_cast<absl::StatusCode>(failure.code()), failure.message());
  for (const auto& detail : failure.details())
    status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  return status;
}

int PlainCode(const absl::Status& status) { return static_cast<int>(status.code()); }

// What all calls of a server share.
struct Shared {
  std::atomic<int64_t> sums = 0;
  std::atomic<int64_t> counts = 0;
  std::atomic<int64_t> delays = 0;

  std::mutex mutex;
  std::map<std::string, std::vector<rpc::UnaryMethod<MeetRequest, Nothing>::Done>> rooms;  // guarded by mutex
};

// Counts itself as long as it lives.
class Counted {
 public:
  explicit Counted(std::atomic<int64_t>& count) : count_(&count) { ++*count_; }
  Counted(Counted&& other) noexcept : count_(std::exchange(other.count_, nullptr)) {}
  Counted& operator=(Counted&&) = delete;
  ~Counted() {
    if (count_ != nullptr) --*count_;
  }

 private:
  std::atomic<int64_t>* count_;
};

// A method whose calls are exchanges of one class.
template <typename Exchange>
class ExchangeMethod final : public rpc::Method {
 public:
  explicit ExchangeMethod(Shared& shared) : shared_(shared) {}
  rpc::Exchange* Start(rpc::Call& call) override { return new Exchange(call, shared_); }

 private:
  Shared& shared_;
};

class Sum final : public rpc::Exchange {
 public:
  Sum(rpc::Call& call, Shared& shared) : call_(call), counted_(shared.sums) {}

  void OnMessage(std::string_view message) override {
    Number number;
    if (!number.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
      return Finish(absl::InternalError("not a Number"));
    }
    if (number.value() < 0) return Finish(absl::InvalidArgumentError("a negative number"));
    sum_ += number.value();
  }
  void OnEnd() override {
    Number sum;
    sum.set_value(sum_);
    if (call_.Send(sum)) Finish(absl::OkStatus());
  }
  void OnGone() override { delete this; }

 private:
  void Finish(const absl::Status& status) {
    call_.Finish(status);
    delete this;
  }

  rpc::Call& call_;
  const Counted counted_;
  int64_t sum_ = 0;
};

class Delay final : public rpc::Exchange, private rpc::LoopTimer {
 public:
  Delay(rpc::Call& call, Shared& shared) : call_(call), counted_(shared.delays) {}

  void OnMessage(std::string_view message) override {
    if (absl::Status status = request_.Read(message, call_); !status.ok()) Finish(status);
  }
  void OnEnd() override {
    if (absl::Status status = request_.End(); !status.ok()) return Finish(status);
    const auto delay = std::chrono::milliseconds(request_.value().milliseconds());
    call_.loop().Arm(*this, rpc::Loop::Clock::now() + delay);
  }
  void OnGone() override {
    rpc::Loop::Disarm(*this);
    delete this;
  }

 private:
  void OnTime() override {
    if (call_.Send(Nothing())) Finish(absl::OkStatus());
  }
  void Finish(const absl::Status& status) {
    call_.Finish(status);
    delete this;
  }

  rpc::Call& call_;
  const Counted counted_;
  rpc::SingleRequest<DelayRequest> request_;
};

class Head final : public rpc::Exchange {
 public:
  Head(rpc::Call& call, Shared&) : call_(call) {
    const rpc::RequestHead& head = call.head();
    for (const auto& [name, value] : head.metadata) {
      HeadResponse::Field& field = *response_.add_metadata();
      field.set_name(name);
      field.set_value(value);
    }
    if (head.timeout) response_.set_timeout_ns(head.timeout->count());
    response_.set_gzip(head.gzip);
    response_.set_accepts_gzip(head.accepts_gzip);
  }

  void OnMessage(std::string_view) override {}
  void OnEnd() override {
    if (!call_.Send(response_)) return;
    call_.Finish(absl::OkStatus());
    delete this;
  }
  void OnGone() override { delete this; }

 private:
  rpc::Call& call_;
  HeadResponse response_;
};

std::unique_ptr<rpc::Method> CountMethod(Shared& shared) {
  using Method = rpc::ServerStreamMethod<CountRequest, Number>;
  return std::make_unique<Method>([&shared](const CountRequest& request) -> absl::StatusOr<Method::Next> {
    return [counted = Counted(shared.counts), request, next = int64_t{0}](Number* number,
                                                                          Method::NextDone done) mutable {
      if (request.count() > 0 && next == request.count()) return done(ToStatus(request.failure()));
      number->set_padding(std::string(static_cast<size_t>(request.padding_bytes()), '.'));
      number->set_value(next++);
      done(request.count() == 0 || next < request.count() || request.has_failure());
    };
  });
}

std::unique_ptr<rpc::Method> MeetMethod(Shared& shared) {
  using Method = rpc::UnaryMethod<MeetRequest, Nothing>;
  return std::make_unique<Method>([&shared](const MeetRequest& request, Nothing*, Method::Done done) {
    std::vector<Method::Done> met;
    {
      const std::lock_guard lock(shared.mutex);
      std::vector<Method::Done>& room = shared.rooms[request.room()];
      room.push_back(std::move(done));
      if (static_cast<int64_t>(room.size()) == request.count()) met.swap(room);
    }
    for (Method::Done& each : met) each(absl::OkStatus());
  });
}

rpc::Methods NewMethods(Shared& shared) {
  const auto path = [](const char* name) { return fmt::format("/thermocline.conformance.Echo/{}", name); };
  rpc::Methods methods;
  using Unary = rpc::UnaryMethod<Message, Message>;
  methods.Add(path("Unary"),
              std::make_unique<Unary>(
                  [](const Message& request, Message* response, Unary::Done done) {
                    response->set_body(request.body());
                    done(request.has_failure() ? ToStatus(request.failure()) : absl::OkStatus());
                  },
                  Unary::Options{.code = &PlainCode}));
  methods.Add(path("Sum"), std::make_unique<ExchangeMethod<Sum>>(shared));
  methods.Add(path("Count"), CountMethod(shared));
  using Dialogue = rpc::DialogueMethod<Message, Message>;
  methods.Add(path("Dialogue"), std::make_unique<Dialogue>([](const Message& request, Message* response) {
                response->set_body(request.body());
                return request.has_failure() ? ToStatus(request.failure()) : absl::OkStatus();
              }));
  methods.Add(path("Delay"), std::make_unique<ExchangeMethod<Delay>>(shared));
  using Fail = rpc::UnaryMethod<Failure, Nothing>;
  methods.Add(path("Fail"), std::make_unique<Fail>([](const Failure& request, Nothing*,
                                                      Fail::Done done) { done(ToStatus(request)); },
                                                   Fail::Options{.code = &PlainCode}));
  methods.Add(path("Head"), std::make_unique<ExchangeMethod<Head>>(shared));
  methods.Add(path("Meet"), MeetMethod(shared));
  using Tally = rpc::UnaryMethod<Nothing, TallyResponse>;
  methods.Add(path("Tally"),
              std::make_unique<Tally>([&shared](const Nothing&, TallyResponse* response, Tally::Done done) {
                response->set_sums(shared.sums);
                response->set_counts(shared.counts);
                response->set_delays(shared.delays);
                done(absl::OkStatus());
              }));
  return methods;
}

}  // namespace

class EchoServer::Impl {
 public:
  absl::Status Start(std::optional<rpc::TlsFiles> tls) {
    rpc::Endpoint::Options options;
    options.host = "127.0.0.1";
    options.loops = kLoops;
    options.max_message_bytes = kMaxMessageBytes;
    options.hold_bytes = kHoldBytes;
    options.tls = std::move(tls);
    absl::StatusOr<std::unique_ptr<rpc::Endpoint>> endpoint =
        rpc::Endpoint::Start(options, NewMethods(shared_));
    if (!endpoint.ok()) return endpoint.status();
    endpoint_ = *std::move(endpoint);
    return absl::OkStatus();
  }

  ~Impl() {
    // Those who have waited in vain would hold up the endpoint.
    std::map<std::string, std::vector<rpc::UnaryMethod<MeetRequest, Nothing>::Done>> rooms;
    {
      const std::lock_guard lock(shared_.mutex);
      rooms.swap(shared_.rooms);
    }
    for (auto& [name, room] : rooms) {
      for (auto& done : room) done(absl::UnavailableError("the server is stopping"));
    }
  }

  uint16_t port() const { return endpoint_->port(); }

 private:
  Shared shared_;
  std::unique_ptr<rpc::Endpoint> endpoint_;
};

EchoServer::EchoServer(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)), address_(fmt::format("127.0.0.1:{}", impl_->port())) {}

EchoServer::~EchoServer() = default;

absl::StatusOr<std::unique_ptr<EchoServer>> EchoServer::Start(std::optional<rpc::TlsFiles> tls) {
  auto impl = std::make_unique<Impl>();
  if (absl::Status status = impl->Start(std::move(tls)); !status.ok()) return status;
  return std::unique_ptr<EchoServer>(new EchoServer(std::move(impl)));
}

}  // namespace thermocline::testing
