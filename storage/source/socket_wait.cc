#include "storage/source/socket_wait.h"

#include <algorithm>
#include <cerrno>
#include <string>
#include <sys/eventfd.h>
#include <unistd.h>

#include <poll.h>

namespace thermocline::storage::source {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLongestPoll{3'600'000};

}  // namespace

SocketWait::SocketWait() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

SocketWait::~SocketWait() {
  if (event_ >= 0) close(event_);
}

absl::Status SocketWait::Cancelled() { return absl::CancelledError("the reading was cancelled"); }

absl::Status SocketWait::Await(int socket, int events, Deadline deadline, std::string_view late) const {
  if (event_ < 0) return absl::UnavailableError("the process has no file descriptor left for a wait");
  for (;;) {
    if (cancelled()) return Cancelled();
    const auto asked = static_cast<short>(((events & kRead) != 0 ? POLLIN : 0) |  // NOLINT: poll's type
                                          ((events & kWrite) != 0 ? POLLOUT : 0));
    pollfd waits[] = {{socket, asked, 0}, {event_, POLLIN, 0}};
    // Rounded up, so that the deadline has passed when poll says so.
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    const auto patience = std::clamp(left, milliseconds(0), kLongestPoll);
    const int ready = poll(waits, 2, static_cast<int>(patience.count()));
    if (ready < 0 && errno != EINTR) return absl::ErrnoToStatus(errno, "cannot wait for the database");
    if (ready > 0 && waits[0].revents != 0 && !cancelled()) return absl::OkStatus();
    if (ready == 0 && steady_clock::now() >= deadline) return absl::DeadlineExceededError(std::string(late));
  }
}

void SocketWait::Cancel() {
  cancelled_.store(true, std::memory_order_release);
  const uint64_t one = 1;
  // A full counter, the only failure there can be, wakes as well.
  [[maybe_unused]] const ssize_t written = write(event_, &one, sizeof one);
}

}  // namespace thermocline::storage::source
