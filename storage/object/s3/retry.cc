#include "storage/object/s3/retry.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace thermocline::storage::s3 {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstWait{100};
constexpr milliseconds kFirstSlowWait{500};
constexpr int64_t kMaxRetryAfterSeconds = 30;

template <size_t kCount>
bool IsOneOf(std::string_view code, const std::array<std::string_view, kCount>& codes) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

// Refusals whose cause is not the request: what arrived was damaged, too slow, or met another operation.
constexpr std::array<std::string_view, 7> kTransient = {"RequestTimeout",
                                                        "BadDigest",
                                                        "XAmzContentSHA256Mismatch",
                                                        "OperationAborted",
                                                        "ConditionalRequestConflict",
                                                        "InternalError",
                                                        "IncompleteBody"};
constexpr std::array<std::string_view, 4> kStale = {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
                                                    "TokenRefreshRequired"};
constexpr std::array<std::string_view, 4> kTooFast = {"SlowDown", "Throttling", "TooManyRequests",
                                                      "RequestLimitExceeded"};

}  // namespace

Verdict Judge(const HttpAnswer& answer, std::string_view code) {
  switch (answer.outcome) {
    case HttpAnswer::Outcome::kAnswered:
      break;
    case HttpAnswer::Outcome::kUnreachable:
    case HttpAnswer::Outcome::kCut:
    case HttpAnswer::Outcome::kTimeout:
      return Verdict::kRetry;
    case HttpAnswer::Outcome::kUntrusted:
    case HttpAnswer::Outcome::kUnexpected:
    case HttpAnswer::Outcome::kCancelled:
      return Verdict::kFinal;
  }
  if (IsOneOf(code, kTooFast) || answer.status == 429 || answer.status == 503) return Verdict::kSlowDown;
  if (IsOneOf(code, kTransient)) return Verdict::kRetry;
  if (answer.status >= 200 && answer.status < 300 && code.empty()) return Verdict::kDone;
  switch (answer.status) {
    case 408:
    case 500:
    case 502:
    case 504:
      return Verdict::kRetry;
    default:
      break;
  }
  if (code == "RequestTimeTooSkewed") return Verdict::kClock;
  if (IsOneOf(code, kStale)) return Verdict::kCredentials;
  // A HEAD is refused without a reason; for an expired token, also with 400.
  if ((answer.status == 403 || answer.status == 400) && code.empty()) return Verdict::kCredentials;
  return Verdict::kFinal;
}

milliseconds Backoff(int retry, Verdict verdict, std::string_view retry_after, milliseconds most,
                     uint64_t random) {
  milliseconds bound = verdict == Verdict::kSlowDown ? kFirstSlowWait : kFirstWait;
  for (int i = 1; i < retry && bound < most; ++i) bound *= 2;
  bound = std::min(bound, std::max(most, milliseconds(1)));
  milliseconds wait(static_cast<int64_t>(random % static_cast<uint64_t>(bound.count() + 1)));
  int64_t seconds = 0;
  const auto [end, error] =
      std::from_chars(retry_after.data(), retry_after.data() + retry_after.size(), seconds);
  if (error == std::errc() && end == retry_after.data() + retry_after.size() && seconds > 0) {
    wait += std::chrono::seconds(std::min(seconds, kMaxRetryAfterSeconds));
  }
  return wait;
}

}  // namespace thermocline::storage::s3
