#pragma once

#include <functional>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"

#include "thermocline/v1/segments.grpc.pb.h"

namespace thermocline::testing {

// The segments of a ScriptedServer, in the same way.
class ScriptedSegments final : public v1::Segments::Service {
 public:
  // The first message of a change and all its ids, once the last has come.
  using ChangeScript =
      std::function<grpc::Status(const std::string& method, const v1::ChangeRequest& first,
                                 const std::vector<uint64_t>& ids, v1::ChangeResponse& response)>;
  // For what is said before the last message.
  using RawChangeScript =
      std::function<grpc::Status(grpc::ServerReader<v1::ChangeRequest>&, grpc::ServerContext&)>;
  template <class Request, class Response>
  using StreamScript =
      std::function<grpc::Status(const Request&, grpc::ServerWriter<Response>&, grpc::ServerContext&)>;
  template <class Request, class Response>
  using Script = std::function<grpc::Status(const Request&, Response&)>;

  ChangeScript change;
  RawChangeScript raw_change;  // instead of `change`
  StreamScript<v1::QueryRequest, v1::QueryResponse> query;
  StreamScript<v1::QueryValuesRequest, v1::QueryValuesResponse> query_values;
  Script<v1::CountRequest, v1::CountResponse> count;
  Script<v1::ExplainRequest, v1::ExplainResponse> explain;
  Script<v1::StoreRequest, v1::StoreResponse> store;
  Script<v1::ListRequest, v1::ListResponse> list;
  Script<v1::DescribeRequest, v1::Segment> describe;
  Script<v1::DropRequest, v1::DropResponse> drop;

 private:
  using Changes = grpc::ServerReader<v1::ChangeRequest>;

  grpc::Status Change(const std::string& method, grpc::ServerContext& context, Changes& requests,
                      v1::ChangeResponse& response);

  grpc::Status Add(grpc::ServerContext* context, Changes* requests, v1::ChangeResponse* response) override;
  grpc::Status Remove(grpc::ServerContext* context, Changes* requests, v1::ChangeResponse* response) override;
  grpc::Status Load(grpc::ServerContext* context, Changes* requests, v1::ChangeResponse* response) override;
  grpc::Status Query(grpc::ServerContext* context, const v1::QueryRequest* request,
                     grpc::ServerWriter<v1::QueryResponse>* writer) override;
  grpc::Status QueryValues(grpc::ServerContext* context, const v1::QueryValuesRequest* request,
                           grpc::ServerWriter<v1::QueryValuesResponse>* writer) override;
  grpc::Status Count(grpc::ServerContext*, const v1::CountRequest* request,
                     v1::CountResponse* response) override;
  grpc::Status Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                       v1::ExplainResponse* response) override;
  grpc::Status Store(grpc::ServerContext*, const v1::StoreRequest* request,
                     v1::StoreResponse* response) override;
  grpc::Status List(grpc::ServerContext*, const v1::ListRequest* request,
                    v1::ListResponse* response) override;
  grpc::Status Describe(grpc::ServerContext*, const v1::DescribeRequest* request,
                        v1::Segment* response) override;
  grpc::Status Drop(grpc::ServerContext*, const v1::DropRequest* request,
                    v1::DropResponse* response) override;
};

}  // namespace thermocline::testing
