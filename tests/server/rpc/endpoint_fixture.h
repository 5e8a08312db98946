#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

#include "server/rpc/endpoint.h"
#include "tests/server/rpc/echo.grpc.pb.h"
#include "tests/server/rpc/echo_service.h"

namespace thermocline::server::rpc {

// An endpoint that serves echo.proto, and stock clients of it.
class EndpointFixture : public ::testing::Test {
 protected:
  using Stub = thermocline::testing::Echo::Stub;

  // Starts it, once.
  void Start(const std::function<void(Endpoint::Options&)>& change = nullptr);

  grpc::ChannelArguments Arguments();
  std::shared_ptr<grpc::Channel> NewChannel(
      const std::shared_ptr<grpc::ChannelCredentials>& credentials = grpc::InsecureChannelCredentials());
  // On a connection of its own.
  std::unique_ptr<Stub> NewStub();

  // What somebody sees who behaves: a call that is answered, by a client that was there before.
  void ExpectServed();
  // Stops with this patience, and expects that it does not take longer than some seconds.
  void ExpectStopAtOnce(std::chrono::milliseconds patience = std::chrono::milliseconds(0));

  static grpc::Status Say(Stub& stub, const std::string& bytes, std::string* answer = nullptr);
  // Waits for what must come; fails the test if it does not within a minute.
  static void Await(const std::function<bool()>& happened);

  EchoService service_;
  std::unique_ptr<Endpoint> endpoint_;
  std::unique_ptr<Stub> bystander_;
};

}  // namespace thermocline::server::rpc
