#include "tests/conformance/cpp/connection.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>

#include "fmt/format.h"

#include "tests/conformance/command.h"

namespace thermocline::testing {
namespace {

constexpr int kLargestMessage = 17 << 20;
constexpr int kSkipped = 77;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::map<Security, std::unique_ptr<Servers>>& Running() {
  static auto& running = *new std::map<Security, std::unique_ptr<Servers>>;
  return running;
}

// Ends the servers while there is still a main thread to end them.
class AllServers final : public ::testing::Environment {
 public:
  void SetUp() override {
    const absl::StatusOr<int> code = Run({{"openssl", "version"}, "/dev/null", {}, {}});
    if (!absl::IsNotFound(code.status())) return;
    std::fprintf(stderr, "SKIPPED: %s\n", code.status().ToString().c_str());
    std::_Exit(kSkipped);
  }
  void TearDown() override {
    for (auto& [security, servers] : Running()) {
      const absl::Status status = servers->Stop();
      EXPECT_TRUE(status.ok()) << status;
    }
    Running().clear();
  }
};

Servers* GetServers(Security security) {
  std::unique_ptr<Servers>& servers = Running()[security];
  if (servers != nullptr) return servers.get();
  absl::StatusOr<std::unique_ptr<Servers>> started = Servers::Start(security);
  if (!started.ok()) {
    std::fprintf(stderr, "FAILED: %s\n", started.status().ToString().c_str());
    std::_Exit(1);
  }
  servers = *std::move(started);
  return servers.get();
}

[[maybe_unused]] const auto* const all_servers = ::testing::AddGlobalTestEnvironment(new AllServers);

}  // namespace

bool Until(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

std::string NewKey() {
  static int number = 0;
  return fmt::format("c++/{}/", number++);
}

std::chrono::system_clock::time_point In(std::chrono::milliseconds time) {
  return std::chrono::system_clock::now() + time;
}

ConformanceTest::ConformanceTest()
    : servers_(GetServers(GetParam())),
      server_channel_(NewChannel(servers_->address())),
      echo_channel_(NewChannel(servers_->echo_address())),
      key_value_(v1::KeyValue::NewStub(server_channel_)),
      admin_(v1::Admin::NewStub(server_channel_)),
      echo_(conformance::Echo::NewStub(echo_channel_)) {}

std::shared_ptr<grpc::Channel> ConformanceTest::NewChannel(
    const std::string& address, grpc::ChannelArguments arguments,
    std::shared_ptr<grpc::ChannelCredentials> credentials) const {
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  arguments.SetMaxReceiveMessageSize(kLargestMessage);
  if (credentials == nullptr) {
    const Certificates& files = servers_->certificates();
    switch (servers_->security()) {
      case Security::kPlain:
        credentials = grpc::InsecureChannelCredentials();
        break;
      case Security::kTls:
        credentials = Credentials(files.ca, "", "");
        break;
      case Security::kMutualTls:
        credentials = Credentials(files.ca, files.client, files.client_key);
        break;
    }
  }
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

std::shared_ptr<grpc::ChannelCredentials> ConformanceTest::Credentials(const std::string& ca,
                                                                       const std::string& certificate,
                                                                       const std::string& key) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadFile(ca);
  if (!key.empty()) options.pem_private_key = ReadFile(key);
  if (!certificate.empty()) options.pem_cert_chain = ReadFile(certificate);
  return grpc::SslCredentials(options);
}

int64_t ConformanceTest::Tally(int64_t (conformance::TallyResponse::*what)() const) {
  grpc::ClientContext context;
  conformance::TallyResponse tally;
  const grpc::Status status = echo_->Tally(&context, {}, &tally);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return (tally.*what)();
}

std::string SecurityName(const ::testing::TestParamInfo<Security>& info) {
  switch (info.param) {
    case Security::kPlain:
      return "Plain";
    case Security::kTls:
      return "Tls";
    case Security::kMutualTls:
      return "MutualTls";
  }
  return "";
}

}  // namespace thermocline::testing
