#include "tests/server/rpc/endpoint_fixture.h"

#include <thread>
#include <utility>

#include "fmt/format.h"

namespace thermocline::server::rpc {

using thermocline::testing::Bytes;
using thermocline::testing::Echo;

void EndpointFixture::Start(const std::function<void(Endpoint::Options&)>& change) {
  Endpoint::Options options;
  options.host = "127.0.0.1";
  options.loops = 2;
  options.max_message_bytes = 20 << 20;
  if (change != nullptr) change(options);
  auto endpoint = Endpoint::Start(options, service_.NewMethods());
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  endpoint_ = *std::move(endpoint);
  if (!options.tls) {
    bystander_ = NewStub();
    ExpectServed();
  }
}

grpc::ChannelArguments EndpointFixture::Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return arguments;
}

std::shared_ptr<grpc::Channel> EndpointFixture::NewChannel(
    const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  return grpc::CreateCustomChannel(fmt::format("127.0.0.1:{}", endpoint_->port()), credentials, Arguments());
}

std::unique_ptr<EndpointFixture::Stub> EndpointFixture::NewStub() { return Echo::NewStub(NewChannel()); }

grpc::Status EndpointFixture::Say(Stub& stub, const std::string& bytes, std::string* answer) {
  Bytes request, response;
  request.set_bytes(bytes);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  const grpc::Status status = stub.Say(&context, request, &response);
  if (answer != nullptr) *answer = response.bytes();
  return status;
}

void EndpointFixture::ExpectServed() {
  for (const size_t size : {10, 10'000}) {
    std::string answer;
    const grpc::Status status = Say(*bystander_, std::string(size, 'b'), &answer);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(answer.size(), size);
  }
}

void EndpointFixture::ExpectStopAtOnce(std::chrono::milliseconds patience) {
  const auto start = std::chrono::steady_clock::now();
  endpoint_->Stop(patience);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

void EndpointFixture::Await(const std::function<bool()>& happened) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!happened()) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << "it does not happen";
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace thermocline::server::rpc
