#include "storage/segment/memory_line.h"

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "fmt/format.h"

namespace thermocline::storage::segment {
namespace {

// Who asks for no more than this part of all passes those who wait.
constexpr uint64_t kSmallPart = 64;
constexpr size_t kMaxWaiting = 4096;

absl::Status Closed() { return absl::UnavailableError("the server is stopping"); }

}  // namespace

MemoryLine::Grant::~Grant() {
  if (line_ != nullptr) line_->Give(bytes_);
}

bool MemoryLine::Fits(uint64_t bytes) const { return bytes <= limit_ - used_; }

absl::Status MemoryLine::Refusal(const Waiter& waiter, bool ever) const {
  if (ever) {
    return absl::ResourceExhaustedError(fmt::format(
        "{} needs {} KiB of memory, and all segments together have {} KiB: make it smaller, or start the "
        "server with a larger --segment-memory",
        waiter.what, waiter.bytes / 1024 + 1, limit_ / 1024));
  }
  return absl::ResourceExhaustedError(fmt::format(
      "{} needs {} KiB of memory, which other queries and changes are using: try again later, or start "
      "the server with a larger --segment-memory than {} KiB",
      waiter.what, waiter.bytes / 1024 + 1, limit_ / 1024));
}

void MemoryLine::Request(uint64_t bytes, std::chrono::milliseconds patience, std::string what,
                         Granted granted, const Cancellation& cancellation) {
  auto waiter = std::make_shared<Waiter>(Waiter{bytes, std::move(what), std::move(granted), nullptr});
  absl::StatusOr<Grant> answer = Grant();
  {
    MutexLock lock(mutex_);
    if (closed_) {
      answer = Closed();
    } else if (bytes > limit_) {
      ++refused_;
      answer = Refusal(*waiter, true);
    } else if (Fits(bytes) && (waiting_.empty() || bytes <= limit_ / kSmallPart)) {
      used_ += bytes;
      answer = Grant(shared_from_this(), bytes);
    } else if (patience.count() == 0 || waiting_.size() >= kMaxWaiting) {
      ++refused_;
      answer = Refusal(*waiter, false);
    } else {
      // The executor may find it withdrawn, or served.
      waiter->listening =
          cancellation.OnCancel([self = weak_from_this(), weak = std::weak_ptr<Waiter>(waiter), this] {
            const std::shared_ptr<MemoryLine> line = self.lock();
            if (line == nullptr) return;
            executor_.Run([line, weak] {
              if (const std::shared_ptr<Waiter> live = weak.lock())
                line->Withdraw(live, absl::CancelledError("nobody waits for the answer any more"));
            });
          });
      waiting_.push_back(waiter);
      executor_.RunAfter(patience, [self = shared_from_this(), weak = std::weak_ptr<Waiter>(waiter)] {
        if (const std::shared_ptr<Waiter> live = weak.lock()) self->Expire(live);
      });
      return;
    }
  }
  Answer(*waiter, std::move(answer));
}

// What the answer holds may be memory of this line, while a timer still knows the waiter.
void MemoryLine::Answer(Waiter& waiter, absl::StatusOr<Grant> answer) {
  const std::shared_ptr<const void> listening = std::move(waiter.listening);
  Granted granted = std::exchange(waiter.granted, nullptr);
  granted(std::move(answer));
}

void MemoryLine::Give(uint64_t bytes) {
  {
    MutexLock lock(mutex_);
    used_ -= bytes;
  }
  ServeWaiting();
}

void MemoryLine::ServeWaiting() {
  std::vector<std::shared_ptr<Waiter>> served;
  {
    MutexLock lock(mutex_);
    while (!waiting_.empty() && Fits(waiting_.front()->bytes)) {
      used_ += waiting_.front()->bytes;
      served.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
  }
  for (std::shared_ptr<Waiter>& each : served) {
    executor_.Run([self = shared_from_this(), waiter = std::move(each)] {
      Answer(*waiter, Grant(self, waiter->bytes));
    });
  }
}

void MemoryLine::Withdraw(const std::shared_ptr<Waiter>& waiter, const absl::Status& why) {
  {
    MutexLock lock(mutex_);
    const auto found = std::find(waiting_.begin(), waiting_.end(), waiter);
    if (found == waiting_.end()) return;
    waiting_.erase(found);
    if (absl::IsResourceExhausted(why)) ++refused_;
  }
  Answer(*waiter, why);
  ServeWaiting();  // it may have been the one that was too large
}

void MemoryLine::Expire(const std::shared_ptr<Waiter>& waiter) { Withdraw(waiter, Refusal(*waiter, false)); }

void MemoryLine::Close() {
  std::deque<std::shared_ptr<Waiter>> refused;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    refused.swap(waiting_);
  }
  for (const std::shared_ptr<Waiter>& waiter : refused) Answer(*waiter, Closed());
}

MemoryLine::Counts MemoryLine::counts() const {
  MutexLock lock(mutex_);
  return {used_, waiting_.size(), refused_};
}

}  // namespace thermocline::storage::segment
