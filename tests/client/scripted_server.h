#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "grpcpp/grpcpp.h"

#include "tests/client/scripted_segments.h"
#include "thermocline/v1/admin.grpc.pb.h"
#include "thermocline/v1/key_value.grpc.pb.h"

namespace thermocline::testing {

// Answers calls as a test tells it: for what a real server does only at moments that a test cannot choose. A
// call that has no script is UNIMPLEMENTED. Scripts must be in place before they are called, and are called
// from several threads.
class ScriptedServer final : public v1::KeyValue::Service {
 public:
  template <class Request, class Response>
  using Script = std::function<grpc::Status(const Request&, Response&)>;
  using ScanScript = std::function<grpc::Status(const v1::ScanRequest&, grpc::ServerWriter<v1::ScanResponse>&,
                                                grpc::ServerContext&)>;

  Script<v1::GetRequest, v1::GetResponse> get;
  Script<v1::SetRequest, v1::WriteResponse> set;
  Script<v1::DeleteRequest, v1::WriteResponse> del;
  Script<v1::BatchGetRequest, v1::BatchGetResponse> batch_get;
  Script<v1::BatchWriteRequest, v1::BatchWriteResponse> batch_write;
  ScanScript scan;
  Script<v1::StatsRequest, v1::StatsResponse> stats;  // without it, the server only says that it is alive
  std::function<grpc::Status(v1::CompactResponse&, grpc::ServerContext&)> compact;
  ScriptedSegments segments;
  bool has_pipeline = true;
  grpc::Status pipeline_fails;              // if not OK: what a pipeline ends with at its first message
  std::atomic<int> pipelines = 0;           // that were opened
  std::atomic<int> pipelined_messages = 0;  // that came on them

  // Port 0 chooses a free one.
  void Start(int port = 0);
  // Breaks all connections.
  void Stop();
  ~ScriptedServer() override { Stop(); }

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  using PipelineStream = grpc::ServerReaderWriter<v1::PipelineResponse, v1::PipelineRequest>;

  class ScriptedAdmin final : public v1::Admin::Service {
   public:
    explicit ScriptedAdmin(const ScriptedServer& server) : server_(server) {}

   private:
    grpc::Status Stats(grpc::ServerContext*, const v1::StatsRequest* request,
                       v1::StatsResponse* response) override;
    grpc::Status Compact(grpc::ServerContext* context, const v1::CompactRequest*,
                         v1::CompactResponse* response) override;

    const ScriptedServer& server_;
  };

  grpc::Status Get(grpc::ServerContext*, const v1::GetRequest* request, v1::GetResponse* response) override;
  grpc::Status Set(grpc::ServerContext*, const v1::SetRequest* request, v1::WriteResponse* response) override;
  grpc::Status Delete(grpc::ServerContext*, const v1::DeleteRequest* request,
                      v1::WriteResponse* response) override;
  grpc::Status BatchGet(grpc::ServerContext*, const v1::BatchGetRequest* request,
                        v1::BatchGetResponse* response) override;
  grpc::Status BatchWrite(grpc::ServerContext*, const v1::BatchWriteRequest* request,
                          v1::BatchWriteResponse* response) override;
  grpc::Status Scan(grpc::ServerContext* context, const v1::ScanRequest* request,
                    grpc::ServerWriter<v1::ScanResponse>* writer) override;

  // Each operation by its script, on a thread of its own.
  grpc::Status Pipeline(grpc::ServerContext* context, PipelineStream* stream) override;
  void Answer(const v1::PipelineRequest::Operation& operation, v1::PipelineResponse::Answer& answer);

  ScriptedAdmin admin_{*this};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace thermocline::testing
