// What gRPC promises of a call: the four types, status, deadlines, cancellation, metadata, compression.

#include <future>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"

#include "tests/conformance/cpp/connection.h"

namespace thermocline::testing {
namespace {

using conformance::CountRequest;
using conformance::DelayRequest;
using conformance::Echo;
using conformance::Failure;
using conformance::HeadResponse;
using conformance::Message;
using conformance::Nothing;
using conformance::Number;
using conformance::TallyResponse;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr char kWords[] = "größer als 100 %: 日本語, 🚀\r\n\tend ";
constexpr int64_t kHourMs = 3'600'000;

Message AMessage(const std::string& body) {
  Message message;
  message.set_body(body);
  return message;
}

Number ANumber(int64_t value, size_t padding = 0) {
  Number number;
  number.set_value(value);
  number.set_padding(std::string(padding, '.'));
  return number;
}

Failure AFailure(int code) {
  Failure failure;
  failure.set_code(code);
  failure.set_message(kWords);
  return failure;
}

using Metadata = std::multimap<std::string, std::string>;

class CallsConformanceTest : public ConformanceTest {
 protected:
  grpc::Status Delay(int64_t milliseconds, std::chrono::milliseconds deadline) {
    DelayRequest request;
    request.set_milliseconds(milliseconds);
    Nothing nothing;
    grpc::ClientContext context;
    context.set_deadline(In(deadline));
    return echo_->Delay(&context, request, &nothing);
  }

  // What the server heard before the message.
  HeadResponse Head(Echo::Stub& echo, grpc::ClientContext& context) {
    HeadResponse head;
    const grpc::Status status = echo.Head(&context, {}, &head);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return head;
  }

  Metadata Heard(const Metadata& sent) {
    grpc::ClientContext context;
    for (const auto& [name, value] : sent) context.AddMetadata(name, value);
    Metadata heard;
    const HeadResponse head = Head(*echo_, context);
    for (const auto& field : head.metadata()) heard.emplace(field.name(), field.value());
    return heard;
  }

  bool Gone(int64_t (TallyResponse::*what)() const) {
    return Until([&] { return Tally(what) == 0; });
  }
};

TEST_P(CallsConformanceTest, Unary) {
  for (const size_t size : {0, 1, 16'383, 16'384, 65'536, 1 << 20, 16 << 20}) {
    const Message request = AMessage(std::string(size, 'b'));
    Message response;
    grpc::ClientContext context;
    const grpc::Status status = echo_->Unary(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(response.body() == request.body()) << size;
  }
}

TEST_P(CallsConformanceTest, ClientStream) {
  Number sum;
  grpc::ClientContext context;
  const auto writer = echo_->Sum(&context, &sum);
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(writer->Write(ANumber(i, static_cast<size_t>(i))));
  writer->WritesDone();
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(sum.value(), 4999 * 5000 / 2);
}

TEST_P(CallsConformanceTest, AnAnswerThatDoesNotWaitForTheEndOfTheClient) {
  Number sum;
  grpc::ClientContext context;
  const auto writer = echo_->Sum(&context, &sum);
  writer->Write(ANumber(-1));
  while (writer->Write(ANumber(1, 1000))) {
  }
  EXPECT_EQ(writer->Finish().error_code(), grpc::INVALID_ARGUMENT);
}

TEST_P(CallsConformanceTest, ServerStream) {
  CountRequest request;
  request.set_count(5000);
  request.set_padding_bytes(2000);
  *request.mutable_failure() = AFailure(grpc::DATA_LOSS);
  grpc::ClientContext context;
  const auto reader = echo_->Count(&context, request);
  int64_t next = 0;
  for (Number number; reader->Read(&number); ++next) ASSERT_EQ(number.value(), next);
  EXPECT_EQ(next, 5000);
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::DATA_LOSS);
  EXPECT_EQ(status.error_message(), kWords);
}

TEST_P(CallsConformanceTest, Dialogue) {
  grpc::ClientContext context;
  const auto stream = echo_->Dialogue(&context);
  Message answer;
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(stream->Write(AMessage(std::to_string(i))));
    ASSERT_TRUE(stream->Read(&answer));
    ASSERT_EQ(answer.body(), std::to_string(i));
  }
  // And now without waiting.
  std::thread writer([&stream] {
    for (int i = 0; i < 2000; ++i)
      stream->Write(AMessage(std::string(3000, static_cast<char>('a' + i % 26))));
    stream->WritesDone();
  });
  int count = 0;
  for (; stream->Read(&answer); ++count) EXPECT_EQ(answer.body()[0], static_cast<char>('a' + count % 26));
  writer.join();
  EXPECT_EQ(count, 2000);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_P(CallsConformanceTest, ADialogueThatFails) {
  grpc::ClientContext context;
  const auto stream = echo_->Dialogue(&context);
  Message question;
  *question.mutable_failure() = AFailure(grpc::FAILED_PRECONDITION);
  stream->Write(question);
  Message answer;
  EXPECT_FALSE(stream->Read(&answer));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), kWords);
}

TEST_P(CallsConformanceTest, CodesMessagesAndDetails) {
  for (int code = 0; code <= 16; ++code) {
    Failure failure = AFailure(code);
    failure.add_details()->PackFrom(AMessage(std::string("\0\xff", 2)));
    Nothing nothing;
    grpc::ClientContext context;
    const grpc::Status status = echo_->Fail(&context, failure, &nothing);
    EXPECT_EQ(status.error_code(), code);
    if (code == 0) continue;
    EXPECT_EQ(status.error_message(), kWords);
    conformance::StatusDetails details;
    ASSERT_TRUE(details.ParseFromString(status.error_details()));
    EXPECT_EQ(details.code(), code);
    EXPECT_EQ(details.message(), kWords);
    ASSERT_EQ(details.details_size(), 1);
    Message message;
    ASSERT_TRUE(details.details(0).UnpackTo(&message));
    EXPECT_EQ(message.body(), std::string("\0\xff", 2));
  }
}

TEST_P(CallsConformanceTest, DeadlinesPass) {
  for (const int milliseconds : {0, 1, 20, 100}) {
    EXPECT_EQ(Delay(kHourMs, std::chrono::milliseconds(milliseconds)).error_code(), grpc::DEADLINE_EXCEEDED);
  }
  EXPECT_TRUE(Gone(&TallyResponse::delays));
  grpc::ClientContext context;
  context.set_deadline(In(std::chrono::milliseconds(100)));
  const auto reader = echo_->Count(&context, {});
  for (Number number; reader->Read(&number);) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Gone(&TallyResponse::counts));
  EXPECT_TRUE(Delay(1, kPatience).ok());
}

TEST_P(CallsConformanceTest, TheServerHearsOfADeadlineWhateverItsUnit) {
  for (const int64_t seconds : {10, 90, 3600, 86'400, 10'000'000, 50'000'000}) {
    grpc::ClientContext context;
    context.set_deadline(In(std::chrono::seconds(seconds)));
    const auto heard = static_cast<double>(Head(*echo_, context).timeout_ns()) / 1e9;
    EXPECT_GT(heard, static_cast<double>(seconds) * 0.9 - static_cast<double>(kPatience.count()));
    EXPECT_LT(heard, static_cast<double>(seconds) * 1.05);
  }
  grpc::ClientContext context;
  EXPECT_FALSE(Head(*echo_, context).has_timeout_ns());
}

TEST_P(CallsConformanceTest, CancellationOfACall) {
  grpc::ClientContext context;
  auto status = std::async(std::launch::async, [&] {
    DelayRequest request;
    request.set_milliseconds(kHourMs);
    Nothing nothing;
    return echo_->Delay(&context, request, &nothing);
  });
  EXPECT_TRUE(Until([&] { return Tally(&TallyResponse::delays) == 1; }));
  context.TryCancel();
  EXPECT_EQ(status.get().error_code(), grpc::CANCELLED);
  EXPECT_TRUE(Gone(&TallyResponse::delays));
}

TEST_P(CallsConformanceTest, CancellationOfStreams) {
  grpc::ClientContext reading;
  CountRequest request;
  request.set_padding_bytes(1000);
  const auto reader = echo_->Count(&reading, request);
  Number number;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(reader->Read(&number));
  EXPECT_EQ(Tally(&TallyResponse::counts), 1);
  reading.TryCancel();
  while (reader->Read(&number)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  EXPECT_TRUE(Gone(&TallyResponse::counts));

  grpc::ClientContext writing;
  const auto writer = echo_->Sum(&writing, &number);
  ASSERT_TRUE(writer->Write(ANumber(1)));
  EXPECT_TRUE(Until([&] { return Tally(&TallyResponse::sums) == 1; }));
  writing.TryCancel();
  EXPECT_EQ(writer->Finish().error_code(), grpc::CANCELLED);
  EXPECT_TRUE(Gone(&TallyResponse::sums));
}

TEST_P(CallsConformanceTest, CancellationOfAScan) {
  v1::SetRequest set;
  const std::string key = NewKey();
  set.set_value(std::string(1 << 20, 'v'));
  set.set_durability(v1::MEMORY);
  for (int i = 0; i < 32; ++i) {
    set.set_key(key + std::to_string(i));
    v1::WriteResponse written;
    grpc::ClientContext context;
    ASSERT_TRUE(key_value_->Set(&context, set, &written).ok());
  }
  v1::ScanRequest request;
  request.set_prefix(key);
  v1::ScanResponse page;
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    const auto reader = key_value_->Scan(&context, request);
    while (reader->Read(&page) && page.entries().empty()) {
    }
    ASSERT_FALSE(page.entries().empty());
    context.TryCancel();
    while (reader->Read(&page)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  }
  grpc::ClientContext context;
  const auto reader = key_value_->Scan(&context, request);
  int entries = 0;
  while (reader->Read(&page)) entries += page.entries_size();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(entries, 32);
}

TEST_P(CallsConformanceTest, MetadataIsHeard) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const Metadata sent = {{"name", "value"}, {"twice", "one"},  {"twice", "two"},
                         {"all-bin", all},  {"empty-bin", ""}, {"punctuation", "a=b; c,d \"e\" %41 ~"}};
  const Metadata heard = Heard(sent);
  for (const auto& [name, value] : sent) EXPECT_THAT(heard, Contains(Pair(name, value)));
}

TEST_P(CallsConformanceTest, MetadataOf30KiB) {
  for (int i = 0; i < 3; ++i) {
    const Metadata one = {{"large", std::string(30 << 10, 'l')}};
    EXPECT_THAT(Heard(one), Contains(*one.begin()));
    const Metadata raw = {{"raw-bin", std::string(20 << 10, '\xff')}};
    EXPECT_THAT(Heard(raw), Contains(*raw.begin()));
    Metadata many;
    for (int n = 0; n < 110; ++n) many.emplace(fmt::format("name-{}", n), std::string(200, 'v'));
    const Metadata heard = Heard(many);
    for (const auto& field : many) EXPECT_THAT(heard, Contains(field));
  }
}

TEST_P(CallsConformanceTest, MetadataOfMoreThanTheServerTakes) {
  grpc::ClientContext large;
  large.AddMetadata("large", std::string(100 << 10, 'l'));
  HeadResponse head;
  EXPECT_FALSE(echo_->Head(&large, {}, &head).ok());
  grpc::ClientContext context;
  Head(*echo_, context);
}

TEST_P(CallsConformanceTest, Gzip) {
  grpc::ChannelArguments arguments;
  arguments.SetCompressionAlgorithm(GRPC_COMPRESS_GZIP);
  const auto echo = Echo::NewStub(NewChannel(servers().echo_address(), arguments));
  grpc::ClientContext asking;
  const HeadResponse head = Head(*echo, asking);
  EXPECT_TRUE(head.gzip());
  EXPECT_TRUE(head.accepts_gzip());
  for (const size_t size : {0, 5, 100'000, 16 << 20}) {
    const Message request = AMessage(std::string(size, 'z'));
    Message response;
    grpc::ClientContext context;
    const grpc::Status status = echo->Unary(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(response.body() == request.body()) << size;
  }
  grpc::ClientContext context;
  const auto stream = echo->Dialogue(&context);
  for (int i = 0; i < 100; ++i) {
    const std::string body(static_cast<size_t>(i) * 100, static_cast<char>('a' + i % 26));
    ASSERT_TRUE(stream->Write(AMessage(body)));
    Message answer;
    ASSERT_TRUE(stream->Read(&answer));
    EXPECT_EQ(answer.body(), body);
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_P(CallsConformanceTest, GzipOfValues) {
  grpc::ChannelArguments arguments;
  arguments.SetCompressionAlgorithm(GRPC_COMPRESS_GZIP);
  const auto key_value = v1::KeyValue::NewStub(NewChannel(servers().address(), arguments));
  v1::SetRequest set;
  set.set_key(NewKey());
  set.set_value(std::string(1'000'000, 'z'));
  v1::WriteResponse written;
  grpc::ClientContext setting;
  ASSERT_TRUE(key_value->Set(&setting, set, &written).ok());
  v1::GetRequest get;
  get.set_key(set.key());
  for (v1::KeyValue::Stub* const stub : {key_value.get(), key_value_.get()}) {
    v1::GetResponse found;
    grpc::ClientContext context;
    ASSERT_TRUE(stub->Get(&context, get, &found).ok());
    EXPECT_TRUE(found.value() == set.value());
  }
  set.set_value(std::string(17 << 20, 'z'));
  grpc::ClientContext context;
  EXPECT_EQ(key_value->Set(&context, set, &written).error_code(), grpc::RESOURCE_EXHAUSTED);
}

TEST_P(CallsConformanceTest, DeflateIsRefused) {
  Message response;
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_DEFLATE);
  const grpc::Status status = echo_->Unary(&context, AMessage(std::string(1000, 'b')), &response);
  EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("deflate"));
}

// One call that is answered on a queue.
template <typename Response>
struct Pending {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
  Response response;
  grpc::Status status;
};

TEST_P(CallsConformanceTest, AThousandUnderWayOnOneChannel) {
  conformance::MeetRequest request;
  request.set_room(NewKey());
  request.set_count(1000);
  grpc::CompletionQueue queue;
  std::vector<Pending<Nothing>> calls(1000);
  for (Pending<Nothing>& call : calls) {
    call.context.set_deadline(In(kPatience));
    call.reader = echo_->AsyncMeet(&call.context, request, &queue);
    call.reader->Finish(&call.response, &call.status, &call);
  }
  void* tag = nullptr;
  bool ok = false;
  for (size_t i = 0; i < calls.size(); ++i) ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  for (const Pending<Nothing>& call : calls) EXPECT_TRUE(call.status.ok()) << call.status.error_message();
}

TEST_P(CallsConformanceTest, MoreCallsThanTheServerAllowsWait) {
  grpc::CompletionQueue queue;
  std::vector<Pending<Message>> calls(3000);
  for (size_t i = 0; i < calls.size(); ++i) {
    calls[i].reader = echo_->AsyncUnary(&calls[i].context, AMessage(std::to_string(i)), &queue);
    calls[i].reader->Finish(&calls[i].response, &calls[i].status, &calls[i]);
  }
  void* tag = nullptr;
  bool ok = false;
  for (size_t i = 0; i < calls.size(); ++i) ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  for (size_t i = 0; i < calls.size(); ++i) {
    EXPECT_TRUE(calls[i].status.ok()) << calls[i].status.error_message();
    EXPECT_EQ(calls[i].response.body(), std::to_string(i));
  }
}

INSTANTIATE_CONFORMANCE_TEST(CallsConformanceTest);

}  // namespace
}  // namespace thermocline::testing
