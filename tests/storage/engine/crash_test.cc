// Power cuts and kills at random moments on the simulated disk. After each, the store must be what it was
// after some prefix of the writes, and that prefix holds everything that was acknowledged as durable.

#include <cstdlib>
#include <map>

#include "gtest/gtest.h"

#include "tests/storage/engine/simulated_store.h"

namespace thermocline::testing {
namespace {

using storage::Durability;

class CrashRun {
 public:
  explicit CrashRun(uint64_t seed) : store_(seed, OptionsFor(seed)) {}

  void Run(int crashes) {
    ASSERT_EQ(store_.Open(), absl::OkStatus());
    for (int i = 0; i < crashes && !::testing::Test::HasFatalFailure(); ++i) {
      WriteUntilTheLightsGoOut();
      EndSomehow();
      Reopen();
      Check();
    }
  }

 private:
  using State = std::map<std::string, std::string>;
  struct Event {
    std::string key;
    std::optional<std::string> value;
  };

  static storage::Options OptionsFor(uint64_t seed) {
    storage::Options options = SimulatedStore::SmallOptions();
    if (seed % 32 == 1 || seed % 32 == 8) {
      options = SimulatedStore::DeepColdOptions();
      options.index_bytes = 128;  // a dozen keys
    }
    if (seed % 4 == 0) options.hash_bits = 4;
    if (seed % 2 == 0) options.checkpoint_log_bytes = options.block_bytes;
    return options;
  }

  uint64_t Below(uint64_t bound) { return store_.random.Next() % bound; }

  void WriteUntilTheLightsGoOut() {
    const uint64_t writes = Below(150);
    if (Below(3) == 0) store_.disk.PowerOffAfter(Below(40));
    if (Below(10) == 0) store_.disk.Fail(SimulatedDisk::Operation::kSync, 1 + Below(5));
    if (Below(10) == 0) store_.disk.Fail(SimulatedDisk::Operation::kWrite, 1 + Below(5));
    for (uint64_t i = 0; i < writes; ++i) {
      WriteOne();
      if (Below(10) == 0) Flush();
      if (Below(10) == 0) store_.Advance(std::chrono::milliseconds(100));
      if (Below(40) == 0) store_.engine->Compact([](const auto&) {});
      while (Below(3) == 0 && store_.RunOne()) {
      }
    }
    if (Below(4) == 0) store_.disk.PowerOffAfter(Below(4));
    if (Below(2) == 0) store_.RunUntilIdle();
  }

  void WriteOne() {
    const uint64_t sizes[] = {10, 10, 10, 10, 10, 100, 3000, 20'000};
    Event event = {"key" + std::to_string(Below(25)), std::nullopt};
    if (Below(6) != 0) event.value = std::string(sizes[Below(8)], '.') + std::to_string(writes_++);
    storage::Write write = {.key = event.key, .durability = Durability::kMemory};
    if (event.value) write.value = *event.value;
    store_.engine->Apply(write, [this, event](const absl::StatusOr<storage::WriteResult>& result) {
      if (result.ok()) events_[result->version] = event;
    });
  }

  // Acknowledged as SYNC writes are: by the same wait for the disk.
  void Flush() {
    const uint64_t newest = events_.empty() ? 0 : events_.rbegin()->first;
    store_.engine->Flush([this, newest](const absl::Status& status) {
      if (status.ok()) durable_ = std::max(durable_, newest);
    });
  }

  void EndSomehow() {
    const uint64_t way = Below(8);
    if (way == 0) {
      store_.RunUntilIdle();
      if (store_.CloseAtOnce().ok()) durable_ = events_.empty() ? durable_ : events_.rbegin()->first;
      store_.disk.Kill();
    } else {
      way < 3 ? store_.Kill() : store_.Crash();
    }
    // Nothing depends on it.
    if (Below(16) == 0) store_.disk.Remove("data/CHECKPOINT").IgnoreError();
  }

  // Recovery itself may be cut short, any number of times.
  void Reopen() {
    for (int tries = 0;; ++tries) {
      if (tries < 5 && Below(3) == 0) store_.disk.PowerOffAfter(Below(12));
      const absl::Status status = store_.Open();
      if (status.ok()) return;
      ASSERT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
      ASSERT_LT(tries, 10);
      Below(2) == 0 ? store_.disk.Kill() : store_.disk.Crash();
      store_.reads.Drop();
      store_.commits.Drop();
      store_.background.Drop();
    }
  }

  void Check() {
    State found;
    uint64_t newest = 0;
    for (int i = 0; i < 25; ++i) {
      const std::string key = "key" + std::to_string(i);
      const auto entry = store_.Get(key);
      ASSERT_TRUE(entry.ok()) << entry.status();
      if (!entry->has_value()) continue;
      found[key] = (*entry)->value.view();
      newest = std::max(newest, (*entry)->version);
    }
    State state = base_;
    bool matches = durable_ == 0 && state == found;
    for (const auto& [version, event] : events_) {
      if (event.value) {
        state[event.key] = *event.value;
      } else {
        state.erase(event.key);
      }
      matches |= version >= durable_ && state == found;
    }
    ASSERT_TRUE(matches) << "after a crash the store is no prefix of what was written, with "
                         << events_.size() << " writes, durable up to version " << durable_
                         << ", newest found " << newest;
    base_ = std::move(found);
    events_.clear();
    durable_ = 0;
  }

  SimulatedStore store_;
  uint64_t writes_ = 0;
  State base_;
  std::map<uint64_t, Event> events_;  // since the last crash, by version: in the order they took effect
  uint64_t durable_ = 0;              // the version up to which all is acknowledged as durable
};

// THERMOCLINE_SEED replays one run, THERMOCLINE_CRASH_RUNS asks for more of them.
TEST(CrashTest, NothingAcknowledgedIsLostAndNothingElseAppears) {
  const char* seed = std::getenv("THERMOCLINE_SEED");
  const char* runs = std::getenv("THERMOCLINE_CRASH_RUNS");
  const uint64_t first = seed != nullptr ? std::strtoull(seed, nullptr, 10) : 1;
  const uint64_t count = seed != nullptr ? 1 : runs != nullptr ? std::strtoull(runs, nullptr, 10) : 400;
  for (uint64_t i = first; i < first + count && !HasFatalFailure(); ++i) {
    SCOPED_TRACE("THERMOCLINE_SEED=" + std::to_string(i));
    CrashRun(i).Run(/*crashes=*/10);
  }
}

}  // namespace
}  // namespace thermocline::testing
