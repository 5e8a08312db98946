// Work that takes its time, for clients that may not: streams and long calls, and what becomes of them when
// the client leaves or the server stops.

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/server/rpc/echo.pb.h"
#include "tests/server/rpc/endpoint_fixture.h"
#include "tests/server/rpc/http2_wire.h"
#include "tests/server/rpc/raw_client.h"

namespace thermocline::server::rpc {
namespace {

using ::testing::HasSubstr;
using thermocline::testing::Bytes;
using thermocline::testing::Count;
using thermocline::testing::DownloadRequest;

Bytes BytesOf(const std::string& bytes) {
  Bytes message;
  message.set_bytes(bytes);
  return message;
}

DownloadRequest DownloadOf(uint32_t messages, uint32_t bytes_each) {
  DownloadRequest request;
  request.set_messages(messages);
  request.set_bytes_each(bytes_each);
  return request;
}

class EndpointStreamsTest : public EndpointFixture {
 protected:
  void AwaitLater() {
    Await([this] { return service_.later() == 1; });
  }

  // Lets one operation end, the only one there is.
  void FinishOne() {
    AwaitLater();
    EXPECT_EQ(service_.FinishLater(), 1u);
  }

  // What was under way ends when nobody is there any more.
  void ExpectNobodyCares() {
    endpoint_.reset();
    EXPECT_EQ(service_.FinishLater(), 1u);
  }
};

TEST_F(EndpointStreamsTest, AnUploadIsTakenOneMessageAtATime) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Count count;
  const auto writer = stub->SumUp(&context, &count);
  constexpr int kMessages = 40;
  std::thread client([&writer] {
    for (int i = 0; i < kMessages; ++i) writer->Write(BytesOf(std::string(100'000, 'x')));
    writer->WritesDone();
  });
  for (int i = 0; i < kMessages; ++i) FinishOne();
  FinishOne();  // the answer
  client.join();
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(count.bytes(), kMessages * 100'000u);
  Await([this] { return service_.workers == 0; });
  ExpectStopAtOnce(std::chrono::hours(1));
}

TEST_F(EndpointStreamsTest, AnUploadWithoutMessagesIsAnsweredAsWell) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Count count;
  const auto writer = stub->SumUp(&context, &count);
  writer->WritesDone();
  FinishOne();
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(count.bytes(), 0u);
}

TEST_F(EndpointStreamsTest, WhatIsNotTakenStopsTheSender) {
  Start();
  RawClient client(endpoint_->port());
  client.Send(Greeting() + HeadersFrame(1, RequestBlock("/thermocline.testing.Echo/SumUp"), false));
  const std::string message = Message(BytesOf(std::string(10'000, 'x')).SerializeAsString());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(client.Send(DataFrame(1, message, false)));
  client.Send(PingFrame());
  bool returned = false;
  const auto seen = [&returned](const WireFrame& frame) {
    returned = returned || (frame.type == FrameType::kWindowUpdate && frame.stream == 1);
    return frame.type == FrameType::kPing || returned;
  };
  EXPECT_TRUE(client.ReadUntil(seen));
  EXPECT_FALSE(returned);
  for (int i = 0; i < 100; ++i) FinishOne();
  EXPECT_TRUE(client.ReadUntil(seen));
  EXPECT_TRUE(returned);
}

TEST_F(EndpointStreamsTest, AMessageThatIsRefusedEndsTheUpload) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Count count;
  const auto writer = stub->SumUp(&context, &count);
  writer->Write(BytesOf("refuse"));
  FinishOne();
  while (writer->Write(BytesOf(std::string(50'000, 'x')))) {
  }
  const grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "refused");
  EXPECT_EQ(service_.workers, 0);
  ExpectServed();
}

TEST_F(EndpointStreamsTest, AMessageThatIsNoneEndsTheUpload) {
  Start();
  RawClient client(endpoint_->port());
  client.Send(Greeting() + HeadersFrame(1, RequestBlock("/thermocline.testing.Echo/SumUp"), false) +
              DataFrame(1, Message("\xff\xff"), false));
  std::string trailers;
  EXPECT_TRUE(client.ReadUntil([&](const WireFrame& frame) {
    if (frame.type == FrameType::kHeaders) trailers = frame.payload;
    return frame.type == FrameType::kHeaders;
  }));
  EXPECT_EQ(ValueOf(BlockReader().Read(trailers).value_or(Fields()), "grpc-status"), "13");
  EXPECT_EQ(service_.workers, 0);
}

TEST_F(EndpointStreamsTest, AnUploadEndsWithItsClientWhileAMessageIsTaken) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Count count;
  const auto writer = stub->SumUp(&context, &count);
  writer->Write(BytesOf("x"));
  AwaitLater();
  context.TryCancel();
  EXPECT_EQ(writer->Finish().error_code(), grpc::CANCELLED);
  Await([this] { return service_.workers == 0; });
  ExpectStopAtOnce(std::chrono::hours(1));
  ExpectNobodyCares();
}

TEST_F(EndpointStreamsTest, AnUploadEndsWithItsClientWhileTheAnswerIsMade) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Count count;
  const auto writer = stub->SumUp(&context, &count);
  writer->WritesDone();
  AwaitLater();
  context.TryCancel();
  EXPECT_EQ(writer->Finish().error_code(), grpc::CANCELLED);
  Await([this] { return service_.workers == 0; });
  ExpectStopAtOnce(std::chrono::hours(1));
  ExpectNobodyCares();
}

// Before its last message nothing has happened; then it may have.
TEST_F(EndpointStreamsTest, AStopTellsUploadsWhatMayHaveHappened) {
  for (const bool ended : {false, true}) {
    Start();
    const auto stub = NewStub();
    grpc::ClientContext context;
    Count count;
    const auto writer = stub->SumUp(&context, &count);
    writer->Write(BytesOf("x"));
    if (ended) {
      FinishOne();
      writer->WritesDone();
    }
    AwaitLater();
    ExpectStopAtOnce();
    EXPECT_EQ(writer->Finish().error_code(), ended ? grpc::UNKNOWN : grpc::UNAVAILABLE);
    EXPECT_EQ(service_.workers, 0);
    ExpectNobodyCares();
  }
}

TEST_F(EndpointStreamsTest, AStopWaitsForAnUploadThatEnds) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Count count;
  const auto writer = stub->SumUp(&context, &count);
  writer->Write(BytesOf("four"));
  writer->WritesDone();
  AwaitLater();
  std::thread stop([this] { endpoint_->Stop(std::chrono::hours(1)); });
  FinishOne();
  FinishOne();
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(count.bytes(), 4u);
  stop.join();
}

TEST_F(EndpointStreamsTest, AStreamIsMadeLater) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  const auto reader = stub->DownloadLater(&context, DownloadOf(5, 1000));
  Bytes message;
  for (int i = 0; i < 5; ++i) {
    FinishOne();
    ASSERT_TRUE(reader->Read(&message));
    EXPECT_EQ(message.bytes(), std::string(1000, 'l'));
  }
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_TRUE(reader->Finish().ok());
  Await([this] { return service_.workers == 0; });
}

TEST_F(EndpointStreamsTest, AStreamEndsWithItsClientWhileAMessageIsMade) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  const auto reader = stub->DownloadLater(&context, DownloadOf(5, 1000));
  FinishOne();
  Bytes message;
  ASSERT_TRUE(reader->Read(&message));
  AwaitLater();
  EXPECT_EQ(service_.workers, 1);
  context.TryCancel();
  Await([this] { return service_.workers == 0; });
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  ExpectStopAtOnce(std::chrono::hours(1));
  ExpectNobodyCares();
}

TEST_F(EndpointStreamsTest, AStopEndsAStreamWhileAMessageIsMade) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  const auto reader = stub->DownloadLater(&context, DownloadOf(5, 1000));
  AwaitLater();
  ExpectStopAtOnce();
  EXPECT_EQ(service_.workers, 0);
  Bytes message;
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_EQ(reader->Finish().error_code(), grpc::UNAVAILABLE);
  ExpectNobodyCares();
}

TEST_F(EndpointStreamsTest, WorkEndsWithItsClient) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Bytes response;
  grpc::Status status;
  std::thread caller([&] { status = stub->SayWhileHere(&context, BytesOf("x"), &response); });
  AwaitLater();
  EXPECT_EQ(service_.workers, 1);
  context.TryCancel();
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::CANCELLED);
  Await([this] { return service_.workers == 0; });
  ExpectStopAtOnce(std::chrono::hours(1));
  ExpectNobodyCares();
}

TEST_F(EndpointStreamsTest, AStopWaitsForWork) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Bytes response;
  grpc::Status status;
  std::thread caller([&] { status = stub->SayWhileHere(&context, BytesOf("late"), &response); });
  AwaitLater();
  RawClient client(endpoint_->port());
  client.Send(Greeting());
  ASSERT_TRUE(client.ReadUntil([](const WireFrame& frame) { return frame.type == FrameType::kSettings; }));
  std::thread stop([this] { endpoint_->Stop(std::chrono::hours(1)); });
  EXPECT_TRUE(client.ReadUntil([](const WireFrame& frame) { return frame.type == FrameType::kGoAway; }));
  EXPECT_EQ(service_.workers, 1);
  FinishOne();
  caller.join();
  stop.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.bytes(), "late");
}

TEST_F(EndpointStreamsTest, AStopWithoutPatienceEndsWorkThatWrites) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Bytes response;
  grpc::Status status;
  std::thread caller([&] { status = stub->SayWhileHere(&context, BytesOf("x"), &response); });
  AwaitLater();
  ExpectStopAtOnce();
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::UNKNOWN);
  EXPECT_THAT(status.error_message(), HasSubstr("may be made, or not"));
  EXPECT_EQ(service_.workers, 0);
  ExpectNobodyCares();
}

}  // namespace
}  // namespace thermocline::server::rpc
