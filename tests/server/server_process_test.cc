// The real server binary: how it starts, stops, refuses and keeps its promises.

#include "tests/support/server_process.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <signal.h>
#include <string>
#include <thread>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

#include "tests/support/raw_grpc.h"
#include "tests/support/temp_directory.h"
#include "thermocline/v1/key_value.grpc.pb.h"

namespace thermocline::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::unique_ptr<ServerProcess> StartServer(ServerProcess::Options options = {}) {
  absl::StatusOr<std::unique_ptr<ServerProcess>> server = ServerProcess::Start(std::move(options));
  if (!server.ok()) {
    ADD_FAILURE() << server.status();
    return nullptr;
  }
  return *std::move(server);
}

// One stock client with a connection of its own.
class Client {
 public:
  explicit Client(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel_ = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::KeyValue::NewStub(channel_);
  }

  grpc::Status Set(const std::string& key, const std::string& value, v1::Durability durability = v1::SYNC) {
    v1::SetRequest request;
    request.set_key(key);
    request.set_value(value);
    request.set_durability(durability);
    v1::WriteResponse response;
    grpc::ClientContext context;
    return stub_->Set(&context, request, &response);
  }

  // The value; nullopt if there is none or the call failed.
  std::optional<std::string> Get(const std::string& key) {
    v1::GetRequest request;
    request.set_key(key);
    v1::GetResponse response;
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const grpc::Status status = stub_->Get(&context, request, &response);
    if (!status.ok()) ADD_FAILURE() << status.error_message();
    if (!status.ok() || !response.found()) return std::nullopt;
    return response.value();
  }

  v1::KeyValue::Stub& stub() { return *stub_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::KeyValue::Stub> stub_;
};

// Matches what a server that cannot start prints: one line.
MATCHER(IsOneLine, "is one line") {
  return std::count(arg.begin(), arg.end(), '\n') == 1 && arg.back() == '\n';
}

// Runs a server that must refuse to start.
ServerProcess::Outcome Refusal(const std::vector<std::string>& arguments) {
  const absl::StatusOr<ServerProcess::Outcome> outcome = ServerProcess::Run(arguments);
  if (!outcome.ok()) {
    ADD_FAILURE() << outcome.status();
    return {};
  }
  return *outcome;
}

TEST(ServerProcessTest, DrainsOnSigtermAndKeepsWhatWasWritten) {
  const auto server = StartServer();
  ASSERT_NE(server, nullptr);
  EXPECT_THAT(server->Log(),
              AllOf(HasSubstr("serving on " + server->address()), HasSubstr(server->data_directory()),
                    HasSubstr("memory 1 GiB"), HasSubstr("0 records were read from the log")));
  Client client(server->address());
  ASSERT_TRUE(client.Set("sync", "1").ok());
  ASSERT_TRUE(client.Set("memory", "2", v1::MEMORY).ok());
  EXPECT_EQ(server->Terminate(), 0);
  EXPECT_THAT(server->Log(),
              AllOf(HasSubstr("SIGTERM: stopping"), HasSubstr("everything written is on the disk")));
  const absl::Status restarted = server->Restart();
  ASSERT_TRUE(restarted.ok()) << restarted;
  EXPECT_THAT(server->Log(), HasSubstr("2 keys of the index came from a checkpoint"));
  Client reader(server->address());
  EXPECT_EQ(reader.Get("sync"), "1");
  EXPECT_EQ(reader.Get("memory"), "2");
}

TEST(ServerProcessTest, StopsOnSigintToo) {
  const auto server = StartServer();
  ASSERT_NE(server, nullptr);
  server->Signal(SIGINT);
  EXPECT_EQ(server->Wait(), 0);
}

TEST(ServerProcessTest, KeepsSyncWritesThroughAKill) {
  const auto server = StartServer();
  ASSERT_NE(server, nullptr);
  Client client(server->address());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(client.Set(fmt::format("key{}", i), std::to_string(i)).ok());
  server->Kill();
  const absl::Status restarted = server->Restart();
  ASSERT_TRUE(restarted.ok()) << restarted;
  Client reader(server->address());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(reader.Get(fmt::format("key{}", i)), std::to_string(i));
}

TEST(ServerProcessTest, ADrainUnderLoadLosesNothingThatWasAcknowledged) {
  const auto server = StartServer();
  ASSERT_NE(server, nullptr);
  constexpr int kWriters = 4;
  std::vector<int> acknowledged(kWriters, 0);
  std::atomic<int> total = 0;
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      Client client(server->address());
      while (client.Set(fmt::format("{}/{}", writer, acknowledged[writer]), "value").ok()) {
        ++acknowledged[writer];
        ++total;
      }
    });
  }
  while (total < 200) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(server->Terminate(), 0);
  for (std::thread& writer : writers) writer.join();
  const absl::Status restarted = server->Restart();
  ASSERT_TRUE(restarted.ok()) << restarted;
  Client client(server->address());
  for (int writer = 0; writer < kWriters; ++writer) {
    for (int i = 0; i < acknowledged[writer]; ++i) {
      ASSERT_EQ(client.Get(fmt::format("{}/{}", writer, i)), "value") << writer << " " << i;
    }
  }
}

// A scan that its client does not read cannot end by itself.
TEST(ServerProcessTest, ASecondSignalEndsADrainAtOnce) {
  const auto server = StartServer();
  ASSERT_NE(server, nullptr);
  Client client(server->address());
  for (int i = 0; i < 64; ++i) {
    ASSERT_TRUE(client.Set(fmt::format("key{}", i), std::string(1 << 20, 'v'), v1::MEMORY).ok());
  }
  grpc::ClientContext context;
  const auto reader = client.stub().Scan(&context, {});
  reader->WaitForInitialMetadata();
  server->Signal(SIGTERM);
  while (server->Log().find("SIGTERM: stopping") == std::string::npos) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(server->Wait(0), std::nullopt);
  server->Signal(SIGTERM);
  EXPECT_EQ(server->Wait(), 1);
  EXPECT_THAT(server->Log(), HasSubstr("leaving at once"));
}

TEST(ServerProcessTest, RefusesADataDirectoryThatAnotherServerHolds) {
  const auto server = StartServer();
  ASSERT_NE(server, nullptr);
  const ServerProcess::Outcome second =
      Refusal({"--listen", "127.0.0.1:0", "--data", server->data_directory()});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.output, AllOf(IsOneLine(), HasSubstr(server->data_directory()),
                                   HasSubstr(std::to_string(server->pid()))));
  Client client(server->address());
  EXPECT_TRUE(client.Set("still", "there").ok());
}

TEST(ServerProcessTest, RefusesAPortInUse) {
  const auto server = StartServer();
  ASSERT_NE(server, nullptr);
  const TempDirectory directory;
  const ServerProcess::Outcome second =
      Refusal({"--listen", server->address(), "--data", directory.Path("data")});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.output, AllOf(IsOneLine(), HasSubstr(server->address()), HasSubstr("already in use")));
  Client client(server->address());
  EXPECT_TRUE(client.Set("still", "there").ok());
}

TEST(ServerProcessTest, RefusesADataDirectoryThatCannotBeWritten) {
  const TempDirectory directory;
  std::ofstream(directory.Path("file")) << "no directory";
  const std::string data = directory.Path("file/data");
  const ServerProcess::Outcome outcome = Refusal({"--listen", "127.0.0.1:0", "--data", data});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.output, AllOf(IsOneLine(), HasSubstr(data)));
}

TEST(ServerProcessTest, RefusesWhatItDoesNotUnderstand) {
  const TempDirectory directory;
  const ServerProcess::Outcome flag = Refusal({"--memory", "tons"});
  EXPECT_EQ(flag.exit_code, 2);
  EXPECT_THAT(flag.output, AllOf(IsOneLine(), HasSubstr("--memory"), HasSubstr("'tons'")));
  std::ofstream(directory.Path("server.toml")) << "memroy = \"1GiB\"\n";
  const ServerProcess::Outcome key = Refusal({"--config", directory.Path("server.toml")});
  EXPECT_EQ(key.exit_code, 2);
  EXPECT_THAT(key.output, AllOf(IsOneLine(), HasSubstr("'memroy'"), HasSubstr("server.toml")));
}

TEST(ServerProcessTest, TellsItsVersionAndHowToUseIt) {
  const ServerProcess::Outcome version = Refusal({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.output, HasSubstr("thermocline-server "));
  const ServerProcess::Outcome help = Refusal({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.output, AllOf(HasSubstr("--memory"), HasSubstr("Exit codes")));
}

TEST(ServerProcessTest, ReadsItsConfigFile) {
  const TempDirectory directory;
  std::ofstream(directory.Path("server.toml")) << "memory = \"48MiB\"\n";
  const auto server = StartServer({.flags = {"--config", directory.Path("server.toml")}});
  ASSERT_NE(server, nullptr);
  EXPECT_THAT(server->Log(), HasSubstr("memory 48 MiB"));
}

// The whole file of a sealed block is spoilt, so that it cannot be taken for anything else.
TEST(ServerProcessTest, RefusesACorruptStoreAndNamesTheFile) {
  const auto server = StartServer({.flags = {"--memory", "16MiB", "--block-size", "256KiB"}});
  ASSERT_NE(server, nullptr);
  Client client(server->address());
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(client.Set(fmt::format("key{}", i), std::string(20'000, 'v')).ok());
  server->Kill();
  std::map<std::string, uintmax_t> blocks;
  for (const auto& file : std::filesystem::recursive_directory_iterator(server->data_directory())) {
    if (file.is_regular_file() && file.file_size() >= 200'000)
      blocks[file.path().string()] = file.file_size();
  }
  ASSERT_GT(blocks.size(), 2u);
  const std::string& spoilt = blocks.begin()->first;
  {
    std::fstream file(spoilt, std::ios::in | std::ios::out | std::ios::binary);
    for (uintmax_t offset = 4096; offset < 200'000; offset += 512) {
      file.seekp(static_cast<std::streamoff>(offset));
      file.put('\x5a');
    }
  }
  const absl::Status restarted = server->Restart();
  ASSERT_EQ(restarted.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(restarted.message()),
      AllOf(HasSubstr("exited with 1"), HasSubstr(std::filesystem::path(spoilt).filename().string())));
}

TEST(ServerProcessTest, GoesOnAfterAMessageThatIsTooLarge) {
  const auto server = StartServer({.flags = {"--memory", "64MiB"}});
  ASSERT_NE(server, nullptr);
  Client client(server->address());
  const grpc::Status status = client.Set("key", std::string(17 << 20, 'v'));
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(client.Set("key", "value").ok());
  EXPECT_EQ(client.Get("key"), "value");
}

TEST(ServerProcessTest, AnswersHealthAndReflection) {
  const auto server = StartServer();
  ASSERT_NE(server, nullptr);
  Client client(server->address());
  std::vector<std::string> health;
  EXPECT_TRUE(RawCall(client.channel(), "/grpc.health.v1.Health/Check", "", &health).ok());
  EXPECT_THAT(health, ::testing::ElementsAre("\x08\x01"));
  std::vector<std::string> services;
  EXPECT_TRUE(RawCall(client.channel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                      std::string("\x3a\x00", 2), &services)
                  .ok());
  ASSERT_EQ(services.size(), 1u);
  EXPECT_THAT(services[0], HasSubstr("thermocline.v1.KeyValue"));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Sanitizers keep memory of their own.
TEST(ServerProcessTest, ResidentMemoryStaysUnderTheNumberPlus64MiB) {
  constexpr uint64_t kMemory = 32 << 20;
  constexpr int kValues = 10 * kMemory / 16'384;
  constexpr int kThreads = 8;
  const auto server = StartServer({.flags = {"--memory", "32MiB"}});
  ASSERT_NE(server, nullptr);
  std::atomic<bool> working = true;
  uint64_t most = 0;
  std::thread watch([&] {
    while (working) {
      most = std::max(most, server->ResidentBytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      Client client(server->address());
      const auto value = [](int i) { return std::string(16'384, static_cast<char>('a' + i % 26)); };
      for (int i = thread; i < kValues; i += kThreads) {
        if (!client.Set(fmt::format("key{}", i), value(i), v1::MEMORY).ok()) ++wrong;
      }
      for (int i = thread; i < kValues; i += kThreads) {
        if (client.Get(fmt::format("key{}", i)) != value(i)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  working = false;
  watch.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(most, kMemory / 2);
  EXPECT_LE(most, kMemory + (64 << 20));
}
#endif

}  // namespace
}  // namespace thermocline::testing
