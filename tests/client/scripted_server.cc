#include "tests/client/scripted_server.h"

#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace thermocline::testing {
namespace {

// As the real server has it.
constexpr int kMaxReceivedBytes = (16 << 20) + (256 << 10);

template <class Script, class Request, class Response>
grpc::Status Play(const Script& script, const Request& request, Response& response) {
  if (script == nullptr) return {grpc::StatusCode::UNIMPLEMENTED, "the test has no script for this"};
  return script(request, response);
}

}  // namespace

void ScriptedServer::Start(int port) {
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxReceivedBytes);
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(this);
  builder.RegisterService(&admin_);
  builder.RegisterService(&segments);
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr);
}

void ScriptedServer::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

grpc::Status ScriptedServer::ScriptedAdmin::Stats(grpc::ServerContext*, const v1::StatsRequest* request,
                                                  v1::StatsResponse* response) {
  if (server_.stats != nullptr) return server_.stats(*request, *response);
  response->set_server_version("scripted");
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::ScriptedAdmin::Compact(grpc::ServerContext* context, const v1::CompactRequest*,
                                                    v1::CompactResponse* response) {
  if (server_.compact == nullptr) return {grpc::StatusCode::UNIMPLEMENTED, "the test has no script for this"};
  return server_.compact(*response, *context);
}

grpc::Status ScriptedServer::Get(grpc::ServerContext*, const v1::GetRequest* request,
                                 v1::GetResponse* response) {
  return Play(get, *request, *response);
}

grpc::Status ScriptedServer::Set(grpc::ServerContext*, const v1::SetRequest* request,
                                 v1::WriteResponse* response) {
  return Play(set, *request, *response);
}

grpc::Status ScriptedServer::Delete(grpc::ServerContext*, const v1::DeleteRequest* request,
                                    v1::WriteResponse* response) {
  return Play(del, *request, *response);
}

grpc::Status ScriptedServer::BatchGet(grpc::ServerContext*, const v1::BatchGetRequest* request,
                                      v1::BatchGetResponse* response) {
  return Play(batch_get, *request, *response);
}

grpc::Status ScriptedServer::BatchWrite(grpc::ServerContext*, const v1::BatchWriteRequest* request,
                                        v1::BatchWriteResponse* response) {
  return Play(batch_write, *request, *response);
}

grpc::Status ScriptedServer::Scan(grpc::ServerContext* context, const v1::ScanRequest* request,
                                  grpc::ServerWriter<v1::ScanResponse>* writer) {
  if (scan == nullptr) return {grpc::StatusCode::UNIMPLEMENTED, "the test has no script for this"};
  return scan(*request, *writer, *context);
}

grpc::Status ScriptedServer::Pipeline(grpc::ServerContext*, PipelineStream* stream) {
  if (!has_pipeline) return {grpc::StatusCode::UNIMPLEMENTED, "the test has no pipeline"};
  ++pipelines;
  stream->SendInitialMetadata();
  std::mutex writing;
  std::vector<std::thread> threads;
  v1::PipelineRequest request;
  while (stream->Read(&request)) {
    ++pipelined_messages;
    if (!pipeline_fails.ok()) return pipeline_fails;
    for (const v1::PipelineRequest::Operation& operation : request.operations()) {
      threads.emplace_back([this, stream, operation, &writing] {
        v1::PipelineResponse response;
        Answer(operation, *response.add_answers());
        const std::lock_guard lock(writing);
        stream->Write(response);
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
  return grpc::Status::OK;
}

void ScriptedServer::Answer(const v1::PipelineRequest::Operation& operation,
                            v1::PipelineResponse::Answer& answer) {
  answer.set_id(operation.id());
  grpc::Status status;
  if (operation.has_get()) {
    status = Play(get, operation.get(), *answer.mutable_got());
  } else if (operation.has_set()) {
    status = Play(set, operation.set(), *answer.mutable_written());
  } else {
    status = Play(del, operation.delete_(), *answer.mutable_written());
  }
  if (status.ok()) return;
  answer.mutable_error()->set_code(status.error_code());
  answer.mutable_error()->set_message(status.error_message());
}

}  // namespace thermocline::testing
