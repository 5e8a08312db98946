// The engine on real threads and real files, for the sanitizers and for what only happens when things happen
// at once.

#include <atomic>
#include <future>
#include <thread>

#include "gtest/gtest.h"

#include "storage/engine.h"
#include "storage/posix_file_system.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/support/temp_directory.h"

namespace thermocline::testing {
namespace {

using storage::Durability;
using storage::Engine;

// With and without deep cold.
class ThreadsTest : public ::testing::TestWithParam<bool> {
 protected:
  ThreadsTest() : reads("reads", 2), commits("commits", 1), background("background", 1) { Open(); }

  void Open() {
    engine.reset();
    auto opened = Engine::Open({.directory = directory.path(),
                                .memory_bytes = (GetParam() ? uint64_t{40} : uint64_t{4}) << 20,
                                .block_bytes = 64 << 10,
                                .flush_interval = std::chrono::milliseconds(5),
                                .index_bytes = GetParam() ? uint64_t{2} << 10 : 0},
                               {files, clock, random, reads, *disk_reads, commits, background});
    ASSERT_TRUE(opened.ok()) << opened.status();
    engine = *std::move(opened);
  }

  absl::StatusOr<storage::WriteResult> Apply(const storage::Write& write) {
    std::promise<absl::StatusOr<storage::WriteResult>> answer;
    engine->Apply(write, [&](auto result) { answer.set_value(std::move(result)); });
    return answer.get_future().get();
  }
  absl::StatusOr<std::optional<storage::Entry>> Get(const std::string& key) {
    std::promise<absl::StatusOr<std::optional<storage::Entry>>> answer;
    engine->Get(key, [&](auto result) { answer.set_value(std::move(result)); });
    return answer.get_future().get();
  }

  TempDirectory directory;
  storage::PosixFileSystem files;
  storage::SystemClock clock;
  storage::SeededRandom random{1};
  storage::ThreadPool reads;
  storage::ThreadPool commits;
  storage::ThreadPool background;
  std::unique_ptr<storage::DiskReads> disk_reads =
      std::move(storage::OpenDiskReads(storage::DiskReadsChoice::kAuto, 2)->reads);
  std::unique_ptr<Engine> engine;
};

// Each writer owns its keys, so it knows what it must read, hot and cold; all of them share one counter by
// compare-and-set.
TEST_P(ThreadsTest, WritersAndReadersAgree) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 6;
  constexpr int kKeys = 150;
  // On a fast disk, what happens in the background comes late.
  constexpr int kMostRounds = 2000;
  const auto enough = [&] {
    const storage::EngineStats stats = engine->Stats();
    return GetParam() ? stats.demoted_records > 0 : stats.cached_records > 0;
  };
  std::atomic<int> rounds{0};
  std::atomic<bool> scanning{true};
  std::thread scanner([&] {
    while (scanning) {
      std::promise<void> done;
      engine->Scan({.max_entries = 100}, [&](auto page) {
        EXPECT_TRUE(page.ok()) << page.status();
        done.set_value();
      });
      done.get_future().get();
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < kRounds || (round < kMostRounds && !enough()); ++round, ++rounds) {
        for (int i = 0; i < kKeys; ++i) {
          const std::string key = std::to_string(t) + ":" + std::to_string(i);
          const std::string value = std::string(i % 10 == 0 ? 8000 : 40, 'v') + std::to_string(round);
          const auto durability = i % 50 == 0 ? Durability::kSync : Durability::kMemory;
          ASSERT_TRUE(Apply({.key = key, .value = value, .durability = durability}).ok());
          const auto entry = Get(key);
          ASSERT_TRUE(entry.ok() && entry->has_value());
          ASSERT_EQ((*entry)->value.view(), value);
          const auto old = Get(std::to_string(t) + ":" + std::to_string((i + 1) % kKeys));
          ASSERT_TRUE(old.ok());
          ASSERT_EQ(old->has_value(), round > 0 || i + 1 == kKeys);
        }
        for (bool applied = false; !applied;) {
          const auto counter = Get("counter");
          ASSERT_TRUE(counter.ok());
          using Kind = storage::Condition::Kind;
          storage::Write write = {.key = "counter", .durability = Durability::kMemory};
          const int count = counter->has_value() ? std::stoi(std::string((*counter)->value.view())) : 0;
          const std::string next = std::to_string(count + 1);
          write.value = next;
          write.condition = counter->has_value() ? storage::Condition{Kind::kIfVersion, (*counter)->version}
                                                 : storage::Condition{Kind::kIfAbsent};
          const auto result = Apply(write);
          ASSERT_TRUE(result.ok());
          applied = result->applied;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  scanning = false;
  scanner.join();
  EXPECT_TRUE(enough()) << engine->Stats().deep_status;
  EXPECT_EQ(engine->Stats().demoted_records > 0, GetParam());
  EXPECT_EQ((*Get("counter"))->value.view(), std::to_string(rounds));
  Open();
  EXPECT_EQ((*Get("counter"))->value.view(), std::to_string(rounds));
  EXPECT_GT(engine->Stats().recovered_slots, 0u);
}

TEST_P(ThreadsTest, CloseCompletesWhatIsUnderWay) {
  constexpr int kWrites = 2000;
  std::atomic<int> answered{0};
  for (int i = 0; i < kWrites; ++i) {
    engine->Apply({.key = std::to_string(i), .value = std::string_view("v")}, [&](auto result) {
      EXPECT_TRUE(result.ok());
      ++answered;
    });
  }
  ASSERT_EQ(engine->Close(), absl::OkStatus());
  EXPECT_EQ(answered, kWrites);
  Open();
  EXPECT_EQ(engine->Stats().recovered_slots, static_cast<uint64_t>(kWrites));
}

INSTANTIATE_TEST_SUITE_P(DeepCold, ThreadsTest, ::testing::Bool());

}  // namespace
}  // namespace thermocline::testing
