// Segments in a whole server, and stock clients of it.

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

#include "server/config.h"
#include "server/server.h"
#include "tests/support/temp_directory.h"
#include "thermocline/v1/admin.grpc.pb.h"
#include "thermocline/v1/key_value.grpc.pb.h"
#include "thermocline/v1/segments.grpc.pb.h"

namespace thermocline::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Ids = std::vector<uint64_t>;

class ServerSegmentsTest : public ::testing::Test {
 protected:
  void Start(uint64_t segment_memory_bytes = 16 << 20) {
    Config config;
    config.port = 0;
    config.data_directory = directory_.Path("data");
    config.memory_bytes = 64 << 20;
    config.segment_memory_bytes = segment_memory_bytes;
    config.io_threads = 2;
    auto server = Server::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel_ = grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::Segments::NewStub(channel_);
  }

  void Stop() {
    EXPECT_TRUE(server_->Stop(std::chrono::milliseconds(0)).ok());
    server_.reset();
  }

  grpc::Status Load(const std::string& segment, const Ids& ids) {
    grpc::ClientContext context;
    v1::ChangeResponse response;
    const auto writer = stub_->Load(&context, &response);
    v1::ChangeRequest request;
    request.set_segment(segment);
    for (size_t i = 0; i < ids.size();) {
      const size_t end = std::min<size_t>(ids.size(), i + 100'000);
      request.mutable_ids()->Assign(ids.begin() + i, ids.begin() + end);
      if (!writer->Write(request)) break;
      request.clear_segment();
      i = end;
    }
    if (ids.empty()) writer->Write(request);
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    EXPECT_EQ(response.received(), status.ok() ? ids.size() : 0);
    return status;
  }

  grpc::Status Count(const std::string& expression, uint64_t* count) {
    v1::CountRequest request;
    request.set_expression(expression);
    v1::CountResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub_->Count(&context, request, &response);
    *count = response.count();
    return status;
  }

  grpc::Status Query(const std::string& expression, Ids* ids) {
    v1::QueryRequest request;
    request.set_expression(expression);
    grpc::ClientContext context;
    const auto reader = stub_->Query(&context, request);
    for (v1::QueryResponse response; reader->Read(&response);) {
      ids->insert(ids->end(), response.ids().begin(), response.ids().end());
    }
    return reader->Finish();
  }

  v1::StatsResponse Stats() {
    v1::StatsResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(v1::Admin::NewStub(channel_)->Stats(&context, {}, &response).ok());
    return response;
  }

  thermocline::testing::TempDirectory directory_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Segments::Stub> stub_;
};

Ids Range(uint64_t first, uint64_t count, uint64_t step) {
  Ids ids(count);
  for (uint64_t i = 0; i < count; ++i) ids[i] = first + i * step;
  return ids;
}

TEST_F(ServerSegmentsTest, ServesThemAndKeepsThemOverARestart) {
  Start();
  ASSERT_TRUE(Load("threes", Range(0, 400'000, 3)).ok());
  ASSERT_TRUE(Load("fives", Range(0, 400'000, 5)).ok());
  Stop();
  Start();
  Ids ids;
  const grpc::Status status = Query("threes & fives", &ids);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(ids == Range(0, 80'000, 15));
  const v1::StatsResponse stats = Stats();
  EXPECT_EQ(stats.segments().segments(), 2u);
  EXPECT_EQ(stats.memory().limit_bytes(), 64u << 20);
  EXPECT_LE(stats.memory().used_bytes(), stats.memory().limit_bytes());
  EXPECT_EQ(stats.segments().memory_limit_bytes(), 16u << 20);
  Stop();
}

TEST_F(ServerSegmentsTest, FailuresHaveTheCodesOfTheContract) {
  Start();
  uint64_t count;
  grpc::Status status = Count("none", &count);
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr("none"), HasSubstr("^")));
  EXPECT_EQ(Count("a &", &count).error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(Load("", {1}).error_code(), grpc::INVALID_ARGUMENT);
  Ids ids;
  EXPECT_EQ(Query("none", &ids).error_code(), grpc::NOT_FOUND);
  Stop();
}

TEST_F(ServerSegmentsTest, ValuesOfIds) {
  Start();
  ASSERT_TRUE(Load("users", Range(1, 1000, 1)).ok());
  const auto key_value = v1::KeyValue::NewStub(channel_);
  v1::BatchWriteRequest writes;
  for (int i = 2; i <= 1000; i += 2) {
    v1::SetRequest& set = *writes.add_writes()->mutable_set();
    set.set_key("user:" + std::to_string(i));
    set.set_value("value " + std::to_string(i));
  }
  grpc::ClientContext write_context;
  v1::BatchWriteResponse written;
  ASSERT_TRUE(key_value->BatchWrite(&write_context, writes, &written).ok());
  v1::QueryValuesRequest request;
  request.mutable_query()->set_expression("users");
  request.set_key_pattern("user:{id}");
  grpc::ClientContext context;
  const auto reader = stub_->QueryValues(&context, request);
  uint64_t id = 0;
  for (v1::QueryValuesResponse response; reader->Read(&response);) {
    for (const auto& item : response.items()) {
      EXPECT_EQ(item.id(), ++id);
      EXPECT_EQ(item.value(), id % 2 == 0 ? "value " + std::to_string(id) : "");
    }
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(id, 1000u);
  Stop();
}

// Clients that leave at any moment, and a stop in the middle of it all: for the sanitizers.
TEST_F(ServerSegmentsTest, ManyClientsThatLeave) {
  Start();
  ASSERT_TRUE(Load("a", Range(0, 200'000, 2)).ok());
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([this, t] {
      for (int i = 0; i < 30; ++i) {
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(i % 10));
        v1::CountRequest count_request;
        count_request.set_expression("a | a");
        v1::CountResponse counted;
        v1::QueryRequest query_request;
        query_request.set_expression("a");
        v1::ChangeResponse changed;
        switch ((i + t) % 3) {
          case 0:
            stub_->Count(&context, count_request, &counted);
            break;
          case 1: {
            const auto reader = stub_->Query(&context, query_request);
            for (v1::QueryResponse response; reader->Read(&response);) {
            }
            reader->Finish();
            break;
          }
          default: {
            const auto writer = stub_->Add(&context, &changed);
            v1::ChangeRequest request;
            request.set_segment("b");
            const Ids ids = Range(0, 10'000, 7);
            request.mutable_ids()->Assign(ids.begin(), ids.end());
            for (int k = 0; k < 5 && writer->Write(request); ++k) {
            }
            writer->WritesDone();
            writer->Finish();
          }
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (Stats().segments().running_size() > 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(Stats().segments().running_size(), 0);

  // Nobody reads this one, nor ends that one.
  grpc::ClientContext query_context;
  v1::QueryRequest query_request;
  query_request.set_expression("a");
  const auto reader = stub_->Query(&query_context, query_request);
  grpc::ClientContext add_context;
  v1::ChangeResponse changed;
  const auto writer = stub_->Add(&add_context, &changed);
  v1::ChangeRequest request;
  request.set_segment("b");
  ASSERT_TRUE(writer->Write(request));
  Stop();
  v1::QueryResponse response;
  while (reader->Read(&response)) {
  }
  // What had been sent before the stop may have been all.
  const grpc::Status ended = reader->Finish();
  EXPECT_TRUE(ended.ok() || ended.error_code() == grpc::UNAVAILABLE) << ended.error_message();
  EXPECT_EQ(writer->Finish().error_code(), grpc::UNAVAILABLE);
}

TEST_F(ServerSegmentsTest, WithoutSegmentsItSaysSo) {
  Start(0);
  uint64_t count;
  const grpc::Status status = Count("a", &count);
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("--segment-memory 8MiB"));
  EXPECT_EQ(Load("a", {1}).error_code(), grpc::UNAVAILABLE);
  EXPECT_FALSE(Stats().has_segments());
  EXPECT_EQ(Stats().memory().limit_bytes(), 64u << 20);
  Stop();
}

}  // namespace
}  // namespace thermocline::server
