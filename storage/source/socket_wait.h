#pragma once

#include <atomic>
#include <chrono>
#include <string_view>

#include "absl/status/status.h"

namespace thermocline::storage::source {

// Waits for a socket, which another thread may end once and for all.
class SocketWait {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  SocketWait();
  ~SocketWait();
  SocketWait(const SocketWait&) = delete;
  SocketWait& operator=(const SocketWait&) = delete;

  enum Events { kRead = 1, kWrite = 2 };
  // OK when the socket can be read or written, as asked, or has failed. CANCELLED. DEADLINE_EXCEEDED, with
  // `late` as its message.
  absl::Status Await(int socket, int events, Deadline deadline, std::string_view late) const;

  // From any thread.
  void Cancel();
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // What a cancelled wait returns.
  static absl::Status Cancelled();

 private:
  const int event_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace thermocline::storage::source
