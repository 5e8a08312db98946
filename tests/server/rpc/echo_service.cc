#include "tests/server/rpc/echo_service.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"

#include "server/rpc/call.h"
#include "server/rpc/detached.h"
#include "server/rpc/loop.h"
#include "server/rpc/streams.h"
#include "server/rpc/unary.h"
#include "tests/server/rpc/echo.pb.h"

namespace thermocline::server::rpc {
namespace {

using thermocline::testing::Bytes;
using thermocline::testing::Count;
using thermocline::testing::DownloadRequest;
using thermocline::testing::MetadataResponse;
using thermocline::testing::RpcStatus;

using Say = UnaryMethod<Bytes, Bytes>;

int OwnCode(const absl::Status& status) { return static_cast<int>(status.code()); }

// A method whose exchanges are made by a function.
class MadeMethod final : public Method {
 public:
  explicit MadeMethod(std::function<Exchange*(Call&)> make) : make_(std::move(make)) {}
  Exchange* Start(Call& call) override { return make_(call); }

 private:
  const std::function<Exchange*(Call&)> make_;
};

class IgnoringExchange final : public Exchange {
 public:
  explicit IgnoringExchange(EchoService& service) : service_(service) { service_.open_streams.fetch_add(1); }
  ~IgnoringExchange() override { service_.open_streams.fetch_sub(1); }

  void OnMessage(std::string_view) override {}
  void OnEnd() override {}
  void OnGone() override { delete this; }

 private:
  EchoService& service_;
};

class UploadExchange final : public Exchange {
 public:
  UploadExchange(Call& call, EchoService& service) : call_(call), service_(service) {
    service_.open_streams.fetch_add(1);
  }
  ~UploadExchange() override { service_.open_streams.fetch_sub(1); }

  void OnMessage(std::string_view message) override {
    Bytes bytes;
    bytes.ParseFromArray(message.data(), static_cast<int>(message.size()));
    answer_.mutable_bytes()->append(bytes.bytes());
  }
  void OnEnd() override {
    if (!call_.Send(answer_)) return;
    call_.Finish(absl::OkStatus());
    delete this;
  }
  void OnGone() override { delete this; }

 private:
  Call& call_;
  EchoService& service_;
  Bytes answer_;
};

class MetadataExchange final : public Exchange {
 public:
  explicit MetadataExchange(Call& call) : call_(call) {
    for (const auto& [name, value] : call.head().metadata) {
      auto* const field = answer_.add_fields();
      field->set_name(name);
      field->set_value(value);
    }
  }

  void OnMessage(std::string_view) override {}
  void OnEnd() override {
    if (!call_.Send(answer_)) return;
    call_.Finish(absl::OkStatus());
    delete this;
  }
  void OnGone() override { delete this; }

 private:
  Call& call_;
  MetadataResponse answer_;
};

// Counts as long as it lives.
class Worker {
 public:
  explicit Worker(EchoService& service) : service_(service) { service_.workers.fetch_add(1); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() { service_.workers.fetch_sub(1); }

 private:
  EchoService& service_;
};

absl::Status StatusOf(const RpcStatus& said) {
  absl::Status status(static_cast<absl::StatusCode>(said.code()), said.message());
  for (const auto& detail : said.details()) status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  return status;
}

}  // namespace

// Takes its messages only when it is resumed.
class WaitingUpload final : public Exchange, private LoopTask {
 public:
  WaitingUpload(Call& call, EchoService& service) : call_(&call), loop_(call.loop()), service_(service) {
    service_.open_streams.fetch_add(1);
    call.Pause();
    storage::MutexLock lock(service_.mutex_);
    service_.waiting_.insert(this);
  }
  ~WaitingUpload() override { service_.open_streams.fetch_sub(1); }

  // On any thread, once.
  void Resume() { loop_.Post(*this); }

  void OnMessage(std::string_view message) override { count_.set_bytes(count_.bytes() + message.size()); }
  void OnEnd() override {
    if (call_->Send(count_)) call_->Finish(absl::OkStatus());
    delete this;
  }
  void OnGone() override {
    call_ = nullptr;
    bool waited;
    {
      storage::MutexLock lock(service_.mutex_);
      waited = service_.waiting_.erase(this) > 0;
    }
    if (waited || resumed_) delete this;
  }

 private:
  void RunOnLoop() override {
    if (call_ == nullptr) {
      delete this;
      return;
    }
    resumed_ = true;
    call_->Resume();
  }

  Call* call_;
  Loop& loop_;
  EchoService& service_;
  Count count_;
  bool resumed_ = false;
};

// What is done later refers to the messages and the completion, never to the taker.
class SummingTaker {
 public:
  using Done = absl::AnyInvocable<void(absl::Status)>;

  explicit SummingTaker(EchoService& service) : service_(service), worker_(service) {}

  void Take(const Bytes& request, Done done) {
    auto shared = std::make_shared<Done>(std::move(done));
    service_.AddLater([&request, sum = sum_, shared] {
      if (request.bytes() == "refuse") return (*shared)(absl::InvalidArgumentError("refused"));
      sum->fetch_add(request.bytes().size());
      (*shared)(absl::OkStatus());
    });
  }

  void Finish(Count* response, Done done) {
    auto shared = std::make_shared<Done>(std::move(done));
    service_.AddLater([response, sum = sum_, shared] {
      response->set_bytes(sum->load());
      (*shared)(absl::OkStatus());
    });
  }

 private:
  EchoService& service_;
  const Worker worker_;
  const std::shared_ptr<std::atomic<uint64_t>> sum_ = std::make_shared<std::atomic<uint64_t>>(0);
};

void EchoService::AddCancellableMethods(const std::string& service, Methods& methods) {
  using WhileHere = DetachedMethod<Bytes, Bytes>;
  methods.Add(service + "SayWhileHere",
              std::make_unique<WhileHere>(
                  [this](const Bytes& request, WhileHere::Done done) {
                    auto shared = std::make_shared<WhileHere::Done>(std::move(done));
                    AddLater([request, shared] { (*shared)(request); });
                    return std::make_shared<Worker>(*this);
                  },
                  WhileHere::Options{.effect = Effect::kWrites, .stop_waits = true}));
  using DownloadLater = ServerStreamMethod<DownloadRequest, Bytes>;
  methods.Add(
      service + "DownloadLater",
      std::make_unique<DownloadLater>(
          [this](const DownloadRequest& request) -> absl::StatusOr<DownloadLater::Next> {
            return [this, request, made = 0u, worker = std::make_unique<Worker>(*this)](
                       Bytes* response, DownloadLater::NextDone done) mutable {
              auto shared = std::make_shared<DownloadLater::NextDone>(std::move(done));
              AddLater([response, size = request.bytes_each(), more = ++made < request.messages(), shared] {
                response->set_bytes(std::string(size, 'l'));
                (*shared)(more);
              });
            };
          }));
  using SumUp = ClientStreamMethod<Bytes, Count, SummingTaker>;
  methods.Add(service + "SumUp",
              std::make_unique<SumUp>([this] { return std::make_unique<SummingTaker>(*this); },
                                      SumUp::Options{.effect = Effect::kWrites}));
}

Methods EchoService::NewMethods() {
  const std::string service = "/thermocline.testing.Echo/";
  Methods methods;
  AddCancellableMethods(service, methods);
  methods.Add(service + "Say",
              std::make_unique<Say>([](const Bytes& request, Bytes* response, Say::Done done) {
                *response = request;
                done(absl::OkStatus());
              }));
  methods.Add(service + "SayLater",
              std::make_unique<Say>([this](const Bytes& request, Bytes* response, Say::Done done) {
                auto shared = std::make_shared<Say::Done>(std::move(done));
                AddLater([&request, response, shared] {
                  *response = request;
                  (*shared)(absl::OkStatus());
                });
              }));
  using Grow = UnaryMethod<DownloadRequest, Bytes>;
  methods.Add(service + "GrowLater", std::make_unique<Grow>([this](const DownloadRequest& request,
                                                                   Bytes* response, Grow::Done done) {
                auto shared = std::make_shared<Grow::Done>(std::move(done));
                AddLater([&request, response, shared] {
                  response->set_bytes(std::string(request.bytes_each(), 'g'));
                  (*shared)(absl::OkStatus());
                });
              }));
  using SomeDay = DetachedMethod<Bytes, Bytes>;
  methods.Add(service + "SaySomeDay",
              std::make_unique<SomeDay>([this](const Bytes& request, SomeDay::Done done) {
                auto shared = std::make_shared<SomeDay::Done>(std::move(done));
                AddLater([request, shared] { (*shared)(request); });
                return nullptr;
              }));
  using Download = ServerStreamMethod<DownloadRequest, Bytes>;
  methods.Add(
      service + "Download",
      std::make_unique<Download>([this](const DownloadRequest& request) -> absl::StatusOr<Download::Next> {
        if (request.messages() == 0) return absl::InvalidArgumentError("no messages");
        return [this, request, made = 0u](Bytes* response, Download::NextDone done) mutable {
          response->set_bytes(std::string(request.bytes_each(), static_cast<char>('a' + made % 26)));
          downloads_made.fetch_add(1);
          done(++made < request.messages());
        };
      }));
  methods.Add(service + "Upload",
              std::make_unique<MadeMethod>([this](Call& call) { return new UploadExchange(call, *this); }));
  using Talk = DialogueMethod<Bytes, Bytes>;
  methods.Add(service + "Talk", std::make_unique<Talk>([](const Bytes& request, Bytes* response) {
                *response = request;
                return absl::OkStatus();
              }));
  methods.Add(service + "Ignore",
              std::make_unique<MadeMethod>([this](Call&) { return new IgnoringExchange(*this); }));
  methods.Add(service + "UploadLater",
              std::make_unique<MadeMethod>([this](Call& call) { return new WaitingUpload(call, *this); }));
  using Fail = UnaryMethod<RpcStatus, Bytes>;
  methods.Add(service + "Fail", std::make_unique<Fail>([](const RpcStatus& request, Bytes*,
                                                          Fail::Done done) { done(StatusOf(request)); },
                                                       Fail::Options{.code = OwnCode}));
  methods.Add(service + "Metadata",
              std::make_unique<MadeMethod>([](Call& call) { return new MetadataExchange(call); }));
  return methods;
}

void EchoService::AddLater(std::function<void()> finish) {
  storage::MutexLock lock(mutex_);
  later_.push_back(std::move(finish));
}

size_t EchoService::FinishLater() {
  std::vector<std::function<void()>> finish;
  {
    storage::MutexLock lock(mutex_);
    finish.swap(later_);
  }
  for (const auto& act : finish) act();
  return finish.size();
}

size_t EchoService::later() const {
  storage::MutexLock lock(mutex_);
  return later_.size();
}

void EchoService::ResumeUploads() {
  storage::MutexLock lock(mutex_);
  for (WaitingUpload* const upload : waiting_) upload->Resume();
  waiting_.clear();
}

size_t EchoService::waiting_uploads() const {
  storage::MutexLock lock(mutex_);
  return waiting_.size();
}

}  // namespace thermocline::server::rpc
