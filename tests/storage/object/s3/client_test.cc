// The client against a server that does whatever goes wrong on the way.

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/object/s3/retry.h"
#include "storage/object/s3/upload.h"
#include "storage/s3_client.h"
#include "tests/storage/object/object_calls.h"
#include "tests/support/scripted_http_server.h"

namespace thermocline::testing {
namespace {

using std::chrono::milliseconds;
using storage::S3Client;
using storage::S3Options;
using storage::s3::Backoff;
using storage::s3::HttpAnswer;
using storage::s3::Judge;
using storage::s3::Verdict;
using ::testing::HasSubstr;

constexpr char kTag[] = "\"tag\"";

ScriptedAnswer Error(int status, const std::string& code) {
  ScriptedAnswer answer;
  answer.status = status;
  if (!code.empty()) answer.body = fmt::format("<Error><Code>{}</Code><Message>m</Message></Error>", code);
  return answer;
}

// One object, "bkt/object", of which ranges are read; and whatever else a test says.
class S3ClientTest : public ::testing::Test {
 protected:
  S3ClientTest() {
    options_.endpoint = server_.url();
    options_.region = "us-east-1";
    options_.credentials = storage::S3Credentials{"KEY", "SECRET", ""};
    options_.retry_wait = milliseconds(5);
    options_.max_attempts = 4;
  }

  ScriptedAnswer Answer(const ScriptedRequest& request) {
    const int number = ++requests_;
    {
      std::lock_guard lock(mutex_);
      log_.push_back(request.method + " " + request.target);
      ranges_.push_back(request.headers.contains("range") ? request.headers.at("range") : "");
    }
    if (request.method == "HEAD" && default_head_) return Head();
    return handler_(request, number);
  }

  ScriptedAnswer Head() const {
    ScriptedAnswer answer;
    answer.headers["ETag"] = kTag;
    answer.length = content_.size();
    return answer;
  }

  // What a well-behaved server answers to a ranged GET.
  ScriptedAnswer Range(const ScriptedRequest& request) const {
    size_t first = 0;
    size_t last = 0;
    EXPECT_EQ(std::sscanf(request.headers.at("range").c_str(), "bytes=%zu-%zu", &first, &last), 2);
    EXPECT_EQ(request.headers.at("if-match"), kTag);
    ScriptedAnswer answer;
    answer.status = 206;
    answer.headers["ETag"] = kTag;
    answer.headers["Content-Range"] = fmt::format("bytes {}-{}/{}", first, last, content_.size());
    answer.body = content_.substr(first, last + 1 - first);
    return answer;
  }

  absl::StatusOr<std::string> Read() {
    client_ = S3Client::Open(options_).value();
    auto object = client_->OpenObject("bkt", "object");
    if (!object.ok()) return object.status();
    return ReadObject(**object, 0, content_.size());
  }

  absl::Status Put(const std::string& bytes) {
    client_ = S3Client::Open(options_).value();
    auto writer = client_->CreateObject("bkt", "object").value();
    absl::Status status = writer->Append(bytes);
    return status.ok() ? writer->Finish() : status;
  }

  const std::string content_ = ObjectBytes(1, 100'000);
  std::function<ScriptedAnswer(const ScriptedRequest&, int number)> handler_;
  bool default_head_ = true;
  std::atomic<int> requests_ = 0;
  std::mutex mutex_;
  std::vector<std::string> log_;
  std::vector<std::string> ranges_;
  ScriptedHttpServer server_{[this](const ScriptedRequest& request) { return Answer(request); }};
  S3Options options_;
  std::unique_ptr<S3Client> client_;
};

TEST_F(S3ClientTest, AReadGoesOnWhereItWasCut) {
  handler_ = [&](const ScriptedRequest& request, int number) {
    ScriptedAnswer answer = Range(request);
    if (number < 8) answer.cut_after = 10'000;  // more often than max_attempts: each brings something new
    return answer;
  };
  EXPECT_TRUE(Read().value() == content_);
  EXPECT_THAT(ranges_, ::testing::ElementsAre("", "bytes=0-99999", "bytes=10000-99999", "bytes=20000-99999",
                                              "bytes=30000-99999", "bytes=40000-99999", "bytes=50000-99999",
                                              "bytes=60000-99999"));
  EXPECT_EQ(client_->stats().retries, 6u);
  EXPECT_EQ(client_->stats().failures, 0u);
}

TEST_F(S3ClientTest, FailuresThatPass) {
  for (const auto& [status, code] : std::vector<std::pair<int, std::string>>{{500, "InternalError"},
                                                                             {502, ""},
                                                                             {503, "SlowDown"},
                                                                             {429, ""},
                                                                             {400, "RequestTimeout"},
                                                                             {504, ""},
                                                                             {409, "OperationAborted"}}) {
    requests_ = 0;
    handler_ = [&](const ScriptedRequest& request, int number) {
      return number < 4 ? Error(status, code) : Range(request);
    };
    EXPECT_TRUE(Read().value() == content_) << status << code;
    EXPECT_EQ(requests_, 4);
  }
}

TEST_F(S3ClientTest, FailuresThatStay) {
  struct Case {
    int status;
    std::string code;
    absl::StatusCode expected;
    int attempts;
  };
  for (const auto& [status, code, expected, attempts] : std::vector<Case>{
           {500, "InternalError", absl::StatusCode::kUnavailable, 4},
           {503, "SlowDown", absl::StatusCode::kUnavailable, 4},
           {403, "AccessDenied", absl::StatusCode::kPermissionDenied, 1},
           {403, "ExpiredToken", absl::StatusCode::kPermissionDenied, 1},
           {404, "NoSuchKey", absl::StatusCode::kNotFound, 1},
           {412, "PreconditionFailed", absl::StatusCode::kDataLoss, 1},
           {416, "InvalidRange", absl::StatusCode::kDataLoss, 1},
           {400, "InvalidArgument", absl::StatusCode::kInvalidArgument, 1},
           {301, "PermanentRedirect", absl::StatusCode::kInvalidArgument, 1},
       }) {
    requests_ = 0;
    handler_ = [&](const ScriptedRequest&, int) { return Error(status, code); };
    const absl::Status failed = Read().status();
    EXPECT_EQ(failed.code(), expected) << failed;
    EXPECT_THAT(std::string(failed.message()), HasSubstr("s3://bkt/object"));
    EXPECT_EQ(requests_, 1 + attempts) << failed;
  }
}

TEST_F(S3ClientTest, AnswersThatAreWrong) {
  // Another version, once; then it is well.
  handler_ = [&](const ScriptedRequest& request, int number) {
    ScriptedAnswer answer = Range(request);
    if (number == 2) answer.headers["ETag"] = "\"other\"";
    if (number == 2) answer.body = std::string(answer.body.size(), 'x');
    return answer;
  };
  EXPECT_TRUE(Read().value() == content_);
  handler_ = [&](const ScriptedRequest& request, int) {
    ScriptedAnswer answer = Range(request);
    answer.headers["ETag"] = "\"other\"";
    return answer;
  };
  EXPECT_TRUE(absl::IsDataLoss(Read().status()));
  // Another range; all of it; too much.
  handler_ = [&](const ScriptedRequest& request, int) {
    ScriptedAnswer answer = Range(request);
    answer.headers["Content-Range"] = "bytes 1-100000/100001";
    return answer;
  };
  EXPECT_TRUE(absl::IsUnavailable(Read().status()));
  handler_ = [&](const ScriptedRequest& request, int) {
    ScriptedAnswer answer = Range(request);
    answer.status = 200;
    return answer;
  };
  EXPECT_TRUE(absl::IsUnavailable(Read().status()));
  handler_ = [&](const ScriptedRequest& request, int) {
    ScriptedAnswer answer = Range(request);
    answer.body += "more";
    return answer;
  };
  EXPECT_TRUE(absl::IsUnavailable(Read().status()));
  EXPECT_EQ(client_->stats().active, 0u);
}

TEST_F(S3ClientTest, AStallEndsInTime) {
  options_.attempt_deadline = milliseconds(100);
  options_.max_attempts = 2;
  handler_ = [&](const ScriptedRequest&, int) {
    ScriptedAnswer answer;
    answer.hang = true;
    return answer;
  };
  const absl::Status failed = Read().status();
  EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
  options_.request_deadline = milliseconds(150);
  options_.max_attempts = 1000;
  EXPECT_TRUE(absl::IsUnavailable(Read().status()));
  EXPECT_EQ(client_->stats().active, 0u);
  EXPECT_EQ(client_->stats().waiting, 0u);
}

TEST_F(S3ClientTest, AClientThatClosesEndsWhatIsUnderWay) {
  handler_ = [&](const ScriptedRequest&, int) {
    ScriptedAnswer answer;
    answer.hang = true;
    return answer;
  };
  client_ = S3Client::Open(options_).value();
  auto object = client_->OpenObject("bkt", "object").value();
  std::string out(10, '?');
  std::atomic<int> ended = 0;
  for (int i = 0; i < 50; ++i) {
    object->Read(0, std::span(out),
                 [&](absl::Status status) { ended += absl::IsUnavailable(status) ? 1 : 0; });
  }
  client_.reset();
  EXPECT_EQ(ended, 50);
}

TEST_F(S3ClientTest, AnObjectWhoseReadsAreCancelled) {
  std::atomic<bool> hangs = true;
  handler_ = [&](const ScriptedRequest& request, int) {
    if (!hangs) return Range(request);
    ScriptedAnswer answer;
    answer.hang = true;
    return answer;
  };
  client_ = S3Client::Open(options_).value();
  auto object = client_->OpenObject("bkt", "object").value();
  std::string out(10, '?');
  std::vector<std::future<absl::Status>> ends;
  const auto read = [&] {
    auto end = std::make_shared<std::promise<absl::Status>>();
    ends.push_back(end->get_future());
    object->Read(0, std::span(out), [end](absl::Status status) { end->set_value(std::move(status)); });
  };
  for (int i = 0; i < 50; ++i) read();  // more than there are connections
  object->Cancel();
  object->Cancel();
  read();
  for (std::future<absl::Status>& end : ends) EXPECT_TRUE(absl::IsCancelled(end.get()));
  // Of this object alone.
  hangs = false;
  EXPECT_TRUE(ReadObject(*client_->OpenObject("bkt", "object").value(), 0, 10).ok());
}

TEST_F(S3ClientTest, AClockThatIsWrong) {
  std::vector<std::string> dates;
  handler_ = [&](const ScriptedRequest& request, int) {
    {
      std::lock_guard lock(mutex_);
      dates.push_back(request.headers.at("x-amz-date"));
    }
    if (dates.size() > 1) return Range(request);
    ScriptedAnswer answer = Error(403, "RequestTimeTooSkewed");
    answer.headers["Date"] = "Fri, 24 May 2030 00:00:00 GMT";
    return answer;
  };
  EXPECT_TRUE(Read().value() == content_);
  ASSERT_EQ(dates.size(), 2u);
  EXPECT_TRUE(dates[1].starts_with("20300524T0000")) << dates[1];
}

TEST_F(S3ClientTest, AHeadIsRefusedWithoutAReason) {
  default_head_ = false;
  for (const int status : {400, 403}) {
    handler_ = [&](const ScriptedRequest&, int) { return Error(status, ""); };
    const absl::Status failed = Read().status();
    EXPECT_TRUE(absl::IsPermissionDenied(failed)) << failed;
    EXPECT_THAT(std::string(failed.message()), HasSubstr("check the credentials"));
  }
}

TEST_F(S3ClientTest, APutWhoseAnswerGotLost) {
  std::string writer;
  default_head_ = false;
  handler_ = [&](const ScriptedRequest& request, int) {
    ScriptedAnswer answer;
    if (request.method == "HEAD") {
      if (writer.empty()) return Error(404, "");
      answer.length = 3;
      answer.headers["x-amz-meta-thermocline-writer"] = writer;
      return answer;
    }
    EXPECT_EQ(request.headers.at("if-none-match"), "*");
    if (!writer.empty()) return Error(412, "PreconditionFailed");
    writer = request.headers.at("x-amz-meta-thermocline-writer");
    return Error(500, "InternalError");
  };
  EXPECT_TRUE(Put("abc").ok()) << "it was ours";
  writer = "somebody else's";
  default_head_ = true;  // of another size, without a writer
  EXPECT_TRUE(absl::IsAlreadyExists(Put("abc")));
}

TEST_F(S3ClientTest, AnUploadThatFailsIsAborted) {
  default_head_ = false;
  std::atomic<int> aborted = 0;
  handler_ = [&](const ScriptedRequest& request, int) {
    ScriptedAnswer answer;
    if (request.target.ends_with("?uploads=")) {
      answer.body = "<InitiateMultipartUploadResult><UploadId>id1</UploadId></InitiateMultipartUploadResult>";
      return answer;
    }
    if (request.method == "DELETE") {
      aborted += request.target == "/bkt/object?uploadId=id1" ? 1 : 0;
      answer.status = 204;
      return answer;
    }
    return Error(500, "InternalError");
  };
  const absl::Status failed = Put(std::string(20 << 20, 'x'));
  EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
  EXPECT_EQ(aborted, 1);
  EXPECT_EQ(client_->stats().buffer_bytes, 0u);
}

TEST_F(S3ClientTest, AnUploadWhoseIdGotLostIsAborted) {
  default_head_ = false;
  std::vector<std::string> aborted;
  std::atomic<int> begun = 0;
  handler_ = [&](const ScriptedRequest& request, int) {
    ScriptedAnswer answer;
    if (request.method == "HEAD") return Error(404, "");
    if (request.method == "POST" && request.target.ends_with("?uploads=")) {
      answer.body = fmt::format(
          "<InitiateMultipartUploadResult><UploadId>id{}</UploadId></InitiateMultipartUploadResult>",
          ++begun);
      if (begun == 1) answer.cut_after = 20;
    } else if (request.method == "POST") {
      answer.body = "<CompleteMultipartUploadResult/>";
    } else if (request.method == "GET") {
      answer.body =
          "<ListMultipartUploadsResult><Upload><Key>object</Key><UploadId>id1</UploadId></Upload>"
          "<Upload><Key>objects</Key><UploadId>id7</UploadId></Upload></ListMultipartUploadsResult>";
    } else if (request.method == "DELETE") {
      std::lock_guard lock(mutex_);
      aborted.push_back(request.target);
      answer.status = 204;
    } else {
      answer.headers["ETag"] = kTag;
    }
    return answer;
  };
  const absl::Status status = Put(std::string(10 << 20, 'x'));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(aborted, ::testing::ElementsAre("/bkt/object?uploadId=id1"));
}

TEST_F(S3ClientTest, ACompletionMayFailWith200) {
  default_head_ = false;
  std::atomic<int> completed = 0;
  handler_ = [&](const ScriptedRequest& request, int) {
    ScriptedAnswer answer;
    if (request.method == "HEAD") return Error(404, "");
    answer.headers["ETag"] = kTag;
    if (request.target.ends_with("?uploads=")) {
      answer.body = "<InitiateMultipartUploadResult><UploadId>id1</UploadId></InitiateMultipartUploadResult>";
    } else if (request.method == "POST") {
      answer.body =
          ++completed == 1 ? "<Error><Code>InternalError</Code></Error>" : "<CompleteMultipartUploadResult/>";
    }
    return answer;
  };
  EXPECT_TRUE(Put(std::string(10 << 20, 'x')).ok());
  EXPECT_EQ(completed, 2);
}

TEST_F(S3ClientTest, OptionsThatAreWrong) {
  for (const std::string endpoint : {"localhost:80", "ftp://x", "http://", "http://a/b", "http://a b"}) {
    S3Options options = options_;
    options.endpoint = endpoint;
    EXPECT_TRUE(absl::IsInvalidArgument(S3Client::Open(options).status())) << endpoint;
  }
  S3Options options = options_;
  options.part_bytes = 1;
  EXPECT_TRUE(absl::IsInvalidArgument(S3Client::Open(options).status()));
  options = options_;
  options.memory_bytes = options.part_bytes;
  EXPECT_TRUE(absl::IsInvalidArgument(S3Client::Open(options).status()));
}

TEST(S3RetryTest, WaitsGrowAtRandomAndHeedTheStore) {
  const auto most = [](int retry, Verdict verdict) {
    milliseconds longest{0};
    for (uint64_t random = 0; random < 20'000; ++random) {
      longest = std::max(longest, Backoff(retry, verdict, "", milliseconds(5000), random));
    }
    return longest.count();
  };
  EXPECT_EQ(most(1, Verdict::kRetry), 100);
  EXPECT_EQ(most(3, Verdict::kRetry), 400);
  EXPECT_EQ(most(100, Verdict::kRetry), 5000);
  EXPECT_EQ(most(1, Verdict::kSlowDown), 500);
  EXPECT_EQ(Backoff(1, Verdict::kRetry, "2", milliseconds(5000), 0), milliseconds(2000));
  EXPECT_EQ(Backoff(1, Verdict::kRetry, "99999", milliseconds(5000), 0), milliseconds(30'000));
  EXPECT_EQ(Backoff(1, Verdict::kRetry, "-3", milliseconds(5000), 0), milliseconds(0));
  EXPECT_EQ(Backoff(1, Verdict::kRetry, "Fri, 24 May", milliseconds(5000), 0), milliseconds(0));
}

TEST(S3UploadTest, PartsGrowSoThatTenThousandSuffice) {
  constexpr uint64_t kMiB = 1 << 20;
  S3Options options;
  EXPECT_EQ(storage::s3::PartBytes(options, 1), 8 * kMiB);
  EXPECT_EQ(storage::s3::PartBytes(options, 1000), 8 * kMiB);
  EXPECT_EQ(storage::s3::PartBytes(options, 1001), 16 * kMiB);
  EXPECT_EQ(storage::s3::PartBytes(options, 10'000), 16 * kMiB) << "a quarter of the memory";
  EXPECT_EQ(storage::s3::MaxObjectBytes(options), (8'000 + 9 * 16'000) * kMiB);
  options.memory_bytes = uint64_t{4} << 30;
  options.part_bytes = 64 * kMiB;
  EXPECT_EQ(storage::s3::PartBytes(options, 10'000), 1024 * kMiB);
  EXPECT_EQ(storage::s3::MaxObjectBytes(options), uint64_t{5} << 40);
}

}  // namespace
}  // namespace thermocline::testing
