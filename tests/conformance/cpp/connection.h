#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

#include "tests/conformance/echo.grpc.pb.h"
#include "tests/conformance/servers.h"
#include "thermocline/v1/admin.grpc.pb.h"
#include "thermocline/v1/key_value.grpc.pb.h"

namespace thermocline::testing {

// For what must happen, and as a rule does at once.
inline constexpr std::chrono::seconds kPatience(60);

// Waits until holds() is true; false if it does not come true.
bool Until(const std::function<bool()>& holds);

// A key that no other test of this process uses, and no prefix of one that does.
std::string NewKey();

std::chrono::system_clock::time_point In(std::chrono::milliseconds time);

// grpc++ clients of both servers, with each kind of security. The servers are shared by all tests of a kind.
class ConformanceTest : public ::testing::TestWithParam<Security> {
 protected:
  ConformanceTest();

  Servers& servers() const { return *servers_; }
  // With a connection of its own.
  std::shared_ptr<grpc::Channel> NewChannel(
      const std::string& address, grpc::ChannelArguments arguments = grpc::ChannelArguments(),
      std::shared_ptr<grpc::ChannelCredentials> credentials = nullptr) const;
  // Of what the client trusts and shows, from files; empty: nothing.
  static std::shared_ptr<grpc::ChannelCredentials> Credentials(const std::string& ca,
                                                               const std::string& certificate,
                                                               const std::string& key);

  int64_t Tally(int64_t (conformance::TallyResponse::*what)() const);

 private:
  Servers* const servers_;

 protected:
  const std::shared_ptr<grpc::Channel> server_channel_;
  const std::shared_ptr<grpc::Channel> echo_channel_;
  const std::unique_ptr<v1::KeyValue::Stub> key_value_;
  const std::unique_ptr<v1::Admin::Stub> admin_;
  const std::unique_ptr<conformance::Echo::Stub> echo_;
};

std::string SecurityName(const ::testing::TestParamInfo<Security>& info);

}  // namespace thermocline::testing

#define INSTANTIATE_CONFORMANCE_TEST(suite) \
  INSTANTIATE_TEST_SUITE_P(                 \
      Each, suite, ::testing::Values(Security::kPlain, Security::kTls, Security::kMutualTls), SecurityName)
