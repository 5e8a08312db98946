#include "tests/bench/reads.h"

#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>

#include <fmt/format.h>

#include "tests/bench/latency_histogram.h"
#include "tests/bench/machine.h"
#include "tests/bench/progress.h"

namespace thermocline::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// Until there were enough or one fails.
class CheckedReads : public OperationSource {
 public:
  CheckedReads(const Workload& workload, uint64_t reads, absl::FunctionRef<uint64_t(uint64_t)> choose)
      : workload_(workload), reads_(reads), choose_(choose) {}

  bool Next(Operation& operation, std::string&) override {
    const uint64_t number = begun_.fetch_add(1, std::memory_order_relaxed);
    if (number >= reads_ || failed_.load(std::memory_order_relaxed)) return false;
    operation.key = workload_.KeyAt(choose_(number));
    return true;
  }

  void Done(const Operation& operation,
            const absl::StatusOr<std::optional<std::string_view>>& value) override {
    latency_.Add(Clock::now() - operation.start);
    if (absl::Status status = workload_.CheckRead(operation.key, value, 0); !status.ok()) {
      const std::lock_guard lock(mutex_);
      status_.Update(status);
      failed_.store(true, std::memory_order_relaxed);
    }
    done_.fetch_add(1, std::memory_order_relaxed);
  }

  // After the last one is done.
  const absl::Status& status() const { return status_; }
  LatencyHistogram::Counts latency() const { return latency_.Take(); }
  const std::atomic<uint64_t>& done() const { return done_; }

 private:
  const Workload& workload_;
  const uint64_t reads_;
  const absl::FunctionRef<uint64_t(uint64_t)> choose_;
  std::atomic<uint64_t> begun_{0};
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> failed_{false};
  LatencyHistogram latency_;
  std::mutex mutex_;
  absl::Status status_;
};

// Not a number rather than infinite.
double Ratio(double a, double b) { return b == 0 ? std::numeric_limits<double>::quiet_NaN() : a / b; }

}  // namespace

absl::StatusOr<ReadFigures> ReadKeys(Store& store, const Workload& workload, uint64_t reads, int depth,
                                     const std::string& what, absl::FunctionRef<uint64_t(uint64_t)> choose) {
  const StoreStats before = store.Stats();
  const double cpu_before = UsageOfThisProcess().cpu_seconds;
  CheckedReads source(workload, reads, choose);
  const Clock::time_point begin = Clock::now();
  {
    const Progress progress(what, source.done(), reads);
    store.Run(source, depth);
  }
  const double seconds = Seconds(Clock::now() - begin).count();
  if (!source.status().ok()) return source.status();

  const LatencyHistogram::Counts latency = source.latency();
  const auto done = static_cast<double>(latency.total());
  const StoreStats after = store.Stats();
  const auto from_memory = static_cast<double>(after.gets_from_memory - before.gets_from_memory);
  const auto from_disk = static_cast<double>(after.gets_from_disk - before.gets_from_disk);
  return ReadFigures{
      .per_second = Ratio(done, seconds),
      .p50 = Seconds(latency.Quantile(0.5)).count(),
      .p99 = Seconds(latency.Quantile(0.99)).count(),
      .p999 = Seconds(latency.Quantile(0.999)).count(),
      .cpu = Ratio(UsageOfThisProcess().cpu_seconds - cpu_before, done),
      .memory_share = Ratio(from_memory, from_memory + from_disk),
      .disk_reads_per_cold = Ratio(static_cast<double>(after.disk_reads - before.disk_reads), from_disk)};
}

absl::StatusOr<ReadFigures> ReadRandomKeys(Store& store, const Workload& workload, uint64_t keys,
                                           uint64_t reads, int depth, uint64_t seed) {
  return ReadKeys(
      store, workload, reads, depth, fmt::format("reading at {:.1f} M", static_cast<double>(keys) / 1e6),
      [keys, from = Mix(seed)](uint64_t number) { return RandomStream(from + number).Below(keys); });
}

}  // namespace thermocline::bench
