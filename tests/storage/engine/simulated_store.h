#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "storage/engine.h"
#include "storage/executor_reads.h"
#include "storage/system_clock.h"
#include "tests/support/manual_clock.h"
#include "tests/support/manual_executor.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::testing {

// An engine on a simulated disk, whose background work runs when told: one seed decides everything that
// happens. Its calls run that work until they are answered. Not thread-safe.
class SimulatedStore {
 public:
  explicit SimulatedStore(uint64_t seed, storage::Options store_options = SmallOptions())
      : options(std::move(store_options)),
        disk(seed),
        random(seed + 1),
        reads(seed + 2),
        commits(seed + 3),
        background(seed + 4),
        disk_reads(reads),
        world_{disk, clock, random, reads, disk_reads, commits, background} {
    // Not as many as the machine has.
    if (options.recovery_threads == 0) options.recovery_threads = static_cast<int>(1 + seed % 4);
  }
  ~SimulatedStore() { CloseIfOpen(); }

  static storage::Options SmallOptions() {
    return {.directory = "data", .memory_bytes = 4 << 20, .block_bytes = 64 << 10};
  }

  // An index so small that all but two hundred keys have to go to deep cold.
  static storage::Options DeepColdOptions() {
    return {.directory = "data", .memory_bytes = 40 << 20, .block_bytes = 64 << 10, .index_bytes = 2 << 10};
  }

  absl::Status Open() {
    auto opened = storage::Engine::Open(options, world_);
    if (!opened.ok()) return opened.status();
    engine = *std::move(opened);
    return absl::OkStatus();
  }

  absl::Status Close() {
    RunUntilIdle();
    const absl::Status status = engine->Close();
    engine.reset();
    Drop();
    return status;
  }

  // In the middle of what is done in the background.
  absl::Status CloseAtOnce() {
    // Operations end.
    while (reads.RunOne() || commits.RunOne()) {
    }
    const absl::Status status = engine->Close();
    engine.reset();
    Drop();
    return status;
  }

  // The power goes off: what was under way is answered with an error or not at all. Open() again afterwards.
  void Crash() {
    Bury();
    disk.Crash();
  }
  // The process is killed: as Crash(), but what it wrote is still there to be read, synced or not.
  void Kill() {
    Bury();
    disk.Kill();
  }

  void RunUntilIdle() {
    while (RunOne()) {
    }
  }
  // Runs one task that is due.
  bool RunOne() {
    const uint64_t first = random.Next() % 3;
    for (uint64_t i = 0; i < 3; ++i) {
      ManualExecutor* const executors[] = {&reads, &commits, &background};
      if (executors[(first + i) % 3]->RunOne()) return true;
    }
    return false;
  }

  // Lets time pass for the background work.
  void Advance(std::chrono::milliseconds time) {
    commits.Advance(time);
    background.Advance(time);
  }

  absl::StatusOr<std::optional<storage::Entry>> Get(const std::string& key) {
    std::optional<absl::StatusOr<std::optional<storage::Entry>>> answer;
    engine->Get(key, [&](auto result) { answer = std::move(result); });
    return Await(answer);
  }
  // The value, or "(none)", or the error.
  std::string Read(const std::string& key) {
    auto entry = Get(key);
    if (!entry.ok()) return entry.status().ToString();
    return entry->has_value() ? std::string((*entry)->value.view()) : "(none)";
  }
  absl::StatusOr<storage::WriteResult> Apply(const storage::Write& write) {
    std::optional<absl::StatusOr<storage::WriteResult>> answer;
    engine->Apply(write, [&](auto result) { answer = std::move(result); });
    return Await(answer);
  }
  absl::StatusOr<storage::WriteResult> Set(const std::string& key, const std::string& value) {
    return Apply({.key = key, .value = value});
  }
  absl::StatusOr<storage::WriteResult> Delete(const std::string& key) { return Apply({.key = key}); }
  absl::Status Flush() {
    std::optional<absl::Status> answer;
    engine->Flush([&](const absl::Status& status) { answer = status; });
    return Await(answer);
  }
  absl::StatusOr<storage::CompactionReport> Compact() {
    std::optional<absl::StatusOr<storage::CompactionReport>> answer;
    engine->Compact([&](auto report) { answer = std::move(report); });
    return Await(answer);
  }
  absl::StatusOr<storage::ScanPage> Scan(const storage::ScanRequest& request) {
    std::optional<absl::StatusOr<storage::ScanPage>> answer;
    engine->Scan(request, [&](auto page) { answer = std::move(page); });
    return Await(answer);
  }

  storage::Options options;
  SimulatedDisk disk;
  ManualClock clock;
  storage::SeededRandom random;
  ManualExecutor reads;
  ManualExecutor commits;
  ManualExecutor background;
  storage::ExecutorReads disk_reads;
  std::unique_ptr<storage::Engine> engine;

 private:
  template <typename T>
  T Await(std::optional<T>& answer) {
    while (!answer) {
      if (!RunOne()) Advance(std::chrono::milliseconds(50));
    }
    return *std::move(answer);
  }
  // Ends the engine without letting it change anything any more.
  void Bury() {
    disk.PowerOffAfter(0);
    RunUntilIdle();
    engine.reset();
    Drop();
  }
  void Drop() {
    reads.Drop();
    commits.Drop();
    background.Drop();
  }
  void CloseIfOpen() {
    if (engine == nullptr) return;
    RunUntilIdle();
    engine.reset();
  }

  storage::World world_;
};

}  // namespace thermocline::testing
