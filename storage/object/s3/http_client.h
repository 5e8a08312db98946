#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "storage/thread_annotations.h"

namespace thermocline::storage::s3 {

// One attempt.
struct HttpRequest {
  std::string method;                // GET, HEAD, PUT, POST or DELETE
  std::string url;                   // sent as it is
  std::vector<std::string> headers;  // "name: value"
  std::string_view body;             // of PUT and POST; must live until the answer
  // Where the body of a 206 goes if its Content-Range begins with `sink_range`. No other answer of success is
  // taken then.
  std::span<char> sink;
  std::string sink_range;
  size_t max_body_bytes = 64 << 10;  // of what goes into the answer
  std::chrono::milliseconds deadline{60'000};
  std::chrono::milliseconds connect_deadline{5'000};
  std::chrono::milliseconds stall_limit{0};  // 0: none
  uint64_t stall_bytes_per_second = 1;
};

struct HttpAnswer {
  enum class Outcome : uint8_t {
    kAnswered,     // whole
    kUnreachable,  // no connection
    kCut,          // the connection broke, or said something that is not HTTP
    kTimeout,
    kUntrusted,   // TLS: nobody we know
    kUnexpected,  // longer than it may be, or not the range asked for
    kCancelled,
  };
  Outcome outcome = Outcome::kCancelled;
  int status = 0;                              // 0: none came
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  size_t sunk = 0;      // bytes that went into the sink, whatever the outcome
  std::string error;    // for people, if not kAnswered
  bool resent = false;  // it went out before as well, over a kept connection that was cut then

  // Empty if there is none.
  const std::string& header(const std::string& name) const;
};

// Set to cancel the calls that carry it; see HttpClient::Cancel.
using CancelFlag = std::shared_ptr<std::atomic<bool>>;

struct HttpCall {
  // Both on the client's thread. `begin` when the call has got a connection.
  absl::AnyInvocable<HttpRequest()> begin;
  absl::AnyInvocable<void(HttpAnswer)> done;  // exactly once; may submit
  std::chrono::milliseconds delay{0};
  bool urgent = false;  // goes before others
  CancelFlag cancel;    // may be null
};

struct HttpOptions {
  std::string ca_file;
  int max_connections = 32;
  // A call that has waited for a connection for so long gives up if nobody has answered for so long either.
  std::chrono::milliseconds patience{120'000};
};

struct HttpCounts {
  uint64_t sent = 0;
  uint64_t received = 0;
  uint64_t connections = 0;  // open sockets
  uint64_t active = 0;
  uint64_t waiting = 0;
};

// HTTP/1.1 through libcurl: one thread, at most so many connections, kept for later calls. Nothing is
// buffered beyond what a request allows, and nothing is read that nobody wants. No redirects, no proxies, no
// retries (but of a request that met a kept connection which the server had closed; HttpAnswer::resent says
// so, for the server may have heeded it the first time). Thread-safe.
class HttpClient {
 public:
  static absl::StatusOr<std::unique_ptr<HttpClient>> Open(HttpOptions options);
  ~HttpClient();

  // Cancels what is under way, ends the thread. From then on calls are cancelled at once.
  void Close();

  void Submit(HttpCall call);
  // Runs `task` on the client's thread, some time soon; during the call if that has ended.
  void Post(absl::AnyInvocable<void()> task);
  // Ends all calls with this flag, which was set; returns before they have ended.
  void Cancel(const CancelFlag& flag);
  // Waits for the answer; not from the client's thread.
  HttpAnswer Fetch(HttpRequest request);

  bool IsOwnThread() const { return std::this_thread::get_id() == thread_.get_id(); }
  HttpCounts counts() const;

 private:
  class Transfer;
  struct Multi;  // what libcurl has of it
  using Clock = std::chrono::steady_clock;

  struct Waiting {
    HttpCall call;
    Clock::time_point since;
  };

  explicit HttpClient(HttpOptions options);

  void Run();
  bool TakeSubmitted();
  void RunPosted();
  void CancelFlagged();
  void StartWaiting();
  void GiveUpWaiting();
  void Harvest();
  void EndAll();
  int PollMs();

  const HttpOptions options_;
  const std::unique_ptr<Multi> multi_;

  mutable Mutex mutex_;
  std::vector<HttpCall> submitted_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::AnyInvocable<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;  // somebody has set a flag
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;

  // The thread's own.
  std::deque<Waiting> waiting_;
  std::multimap<Clock::time_point, HttpCall> delayed_;
  std::vector<std::unique_ptr<Transfer>> active_;
  std::vector<std::unique_ptr<Transfer>> idle_;
  Clock::time_point last_answer_;

  std::atomic<uint64_t> sent_{0};
  std::atomic<uint64_t> received_{0};
  std::atomic<uint64_t> active_count_{0};
  std::atomic<uint64_t> waiting_count_{0};

  std::thread thread_;  // the last: it uses all the others
};

}  // namespace thermocline::storage::s3
