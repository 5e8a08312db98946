#include "server/grpc_endpoint.h"

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include <netdb.h>

#include "server/config.h"
#include "server/status.h"
#include "thermocline/v1/admin.grpc.pb.h"
#include "thermocline/v1/key_value.grpc.pb.h"

namespace thermocline::server {
namespace {

// How long clients have to close their connections after the last call.
constexpr std::chrono::milliseconds kGoodbye(100);

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(WireCode(status)), std::string(status.message())};
}

// Counts the calls under way, and refuses new ones once it is closed. Thread-safe.
class CallGate {
 public:
  // Makes its owner a call under way, as long as it lives, unless the gate is closed.
  class Pass {
   public:
    explicit Pass(CallGate& gate) : gate_(gate), valid_(gate.Enter()) {}
    ~Pass() {
      if (valid_) gate_.Leave();
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

    bool valid() const { return valid_; }

   private:
    CallGate& gate_;
    const bool valid_;
  };

  // Returns when no call is under way any more, or after `patience`.
  void Close(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    closed_ = true;
    empty_.wait_for(lock, patience, [this] { return inside_ == 0; });
  }

 private:
  bool Enter() {
    std::lock_guard lock(mutex_);
    if (closed_) return false;
    ++inside_;
    return true;
  }

  void Leave() {
    std::lock_guard lock(mutex_);
    if (--inside_ == 0) empty_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable empty_;
  bool closed_ = false;  // guarded by mutex_
  int inside_ = 0;       // guarded by mutex_
};

const grpc::Status& Stopping() {
  static const grpc::Status status(grpc::StatusCode::UNAVAILABLE, "the server is stopping");
  return status;
}

// One call with one answer; gRPC owns it until OnDone, when the answer has been sent.
class UnaryCall : public grpc::ServerUnaryReactor {
 public:
  explicit UnaryCall(CallGate& gate) : pass_(gate) {
    if (!pass_.valid()) Finish(Stopping());
  }

  // False: refused, and already finished.
  bool entered() const { return pass_.valid(); }

  KeyValueService::Done Done() {
    return [this](const absl::Status& status) { Finish(ToGrpc(status)); };
  }

  void OnDone() override { delete this; }

 private:
  const CallGate::Pass pass_;
};

// One Scan call; gRPC owns it until OnDone.
class ScanCall : public grpc::ServerWriteReactor<v1::ScanResponse> {
 public:
  ScanCall(CallGate& gate, KeyValueService& service, const v1::ScanRequest& request) : pass_(gate) {
    if (!pass_.valid()) {
      Finish(Stopping());
    } else if (absl::StatusOr<ScanReader> reader = service.Scan(request); reader.ok()) {
      reader_.emplace(*std::move(reader));
      ReadPage();
    } else {
      Finish(ToGrpc(reader.status()));
    }
  }

  // The client took the page (or gRPC's buffers have room for it): only now is the next one read. A cancelled
  // call fails its next write, and that ends it.
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    if (!more_) return Finish(grpc::Status::OK);
    ReadPage();
  }

  void OnDone() override { delete this; }

 private:
  void ReadPage() {
    page_.Clear();
    reader_->Next(&page_, [this](absl::StatusOr<bool> more) {
      if (!more.ok()) return Finish(ToGrpc(more.status()));
      more_ = *more;
      StartWrite(&page_);
    });
  }

  const CallGate::Pass pass_;
  std::optional<ScanReader> reader_;
  v1::ScanResponse page_;
  bool more_ = false;
};

// One Compact call; gRPC owns it until OnDone. Compaction may take hours, so the call does not wait for it
// when the client leaves or the endpoint stops: it is cancelled and ends, and compaction goes on. Therefore
// it is no call under way for the gate either.
class CompactCall : public grpc::ServerUnaryReactor {
 public:
  CompactCall(CallGate& gate, AdminService& service, const v1::CompactRequest& request,
              v1::CompactResponse* response)
      : response_(response) {
    const CallGate::Pass pass(gate);
    if (!pass.valid()) {
      Take(*open_)->Finish(Stopping());
      return;
    }
    service.Compact(request, [open = open_](absl::StatusOr<v1::CompactResponse> answer) {
      if (CompactCall* const call = Take(*open); call != nullptr) call->Answer(answer);
    });
  }

  void OnCancel() override {
    if (CompactCall* const call = Take(*open_); call != nullptr) call->Finish(grpc::Status::CANCELLED);
  }

  void OnDone() override { delete this; }

 private:
  // The call that is to be finished: at the end of compaction or when it is cancelled, whichever comes first.
  // For who comes second it may be gone already.
  using Open = std::atomic<CompactCall*>;
  static CompactCall* Take(Open& open) { return open.exchange(nullptr, std::memory_order_relaxed); }

  void Answer(absl::StatusOr<v1::CompactResponse>& answer) {
    if (answer.ok()) response_->Swap(&*answer);
    Finish(ToGrpc(answer.status()));
  }

  v1::CompactResponse* const response_;
  const std::shared_ptr<Open> open_ = std::make_shared<Open>(this);
};

class KeyValueBinding : public v1::KeyValue::CallbackService {
 public:
  KeyValueBinding(CallGate& gate, KeyValueService& service) : gate_(gate), service_(service) {}

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext*, const v1::GetRequest* request,
                                v1::GetResponse* response) override {
    return Bind(&KeyValueService::Get, *request, response);
  }
  grpc::ServerUnaryReactor* Set(grpc::CallbackServerContext*, const v1::SetRequest* request,
                                v1::WriteResponse* response) override {
    return Bind(&KeyValueService::Set, *request, response);
  }
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext*, const v1::DeleteRequest* request,
                                   v1::WriteResponse* response) override {
    return Bind(&KeyValueService::Delete, *request, response);
  }
  grpc::ServerUnaryReactor* BatchGet(grpc::CallbackServerContext*, const v1::BatchGetRequest* request,
                                     v1::BatchGetResponse* response) override {
    return Bind(&KeyValueService::BatchGet, *request, response);
  }
  grpc::ServerUnaryReactor* BatchWrite(grpc::CallbackServerContext*, const v1::BatchWriteRequest* request,
                                       v1::BatchWriteResponse* response) override {
    return Bind(&KeyValueService::BatchWrite, *request, response);
  }
  grpc::ServerWriteReactor<v1::ScanResponse>* Scan(grpc::CallbackServerContext*,
                                                   const v1::ScanRequest* request) override {
    return new ScanCall(gate_, service_, *request);
  }

 private:
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Bind(void (KeyValueService::*method)(const Request&, Response*,
                                                                 KeyValueService::Done),
                                 const Request& request, Response* response) {
    auto* const call = new UnaryCall(gate_);
    if (call->entered()) (service_.*method)(request, response, call->Done());
    return call;
  }

  CallGate& gate_;
  KeyValueService& service_;
};

class AdminBinding : public v1::Admin::CallbackService {
 public:
  AdminBinding(CallGate& gate, AdminService& service) : gate_(gate), service_(service) {}

  grpc::ServerUnaryReactor* Stats(grpc::CallbackServerContext*, const v1::StatsRequest* request,
                                  v1::StatsResponse* response) override {
    auto* const call = new UnaryCall(gate_);
    if (call->entered()) {
      service_.Stats(*request, response);
      call->Finish(grpc::Status::OK);
    }
    return call;
  }
  grpc::ServerUnaryReactor* Flush(grpc::CallbackServerContext*, const v1::FlushRequest* request,
                                  v1::FlushResponse*) override {
    auto* const call = new UnaryCall(gate_);
    if (call->entered()) service_.Flush(*request, call->Done());
    return call;
  }
  grpc::ServerUnaryReactor* Compact(grpc::CallbackServerContext*, const v1::CompactRequest* request,
                                    v1::CompactResponse* response) override {
    return new CompactCall(gate_, service_, *request, response);
  }

 private:
  CallGate& gate_;
  AdminService& service_;
};

// Why the address cannot be listened on: gRPC only logs it, so we ask the system ourselves.
std::string WhyNotListening(const std::string& host, uint16_t port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* addresses = nullptr;
  const std::string service = std::to_string(port);
  if (const int error = getaddrinfo(host.c_str(), service.c_str(), &hints, &addresses); error != 0) {
    return fmt::format("{}", gai_strerror(error));
  }
  std::string reason = "gRPC refused it";
  for (const addrinfo* address = addresses; address != nullptr; address = address->ai_next) {
    const int probe = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol);
    if (probe < 0) continue;
    const int one = 1;
    setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(probe, address->ai_addr, address->ai_addrlen) != 0 || listen(probe, 1) != 0) {
      reason = errno == EADDRINUSE ? fmt::format("port {} is already in use by another program", port)
                                   : std::string(std::strerror(errno));
    }
    close(probe);
  }
  freeaddrinfo(addresses);
  return reason;
}

void SetLimits(grpc::ServerBuilder& builder, const GrpcEndpoint::Options& options) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // Two servers on one port would each get a part of the clients.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  grpc::ResourceQuota quota("server");
  quota.Resize(options.buffer_bytes);
  builder.SetResourceQuota(quota);
  // The reflection service is the only one that needs polling threads of its own.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
}

}  // namespace

class GrpcEndpoint::Impl {
 public:
  Impl(KeyValueService& key_value, AdminService& admin)
      : key_value_(gate_, key_value), admin_(gate_, admin) {}

  absl::Status Start(const Options& options) {
    static const bool plugins = [] {
      grpc::EnableDefaultHealthCheckService(true);
      grpc::reflection::InitProtoReflectionServerBuilderPlugin();
      return true;
    }();
    static_cast<void>(plugins);
    grpc::ServerBuilder builder;
    SetLimits(builder, options);
    const std::string address = HostPort(options.host, options.port);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&key_value_);
    builder.RegisterService(&admin_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      return absl::UnavailableError(
          fmt::format("cannot listen on {}: {}", address, WhyNotListening(options.host, options.port)));
    }
    SetHealth(true);
    return absl::OkStatus();
  }

  void Stop(std::chrono::milliseconds patience) {
    if (server_ == nullptr) return;
    SetHealth(false);
    gate_.Close(patience);
    // gRPC would also wait for idle connections, and a client that is idle may notice only seconds later.
    server_->Shutdown(std::chrono::system_clock::now() + kGoodbye);
    server_->Wait();
    server_.reset();
  }

  int port() const { return port_; }

 private:
  void SetHealth(bool serving) {
    grpc::HealthCheckServiceInterface& health = *server_->GetHealthCheckService();
    health.SetServingStatus(serving);
    health.SetServingStatus(v1::KeyValue::service_full_name(), serving);
    health.SetServingStatus(v1::Admin::service_full_name(), serving);
  }

  CallGate gate_;
  KeyValueBinding key_value_;
  AdminBinding admin_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

GrpcEndpoint::GrpcEndpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

GrpcEndpoint::~GrpcEndpoint() { Stop(std::chrono::milliseconds(0)); }

absl::StatusOr<std::unique_ptr<GrpcEndpoint>> GrpcEndpoint::Start(const Options& options,
                                                                  KeyValueService& key_value,
                                                                  AdminService& admin) {
  auto impl = std::make_unique<Impl>(key_value, admin);
  if (absl::Status status = impl->Start(options); !status.ok()) return status;
  return std::unique_ptr<GrpcEndpoint>(new GrpcEndpoint(std::move(impl)));
}

int GrpcEndpoint::port() const { return impl_->port(); }

void GrpcEndpoint::Stop(std::chrono::milliseconds patience) { impl_->Stop(patience); }

}  // namespace thermocline::server
