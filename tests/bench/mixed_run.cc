#include "tests/bench/mixed_run.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "tests/bench/lru_model.h"
#include "tests/bench/machine.h"
#include "tests/bench/progress.h"

namespace thermocline::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr std::chrono::seconds kInterval{1};

double Ratio(double a, double b) { return b == 0 ? std::numeric_limits<double>::quiet_NaN() : a / b; }

// Everything that counts up, at one moment.
struct Sample {
  Clock::time_point time;
  uint64_t begun = 0;
  double set_bytes = 0;
  double cpu_seconds = 0;
  LatencyHistogram::Counts gets;
  LatencyHistogram::Counts sets;
  StoreStats stats;
};

// A row, and what the model needs to complete it.
struct Interval {
  MixedRow row;
  uint64_t begin = 0;  // in the sequence
  uint64_t end = 0;
  uint64_t cache_bytes = 0;
};

// Looks at the store once a second while it lives.
class Sampler {
 public:
  Sampler(Store& store, const MixedTraffic& traffic, std::string directory, double live_bytes, double ratio)
      : store_(store),
        traffic_(traffic),
        directory_(std::move(directory)),
        live_bytes_(live_bytes),
        ratio_(ratio),
        first_(Take()),
        thread_([this] { Watch(); }) {}

  // Stops. The last of the intervals is all of them.
  std::vector<Interval> Finish() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    stop_.notify_one();
    thread_.join();
    Interval all = Between(first_, Take());
    all.row.second = std::numeric_limits<double>::quiet_NaN();
    intervals_.push_back(all);
    return std::move(intervals_);
  }

 private:
  void Watch() {
    Sample before = first_;
    std::unique_lock lock(mutex_);
    while (!stop_.wait_until(lock, before.time + kInterval, [this] { return stopping_; })) {
      Sample now = Take();
      intervals_.push_back(Between(before, now));
      before = std::move(now);
    }
  }

  Sample Take() {
    return {.time = Clock::now(),
            .begun = traffic_.begun().load(std::memory_order_relaxed),
            .set_bytes = static_cast<double>(traffic_.set_bytes()),
            .cpu_seconds = UsageOfThisProcess().cpu_seconds,
            .gets = traffic_.gets().Take(),
            .sets = traffic_.sets().Take(),
            .stats = store_.Stats()};
  }

  Interval Between(const Sample& before, const Sample& now) const {
    const LatencyHistogram::Counts gets = now.gets - before.gets;
    const LatencyHistogram::Counts sets = now.sets - before.sets;
    const auto operations = static_cast<double>(gets.total() + sets.total());
    const auto from_memory = static_cast<double>(now.stats.gets_from_memory - before.stats.gets_from_memory);
    const auto from_disk = static_cast<double>(now.stats.gets_from_disk - before.stats.gets_from_disk);
    MixedRow row = {.ratio = ratio_};
    row.second = Seconds(now.time - first_.time).count();
    row.operations_per_second = operations / Seconds(now.time - before.time).count();
    row.cpu = Ratio(now.cpu_seconds - before.cpu_seconds, operations);
    row.memory_share = Ratio(from_memory, from_memory + from_disk);
    row.get_p50 = Seconds(gets.Quantile(0.5)).count();
    row.get_p99 = Seconds(gets.Quantile(0.99)).count();
    row.get_p999 = Seconds(gets.Quantile(0.999)).count();
    row.longest_get = Seconds(gets.Quantile(1)).count();
    row.set_p99 = Seconds(sets.Quantile(0.99)).count();
    row.longest_set = Seconds(sets.Quantile(1)).count();
    row.write_amplification = Ratio(static_cast<double>(now.stats.written_bytes - first_.stats.written_bytes),
                                    now.set_bytes - first_.set_bytes);
    row.disk_bytes = static_cast<double>(DiskBytes(directory_));
    row.disk_per_live = row.disk_bytes / live_bytes_;
    std::copy(now.stats.memory.begin(), now.stats.memory.end(), row.memory.begin());
    return {.row = row, .begin = before.begun, .end = now.begun, .cache_bytes = CacheBytes(now.stats)};
  }

  // What an ideal cache would have for records.
  static uint64_t CacheBytes(const StoreStats& stats) {
    const uint64_t others = stats.memory_of(Share::kIndex) + stats.memory_of(Share::kTables);
    return stats.memory_limit - std::min(stats.memory_limit, others);
  }

  Store& store_;
  const MixedTraffic& traffic_;
  const std::string directory_;
  const double live_bytes_;
  const double ratio_;
  const Sample first_;
  std::vector<Interval> intervals_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

// A limit for `share` of the measurement.
MixedTraffic::Limit LimitOf(const MixedOptions& options, double share) {
  if (options.operations > 0) {
    return {.operations = static_cast<uint64_t>(share * static_cast<double>(options.operations)),
            .deadline = Clock::time_point::max()};
  }
  const auto length = std::chrono::duration_cast<Clock::duration>(Seconds(share * options.seconds));
  return {.operations = std::numeric_limits<uint64_t>::max() / 2, .deadline = Clock::now() + length};
}

absl::Status RunFor(Store& store, MixedTraffic& traffic, const std::string& what, const MixedOptions& options,
                    double share) {
  const Progress progress(what, traffic.begun(), 0);
  traffic.Extend(LimitOf(options, share));
  store.Run(traffic, options.depth);
  return traffic.status();
}

// The same sequence of operations again, on the ideal cache.
void Replay(const Workload& workload, const MixedOptions& options, uint64_t keys,
            std::vector<Interval>& intervals) {
  const auto record_bytes = [&](uint64_t key) { return workload.RecordBytes(workload.KeyAt(key)); };
  LruModel model(intervals.front().cache_bytes);
  for (uint64_t key = 0; key < keys; ++key) model.Touch(key, record_bytes(key));
  OperationSequence sequence(options.popularity, keys);
  std::atomic<uint64_t> step{0};
  const Progress progress("replaying on an ideal cache", step, intervals.back().end);
  uint64_t all_gets = 0;
  uint64_t all_hits = 0;
  const auto run_to = [&](uint64_t end, uint64_t& gets, uint64_t& hits) {
    for (; step < end; ++step) {
      const OperationSequence::Step next = sequence.Next();
      const bool hit = model.Touch(next.key, record_bytes(next.key));
      gets += !next.is_set;
      hits += hit && !next.is_set;
    }
  };
  const auto complete = [](MixedRow& row, uint64_t gets, uint64_t hits) {
    row.lru_share = Ratio(static_cast<double>(hits), static_cast<double>(gets));
    row.hit_ratio = Ratio(row.memory_share, row.lru_share);
  };
  uint64_t warm_gets = 0;
  uint64_t warm_hits = 0;
  run_to(intervals.back().begin, warm_gets, warm_hits);
  for (Interval& interval : intervals) {
    uint64_t gets = 0;
    uint64_t hits = 0;
    model.SetCapacity(interval.cache_bytes);
    run_to(interval.end, gets, hits);
    all_gets += gets;
    all_hits += hits;
    complete(interval.row, gets, hits);
  }
  complete(intervals.back().row, all_gets, all_hits);
}

}  // namespace

absl::Status RunMixed(const Contestant& contestant, const StoreOptions& store_options,
                      const MixedOptions& options, absl::FunctionRef<void(const MixedRow&)> yield) {
  const Workload workload(options.shape);
  const auto keys = std::max<uint64_t>(
      1, static_cast<uint64_t>(options.ratio * static_cast<double>(store_options.memory_bytes) /
                               workload.MeanRecordBytes()));
  auto store = contestant.open(store_options);
  if (!store.ok()) return store.status();
  const auto loaded = InsertKeys(**store, workload, 0, keys, options.inserts);
  if (!loaded.ok()) return loaded.status();
  const double live_bytes =
      static_cast<double>(loaded->record_bytes) * workload.DistinctKeys(keys) / static_cast<double>(keys);

  MixedTraffic traffic(workload, options.popularity, keys);
  if (absl::Status status = RunFor(**store, traffic, "warming up", options, options.warm_up); !status.ok()) {
    return status;
  }
  Sampler sampler(**store, traffic, store_options.directory, live_bytes, options.ratio);
  absl::Status status = RunFor(**store, traffic, "measuring", options, 1);
  std::vector<Interval> intervals = sampler.Finish();
  if (!status.ok()) return status;
  if (status = (*store)->Close(); !status.ok()) return status;
  store->reset();
  Replay(workload, options, keys, intervals);
  for (const Interval& interval : intervals) yield(interval.row);
  return absl::OkStatus();
}

}  // namespace thermocline::bench
