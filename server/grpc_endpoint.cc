#include "server/grpc_endpoint.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "server/pipeline_method.h"
#include "server/rpc/call.h"
#include "server/rpc/detached.h"
#include "server/rpc/endpoint.h"
#include "server/rpc/exchange.h"
#include "server/rpc/streams.h"
#include "server/rpc/unary.h"
#include "server/segments_methods.h"
#include "server/service/health.h"
#include "server/service/reflection.h"

namespace thermocline::server {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;

constexpr char kKeyValue[] = "thermocline.v1.KeyValue";
constexpr char kSegments[] = "thermocline.v1.Segments";
constexpr char kAdmin[] = "thermocline.v1.Admin";
constexpr char kHealth[] = "grpc.health.v1.Health";
constexpr char kReflection[] = "grpc.reflection.v1.ServerReflection";
constexpr char kReflectionAlpha[] = "grpc.reflection.v1alpha.ServerReflection";

std::vector<std::string> Services() {
  return {kKeyValue, kSegments, kAdmin, kHealth, kReflection, kReflectionAlpha};
}

std::string Path(std::string_view service, std::string_view method) {
  return std::string("/").append(service).append("/").append(method);
}

// Binds a method of the service that takes a request, a response and a completion.
template <typename Request, typename Response>
void Add(std::string_view name, KeyValueService& service,
         void (KeyValueService::*method)(const Request&, Response*, KeyValueService::Done),
         rpc::Effect effect, rpc::Methods& methods) {
  using Method = rpc::UnaryMethod<Request, Response>;
  typename Method::Options options;
  options.effect = effect;
  if constexpr (requires(const Request& request) { request.key(); }) {
    options.expect = [&service](const Request& request) { service.Expect(request.key()); };
    options.expect_more = [&service](const Request& request) { service.ExpectRecord(request.key()); };
  }
  methods.Add(Path(kKeyValue, name),
              std::make_unique<Method>(
                  [&service, method](const Request& request, Response* response, KeyValueService::Done done) {
                    (service.*method)(request, response, std::move(done));
                  },
                  std::move(options)));
}

void AddKeyValue(KeyValueService& service, rpc::Methods& methods) {
  using rpc::Effect;
  Add("Get", service, &KeyValueService::Get, Effect::kNone, methods);
  Add("Set", service, &KeyValueService::Set, Effect::kWrites, methods);
  Add("Delete", service, &KeyValueService::Delete, Effect::kWrites, methods);
  Add("BatchGet", service, &KeyValueService::BatchGet, Effect::kNone, methods);
  Add("BatchWrite", service, &KeyValueService::BatchWrite, Effect::kWrites, methods);
  methods.Add(Path(kKeyValue, "Pipeline"), NewPipelineMethod(service));
  using Scan = rpc::ServerStreamMethod<v1::ScanRequest, v1::ScanResponse>;
  methods.Add(
      Path(kKeyValue, "Scan"),
      std::make_unique<Scan>([&service](const v1::ScanRequest& request) -> absl::StatusOr<Scan::Next> {
        absl::StatusOr<ScanReader> reader = service.Scan(request);
        if (!reader.ok()) return reader.status();
        // A page that is being read keeps its reader.
        return [reader = std::make_shared<ScanReader>(*std::move(reader))](v1::ScanResponse* page,
                                                                           Scan::NextDone done) {
          reader->Next(page, [reader, done = std::move(done)](absl::StatusOr<bool> more) mutable {
            done(std::move(more));
          });
        };
      }));
}

void AddAdmin(AdminService& service, rpc::Methods& methods) {
  using Stats = rpc::UnaryMethod<v1::StatsRequest, v1::StatsResponse>;
  methods.Add(Path(kAdmin, "Stats"),
              std::make_unique<Stats>(
                  [&service](const v1::StatsRequest& request, v1::StatsResponse* response, Stats::Done done) {
                    service.Stats(request, response);
                    done(absl::OkStatus());
                  }));
  using Flush = rpc::UnaryMethod<v1::FlushRequest, v1::FlushResponse>;
  methods.Add(
      Path(kAdmin, "Flush"),
      std::make_unique<Flush>([&service](const v1::FlushRequest& request, v1::FlushResponse*,
                                         Flush::Done done) { service.Flush(request, std::move(done)); }));
  using Compact = rpc::DetachedMethod<v1::CompactRequest, v1::CompactResponse>;
  methods.Add(Path(kAdmin, "Compact"),
              std::make_unique<Compact>([&service](const v1::CompactRequest& request, Compact::Done done) {
                service.Compact(request, std::move(done));
                return nullptr;
              }));
}

// Tells the state of a service, and stays open. The state changes once, when the server stops, and then every
// call ends.
class WatchMethod final : public rpc::Method {
 public:
  explicit WatchMethod(const HealthService& service) : service_(service) {}

  rpc::Exchange* Start(rpc::Call& call) override { return new Watch(call, service_); }

 private:
  class Watch final : public rpc::Exchange {
   public:
    Watch(rpc::Call& call, const HealthService& service) : call_(call), service_(service) {}

    void OnMessage(std::string_view message) override {
      if (absl::Status status = request_.Read(message, call_); !status.ok()) return Finish(status);
      HealthCheckResponse response;
      service_.Look(request_.value(), &response);
      static_cast<void>(call_.Send(response));  // if it fails, OnGone has been called
    }
    void OnEnd() override {
      if (absl::Status status = request_.End(); !status.ok()) Finish(status);
    }
    void OnGone() override { delete this; }

   private:
    void Finish(const absl::Status& status) {
      call_.Finish(status);
      delete this;
    }

    rpc::Call& call_;
    const HealthService& service_;
    rpc::SingleRequest<HealthCheckRequest> request_;
  };

  const HealthService& service_;
};

void AddHealth(HealthService& service, rpc::Methods& methods) {
  using Check = rpc::UnaryMethod<HealthCheckRequest, HealthCheckResponse>;
  // Its codes are those of its protocol.
  methods.Add(
      Path(kHealth, "Check"),
      std::make_unique<Check>([&service](const HealthCheckRequest& request, HealthCheckResponse* response,
                                         Check::Done done) { done(service.Check(request, response)); },
                              Check::Options{.code = [](const absl::Status& status) {
                                return static_cast<int>(status.code());
                              }}));
  methods.Add(Path(kHealth, "Watch"), std::make_unique<WatchMethod>(service));
}

void AddReflection(const ReflectionService& service, rpc::Methods& methods) {
  using Info = rpc::DialogueMethod<ServerReflectionRequest, ServerReflectionResponse>;
  // Both versions have the same messages.
  for (const char* const name : {kReflection, kReflectionAlpha}) {
    methods.Add(Path(name, "ServerReflectionInfo"),
                std::make_unique<Info>(
                    [&service](const ServerReflectionRequest& request, ServerReflectionResponse* response) {
                      service.Answer(request, response);
                      return absl::OkStatus();
                    }));
  }
}

}  // namespace

class GrpcEndpoint::Impl {
 public:
  absl::Status Start(const Options& options, KeyValueService& key_value, SegmentsService& segments,
                     AdminService& admin) {
    rpc::Methods methods;
    AddKeyValue(key_value, methods);
    AddSegmentsMethods(kSegments, segments, methods);
    AddAdmin(admin, methods);
    AddHealth(health_, methods);
    AddReflection(reflection_, methods);
    rpc::Endpoint::Options rpc_options;
    rpc_options.host = options.host;
    rpc_options.port = options.port;
    rpc_options.loops = options.loops;
    rpc_options.max_message_bytes = kMaxMessageBytes;
    rpc_options.hold_bytes = static_cast<int64_t>(options.buffer_bytes);
    rpc_options.tls = options.tls;
    absl::StatusOr<std::unique_ptr<rpc::Endpoint>> endpoint =
        rpc::Endpoint::Start(rpc_options, std::move(methods));
    if (!endpoint.ok()) return endpoint.status();
    endpoint_ = *std::move(endpoint);
    return absl::OkStatus();
  }

  void Stop(std::chrono::milliseconds patience) {
    health_.StopServing();
    endpoint_->Stop(patience);
  }

  int port() const { return endpoint_->port(); }

 private:
  HealthService health_{Services()};
  const ReflectionService reflection_{Services()};
  std::unique_ptr<rpc::Endpoint> endpoint_;
};

GrpcEndpoint::GrpcEndpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

GrpcEndpoint::~GrpcEndpoint() { Stop(std::chrono::milliseconds(0)); }

absl::StatusOr<std::unique_ptr<GrpcEndpoint>> GrpcEndpoint::Start(const Options& options,
                                                                  KeyValueService& key_value,
                                                                  SegmentsService& segments,
                                                                  AdminService& admin) {
  auto impl = std::make_unique<Impl>();
  if (absl::Status status = impl->Start(options, key_value, segments, admin); !status.ok()) return status;
  return std::unique_ptr<GrpcEndpoint>(new GrpcEndpoint(std::move(impl)));
}

int GrpcEndpoint::port() const { return impl_->port(); }

void GrpcEndpoint::Stop(std::chrono::milliseconds patience) { impl_->Stop(patience); }

}  // namespace thermocline::server
