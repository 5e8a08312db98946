#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object/s3/credentials.h"
#include "storage/object/s3/http_client.h"
#include "storage/object/s3/sigv4.h"
#include "storage/s3_client.h"
#include "storage/system_clock.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::s3 {

struct S3Request {
  std::string method;
  std::string bucket;
  std::string key;           // empty: of the bucket
  Fields query;              // as it is
  Fields headers;            // names in lower case
  std::string_view body;     // must live until the answer
  std::string own_body;      // instead of `body`
  std::string payload_hash;  // Sha256Hex of the body; empty: computed by Send

  // A GET of out.size() bytes from `offset` on of the object's version `etag` (empty: whichever).
  std::span<char> out;
  uint64_t offset = 0;
  std::string etag;

  size_t max_body_bytes = 64 << 10;
  bool may_take_long = false;  // no stall limit, half of the deadline: the store works before it answers
  std::chrono::milliseconds deadline{0};  // 0: as the options say
  int max_attempts = 0;                   // 0: as the options say
  CancelFlag cancel;
  // Whether an answer of success can be understood; it counts as cut otherwise.
  std::function<bool(const HttpAnswer&)> accepts;
};

struct S3Answer {
  // OK; CANCELLED by the flag; FAILED_PRECONDITION for 412 and 409, UNIMPLEMENTED for 501 and 405; others as
  // S3Client says.
  absl::Status status;
  int http_status = 0;  // 0: none came
  std::string code;     // of the error answer
  HttpAnswer http;
  // Another attempt than the last was sent and may have taken effect, or the last one, although it failed.
  bool is_ambiguous = false;
};

// Where the store is, taken from the options once.
struct Endpoint {
  std::string scheme_and_slashes;  // "http://"
  std::string host;                // with port, unless it is the scheme's
  std::string region;
  S3Options::Addressing addressing = S3Options::Addressing::kPath;
  bool is_aws = false;

  // INVALID_ARGUMENT.
  static absl::StatusOr<Endpoint> Of(const S3Options& options);
  std::string HostOf(const std::string& bucket) const;
  std::string PathOf(const std::string& bucket, const std::string& key) const;

 private:
  bool IsPathStyle(const std::string& bucket) const;
};

// Signs, sends, judges, waits, and sends again. Thread-safe.
class Requests {
 public:
  // All must outlive it, and it must outlive the http client's thread.
  Requests(const S3Options& options, Endpoint endpoint, HttpClient& http, CredentialSource& credentials);

  // `done` is called exactly once, on the http client's thread, and should be short.
  void Send(S3Request request, absl::AnyInvocable<void(S3Answer)> done);
  // Waits. FAILED_PRECONDITION on the http client's thread, which would wait for itself.
  S3Answer Wait(S3Request request);
  void Cancel(const CancelFlag& flag) { http_.Cancel(flag); }

  const Endpoint& endpoint() const { return endpoint_; }
  const S3Options& options() const { return options_; }
  void CountsTo(S3Stats& stats) const;
  uint64_t RandomNumber() { return random_.Next(); }

 private:
  class Exchange;

  void NoteFailure(const std::string& what);

  const S3Options options_;
  const Endpoint endpoint_;
  HttpClient& http_;
  CredentialSource& credentials_;
  SystemRandom random_;
  std::atomic<int64_t> clock_ahead_seconds_{0};  // the store's, of ours
  std::atomic<uint64_t> attempts_{0};
  std::atomic<uint64_t> retries_{0};
  std::atomic<uint64_t> failures_{0};
  mutable Mutex mutex_;
  std::string last_failure_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::chrono::steady_clock::time_point> failed_at_ ABSL_GUARDED_BY(mutex_);
};

// "s3://bucket/key"
std::string Location(const std::string& bucket, const std::string& key);

}  // namespace thermocline::storage::s3
