#include "tests/bench/blocks_run.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <string>

#include <fmt/format.h>

#include "tests/bench/latency_histogram.h"
#include "tests/bench/machine.h"
#include "tests/bench/progress.h"

namespace thermocline::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// Gets of keys drawn from the first `keys`, until there were enough or one fails.
class RandomReads : public OperationSource {
 public:
  RandomReads(const Workload& workload, uint64_t keys, uint64_t reads, uint64_t seed)
      : workload_(workload), keys_(keys), reads_(reads), seed_(Mix(seed)) {}

  bool Next(Operation& operation, std::string&) override {
    const uint64_t number = begun_.fetch_add(1, std::memory_order_relaxed);
    if (number >= reads_ || failed_.load(std::memory_order_relaxed)) return false;
    operation.key = workload_.KeyAt(RandomStream(seed_ + number).Below(keys_));
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
  const uint64_t keys_;
  const uint64_t reads_;
  const uint64_t seed_;
  std::atomic<uint64_t> begun_{0};
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> failed_{false};
  LatencyHistogram latency_;
  std::mutex mutex_;
  absl::Status status_;
};

// Not a number rather than infinite.
double Ratio(double a, double b) { return b == 0 ? std::numeric_limits<double>::quiet_NaN() : a / b; }

absl::Status MeasureReads(Store& store, const Workload& workload, uint64_t keys, const BlocksOptions& options,
                          BlocksRow& row) {
  const StoreStats before = store.Stats();
  const double cpu_before = UsageOfThisProcess().cpu_seconds;
  RandomReads reads(workload, keys, options.reads, options.shape.seed + keys);
  const Clock::time_point begin = Clock::now();
  {
    const Progress progress(fmt::format("reading at {:.1f} M", static_cast<double>(keys) / 1e6), reads.done(),
                            options.reads);
    store.Run(reads, options.depth);
  }
  const double seconds = Seconds(Clock::now() - begin).count();
  if (!reads.status().ok()) return reads.status();

  const LatencyHistogram::Counts latency = reads.latency();
  const auto done = static_cast<double>(latency.total());
  row.reads_per_second = Ratio(done, seconds);
  row.read_p50 = Seconds(latency.Quantile(0.5)).count();
  row.read_p99 = Seconds(latency.Quantile(0.99)).count();
  row.read_p999 = Seconds(latency.Quantile(0.999)).count();
  row.read_cpu = Ratio(UsageOfThisProcess().cpu_seconds - cpu_before, done);
  const StoreStats after = store.Stats();
  const auto from_memory = static_cast<double>(after.gets_from_memory - before.gets_from_memory);
  const auto from_disk = static_cast<double>(after.gets_from_disk - before.gets_from_disk);
  row.memory_share = Ratio(from_memory, from_memory + from_disk);
  row.disk_reads_per_cold = Ratio(static_cast<double>(after.disk_reads - before.disk_reads), from_disk);
  return absl::OkStatus();
}

absl::Status MeasureInserts(Store& store, const Workload& workload, uint64_t first, uint64_t count,
                            const BlocksOptions& options, BlocksRow& row, double& record_bytes) {
  const double cpu_before = UsageOfThisProcess().cpu_seconds;
  const auto figures = InsertKeys(store, workload, first, count, options.inserts);
  if (!figures.ok()) return figures.status();
  row.inserts_per_second = static_cast<double>(count) / figures->seconds;
  row.slowest_window = figures->slowest_window;
  row.window_ratio = figures->slowest_window / figures->median_window;
  row.longest_pause = figures->longest_pause;
  row.slowest_acknowledgement = figures->slowest_acknowledgement;
  row.insert_cpu = (UsageOfThisProcess().cpu_seconds - cpu_before) / static_cast<double>(count);
  record_bytes += static_cast<double>(figures->record_bytes);
  return absl::OkStatus();
}

void MeasureSpace(Store& store, const std::string& directory, double record_bytes, BlocksRow& row) {
  const StoreStats stats = store.Stats();
  const ProcessUsage usage = UsageOfThisProcess();
  row.resident_bytes = row.other_memory = static_cast<double>(usage.resident_bytes);
  row.peak_resident_bytes = static_cast<double>(usage.peak_resident_bytes);
  for (size_t share = 0; share < kShares; ++share) {
    row.memory[share] = static_cast<double>(stats.memory[share]);
    row.other_memory -= row.memory[share];
  }
  // A store may count memory that it has not touched yet.
  row.other_memory = std::max(0.0, row.other_memory);
  row.index_bytes_per_key = static_cast<double>(stats.memory_of(Share::kIndex)) / row.distinct_keys;
  row.disk_bytes = static_cast<double>(DiskBytes(directory));
  row.disk_per_live = row.disk_bytes / (record_bytes * row.distinct_keys / row.keys);
  row.write_amplification = static_cast<double>(stats.written_bytes) / record_bytes;
}

}  // namespace

absl::Status RunBlocks(Store& store, const std::string& directory, const BlocksOptions& options,
                       absl::FunctionRef<void(const BlocksRow&)> yield) {
  const Workload workload(options.shape);
  double record_bytes = 0;
  for (uint64_t first = 0; first < options.keys; first += options.batch) {
    const uint64_t count = std::min(options.batch, options.keys - first);
    BlocksRow row = {.keys = static_cast<double>(first + count),
                     .distinct_keys = workload.DistinctKeys(first + count)};
    absl::Status status = MeasureInserts(store, workload, first, count, options, row, record_bytes);
    if (status.ok()) status = MeasureReads(store, workload, first + count, options, row);
    if (!status.ok()) return status;
    MeasureSpace(store, directory, record_bytes, row);
    yield(row);
  }
  return absl::OkStatus();
}

}  // namespace thermocline::bench
