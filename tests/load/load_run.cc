#include "tests/load/load_run.h"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "tests/bench/machine.h"
#include "tests/load/records.h"
#include "tests/load/segment_load.h"
#include "tests/load/server_usage.h"
#include "tests/load/traffic.h"
#include "tests/load/vias.h"

namespace thermocline::load {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::chrono::milliseconds kWindow{100};
constexpr uint64_t kSampleKeys = 1000;
constexpr uint32_t kLoadBatch = 128;
constexpr uint64_t kLoadBatchBytes = 256 << 10;

Clock::duration DurationOf(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
}

// The sum over the tallies so far, without windows.
LoadResult SumOf(const std::vector<std::unique_ptr<Tally>>& tallies) {
  LoadResult sum;
  for (const auto& tally : tallies) {
    sum.operations += tally->operations.load(std::memory_order_relaxed);
    sum.errors += tally->errors.load(std::memory_order_relaxed);
    sum.wrong += tally->wrong.load(std::memory_order_relaxed);
    sum.missing += tally->missing.load(std::memory_order_relaxed);
    sum.latencies = sum.latencies + tally->latencies.Take();
    if (sum.first_fault.empty()) sum.first_fault = tally->first_fault();
  }
  return sum;
}

// What happened between two sums.
Window Between(const LoadResult& before, const LoadResult& now) {
  const auto latencies = now.latencies - before.latencies;
  const auto quantile = [&](double share) {
    return latencies.total() == 0 ? std::numeric_limits<double>::quiet_NaN()
                                  : Seconds(latencies.Quantile(share)).count();
  };
  return {.at = now.seconds,
          .operations_per_second =
              static_cast<double>(now.operations - before.operations) / (now.seconds - before.seconds),
          .p50 = quantile(0.5),
          .p99 = quantile(0.99),
          .longest = quantile(1),
          .errors = now.errors - before.errors};
}

// Takes the sum again and again, and keeps what happened in between.
class Sampler {
 public:
  Sampler(const std::vector<std::unique_ptr<Tally>>& tallies, TimePoint start)
      : tallies_(tallies), start_(start) {}

  const LoadResult& Take() {
    LoadResult now = SumOf(tallies_);
    now.seconds = std::max(1e-9, Seconds(Clock::now() - start_).count());
    now.windows = std::move(last_.windows);
    // The end comes soon after a sample: too short a time for a rate belongs to the window before it.
    const bool join = !now.windows.empty() && now.seconds - last_.seconds < Seconds(kWindow).count() / 2;
    if (join) now.windows.pop_back();
    if (!join) before_ = std::move(last_);
    now.windows.push_back(Between(before_, now));
    last_ = std::move(now);
    return last_;
  }

 private:
  const std::vector<std::unique_ptr<Tally>>& tallies_;
  const TimePoint start_;
  LoadResult before_;  // what the newest window begins with
  LoadResult last_;
};

Records::Shape ShapeOf(const LoadOptions& options) {
  const Mix& mix = options.workload.mix;
  return {.random_keys = mix.random_keys,
          .min_value_bytes = mix.min_value_bytes,
          .max_value_bytes = mix.max_value_bytes,
          .seed = options.seed};
}

// Part `index` of `whole`, cut into `parts` that differ by one at most.
uint64_t PartOf(uint64_t whole, uint64_t parts, uint64_t index) {
  return whole / parts + (index < whole % parts ? 1 : 0);
}

}  // namespace

LoadRun::LoadRun(const LoadOptions& options)
    : options_(options),
      records_(ShapeOf(options)),
      choice_(options.workload.mix.popularity, options.keys, options.seed),
      space_(options.workload.mix.starts_empty ? 0 : options.keys) {}

LoadRun::~LoadRun() = default;

absl::StatusOr<std::unique_ptr<LoadRun>> LoadRun::Connect(const LoadOptions& options) {
  const Via& via = *FindVia(options.via);
  std::unique_ptr<LoadRun> run(new LoadRun(options));
  if (options.workload.mix.random_keys && !via.takes_any_key) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' has keys of random bytes, which {} cannot carry", options.workload.name, via.name));
  }
  const uint32_t threads = std::min(options.threads, options.connections);
  for (uint32_t i = 0; i < threads; ++i) {
    const auto connections = static_cast<uint32_t>(PartOf(options.connections, threads, i));
    auto driver = load::Connect(via, {options.host, options.port, connections, options.in_flight});
    if (!driver.ok()) return driver.status();
    run->drivers_.push_back(*std::move(driver));
    run->tickets_.push_back(connections * options.in_flight);
  }
  run->server_ = options.server_pid != 0 ? options.server_pid : FindListener(options.port);
  return run;
}

absl::Status LoadRun::RunPhase(TrafficPlan& plan, const Watcher& watcher, LoadResult& result) {
  const uint64_t calls = plan.calls;
  std::vector<std::unique_ptr<Tally>> tallies;
  std::vector<TrafficPlan> plans(drivers_.size(), plan);
  for (size_t i = 0; i < drivers_.size(); ++i) {
    tallies.push_back(std::make_unique<Tally>());
    if (calls != std::numeric_limits<uint64_t>::max()) plans[i].calls = PartOf(calls, drivers_.size(), i);
  }
  std::mutex mutex;
  std::condition_variable ended;
  size_t running = drivers_.size();
  absl::Status status;
  std::vector<std::thread> threads;
  Sampler sampler(tallies, plan.start);
  ++phases_;
  for (size_t i = 0; i < drivers_.size(); ++i) {
    threads.emplace_back([&, i] {
      Traffic traffic(plans[i], tickets_[i], options_.seed * 1'000'003 + phases_ * 1009 + i, *tallies[i]);
      const absl::Status run = drivers_[i]->Run(traffic);
      const std::lock_guard lock(mutex);
      status.Update(run);
      --running;
      ended.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  TimePoint next = plan.start + kWindow;
  while (!ended.wait_until(lock, next, [&] { return running == 0; })) {
    next += kWindow;
    lock.unlock();
    watcher(sampler.Take());
    lock.lock();
  }
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  result = sampler.Take();
  return status;
}

absl::StatusOr<bool> LoadRun::IsLoaded() {
  const KeyChoice anywhere(Popularity::kUniform, options_.keys, options_.seed);
  TrafficPlan plan{.records = records_, .choice = anywhere, .space = space_, .mix = {.reads = 1}};
  plan.misses_allowed = true;
  plan.start = Clock::now();
  plan.calls = std::min(kSampleKeys, options_.keys);
  LoadResult result;
  const absl::Status status = RunPhase(
      plan, [](const LoadResult&) {}, result);
  if (!status.ok()) return status;
  if (result.errors > 0) return absl::UnavailableError(result.first_fault);
  return result.missing == 0 && result.wrong == 0;
}

absl::StatusOr<LoadResult> LoadRun::Load(const Watcher& watcher) {
  const uint64_t record = records_.key_bytes() + records_.shape().max_value_bytes;
  const auto batch = static_cast<uint32_t>(std::clamp<uint64_t>(kLoadBatchBytes / record, 1, kLoadBatch));
  KeySpace fresh(0);
  TrafficPlan plan{.records = records_, .choice = choice_, .space = fresh, .mix = {.inserts = 1}};
  plan.batch = batch;
  plan.sync = false;
  plan.start = Clock::now();
  // The last batch may write a few keys more than were asked for.
  plan.calls = (options_.keys + batch - 1) / batch;
  LoadResult result;
  absl::Status status = RunPhase(plan, watcher, result);
  if (status.ok() && result.errors > 0) {
    status = absl::UnavailableError(fmt::format("{} calls failed: {}", result.errors, result.first_fault));
  }
  if (!status.ok()) return status;
  return result;
}

absl::Status LoadRun::Measure(const Watcher& watcher, LoadResult& result, SegmentLoad* beside) {
  if (beside != nullptr) beside->Start();
  TrafficPlan plan{.records = records_, .choice = choice_, .space = space_, .mix = options_.workload.mix};
  plan.batch = options_.batch;
  plan.sync = options_.sync;
  plan.calls_per_second = options_.rate / options_.batch / static_cast<double>(drivers_.size());
  LoadResult warm_up;
  if (options_.warm_up > 0) {
    plan.start = Clock::now();
    plan.end = plan.start + DurationOf(options_.warm_up);
    const absl::Status status = RunPhase(
        plan, [](const LoadResult&) {}, warm_up);
    if (!status.ok()) {
      if (beside != nullptr) beside->Stop();
      return status;
    }
  }
  if (beside != nullptr) beside->Count();
  const double cpu_before = bench::UsageOfThisProcess().cpu_seconds;
  const auto server_before = server_ ? UsageOf(*server_) : std::nullopt;
  plan.start = Clock::now();
  plan.end = TimePoint::max();
  if (options_.operations > 0) {
    plan.calls = (options_.operations + options_.batch - 1) / options_.batch;
  } else {
    plan.end = plan.start + DurationOf(options_.seconds);
  }
  const absl::Status status = RunPhase(plan, watcher, result);
  // Faults count whenever they happen.
  result.errors += warm_up.errors;
  result.wrong += warm_up.wrong;
  if (result.first_fault.empty()) result.first_fault = warm_up.first_fault;
  result.client_cpu_seconds = bench::UsageOfThisProcess().cpu_seconds - cpu_before;
  const auto server_after = server_ ? UsageOf(*server_) : std::nullopt;
  if (server_before && server_after) {
    result.server_cpu_seconds = server_after->cpu_seconds - server_before->cpu_seconds;
    result.server_resident_bytes = server_after->resident_bytes;
  }
  if (beside != nullptr) result.segments = beside->Stop();
  return status;
}

}  // namespace thermocline::load
