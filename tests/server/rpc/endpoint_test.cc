// The endpoint and stock clients: what gRPC promises beyond a plain call.

#include "server/rpc/endpoint.h"

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "server/rpc/gzip.h"
#include "tests/server/rpc/echo.pb.h"
#include "tests/server/rpc/endpoint_fixture.h"
#include "tests/server/rpc/heap_bytes.h"
#include "tests/server/rpc/http2_wire.h"
#include "tests/server/rpc/raw_client.h"
#include "tests/support/raw_grpc.h"

namespace thermocline::server::rpc {
namespace {

using namespace std::chrono_literals;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using thermocline::testing::Bytes;
using thermocline::testing::Count;
using thermocline::testing::DownloadRequest;
using thermocline::testing::Echo;
using thermocline::testing::MetadataResponse;
using thermocline::testing::RpcStatus;

constexpr size_t kMiB = 1 << 20;

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

void SetDeadline(grpc::ClientContext& context, std::chrono::milliseconds after) {
  context.set_deadline(std::chrono::system_clock::now() + after);
}

class EndpointTest : public EndpointFixture {};

TEST_F(EndpointTest, CallsOfAllFourKinds) {
  Start();
  const auto stub = NewStub();
  {
    grpc::ClientContext context;
    const auto reader = stub->Download(&context, DownloadOf(50, 100'000));
    Bytes message;
    int read = 0;
    for (; reader->Read(&message); ++read) {
      EXPECT_EQ(message.bytes(), std::string(100'000, static_cast<char>('a' + read % 26)));
    }
    EXPECT_EQ(read, 50);
    EXPECT_TRUE(reader->Finish().ok());
  }
  {
    grpc::ClientContext context;
    Bytes answer;
    const auto writer = stub->Upload(&context, &answer);
    std::string all;
    for (int i = 0; i < 100; ++i) {
      const std::string piece(static_cast<size_t>(i) * 500, static_cast<char>('a' + i % 26));
      all += piece;
      ASSERT_TRUE(writer->Write(BytesOf(piece)));
    }
    writer->WritesDone();
    EXPECT_TRUE(writer->Finish().ok());
    EXPECT_TRUE(answer.bytes() == all);
  }
  {
    grpc::ClientContext context;
    const auto stream = stub->Talk(&context);
    for (int i = 0; i < 100; ++i) {
      const Bytes said = BytesOf(std::string(static_cast<size_t>(i) * 1000, 'x'));
      Bytes heard;
      ASSERT_TRUE(stream->Write(said));
      ASSERT_TRUE(stream->Read(&heard));
      ASSERT_EQ(heard.bytes(), said.bytes());
    }
    stream->WritesDone();
    Bytes heard;
    EXPECT_FALSE(stream->Read(&heard));
    EXPECT_TRUE(stream->Finish().ok());
  }
}

// More than the windows hold, both ways at once: the server stops reading while its answers wait.
TEST_F(EndpointTest, ADialogueOfMuchThatIsReadLate) {
  Start();
  grpc::ClientContext context;
  const auto stub = NewStub();
  const auto stream = stub->Talk(&context);
  constexpr int kMessages = 200;
  std::thread writer([&stream] {
    for (int i = 0; i < kMessages; ++i) stream->Write(BytesOf(std::string(50'000, 'x')));
    stream->WritesDone();
  });
  Bytes heard;
  int read = 0;
  while (stream->Read(&heard)) {
    if (read < 50) std::this_thread::sleep_for(1ms);
    ++read;
  }
  writer.join();
  EXPECT_EQ(read, kMessages);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(EndpointTest, AMethodThatIsUnknown) {
  Start();
  std::vector<std::string> answers;
  const grpc::Status status =
      thermocline::testing::RawCall(NewChannel(), "/no.such.Service/Method", "x", &answers);
  EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("/no.such.Service/Method"));
}

TEST_F(EndpointTest, PacksForAClientThatPacks) {
  Start();
  const std::string text(kMiB, 't');
  const auto stub = NewStub();
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  Bytes response;
  ASSERT_TRUE(stub->Say(&context, BytesOf(text), &response).ok());
  EXPECT_TRUE(response.bytes() == text);

  // As it goes over the wire.
  RawClient client(endpoint_->port());
  const std::string packed = Gzip(BytesOf(text).SerializeAsString());
  client.Send(Greeting() +
              HeadersFrame(1,
                           RequestBlock("/thermocline.testing.Echo/Say",
                                        {{"grpc-encoding", "gzip"}, {"grpc-accept-encoding", "gzip"}}),
                           false) +
              DataFrames(1, Message(packed, true), true));
  std::string data;
  std::string block;
  EXPECT_TRUE(client.ReadUntil([&](const WireFrame& frame) {
    if (frame.type == FrameType::kHeaders && block.empty()) block = frame.payload;
    if (frame.type == FrameType::kData) data += frame.payload;
    return frame.type == FrameType::kHeaders && frame.has(kFlagEndStream);
  }));
  const auto head = BlockReader().Read(block);
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(ValueOf(*head, "grpc-encoding"), "gzip");
  ASSERT_GT(data.size(), 5u);
  EXPECT_LT(data.size(), 20'000u);
  EXPECT_EQ(data[0], 1);
  EXPECT_TRUE(*Gunzip(data.substr(5), 2 * kMiB) == BytesOf(text).SerializeAsString());
}

TEST_F(EndpointTest, PackedMessagesHaveTheSameLimit) {
  Start([](Endpoint::Options& options) { options.max_message_bytes = 100'000; });
  const auto stub = NewStub();
  for (const size_t size : {99'000, 200'000}) {
    grpc::ClientContext context;
    context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    Bytes response;
    const grpc::Status status = stub->Say(&context, BytesOf(std::string(size, 't')), &response);
    EXPECT_EQ(status.error_code(), size < 100'000 ? grpc::OK : grpc::RESOURCE_EXHAUSTED);
  }
  EXPECT_EQ(Say(*stub, std::string(100'001, 'x')).error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Say(*stub, "x").ok());
}

TEST_F(EndpointTest, MetadataOfAnySize) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  std::string binary(20'000, '\0');
  for (size_t i = 0; i < binary.size(); ++i) binary[i] = static_cast<char>(i * 7);
  context.AddMetadata("text", std::string(20'000, 't'));
  context.AddMetadata("some-bin", binary);
  context.AddMetadata("twice", "1");
  context.AddMetadata("twice", "2");
  MetadataResponse response;
  ASSERT_TRUE(stub->Metadata(&context, BytesOf("x"), &response).ok());
  std::multimap<std::string, std::string> fields;
  for (const auto& field : response.fields()) fields.emplace(field.name(), field.value());
  EXPECT_EQ(fields.find("text")->second, std::string(20'000, 't'));
  EXPECT_TRUE(fields.find("some-bin")->second == binary);
  EXPECT_EQ(fields.count("twice"), 2u);

  grpc::ClientContext large;
  large.AddMetadata("text", std::string(40'000, 't'));
  large.AddMetadata("more", std::string(40'000, 't'));
  EXPECT_EQ(stub->Metadata(&large, BytesOf("x"), &response).error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Say(*stub, "x").ok());
}

TEST_F(EndpointTest, FailuresTellEverything) {
  Start();
  const auto stub = NewStub();
  for (int code = 1; code <= 16; ++code) {
    RpcStatus wanted;
    wanted.set_code(code);
    wanted.set_message("100% wrong: \xc3\xa4\n" + std::string(static_cast<size_t>(code) * 100, 'x'));
    if (code % 2 == 0) {
      wanted.add_details()->set_type_url("type.googleapis.com/a.B");
      wanted.mutable_details(0)->set_value(std::string("\0\x01\xff", 3));
    }
    grpc::ClientContext context;
    Bytes response;
    const grpc::Status status = stub->Fail(&context, wanted, &response);
    EXPECT_EQ(status.error_code(), code);
    EXPECT_EQ(status.error_message(), wanted.message());
    if (code % 2 == 1) {
      EXPECT_EQ(status.error_details(), "");
    } else {
      EXPECT_EQ(status.error_details(), wanted.SerializeAsString());
    }
  }
}

TEST_F(EndpointTest, DeadlinesEndCallsHere) {
  Start();
  // The client's own clock would end it; this one leaves that to the server.
  RawClient client(endpoint_->port());
  client.Send(
      Greeting() +
      HeadersFrame(1, RequestBlock("/thermocline.testing.Echo/Ignore", {{"grpc-timeout", "30m"}}), false));
  std::string trailers;
  EXPECT_TRUE(client.ReadUntil([&](const WireFrame& frame) {
    if (frame.type == FrameType::kHeaders) trailers = frame.payload;
    return frame.type == FrameType::kHeaders;
  }));
  EXPECT_EQ(ValueOf(BlockReader().Read(trailers).value_or(Fields()), "grpc-status"), "4");
  Await([this] { return service_.open_streams == 0; });

  grpc::ClientContext context;
  SetDeadline(context, 50ms);
  Bytes response;
  const auto stub = NewStub();
  EXPECT_EQ(stub->SayLater(&context, BytesOf("x"), &response).error_code(), grpc::DEADLINE_EXCEEDED);
  // The operation ends some time, and nobody is there.
  Await([this] { return service_.FinishLater() > 0; });
  ExpectServed();
  ExpectStopAtOnce();
}

TEST_F(EndpointTest, AClientMayLeaveWhileItsOperationRuns) {
  Start();
  const auto stub = NewStub();
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    Bytes response;
    grpc::Status status;
    std::thread caller([&] {
      status = i % 2 == 0 ? stub->SayLater(&context, BytesOf("x"), &response)
                          : stub->SaySomeDay(&context, BytesOf("x"), &response);
    });
    Await([this] { return service_.later() == 1; });
    // The one way or the other: who is first is left open.
    if (i < 10) {
      context.TryCancel();
      caller.join();
      service_.FinishLater();
    } else {
      std::thread finisher([this] { service_.FinishLater(); });
      context.TryCancel();
      finisher.join();
      caller.join();
    }
    EXPECT_THAT(status.error_code(), AnyOf(grpc::CANCELLED, grpc::OK));
  }
  grpc::ClientContext context;
  const auto stream = stub->Ignore(&context);
  Await([this] { return service_.open_streams == 1; });
  context.TryCancel();
  Await([this] { return service_.open_streams == 0; });
  EXPECT_EQ(stream->Finish().error_code(), grpc::CANCELLED);
  ExpectServed();
}

TEST_F(EndpointTest, AConnectionThatBreaksEndsItsCalls) {
  Start();
  {
    RawClient client(endpoint_->port());
    client.Send(Greeting() + HeadersFrame(1, RequestBlock("/thermocline.testing.Echo/Ignore"), false));
    Await([this] { return service_.open_streams == 1; });
  }
  Await([this] { return service_.open_streams == 0; });
}

// What the client does not take is not made.
TEST_F(EndpointTest, ASlowReaderOfABigStreamCostsLittle) {
  Start();
  const HeapWatch heap;
  RawClient client(endpoint_->port(), 4096);
  const std::string request = Message(DownloadOf(100'000, 50'000).SerializeAsString());
  client.Send(Greeting({{Setting::kInitialWindowSize, 0x7fffffff}}) +
              WindowUpdateFrame(0, 0x7fffffff - kDefaultWindowBytes) +
              HeadersFrame(1, RequestBlock("/thermocline.testing.Echo/Download"), false) +
              DataFrame(1, request, true));
  for (int read = 0; read < 50; ++read) {
    std::this_thread::sleep_for(1ms);
    ASSERT_NE(client.Read(), "");
  }
  ExpectServed();
  EXPECT_LT(heap.Peak(), 8 * kMiB);
  // The kernel's buffers hold some megabytes.
  EXPECT_LT(service_.downloads_made, 1000);
}

TEST_F(EndpointTest, WhoDoesNotListenStopsTheSender) {
  Start();
  const HeapWatch heap;
  RawClient client(endpoint_->port());
  client.Send(Greeting() + HeadersFrame(1, RequestBlock("/thermocline.testing.Echo/UploadLater"), false));
  Await([this] { return service_.waiting_uploads() == 1; });
  const std::string message = Message(BytesOf(std::string(10'000, 'x')).SerializeAsString());
  size_t sent = 0;
  while (sent + message.size() <= kMiB) {
    ASSERT_TRUE(client.Send(DataFrame(1, message, false)));
    sent += message.size();
  }
  client.Send(PingFrame());
  bool returned = false;
  const auto seen = [&returned](const WireFrame& frame) {
    returned = returned || (frame.type == FrameType::kWindowUpdate && frame.stream == 1);
    return frame.type == FrameType::kPing || returned;
  };
  EXPECT_TRUE(client.ReadUntil(seen));
  EXPECT_FALSE(returned);
  EXPECT_LT(heap.Peak(), 4 * kMiB);
  service_.ResumeUploads();
  EXPECT_TRUE(client.ReadUntil(seen));
  EXPECT_TRUE(returned);
  client.Send(DataFrame(1, message, true));
  std::string data;
  EXPECT_TRUE(client.ReadUntil([&data](const WireFrame& frame) {
    if (frame.type == FrameType::kData) data += frame.payload;
    return frame.type == FrameType::kHeaders && frame.has(kFlagEndStream);
  }));
  Count count;
  ASSERT_TRUE(count.ParseFromString(data.substr(5)));
  EXPECT_EQ(count.bytes(), (sent / message.size() + 1) * (message.size() - 5));
}

TEST_F(EndpointTest, AnUploadThatIsTakenLate) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Count count;
  const auto writer = stub->UploadLater(&context, &count);
  std::thread resumer([this] {
    Await([this] { return service_.waiting_uploads() == 1; });
    service_.ResumeUploads();
  });
  for (int i = 0; i < 300; ++i) writer->Write(BytesOf(std::string(30'000, 'x')));
  writer->WritesDone();
  resumer.join();
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_GE(count.bytes(), 300u * 30'000);
}

TEST_F(EndpointTest, ASilentClientIsAskedAndThenLeft) {
  Start([](Endpoint::Options& options) { options.keepalive = 1s; });
  RawClient answering(endpoint_->port());
  RawClient silent(endpoint_->port());
  answering.Send(Greeting());
  silent.Send(Greeting());
  const auto ping = [](const WireFrame& frame) {
    return frame.type == FrameType::kPing && !frame.has(kFlagAck);
  };
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(answering.ReadUntil(ping));
    ASSERT_TRUE(answering.Send(PingFrame(kFlagAck)));
  }
  EXPECT_TRUE(silent.ReadUntil(ping));
  silent.ReadToEnd();
}

TEST_F(EndpointTest, AStopLetsCallsEndAndTakesNoNew) {
  Start();
  const auto stub = NewStub();
  grpc::ClientContext context;
  Bytes response;
  grpc::Status status;
  std::thread caller([&] { status = stub->SayLater(&context, BytesOf("late"), &response); });
  Await([this] { return service_.later() == 1; });
  RawClient client(endpoint_->port());
  client.Send(Greeting());
  ASSERT_TRUE(client.ReadUntil([](const WireFrame& frame) { return frame.type == FrameType::kSettings; }));
  std::thread stop([this] { endpoint_->Stop(std::chrono::hours(1)); });
  std::string why;
  EXPECT_TRUE(client.ReadUntil([&why](const WireFrame& frame) {
    if (frame.type == FrameType::kGoAway) why = frame.payload.substr(8);
    return frame.type == FrameType::kGoAway;
  }));
  EXPECT_EQ(why, "the server is stopping");
  service_.FinishLater();
  caller.join();
  stop.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.bytes(), "late");
}

// The operation is over, but its answer is still on its way.
TEST_F(EndpointTest, AStopWaitsForAnswersThatAreNotSent) {
  Start();
  RawClient client(endpoint_->port(), 4096);
  const std::string request = Message(BytesOf(std::string(8 * kMiB, 'x')).SerializeAsString());
  ASSERT_TRUE(client.Send(Greeting({{Setting::kInitialWindowSize, 0x7fffffff}}) +
                          HeadersFrame(1, RequestBlock("/thermocline.testing.Echo/Say"), false)));
  ASSERT_TRUE(client.Send(DataFrames(1, request, true)));
  size_t data = 0;
  const auto count = [&data](const WireFrame& frame) {
    if (frame.type == FrameType::kData) data += frame.payload.size();
    return frame.type == FrameType::kData;
  };
  ASSERT_TRUE(client.ReadUntil(count));
  std::thread stop([this] { endpoint_->Stop(std::chrono::hours(1)); });
  bool going = false;
  ASSERT_TRUE(client.ReadUntil([&](const WireFrame& frame) {
    count(frame);
    return going = frame.type == FrameType::kGoAway;
  }));
  // Only now may the rest come.
  client.Send(WindowUpdateFrame(0, 0x7fffffff - kDefaultWindowBytes));
  bool ended = false;
  client.ReadUntil([&](const WireFrame& frame) {
    count(frame);
    return ended = frame.type == FrameType::kHeaders && frame.has(kFlagEndStream);
  });
  client.Close();
  stop.join();
  EXPECT_TRUE(going);
  EXPECT_TRUE(ended);
  EXPECT_EQ(data, request.size());
}

TEST_F(EndpointTest, AStopWithoutPatienceCancels) {
  Start();
  const auto stub = NewStub();
  std::vector<std::thread> callers;
  std::atomic<int> unavailable = 0;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&, i] {
      grpc::ClientContext context;
      Bytes response;
      if (i == 0) {
        if (stub->SaySomeDay(&context, BytesOf("x"), &response).error_code() == grpc::UNAVAILABLE)
          ++unavailable;
      } else if (i == 1) {
        const auto stream = stub->Ignore(&context);
        while (stream->Read(&response)) {
        }
        if (stream->Finish().error_code() == grpc::UNAVAILABLE) ++unavailable;
      } else {
        const auto reader = stub->Download(&context, DownloadOf(4'000'000'000, 100));
        while (reader->Read(&response)) {
        }
        const auto code = reader->Finish().error_code();
        if (code == grpc::UNAVAILABLE || code == grpc::CANCELLED) ++unavailable;
      }
    });
  }
  Await([this] {
    return service_.later() == 1 && service_.open_streams == 1 && service_.downloads_made > 1000;
  });
  ExpectStopAtOnce();
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(unavailable, 4);
  endpoint_.reset();
  EXPECT_EQ(service_.FinishLater(), 1u);  // it is nobody's any more
}

// Operations that end on other threads, while clients come and go: for ThreadSanitizer.
TEST_F(EndpointTest, ManyThreads) {
  Start();
  std::atomic<bool> stop = false;
  std::vector<std::thread> finishers;
  for (int i = 0; i < 2; ++i) {
    finishers.emplace_back([&] {
      while (!stop) {
        if (service_.FinishLater() == 0) std::this_thread::sleep_for(100us);
      }
    });
  }
  std::vector<std::thread> callers;
  std::atomic<int> answered = 0;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&, t] {
      auto stub = NewStub();
      for (int i = 0; i < 200; ++i) {
        if (i % 50 == 49) stub = NewStub();
        grpc::ClientContext context;
        if (i % 7 == t) SetDeadline(context, std::chrono::milliseconds(i % 3));
        Bytes response;
        const Bytes request = BytesOf(std::string(static_cast<size_t>(i) * 100, 'x'));
        const grpc::Status status = i % 2 == 0 ? stub->SayLater(&context, request, &response)
                                               : stub->SaySomeDay(&context, request, &response);
        if (status.ok() && response.bytes() == request.bytes()) ++answered;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_GE(answered, 600);
  ExpectStopAtOnce(std::chrono::minutes(1));
  stop = true;
  for (std::thread& finisher : finishers) finisher.join();
}

}  // namespace
}  // namespace thermocline::server::rpc
