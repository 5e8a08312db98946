// Client::Compact, whose deadline is unlike those of other calls.

#include <atomic>
#include <chrono>
#include <thread>

#include "gtest/gtest.h"

#include "client/client.h"
#include "tests/client/scripted_server.h"

namespace thermocline {
namespace {

using std::chrono::milliseconds;
using testing::ScriptedServer;

constexpr milliseconds kLong{60'000};

class CompactTest : public ::testing::Test {
 protected:
  std::unique_ptr<Client> Connect(milliseconds timeout = kLong) {
    server_.Start();
    auto client =
        Client::Connect({.server = server_.address(), .timeout = timeout, .connect_timeout = kLong});
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  std::atomic<int> calls_ = 0;
  ScriptedServer server_;  // goes first, for its scripts use what is above
};

TEST_F(CompactTest, ReportsWhatTheServerTells) {
  server_.compact = [](v1::CompactResponse& response, grpc::ServerContext&) {
    response.set_blocks_freed(1);
    response.set_bytes_scanned(2);
    response.set_bytes_written(3);
    response.set_records_moved(4);
    response.set_records_dropped(5);
    response.set_duration_ms(6);
    return grpc::Status::OK;
  };
  const auto report = Connect()->Compact();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->blocks_freed, 1U);
  EXPECT_EQ(report->bytes_scanned, 2U);
  EXPECT_EQ(report->bytes_written, 3U);
  EXPECT_EQ(report->records_moved, 4U);
  EXPECT_EQ(report->records_dropped, 5U);
  EXPECT_EQ(report->duration_ms, 6U);
}

TEST_F(CompactTest, WaitsAsLongAsItTakes) {
  server_.compact = [](v1::CompactResponse&, grpc::ServerContext& context) {
    EXPECT_GT(context.deadline(), std::chrono::system_clock::now() + std::chrono::hours(24 * 30));
    return grpc::Status::OK;
  };
  EXPECT_TRUE(Connect()->Compact().ok());
}

TEST_F(CompactTest, EndsAtItsTimeout) {
  server_.compact = [](v1::CompactResponse&, grpc::ServerContext& context) {
    while (!context.IsCancelled()) std::this_thread::sleep_for(milliseconds(1));
    return grpc::Status::OK;
  };
  EXPECT_EQ(Connect()->Compact({.timeout = milliseconds(50)}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(CompactTest, DoesNotWaitForeverForAServerThatIsNotThere) {
  server_.compact = [this](v1::CompactResponse&, grpc::ServerContext&) {
    ++calls_;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is stopping");
  };
  EXPECT_EQ(Connect(milliseconds(300))->Compact().status(), absl::UnavailableError("the server is stopping"));
  EXPECT_GT(calls_, 1);
}

TEST_F(CompactTest, IsRepeatedWhileTheServerComesBack) {
  server_.compact = [this](v1::CompactResponse&, grpc::ServerContext&) {
    return ++calls_ < 3 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "") : grpc::Status::OK;
  };
  EXPECT_TRUE(Connect()->Compact().ok());
  EXPECT_EQ(calls_, 3);
}

}  // namespace
}  // namespace thermocline
