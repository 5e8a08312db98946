// Health, reflection, restarts, and who may connect.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"

#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "tests/conformance/cpp/connection.h"

namespace thermocline::testing {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::reflection::v1alpha::ServerReflection;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;
using ::testing::UnorderedElementsAreArray;

const std::vector<std::string> kServices = {"thermocline.v1.KeyValue",
                                            "thermocline.v1.Segments",
                                            "thermocline.v1.Admin",
                                            "grpc.health.v1.Health",
                                            "grpc.reflection.v1.ServerReflection",
                                            "grpc.reflection.v1alpha.ServerReflection"};

class ServicesConformanceTest : public ConformanceTest {
 protected:
  grpc::Status Check(const std::shared_ptr<grpc::Channel>& channel, const std::string& service,
                     HealthCheckResponse* response) {
    HealthCheckRequest request;
    request.set_service(service);
    grpc::ClientContext context;
    context.set_deadline(In(kPatience));
    return Health::NewStub(channel)->Check(&context, request, response);
  }

  void ExpectRefused(std::shared_ptr<grpc::ChannelCredentials> credentials) {
    for (const std::string& address : {servers().address(), servers().echo_address()}) {
      const auto channel = NewChannel(address, grpc::ChannelArguments(), credentials);
      HealthCheckResponse response;
      EXPECT_EQ(Check(channel, "", &response).error_code(), grpc::UNAVAILABLE);
    }
  }
};

TEST_P(ServicesConformanceTest, HealthCheck) {
  HealthCheckResponse response;
  for (const std::string& service : kServices) {
    EXPECT_TRUE(Check(server_channel_, service, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  }
  const grpc::Status status = Check(server_channel_, "größer", &response);
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "there is no service größer");
}

TEST_P(ServicesConformanceTest, HealthWatch) {
  const auto health = Health::NewStub(server_channel_);
  for (const char* service : {"", "thermocline.v1.KeyValue", "no"}) {
    HealthCheckRequest request;
    request.set_service(service);
    grpc::ClientContext context;
    const auto reader = health->Watch(&context, request);
    HealthCheckResponse response;
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.status(), request.service() == "no" ? HealthCheckResponse::SERVICE_UNKNOWN
                                                           : HealthCheckResponse::SERVING);
    context.TryCancel();
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  }
}

TEST_P(ServicesConformanceTest, Reflection) {
  const auto reflection = ServerReflection::NewStub(server_channel_);
  grpc::ClientContext context;
  const auto stream = reflection->ServerReflectionInfo(&context);
  ServerReflectionRequest request;
  ServerReflectionResponse response;
  request.set_list_services("");
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  std::vector<std::string> listed;
  for (const auto& service : response.list_services_response().service()) listed.push_back(service.name());
  EXPECT_THAT(listed, UnorderedElementsAreArray(kServices));
  request.set_file_containing_symbol("thermocline.v1.KeyValue.Scan");
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.file_descriptor_response().file_descriptor_proto_size(), 1);
  google::protobuf::FileDescriptorProto file;
  ASSERT_TRUE(file.ParseFromString(response.file_descriptor_response().file_descriptor_proto(0)));
  EXPECT_EQ(file.name(), "thermocline/v1/key_value.proto");
  ASSERT_EQ(file.service_size(), 1);
  EXPECT_EQ(file.service(0).method_size(), 7);
  request.set_file_containing_symbol("no.Such");
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_response().error_code(), grpc::NOT_FOUND);
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_P(ServicesConformanceTest, AChannelConnectsAgainAfterARestart) {
  v1::SetRequest set;
  set.set_key(NewKey());
  v1::GetRequest get;
  get.set_key(set.key());
  for (const char* value : {"1", "2"}) {
    set.set_value(value);
    v1::WriteResponse written;
    grpc::ClientContext setting;
    ASSERT_TRUE(key_value_->Set(&setting, set, &written).ok());
    grpc::ClientContext watching;
    const auto reader = Health::NewStub(server_channel_)->Watch(&watching, {});
    HealthCheckResponse state;
    ASSERT_TRUE(reader->Read(&state));
    const absl::Status restarted = servers().Restart();
    ASSERT_TRUE(restarted.ok()) << restarted;
    while (reader->Read(&state)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::UNAVAILABLE);
    v1::GetResponse found;
    grpc::ClientContext getting;
    getting.set_wait_for_ready(true);
    getting.set_deadline(In(kPatience));
    const grpc::Status status = key_value_->Get(&getting, get, &found);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(found.value(), value);
    EXPECT_EQ(found.version(), written.version());
  }
}

TEST_P(ServicesConformanceTest, WhoMayConnect) {
  const Certificates& files = servers().certificates();
  if (GetParam() == Security::kPlain) {
    ExpectRefused(grpc::SslCredentials(grpc::SslCredentialsOptions()));
    return;
  }
  ExpectRefused(grpc::InsecureChannelCredentials());
  ExpectRefused(Credentials(files.other_ca, files.client, files.client_key));
  if (GetParam() == Security::kTls) return;
  ExpectRefused(Credentials(files.ca, "", ""));
  ExpectRefused(Credentials(files.ca, files.stranger, files.stranger_key));
}

INSTANTIATE_CONFORMANCE_TEST(ServicesConformanceTest);

}  // namespace
}  // namespace thermocline::testing
