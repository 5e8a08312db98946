#include "tests/bench/progress.h"

#include <chrono>
#include <cstdio>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace thermocline::bench {
namespace {

constexpr std::chrono::milliseconds kPause{500};
constexpr char kClearLine[] = "\r\x1b[K";

}  // namespace

Progress::Progress(std::string what, const std::atomic<uint64_t>& done, uint64_t total)
    : what_(std::move(what)), done_(done), total_(total) {
  if (isatty(STDOUT_FILENO) == 1) thread_ = std::thread([this] { Print(); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_one();
  thread_.join();
}

void Progress::Print() {
  uint64_t before = done_.load(std::memory_order_relaxed);
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, kPause, [this] { return stopping_; })) {
    const uint64_t now = done_.load(std::memory_order_relaxed);
    const double rate = static_cast<double>(now - before) / std::chrono::duration<double>(kPause).count();
    before = now;
    const std::string share = total_ == 0 ? "" : fmt::format(" of {:.2f}", static_cast<double>(total_) / 1e6);
    fmt::print("{}{}: {:.2f}{} M, {:.0f} k/s", kClearLine, what_, static_cast<double>(now) / 1e6, share,
               rate / 1e3);
    std::fflush(stdout);
  }
  fmt::print("{}", kClearLine);
  std::fflush(stdout);
}

}  // namespace thermocline::bench
