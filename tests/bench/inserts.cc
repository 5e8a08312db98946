#include "tests/bench/inserts.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tests/bench/progress.h"
#include "tests/bench/report.h"

namespace thermocline::bench {
namespace {

// As far ahead of a put its key is announced.
constexpr uint64_t kAhead = 4;

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr std::chrono::milliseconds kTick{100};
constexpr size_t kTicksPerWindow = 10;

// One writer thread.
class Lane {
 public:
  Lane(Store& store, const Workload& workload, const InsertOptions& options, std::atomic<uint64_t>& done)
      : workload_(workload),
        options_(options),
        done_(done),
        writer_(store.NewWriter()),
        permits_(options.groups_in_flight) {}

  // Returns when all is acknowledged, or after the first failure.
  void Insert(Clock::time_point begin, uint64_t first, uint64_t end) {
    begin_ = begin;
    while (first < end && status().ok()) {
      const uint64_t next = std::min(end, first + options_.group);
      permits_.acquire();
      if (absl::Status written = InsertGroup(first, next); !written.ok()) {
        Note(written);
        permits_.release();
      }
      done_.fetch_add(next - first, std::memory_order_relaxed);
      first = next;
    }
    for (int i = 0; i < options_.groups_in_flight; ++i) permits_.acquire();
  }

  absl::Status status() const {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  // Of the finished lane.
  Clock::duration longest_pause() const { return longest_pause_; }
  Clock::duration slowest_acknowledgement() const { return slowest_acknowledgement_; }
  uint64_t record_bytes() const { return record_bytes_; }
  const std::vector<uint64_t>& ticks() const { return ticks_; }

 private:
  absl::Status InsertGroup(uint64_t first, uint64_t end) {
    std::string value;
    Clock::time_point before = Clock::now();
    for (uint64_t index = first; index < end; ++index) {
      const Key key = workload_.KeyAt(index);
      if (index + kAhead < end) writer_->Expect(workload_.KeyAt(index + kAhead).view());
      workload_.ValueOf(key, 0, value);
      if (absl::Status status = writer_->Put(key.view(), value); !status.ok()) return status;
      record_bytes_ += key.size + value.size();
      Advance(before, 1);
    }
    absl::Status status = writer_->Flush([this, asked = Clock::now()](const absl::Status& result) {
      Note(result);
      {
        const std::lock_guard lock(mutex_);
        slowest_acknowledgement_ = std::max(slowest_acknowledgement_, Clock::now() - asked);
      }
      permits_.release();
    });
    Advance(before, 0);
    return status;
  }

  // A call has ended: one look at the clock serves for its length and for when its record came.
  void Advance(Clock::time_point& before, uint64_t records) {
    const Clock::time_point now = Clock::now();
    longest_pause_ = std::max(longest_pause_, now - before);
    before = now;
    const auto tick = static_cast<size_t>((now - begin_) / kTick);
    if (tick >= ticks_.size()) ticks_.resize(tick + 1);
    ticks_[tick] += records;
  }

  void Note(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    status_.Update(status);
  }

  const Workload& workload_;
  const InsertOptions& options_;
  std::atomic<uint64_t>& done_;
  const std::unique_ptr<GroupWriter> writer_;
  std::counting_semaphore<> permits_;  // groups that may yet be begun
  Clock::time_point begin_;
  Clock::duration longest_pause_{};
  uint64_t record_bytes_ = 0;
  std::vector<uint64_t> ticks_;  // records by the tenth of a second they came in

  mutable std::mutex mutex_;
  absl::Status status_;
  Clock::duration slowest_acknowledgement_{};
};

// The sums of all windows; only of ticks that are over.
std::vector<double> Windows(const std::vector<std::unique_ptr<Lane>>& lanes, Clock::duration length) {
  std::vector<double> ticks(static_cast<size_t>(length / kTick));
  for (const auto& lane : lanes) {
    const size_t shared = std::min(ticks.size(), lane->ticks().size());
    for (size_t i = 0; i < shared; ++i) ticks[i] += static_cast<double>(lane->ticks()[i]);
  }
  std::vector<double> windows;
  for (size_t i = 0; i + kTicksPerWindow <= ticks.size(); ++i) {
    const auto from = ticks.begin() + static_cast<std::ptrdiff_t>(i);
    windows.push_back(std::accumulate(from, from + kTicksPerWindow, 0.0));
  }
  return windows;
}

}  // namespace

absl::StatusOr<InsertFigures> InsertKeys(Store& store, const Workload& workload, uint64_t first,
                                         uint64_t count, const InsertOptions& options) {
  std::atomic<uint64_t> done{0};
  const Progress progress(fmt::format("inserting at {:.1f} M", static_cast<double>(first) / 1e6), done,
                          count);
  std::vector<std::unique_ptr<Lane>> lanes;
  lanes.reserve(options.writers);
  for (int i = 0; i < options.writers; ++i) {
    lanes.push_back(std::make_unique<Lane>(store, workload, options, done));
  }
  const Clock::time_point begin = Clock::now();
  std::vector<std::thread> threads;
  for (size_t i = 0; i < lanes.size(); ++i) {
    const uint64_t from = first + count * i / lanes.size();
    const uint64_t to = first + count * (i + 1) / lanes.size();
    threads.emplace_back([&lane = *lanes[i], begin, from, to] { lane.Insert(begin, from, to); });
  }
  for (std::thread& thread : threads) thread.join();
  const Clock::duration length = Clock::now() - begin;

  InsertFigures figures = {.seconds = Seconds(length).count()};
  for (const auto& lane : lanes) {
    if (absl::Status status = lane->status(); !status.ok()) return status;
    figures.longest_pause = std::max(figures.longest_pause, Seconds(lane->longest_pause()).count());
    figures.slowest_acknowledgement =
        std::max(figures.slowest_acknowledgement, Seconds(lane->slowest_acknowledgement()).count());
    figures.record_bytes += lane->record_bytes();
  }
  const std::vector<double> windows = Windows(lanes, length);
  figures.median_window = MedianOf(windows);
  figures.slowest_window = windows.empty() ? std::numeric_limits<double>::quiet_NaN()
                                           : *std::min_element(windows.begin(), windows.end());
  return figures;
}

}  // namespace thermocline::bench
