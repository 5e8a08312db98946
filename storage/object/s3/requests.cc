#include "storage/object/s3/requests.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <future>
#include <utility>

#include <fmt/format.h>

#include "storage/object/s3/answers.h"
#include "storage/object/s3/retry.h"

namespace thermocline::storage::s3 {
namespace {

using Clock = std::chrono::steady_clock;
using Outcome = HttpAnswer::Outcome;
using std::chrono::milliseconds;

constexpr size_t kLeastBytesPerMs = 1049;  // 1 MiB/s
constexpr int64_t kMaxSkewSeconds = 240;   // stores refuse fifteen minutes, some of them five

// "20130524T000000Z"
std::string SigningTime(int64_t ahead_seconds) {
  const std::time_t now = std::time(nullptr) + ahead_seconds;
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
  return text;
}

// By how many seconds the clock behind a header Date, "Fri, 24 May 2013 00:00:00 GMT", is ahead of ours.
std::optional<int64_t> AheadBy(const std::string& date) {
  static constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  std::tm utc{};
  char month[4] = {};
  if (std::sscanf(date.c_str(), "%*3s, %2d %3s %4d %2d:%2d:%2d GMT", &utc.tm_mday, month, &utc.tm_year,
                  &utc.tm_hour, &utc.tm_min, &utc.tm_sec) != 6) {
    return std::nullopt;
  }
  const size_t at = kMonths.find(month);
  if (at == std::string_view::npos || at % 3 != 0 || utc.tm_year < 2000) return std::nullopt;
  utc.tm_mon = static_cast<int>(at / 3);
  utc.tm_year -= 1900;
  return timegm(&utc) - std::time(nullptr);
}

// What people should do about it.
std::string Advice(int status, const std::string& code, const std::string& region) {
  if (!region.empty()) return fmt::format("the bucket is in the region {}: say so", region);
  if (status >= 300 && status < 400) return "check the endpoint and the region: redirects are not followed";
  if (code == "NoSuchBucket") return "create the bucket, or check its name and the endpoint";
  if (code == "InvalidAccessKeyId") return "check the access key";
  if (code == "SignatureDoesNotMatch")
    return "check the secret, the region and whether a proxy changes requests";
  if (code == "ExpiredToken") return "get new credentials";
  if (code == "RequestTimeTooSkewed") return "set this machine's clock";
  if (code == "AuthorizationHeaderMalformed") return "check the region";
  if (status == 403) return "check the credentials and what the bucket's policy allows them";
  return {};
}

absl::StatusCode CodeOf(int status, const std::string& code, bool is_read) {
  if (code == "QuotaExceeded" || code == "EntityTooLarge" || status == 507)
    return absl::StatusCode::kResourceExhausted;
  if (code == "ExpiredToken" || code == "InvalidToken") return absl::StatusCode::kPermissionDenied;
  switch (status) {
    case 400:
      return absl::StatusCode::kInvalidArgument;
    case 401:
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 405:
    case 501:
      return absl::StatusCode::kUnimplemented;
    case 409:
      return absl::StatusCode::kFailedPrecondition;
    case 412:
    case 416:
      return is_read ? absl::StatusCode::kDataLoss : absl::StatusCode::kFailedPrecondition;
    default:
      return status >= 300 && status < 400 ? absl::StatusCode::kInvalidArgument
                                           : absl::StatusCode::kUnavailable;
  }
}

}  // namespace

std::string Location(const std::string& bucket, const std::string& key) {
  return fmt::format("s3://{}{}{}", bucket, key.empty() ? "" : "/", key);
}

// One request, from its first attempt to its last.
class Requests::Exchange : public std::enable_shared_from_this<Requests::Exchange> {
 public:
  Exchange(Requests& requests, S3Request request, absl::AnyInvocable<void(S3Answer)> done)
      : requests_(requests), request_(std::move(request)), done_(std::move(done)) {
    if (request_.deadline.count() == 0)
      request_.deadline = requests_.options_.request_deadline + ForTheBytes();
    if (request_.max_attempts == 0) request_.max_attempts = requests_.options_.max_attempts;
    if (request_.body.empty()) request_.body = request_.own_body;
    if (request_.payload_hash.empty()) request_.payload_hash = Sha256Hex(request_.body);
  }

  void Submit(milliseconds delay);

 private:
  bool IsRead() const { return !request_.out.empty(); }
  milliseconds ForTheBytes() const {
    return milliseconds((request_.body.size() + request_.out.size()) / kLeastBytesPerMs);
  }

  HttpRequest Begin();
  Fields SignedHeaders(const std::string& path, const std::string& query);
  void OnAnswer(HttpAnswer answer);
  Verdict JudgeRead(Verdict verdict, const HttpAnswer& answer);
  bool CorrectClock(const HttpAnswer& answer);
  void RenewCredentials(HttpAnswer answer, ErrorAnswer error);
  void Again(Verdict verdict, HttpAnswer answer, ErrorAnswer error);
  void Finish(HttpAnswer answer, const ErrorAnswer& error);
  absl::Status StatusOf(const HttpAnswer& answer, const ErrorAnswer& error) const;
  std::string Told(const HttpAnswer& answer, const ErrorAnswer& error) const;

  Requests& requests_;
  S3Request request_;
  absl::AnyInvocable<void(S3Answer)> done_;
  std::optional<Clock::time_point> deadline_;
  int attempts_ = 0;
  int idle_attempts_ = 0;    // since the last new byte
  int versions_ = 0;         // answers of another version than asked for
  size_t got_ = 0;           // bytes of `out`
  uint64_t generation_ = 0;  // of the credentials last used
  bool renewed_ = false;
  bool clock_corrected_ = false;
  bool is_ambiguous_ = false;
  bool is_lost_ = false;  // the version asked for is no more
};

void Requests::Exchange::Submit(milliseconds delay) {
  HttpCall call;
  call.begin = [self = shared_from_this()] { return self->Begin(); };
  call.done = [self = shared_from_this()](HttpAnswer answer) { self->OnAnswer(std::move(answer)); };
  call.delay = delay;
  call.cancel = request_.cancel;
  requests_.http_.Submit(std::move(call));
}

HttpRequest Requests::Exchange::Begin() {
  const S3Options& options = requests_.options_;
  const Clock::time_point now = Clock::now();
  if (!deadline_) deadline_ = now + request_.deadline;
  if (attempts_++ > 0) requests_.retries_.fetch_add(1, std::memory_order_relaxed);
  requests_.attempts_.fetch_add(1, std::memory_order_relaxed);

  const Endpoint& endpoint = requests_.endpoint_;
  const std::string path = endpoint.PathOf(request_.bucket, request_.key);
  const std::string query = QueryText(request_.query);
  HttpRequest http;
  http.method = request_.method;
  http.url = fmt::format("{}{}{}{}{}", endpoint.scheme_and_slashes, endpoint.HostOf(request_.bucket), path,
                         query.empty() ? "" : "?", query);
  for (const auto& [name, value] : SignedHeaders(path, query)) {
    if (name != "host") http.headers.push_back(fmt::format("{}: {}", name, value));
  }
  http.body = request_.body;
  if (IsRead()) {
    http.sink = request_.out.subspan(got_);
    http.sink_range =
        fmt::format("bytes {}-{}/", request_.offset + got_, request_.offset + request_.out.size() - 1);
  }
  http.max_body_bytes = request_.max_body_bytes;
  const auto left = std::chrono::duration_cast<milliseconds>(*deadline_ - now);
  // Who may be silent for long may also have been cut off silently: then there must be time to ask again.
  const milliseconds longest = options.attempt_deadline + ForTheBytes();
  http.deadline = std::min(left, request_.may_take_long ? std::max(longest, left / 2) : longest);
  http.connect_deadline = options.connect_deadline;
  if (!request_.may_take_long) http.stall_limit = options.stall_limit;
  http.stall_bytes_per_second = options.stall_bytes_per_second;
  return http;
}

Fields Requests::Exchange::SignedHeaders(const std::string& path, const std::string& query) {
  const auto credentials = requests_.credentials_.current();
  generation_ = credentials->generation;
  const std::string time = SigningTime(requests_.clock_ahead_seconds_.load(std::memory_order_relaxed));
  Fields headers = request_.headers;
  headers.emplace_back("host", requests_.endpoint_.HostOf(request_.bucket));
  headers.emplace_back("x-amz-date", time);
  headers.emplace_back("x-amz-content-sha256", request_.payload_hash);
  if (!credentials->credentials.session_token.empty()) {
    headers.emplace_back("x-amz-security-token", credentials->credentials.session_token);
  }
  if (request_.method == "PUT" || request_.method == "POST") {
    headers.emplace_back("content-type", "application/octet-stream");
  }
  if (IsRead()) {
    headers.emplace_back("range", fmt::format("bytes={}-{}", request_.offset + got_,
                                              request_.offset + request_.out.size() - 1));
    if (!request_.etag.empty()) headers.emplace_back("if-match", request_.etag);
  }
  const ToSign to_sign{request_.method, path, query, headers, request_.payload_hash};
  headers.emplace_back("authorization", Authorization(to_sign, credentials->credentials,
                                                      requests_.endpoint_.region, "s3", time));
  return headers;
}

void Requests::Exchange::OnAnswer(HttpAnswer answer) {
  if (answer.resent) is_ambiguous_ = true;
  ErrorAnswer error;
  if (answer.status >= 300 || (request_.method == "POST" && IsErrorAnswer(answer.body))) {
    error = ParseError(answer.body);
  }
  if (error.region.empty() && answer.status >= 300) error.region = answer.header("x-amz-bucket-region");
  if (error.region == requests_.endpoint_.region) error.region.clear();
  Verdict verdict = Judge(answer, error.code);
  if (verdict == Verdict::kDone && request_.accepts && !request_.accepts(answer)) {
    answer.error = "an answer that cannot be understood";
    answer.outcome = Outcome::kCut;
    verdict = Verdict::kRetry;
  }
  if (IsRead()) verdict = JudgeRead(verdict, answer);
  if (verdict == Verdict::kCredentials && error.code.empty()) {
    const std::optional<int64_t> ahead = AheadBy(answer.header("date"));
    const int64_t known = requests_.clock_ahead_seconds_.load(std::memory_order_relaxed);
    if (ahead && std::abs(*ahead - known) > kMaxSkewSeconds) verdict = Verdict::kClock;
  }
  switch (verdict) {
    case Verdict::kDone:
    case Verdict::kFinal:
      return Finish(std::move(answer), error);
    case Verdict::kClock:
      if (!CorrectClock(answer)) return Finish(std::move(answer), error);
      return Submit(milliseconds(0));
    case Verdict::kCredentials:
      return RenewCredentials(std::move(answer), std::move(error));
    case Verdict::kRetry:
    case Verdict::kSlowDown:
      return Again(verdict, std::move(answer), std::move(error));
  }
}

// What has arrived stays, if it is of the version that was asked for.
Verdict Requests::Exchange::JudgeRead(Verdict verdict, const HttpAnswer& answer) {
  const std::string& etag = answer.header("etag");
  if (answer.status == 206 && !request_.etag.empty() && !etag.empty() && etag != request_.etag) {
    got_ = 0;
    is_lost_ = ++versions_ > 1;
    return is_lost_ ? Verdict::kFinal : Verdict::kRetry;
  }
  got_ += answer.sunk;
  if (answer.sunk > 0) idle_attempts_ = 0;
  if (got_ == request_.out.size() && answer.status == 206) return Verdict::kDone;
  return verdict == Verdict::kDone ? Verdict::kRetry : verdict;
}

bool Requests::Exchange::CorrectClock(const HttpAnswer& answer) {
  const std::optional<int64_t> ahead = AheadBy(answer.header("date"));
  if (!ahead || std::exchange(clock_corrected_, true)) return false;
  requests_.clock_ahead_seconds_.store(*ahead, std::memory_order_relaxed);
  return true;
}

void Requests::Exchange::RenewCredentials(HttpAnswer answer, ErrorAnswer error) {
  if (std::exchange(renewed_, true)) return Finish(std::move(answer), error);
  requests_.credentials_.Renew(generation_, [self = shared_from_this(), answer = std::move(answer),
                                             error = std::move(error)](bool newer) mutable {
    if (newer) return self->Submit(milliseconds(0));
    self->requests_.http_.Post([self, answer = std::move(answer), error = std::move(error)]() mutable {
      self->Finish(std::move(answer), error);
    });
  });
}

void Requests::Exchange::Again(Verdict verdict, HttpAnswer answer, ErrorAnswer error) {
  if (answer.outcome != Outcome::kUnreachable) is_ambiguous_ = true;
  requests_.NoteFailure(Told(answer, error));
  ++idle_attempts_;
  const milliseconds wait = Backoff(std::max(1, idle_attempts_), verdict, answer.header("retry-after"),
                                    requests_.options_.retry_wait, requests_.random_.Next());
  const bool out_of_time = !deadline_ || Clock::now() + wait >= *deadline_;
  const bool cancelled = request_.cancel != nullptr && request_.cancel->load();
  if (cancelled || out_of_time || idle_attempts_ >= request_.max_attempts)
    return Finish(std::move(answer), error);
  Submit(wait);
}

void Requests::Exchange::Finish(HttpAnswer answer, const ErrorAnswer& error) {
  S3Answer out;
  out.status = StatusOf(answer, error);
  out.http_status = answer.status;
  out.code = error.code;
  if (answer.outcome == Outcome::kCancelled && attempts_ > 0) is_ambiguous_ = true;
  out.is_ambiguous = is_ambiguous_;
  const bool is_miss = answer.outcome == Outcome::kAnswered &&
                       (answer.status == 404 || answer.status == 409 || answer.status == 412);
  if (!out.status.ok() && !is_miss && !absl::IsCancelled(out.status)) {
    requests_.failures_.fetch_add(1, std::memory_order_relaxed);
    requests_.NoteFailure(std::string(out.status.message()));
  }
  out.http = std::move(answer);
  std::exchange(done_, nullptr)(std::move(out));
}

std::string Requests::Exchange::Told(const HttpAnswer& answer, const ErrorAnswer& error) const {
  std::string told = Location(request_.bucket, request_.key) + ": ";
  if (answer.outcome != Outcome::kAnswered) return told + answer.error;
  told += fmt::format("the store answered {}", answer.status);
  if (!error.code.empty()) told += " " + error.code;
  if (!error.message.empty()) told += ": " + error.message;
  return told;
}

absl::Status Requests::Exchange::StatusOf(const HttpAnswer& answer, const ErrorAnswer& error) const {
  const std::string place = Location(request_.bucket, request_.key);
  if (is_lost_ ||
      (IsRead() && answer.outcome == Outcome::kAnswered && (answer.status == 412 || answer.status == 416))) {
    return absl::DataLossError(fmt::format("{}: the object is not what it was when it was opened", place));
  }
  if (answer.outcome == Outcome::kCancelled) {
    if (request_.cancel != nullptr && request_.cancel->load()) return absl::CancelledError(answer.error);
    return absl::UnavailableError(fmt::format("{}: {}", place, answer.error));
  }
  std::string text = Told(answer, error);
  if (attempts_ > 1) text += fmt::format(" (attempt {})", attempts_);
  if (answer.outcome == Outcome::kUntrusted) {
    text += "; check the endpoint and its certificate, or name the authority's file";
    return absl::UnavailableError(text);
  }
  if (IsRead() && got_ == request_.out.size()) return absl::OkStatus();
  if (answer.outcome != Outcome::kAnswered) {
    return absl::UnavailableError(text + fmt::format("; is the store at {} well?", requests_.endpoint_.host));
  }
  if (answer.status >= 200 && answer.status < 300) {
    if (!IsRead() && error.code.empty()) return absl::OkStatus();
    return absl::UnavailableError(text);
  }
  if (request_.method == "HEAD" && answer.status == 400 && error.region.empty()) {
    // There is no body to give the reason, and nothing in it to be misunderstood.
    return absl::PermissionDeniedError(text + "; check the credentials: they may have expired");
  }
  const std::string advice = Advice(answer.status, error.code, error.region);
  if (!advice.empty()) text += "; " + advice;
  return absl::Status(CodeOf(answer.status, error.code, IsRead()), text);
}

Requests::Requests(const S3Options& options, Endpoint endpoint, HttpClient& http,
                   CredentialSource& credentials)
    : options_(options), endpoint_(std::move(endpoint)), http_(http), credentials_(credentials) {}

void Requests::Send(S3Request request, absl::AnyInvocable<void(S3Answer)> done) {
  std::make_shared<Exchange>(*this, std::move(request), std::move(done))->Submit(milliseconds(0));
}

S3Answer Requests::Wait(S3Request request) {
  if (http_.IsOwnThread()) {
    S3Answer refused;
    refused.status =
        absl::FailedPreconditionError("a completion of the S3 client must not wait for the S3 client");
    return refused;
  }
  auto answered = std::make_shared<std::promise<S3Answer>>();
  std::future<S3Answer> future = answered->get_future();
  Send(std::move(request), [answered](S3Answer answer) { answered->set_value(std::move(answer)); });
  return future.get();
}

void Requests::NoteFailure(const std::string& what) {
  MutexLock lock(mutex_);
  last_failure_ = what;
  failed_at_ = Clock::now();
}

void Requests::CountsTo(S3Stats& stats) const {
  stats.requests = attempts_.load(std::memory_order_relaxed);
  stats.retries = retries_.load(std::memory_order_relaxed);
  stats.failures = failures_.load(std::memory_order_relaxed);
  MutexLock lock(mutex_);
  stats.last_failure = last_failure_;
  if (failed_at_) {
    stats.seconds_since_failure =
        std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - *failed_at_).count();
  }
}

}  // namespace thermocline::storage::s3
