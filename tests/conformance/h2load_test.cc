// Load by a client of HTTP/2 that knows nothing of gRPC: h2load.

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

#include "tests/conformance/command.h"
#include "tests/conformance/servers.h"
#include "tests/support/temp_directory.h"
#include "thermocline/v1/admin.grpc.pb.h"
#include "thermocline/v1/key_value.grpc.pb.h"

namespace thermocline::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kRequests = 10'000;
constexpr int kSkipped = 77;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// How messages travel.
std::string Framed(const google::protobuf::MessageLite& message) {
  const std::string bytes = message.SerializeAsString();
  std::string framed(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) framed.push_back(static_cast<char>(bytes.size() >> shift));
  return framed + bytes;
}

class H2loadTest : public ::testing::TestWithParam<Security> {
 protected:
  H2loadTest() {
    absl::StatusOr<std::unique_ptr<Servers>> servers = Servers::Start(GetParam());
    if (!servers.ok()) {
      ADD_FAILURE() << servers.status();
      return;
    }
    servers_ = *std::move(servers);
    std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
    if (GetParam() != Security::kPlain) {
      grpc::SslCredentialsOptions options;
      options.pem_root_certs = ReadFile(servers_->certificates().ca);
      credentials = grpc::SslCredentials(options);
    }
    channel_ = grpc::CreateChannel(servers_->address(), credentials);
  }

  v1::Operations Operations() {
    v1::StatsResponse stats;
    grpc::ClientContext context;
    EXPECT_TRUE(v1::Admin::NewStub(channel_)->Stats(&context, {}, &stats).ok());
    return stats.operations();
  }

  // What h2load says of kRequests calls with one message, from so many connections with so many streams each.
  std::string Load(const std::string& method, const std::string& body, int connections, int streams) {
    std::ofstream(directory_.Path("body"), std::ios::binary) << body;
    const char* const scheme = GetParam() == Security::kPlain ? "http" : "https";
    const absl::StatusOr<int> code = testing::Run(
        {.arguments = {"h2load", "-n", std::to_string(kRequests), "-c", std::to_string(connections), "-m",
                       std::to_string(streams), "-d", directory_.Path("body"), "-H",
                       "content-type: application/grpc", "-H", "te: trailers",
                       fmt::format("{}://{}/{}", scheme, servers_->address(), method)},
         .output = directory_.Path("output"),
         .environment = {},
         .descriptors = {}});
    EXPECT_TRUE(code.ok() && *code == 0) << code.status();
    return ReadFile(directory_.Path("output"));
  }

  const TempDirectory directory_;
  std::unique_ptr<Servers> servers_;
  std::shared_ptr<grpc::Channel> channel_;
};

MATCHER(SucceededAll, "") {
  const std::string wanted = fmt::format(
      "{0} total, {0} started, {0} done, {0} succeeded, 0 failed, 0 errored, 0 timeout", kRequests);
  return arg.find(wanted) != std::string::npos;
}

TEST_P(H2loadTest, GetsAndSetsFromSeveralConnections) {
  ASSERT_NE(servers_, nullptr);
  v1::SetRequest set;
  set.set_key("key");
  set.set_value(std::string(1000, 'v'));
  set.set_durability(v1::MEMORY);
  v1::GetRequest get;
  get.set_key("key");
  for (const auto& [connections, streams] : std::vector<std::pair<int, int>>{{1, 1000}, {16, 100}, {50, 1}}) {
    const v1::Operations before = Operations();
    EXPECT_THAT(Load("thermocline.v1.KeyValue/Set", Framed(set), connections, streams), SucceededAll());
    const std::string said = Load("thermocline.v1.KeyValue/Get", Framed(get), connections, streams);
    EXPECT_THAT(said, SucceededAll());
    const v1::Operations after = Operations();
    EXPECT_EQ(after.sets() - before.sets(), static_cast<uint64_t>(kRequests));
    EXPECT_EQ(after.gets() - before.gets(), static_cast<uint64_t>(kRequests));
    EXPECT_EQ(after.misses(), before.misses());
    // Each answer was the whole value.
    v1::GetResponse found;
    grpc::ClientContext context;
    ASSERT_TRUE(v1::KeyValue::NewStub(channel_)->Get(&context, get, &found).ok());
    EXPECT_EQ(found.value(), set.value());
    EXPECT_THAT(said, HasSubstr(fmt::format("({}) data", Framed(found).size() * kRequests)));
  }
}

INSTANTIATE_TEST_SUITE_P(Each, H2loadTest, ::testing::Values(Security::kPlain, Security::kTls));

}  // namespace

int Main(int argc, char** argv) {
  for (const char* program : {"h2load", "openssl"}) {
    const absl::StatusOr<pid_t> process = Spawn({{program, "version"}, "/dev/null", {}, {}});
    if (absl::IsNotFound(process.status())) {
      std::fprintf(stderr, "SKIPPED: there is no program %s\n", program);
      return kSkipped;
    }
    if (process.ok()) AwaitExit(*process);
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

}  // namespace thermocline::testing

int main(int argc, char** argv) { return thermocline::testing::Main(argc, argv); }
