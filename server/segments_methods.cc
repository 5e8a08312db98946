#include "server/segments_methods.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/rpc/detached.h"
#include "server/rpc/streams.h"
#include "server/rpc/unary.h"
#include "server/status.h"

namespace thermocline::server {
namespace {

// A call of Add, Remove or Load.
class ChangeTaker {
 public:
  explicit ChangeTaker(absl::StatusOr<std::unique_ptr<SegmentChanger>> changer)
      : changer_(std::move(changer)) {}

  void Take(const v1::ChangeRequest& request, SegmentChanger::Done done) {
    if (!changer_.ok()) return done(changer_.status());
    (*changer_)->Take(request, std::move(done));
  }

  void Finish(v1::ChangeResponse* response, SegmentChanger::Done done) {
    if (!changer_.ok()) return done(changer_.status());
    (*changer_)->Finish(response, std::move(done));
  }

 private:
  const absl::StatusOr<std::unique_ptr<SegmentChanger>> changer_;
};

std::unique_ptr<rpc::Method> NewChange(SegmentsService& service, storage::SegmentChange change) {
  using Change = rpc::ClientStreamMethod<v1::ChangeRequest, v1::ChangeResponse, ChangeTaker>;
  typename Change::Options options;
  options.effect = rpc::Effect::kWrites;
  options.code = SegmentsWireCode;
  return std::make_unique<Change>(
      [&service, change] { return std::make_unique<ChangeTaker>(service.Change(change)); }, options);
}

// A method whose reader makes one response after the other, and can be destroyed at any time.
template <typename Request, typename Response, typename Reader>
std::unique_ptr<rpc::Method> NewStream(SegmentsService& service,
                                       absl::StatusOr<Reader> (SegmentsService::*open)(const Request&)) {
  using Stream = rpc::ServerStreamMethod<Request, Response>;
  return std::make_unique<Stream>(
      [&service, open](const Request& request) -> absl::StatusOr<typename Stream::Next> {
        absl::StatusOr<Reader> reader = (service.*open)(request);
        if (!reader.ok()) return reader.status();
        return [reader = *std::move(reader)](Response* response, typename Stream::NextDone done) mutable {
          reader.Next(response, std::move(done));
        };
      },
      typename Stream::Options{.code = SegmentsWireCode});
}

// A method that may take minutes.
template <typename Request, typename Response, typename Serve>
std::unique_ptr<rpc::Method> NewLong(rpc::Effect effect, Serve serve,
                                     int (*code)(const absl::Status&) = SegmentsWireCode) {
  using Long = rpc::DetachedMethod<Request, Response>;
  typename Long::Options options;
  options.effect = effect;
  options.stop_waits = true;
  options.code = code;
  return std::make_unique<Long>(std::move(serve), options);
}

template <typename Request, typename Response>
std::unique_ptr<rpc::Method> NewShort(SegmentsService& service,
                                      void (SegmentsService::*method)(const Request&, Response*,
                                                                      SegmentsService::Done),
                                      rpc::Effect effect) {
  using Short = rpc::UnaryMethod<Request, Response>;
  typename Short::Options options;
  options.effect = effect;
  options.code = SegmentsWireCode;
  return std::make_unique<Short>(
      [&service, method](const Request& request, Response* response, SegmentsService::Done done) {
        (service.*method)(request, response, std::move(done));
      },
      std::move(options));
}

}  // namespace

void AddSegmentsMethods(std::string_view service_name, SegmentsService& service, rpc::Methods& methods) {
  using rpc::Effect;
  using storage::SegmentChange;
  const auto add = [&](std::string_view name, std::unique_ptr<rpc::Method> method) {
    methods.Add(std::string("/").append(service_name).append("/").append(name), std::move(method));
  };
  add("Add", NewChange(service, SegmentChange::kAdd));
  add("Remove", NewChange(service, SegmentChange::kRemove));
  add("Load", NewChange(service, SegmentChange::kReplace));
  add("Query", NewStream<v1::QueryRequest, v1::QueryResponse>(service, &SegmentsService::Query));
  add("QueryValues",
      NewStream<v1::QueryValuesRequest, v1::QueryValuesResponse>(service, &SegmentsService::QueryValues));
  add("Timeline", NewStream<v1::TimelineRequest, v1::TimelineResponse>(service, &SegmentsService::Timeline));
  add("Count", NewLong<v1::CountRequest, v1::CountResponse>(
                   Effect::kNone, [&service](const v1::CountRequest& request, auto done) {
                     return service.Count(request, std::move(done));
                   }));
  add("Explain", NewLong<v1::ExplainRequest, v1::ExplainResponse>(
                     Effect::kNone, [&service](const v1::ExplainRequest& request, auto done) {
                       return service.Explain(request, std::move(done));
                     }));
  add("Store", NewLong<v1::StoreRequest, v1::StoreResponse>(
                   Effect::kWrites, [&service](const v1::StoreRequest& request, auto done) {
                     return service.Store(request, std::move(done));
                   }));
  add("List", NewShort(service, &SegmentsService::List, Effect::kNone));
  add("Describe", NewShort(service, &SegmentsService::Describe, Effect::kNone));
  add("Drop", NewShort(service, &SegmentsService::Drop, Effect::kWrites));
  add("Export", NewLong<v1::ExportRequest, v1::Job>(
                    Effect::kWrites,
                    [&service](const v1::ExportRequest& request, auto done) {
                      service.Export(request, std::move(done));
                      return nullptr;
                    },
                    ExportWireCode));
  add("WatchJob", NewStream<v1::WatchJobRequest, v1::Job>(service, &SegmentsService::WatchJob));
  add("ListJobs", NewShort(service, &SegmentsService::ListJobs, Effect::kNone));
  add("CancelJob", NewShort(service, &SegmentsService::CancelJob, Effect::kWrites));
}

}  // namespace thermocline::server
