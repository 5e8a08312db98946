#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object/s3/http_client.h"
#include "storage/s3_client.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::s3 {

// Where credentials may come from. S3Options tells the order.
struct CredentialPlaces {
  std::optional<S3Credentials> given;
  std::string profile;
  // A variable of the environment; nullopt if it is not set or empty.
  std::function<std::optional<std::string>(const std::string&)> variable;
  // The bytes of a file of at most 1 MiB; nullopt if there is none that can be read.
  std::function<std::optional<std::string>(const std::string&)> file;
  std::function<HttpAnswer(HttpRequest)> fetch;
};
// The process's environment and files.
CredentialPlaces PlacesOfProcess(std::function<HttpAnswer(HttpRequest)> fetch);

struct FoundCredentials {
  S3Credentials credentials;
  std::optional<std::chrono::system_clock::time_point> expires;
  bool may_change = false;  // it may be worth looking again
};
// Looks in all places, one after the other; waits for endpoints, some seconds at most.
// PERMISSION_DENIED: there are none; the message says where it looked and what was wrong there.
absl::StatusOr<FoundCredentials> FindCredentials(const CredentialPlaces& places);

// RFC 3339 with Z, such as "2026-01-02T03:04:05Z", or with a fraction of a second.
std::optional<std::chrono::system_clock::time_point> ParseUtcTime(std::string_view text);

// Credentials that stay valid: fetched anew some minutes before they expire, on a thread of its own, and when
// somebody finds them refused. If that fails the old ones stay, and it is tried again. Thread-safe.
class CredentialSource {
 public:
  // Errors as FindCredentials. What `places` refers to must outlive it.
  static absl::StatusOr<std::unique_ptr<CredentialSource>> Open(CredentialPlaces places);
  ~CredentialSource();

  struct Current {
    S3Credentials credentials;
    uint64_t generation = 0;
  };
  std::shared_ptr<const Current> current() const;

  // Calls `done` with whether there are newer ones than those of `generation` now; during the call or later
  // on the source's thread.
  void Renew(uint64_t generation, absl::AnyInvocable<void(bool)> done);

  // Ends the thread; those who wait for newer ones are told that there are none.
  void Close();

 private:
  using Clock = std::chrono::steady_clock;

  CredentialSource(CredentialPlaces places, FoundCredentials found);

  void Run();
  void Look();
  void Take(FoundCredentials found) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasTurn() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const CredentialPlaces places_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::shared_ptr<const Current> current_ ABSL_GUARDED_BY(mutex_);
  bool may_change_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<Clock::time_point> look_at_ ABSL_GUARDED_BY(mutex_);
  std::optional<Clock::time_point> looked_at_ ABSL_GUARDED_BY(mutex_);  // without success, or for who asked
  std::vector<absl::AnyInvocable<void(bool)>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // the last; none for credentials that cannot change
};

}  // namespace thermocline::storage::s3
