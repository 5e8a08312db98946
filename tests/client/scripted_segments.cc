#include "tests/client/scripted_segments.h"

namespace thermocline::testing {
namespace {

const grpc::Status kNoScript(grpc::StatusCode::UNIMPLEMENTED, "the test has no script for this");

template <class Script, class... Arguments>
grpc::Status Play(const Script& script, Arguments&... arguments) {
  return script == nullptr ? kNoScript : script(arguments...);
}

}  // namespace

grpc::Status ScriptedSegments::Change(const std::string& method, grpc::ServerContext& context,
                                      Changes& requests, v1::ChangeResponse& response) {
  if (raw_change != nullptr) return raw_change(requests, context);
  v1::ChangeRequest first;
  v1::ChangeRequest request;
  std::vector<uint64_t> ids;
  while (requests.Read(&request)) {
    if (first.segment().empty()) first = request;
    ids.insert(ids.end(), request.ids().begin(), request.ids().end());
  }
  if (context.IsCancelled()) return grpc::Status::CANCELLED;
  return change == nullptr ? kNoScript : change(method, first, ids, response);
}

grpc::Status ScriptedSegments::Add(grpc::ServerContext* context, Changes* requests,
                                   v1::ChangeResponse* response) {
  return Change("add", *context, *requests, *response);
}

grpc::Status ScriptedSegments::Remove(grpc::ServerContext* context, Changes* requests,
                                      v1::ChangeResponse* response) {
  return Change("remove", *context, *requests, *response);
}

grpc::Status ScriptedSegments::Load(grpc::ServerContext* context, Changes* requests,
                                    v1::ChangeResponse* response) {
  return Change("load", *context, *requests, *response);
}

grpc::Status ScriptedSegments::Query(grpc::ServerContext* context, const v1::QueryRequest* request,
                                     grpc::ServerWriter<v1::QueryResponse>* writer) {
  return Play(query, *request, *writer, *context);
}

grpc::Status ScriptedSegments::QueryValues(grpc::ServerContext* context,
                                           const v1::QueryValuesRequest* request,
                                           grpc::ServerWriter<v1::QueryValuesResponse>* writer) {
  return Play(query_values, *request, *writer, *context);
}

grpc::Status ScriptedSegments::Count(grpc::ServerContext*, const v1::CountRequest* request,
                                     v1::CountResponse* response) {
  return Play(count, *request, *response);
}

grpc::Status ScriptedSegments::Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                                       v1::ExplainResponse* response) {
  return Play(explain, *request, *response);
}

grpc::Status ScriptedSegments::Store(grpc::ServerContext*, const v1::StoreRequest* request,
                                     v1::StoreResponse* response) {
  return Play(store, *request, *response);
}

grpc::Status ScriptedSegments::List(grpc::ServerContext*, const v1::ListRequest* request,
                                    v1::ListResponse* response) {
  return Play(list, *request, *response);
}

grpc::Status ScriptedSegments::Describe(grpc::ServerContext*, const v1::DescribeRequest* request,
                                        v1::Segment* response) {
  return Play(describe, *request, *response);
}

grpc::Status ScriptedSegments::Drop(grpc::ServerContext*, const v1::DropRequest* request,
                                    v1::DropResponse* response) {
  return Play(drop, *request, *response);
}

}  // namespace thermocline::testing
