#include "server/grpc_endpoint.h"

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

#include "storage/executor_reads.h"
#include "storage/posix_file_system.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/support/manual_executor.h"
#include "tests/support/raw_grpc.h"
#include "tests/support/temp_directory.h"
#include "thermocline/v1/admin.grpc.pb.h"
#include "thermocline/v1/key_value.grpc.pb.h"

namespace thermocline::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr int kLargeMessages = 17 << 20;

// An engine on real files behind a real endpoint. Commits happen on a thread that can be held.
class GrpcEndpointTest : public ::testing::Test {
 protected:
  GrpcEndpointTest() {
    storage::Options options;
    options.directory = directory_.Path("data");
    options.memory_bytes = 160 << 20;
    options.block_bytes = 32 << 20;
    // Only what the engine does while it opens may need its executors.
    std::thread pump([this] { Pump(opened_); });
    auto engine =
        storage::Engine::Open(options, {files_, clock_, random_, reads_, disk_reads_, commits_, background_});
    opened_ = true;
    pump.join();
    if (!engine.ok()) ADD_FAILURE() << engine.status();
    engine_ = *std::move(engine);
    key_value_ = std::make_unique<KeyValueService>(*engine_, clock_);
    segments_ = std::make_unique<SegmentsService>(nullptr, nullptr, nullptr, *engine_, reads_);
    admin_ = std::make_unique<AdminService>(*engine_, nullptr, nullptr);
    auto endpoint = GrpcEndpoint::Start(EndpointOptions(0), *key_value_, *segments_, *admin_);
    if (!endpoint.ok()) ADD_FAILURE() << endpoint.status();
    endpoint_ = *std::move(endpoint);
    channel_ = NewChannel();
    stub_ = v1::KeyValue::NewStub(channel_);
    LetCommitsRun();
  }

  ~GrpcEndpointTest() override {
    LetCommitsRun();
    endpoint_.reset();
    engine_.reset();
    HoldCommits();
  }

  static GrpcEndpoint::Options EndpointOptions(uint16_t port) {
    return {.host = "127.0.0.1", .port = port, .buffer_bytes = 32 << 20};
  }

  std::shared_ptr<grpc::Channel> NewChannel() {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kLargeMessages);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(fmt::format("127.0.0.1:{}", endpoint_->port()),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  void LetCommitsRun() {
    if (committer_.joinable()) return;
    hold_ = false;
    committer_ = std::thread([this] { Pump(hold_); });
  }

  void HoldCommits() {
    hold_ = true;
    if (committer_.joinable()) committer_.join();
  }

  grpc::Status Set(const std::string& key, const std::string& value) {
    v1::SetRequest request;
    request.set_key(key);
    request.set_value(value);
    v1::WriteResponse response;
    grpc::ClientContext context;
    return stub_->Set(&context, request, &response);
  }

  grpc::Status Get(const std::string& key, v1::GetResponse* response) {
    v1::GetRequest request;
    request.set_key(key);
    grpc::ClientContext context;
    return stub_->Get(&context, request, response);
  }

  grpc::Status Compact(grpc::ClientContext* context) {
    v1::CompactResponse response;
    return v1::Admin::NewStub(channel_)->Compact(context, {}, &response);
  }

  // Waits until the endpoint refuses new calls.
  void AwaitRefusal() {
    for (;;) {
      v1::GetRequest request;
      request.set_key("key");
      v1::GetResponse response;
      grpc::ClientContext context;
      if (!v1::KeyValue::NewStub(NewChannel())->Get(&context, request, &response).ok()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  thermocline::testing::TempDirectory directory_;
  storage::PosixFileSystem files_;
  storage::SystemClock clock_;
  storage::SystemRandom random_;
  storage::ThreadPool reads_{"read", 2};
  thermocline::testing::ManualExecutor commits_{1};
  thermocline::testing::ManualExecutor background_{2};
  storage::ExecutorReads disk_reads_{reads_};
  std::atomic<bool> opened_ = false;
  std::atomic<bool> hold_ = false;
  std::thread committer_;
  std::unique_ptr<storage::Engine> engine_;
  std::unique_ptr<KeyValueService> key_value_;
  std::unique_ptr<SegmentsService> segments_;
  std::unique_ptr<AdminService> admin_;
  std::unique_ptr<GrpcEndpoint> endpoint_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::KeyValue::Stub> stub_;

 private:
  void Pump(const std::atomic<bool>& stop) {
    while (!stop) {
      if (commits_.RunUntilIdle() + background_.RunUntilIdle() > 0) continue;
      commits_.Advance(std::chrono::milliseconds(1));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
};

TEST_F(GrpcEndpointTest, ServesEveryMethodOfKeyValue) {
  ASSERT_TRUE(Set("key", "value").ok());
  v1::GetResponse found;
  ASSERT_TRUE(Get("key", &found).ok());
  EXPECT_EQ(found.value(), "value");

  v1::BatchWriteRequest writes;
  writes.add_writes()->mutable_set()->set_key("other");
  v1::BatchWriteResponse written;
  grpc::ClientContext write_context;
  ASSERT_TRUE(stub_->BatchWrite(&write_context, writes, &written).ok());
  EXPECT_TRUE(written.results(0).written().applied());

  v1::BatchGetRequest gets;
  gets.add_keys("key");
  gets.add_keys("none");
  v1::BatchGetResponse entries;
  grpc::ClientContext get_context;
  ASSERT_TRUE(stub_->BatchGet(&get_context, gets, &entries).ok());
  EXPECT_EQ(entries.entries(0).value(), "value");
  EXPECT_EQ(entries.entries(1).state(), v1::BatchGetResponse::Entry::MISSING);

  v1::DeleteRequest deletion;
  deletion.set_key("key");
  v1::WriteResponse deleted;
  grpc::ClientContext delete_context;
  ASSERT_TRUE(stub_->Delete(&delete_context, deletion, &deleted).ok());
  ASSERT_TRUE(Get("key", &found).ok());
  EXPECT_FALSE(found.found());
}

TEST_F(GrpcEndpointTest, ServesAdmin) {
  const std::unique_ptr<v1::Admin::Stub> admin = v1::Admin::NewStub(channel_);
  ASSERT_TRUE(Set("key", "value").ok());
  v1::StatsResponse stats;
  grpc::ClientContext stats_context;
  ASSERT_TRUE(admin->Stats(&stats_context, {}, &stats).ok());
  EXPECT_EQ(stats.operations().sets(), 1u);
  EXPECT_EQ(stats.memory().limit_bytes(), uint64_t{160} << 20);
  v1::FlushResponse flushed;
  grpc::ClientContext flush_context;
  EXPECT_TRUE(admin->Flush(&flush_context, {}, &flushed).ok());
  grpc::ClientContext compact_context;
  EXPECT_TRUE(Compact(&compact_context).ok());
}

TEST_F(GrpcEndpointTest, CompactionGoesOnWhenTheClientLeaves) {
  HoldCommits();
  const size_t tasks = background_.pending();
  grpc::ClientContext context;
  grpc::Status status;
  std::thread caller([&] { status = Compact(&context); });
  while (background_.pending() == tasks) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  context.TryCancel();
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::CANCELLED);
  EXPECT_GT(background_.pending(), tasks);
  // Two at once: the one that was left, and this.
  LetCommitsRun();
  grpc::ClientContext other_context;
  EXPECT_TRUE(Compact(&other_context).ok());
  endpoint_->Stop(std::chrono::hours(1));
}

TEST_F(GrpcEndpointTest, TellsWhatIsWrong) {
  const grpc::Status status = Set("", "value");
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("key is empty"));
}

TEST_F(GrpcEndpointTest, TakesTheLargestValueAndRefusesLargerMessages) {
  const std::string key(64 << 10, 'k');
  ASSERT_TRUE(Set(key, std::string(16 << 20, 'v')).ok());
  v1::GetResponse found;
  ASSERT_TRUE(Get(key, &found).ok());
  EXPECT_EQ(found.value().size(), size_t{16} << 20);

  const grpc::Status status = Set("key", std::string(kMaxMessageBytes, 'v'));
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr(std::to_string(kMaxMessageBytes)));
  EXPECT_TRUE(Set("key", "small").ok());
}

TEST_F(GrpcEndpointTest, StreamsAScan) {
  std::map<std::string, std::string> expected;
  for (int i = 0; i < 50; ++i) {
    const std::string key = fmt::format("key{:03}", i);
    expected[key] = std::string(100'000, static_cast<char>('a' + i % 26));
    ASSERT_TRUE(Set(key, expected[key]).ok());
  }
  grpc::ClientContext context;
  const auto reader = stub_->Scan(&context, {});
  std::map<std::string, std::string> scanned;
  v1::ScanResponse page;
  bool done = false;
  while (reader->Read(&page)) {
    EXPECT_FALSE(done);
    done = page.done();
    for (const auto& entry : page.entries()) scanned[entry.key()] = entry.value();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(done);
  EXPECT_EQ(scanned, expected);
}

TEST_F(GrpcEndpointTest, AScanThatIsRefusedSaysWhy) {
  v1::ScanRequest request;
  request.set_cursor("nonsense");
  grpc::ClientContext context;
  const auto reader = stub_->Scan(&context, request);
  v1::ScanResponse page;
  EXPECT_FALSE(reader->Read(&page));
  EXPECT_EQ(reader->Finish().error_code(), grpc::INVALID_ARGUMENT);

  request.set_prefix(std::string(65'537, 'p'));
  grpc::ClientContext other_context;
  const auto other = stub_->Scan(&other_context, request);
  EXPECT_FALSE(other->Read(&page));
  EXPECT_THAT(other->Finish().error_message(), HasSubstr("prefix"));
}

// If the server went on reading pages for a client that has left, it could not stop.
TEST_F(GrpcEndpointTest, AScanEndsWhenTheClientLeaves) {
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(Set(fmt::format("key{}", i), std::string(1 << 20, 'v')).ok());
  grpc::ClientContext context;
  const auto reader = stub_->Scan(&context, {});
  v1::ScanResponse page;
  ASSERT_TRUE(reader->Read(&page));
  context.TryCancel();
  while (reader->Read(&page)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  endpoint_->Stop(std::chrono::hours(1));
}

TEST_F(GrpcEndpointTest, AnswersStockHealthChecks) {
  const auto check = [this](const std::string& service, std::vector<std::string>* answers) {
    const std::string request =
        service.empty() ? "" : fmt::format("\x0a{}{}", static_cast<char>(service.size()), service);
    return thermocline::testing::RawCall(channel_, "/grpc.health.v1.Health/Check", request, answers);
  };
  const std::string serving = "\x08\x01";
  std::vector<std::string> answers;
  EXPECT_TRUE(check("", &answers).ok());
  EXPECT_TRUE(check("thermocline.v1.KeyValue", &answers).ok());
  EXPECT_TRUE(check("thermocline.v1.Segments", &answers).ok());
  EXPECT_TRUE(check("thermocline.v1.Admin", &answers).ok());
  EXPECT_THAT(answers, ::testing::ElementsAre(serving, serving, serving, serving));
  EXPECT_EQ(check("no.such.Service", &answers).error_code(), grpc::NOT_FOUND);
}

TEST_F(GrpcEndpointTest, ListsItsServicesByReflection) {
  std::vector<std::string> answers;
  const std::string list_services("\x3a\x00", 2);
  ASSERT_TRUE(thermocline::testing::RawCall(channel_,
                                            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                                            list_services, &answers)
                  .ok());
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_THAT(answers[0], AllOf(HasSubstr("thermocline.v1.KeyValue"), HasSubstr("thermocline.v1.Segments"),
                                HasSubstr("thermocline.v1.Admin"), HasSubstr("grpc.health.v1.Health")));
}

TEST_F(GrpcEndpointTest, APortInUseIsNamed) {
  const auto port = static_cast<uint16_t>(endpoint_->port());
  const auto second = GrpcEndpoint::Start(EndpointOptions(port), *key_value_, *segments_, *admin_);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(fmt::format("127.0.0.1:{}", port)),
                    HasSubstr(fmt::format("port {} is already in use", port))));
}

TEST_F(GrpcEndpointTest, AnAddressOfAnotherMachineIsRefused) {
  GrpcEndpoint::Options options = EndpointOptions(0);
  options.host = "203.0.113.1";
  const auto second = GrpcEndpoint::Start(options, *key_value_, *segments_, *admin_);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), AllOf(HasSubstr("203.0.113.1"), HasSubstr("assign")));
}

TEST_F(GrpcEndpointTest, StopFinishesWhatIsUnderWay) {
  ASSERT_TRUE(Set("warm", "up").ok());
  HoldCommits();
  grpc::Status written;
  std::thread writer([&] { written = Set("key", "value"); });
  while (engine_->Stats().sets < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::thread stop([this] { endpoint_->Stop(std::chrono::hours(1)); });
  AwaitRefusal();
  LetCommitsRun();
  writer.join();
  stop.join();
  EXPECT_TRUE(written.ok()) << written.error_message();
}

TEST_F(GrpcEndpointTest, StopDoesNotWaitForCompaction) {
  HoldCommits();
  const size_t tasks = background_.pending();
  grpc::ClientContext context;
  grpc::Status compacted;
  std::thread caller([&] { compacted = Compact(&context); });
  while (background_.pending() == tasks) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  endpoint_->Stop(std::chrono::hours(1));
  caller.join();
  EXPECT_EQ(compacted.error_code(), grpc::UNAVAILABLE) << compacted.error_message();
}

TEST_F(GrpcEndpointTest, StopCancelsWhatOutlastsItsPatience) {
  ASSERT_TRUE(Set("warm", "up").ok());
  HoldCommits();
  grpc::Status written;
  std::thread writer([&] { written = Set("key", "value"); });
  while (engine_->Stats().sets < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::thread stop([this] { endpoint_->Stop(std::chrono::milliseconds(0)); });
  writer.join();
  EXPECT_FALSE(written.ok());
  LetCommitsRun();
  stop.join();
}

}  // namespace
}  // namespace thermocline::server
