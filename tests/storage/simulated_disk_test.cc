// The simulated disk must be able to do every harm that a crash can do, and none that it cannot: tests that
// run on it prove no more than it does.

#include "tests/support/simulated_disk.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/manual_clock.h"
#include "tests/support/manual_executor.h"

namespace thermocline::testing {
namespace {

using storage::File;
using Mode = storage::FileSystem::Mode;
using Operation = SimulatedDisk::Operation;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

std::unique_ptr<File> CreateSafely(SimulatedDisk& disk, const std::string& path,
                                   std::string_view content = {}) {
  auto file = disk.Open(path, Mode::kCreate).value();
  EXPECT_TRUE(file->WriteAt(0, content).ok());
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_TRUE(disk.SyncDirectory("/").ok());
  return file;
}

// What /file can hold, or "gone", when `prepare` was followed by a crash: over many seeds.
std::set<std::string> Outcomes(const std::function<void(SimulatedDisk&)>& prepare, int seeds = 400) {
  std::set<std::string> outcomes;
  for (int seed = 0; seed < seeds; ++seed) {
    SimulatedDisk disk(seed);
    prepare(disk);
    disk.Crash();
    outcomes.insert(disk.Contents("/file").value_or("gone"));
  }
  return outcomes;
}

TEST(SimulatedDiskTest, WhatWasSyncedStays) {
  EXPECT_THAT(Outcomes([](SimulatedDisk& disk) {
                auto file = CreateSafely(disk, "/file", "first");
                EXPECT_TRUE(file->WriteAt(0, "F").ok());
                EXPECT_TRUE(file->Truncate(4).ok());
                EXPECT_TRUE(file->Sync().ok());
              }),
              ElementsAre("Firs"));
}

TEST(SimulatedDiskTest, EachUnsyncedWriteForItself) {
  // Two sectors, one write each, neither depending on the other.
  const auto prepare = [](SimulatedDisk& disk) {
    auto file = CreateSafely(disk, "/file", std::string(1024, 'a'));
    EXPECT_TRUE(file->WriteAt(0, std::string(512, 'b')).ok());
    EXPECT_TRUE(file->WriteAt(512, std::string(512, 'c')).ok());
  };
  EXPECT_THAT(Outcomes(prepare),
              UnorderedElementsAre(std::string(1024, 'a'), std::string(512, 'b') + std::string(512, 'a'),
                                   std::string(512, 'a') + std::string(512, 'c'),
                                   std::string(512, 'b') + std::string(512, 'c')));
}

TEST(SimulatedDiskTest, TornWritesTearAtSectors) {
  const auto outcomes = Outcomes([](SimulatedDisk& disk) {
    auto file = CreateSafely(disk, "/file", std::string(3 * 512, 'a'));
    EXPECT_TRUE(file->WriteAt(0, std::string(3 * 512, 'b')).ok());
  });
  EXPECT_THAT(outcomes, SizeIs(8)) << "every subset of three sectors";
  for (const std::string& outcome : outcomes) {
    ASSERT_EQ(outcome.size(), 3 * 512u);
    for (size_t sector = 0; sector < 3; ++sector) {
      EXPECT_THAT(outcome.substr(sector * 512, 512), Each(outcome[sector * 512]));
    }
  }
}

TEST(SimulatedDiskTest, AnUnalignedBeginningTearsAtAnyByte) {
  const auto outcomes = Outcomes([](SimulatedDisk& disk) {
    auto file = CreateSafely(disk, "/file", std::string(8, 'a'));
    EXPECT_TRUE(file->WriteAt(2, "bbbb").ok());
  });
  EXPECT_THAT(outcomes, UnorderedElementsAre("aaaaaaaa", "aabaaaaa", "aabbaaaa", "aabbbaaa", "aabbbbaa"));
}

TEST(SimulatedDiskTest, AFileMayHaveGrownWithoutItsData) {
  const auto outcomes = Outcomes([](SimulatedDisk& disk) {
    auto file = CreateSafely(disk, "/file", std::string(512, 'a'));
    EXPECT_TRUE(file->WriteAt(512, std::string(1024, 'b')).ok());
  });
  const std::string a(512, 'a');
  const std::string b(512, 'b');
  const std::string zero(512, '\0');
  EXPECT_THAT(outcomes,
              UnorderedElementsAre(a, a + b, a + b + b, a + zero + b, a + b + zero, a + zero + zero));
}

TEST(SimulatedDiskTest, UnsyncedLengthsMayOrMayNotHaveChanged) {
  EXPECT_THAT(Outcomes([](SimulatedDisk& disk) {
                auto file = CreateSafely(disk, "/file", "content");
                EXPECT_TRUE(file->Truncate(3).ok());
                EXPECT_TRUE(file->Allocate(5).ok());
              }),
              UnorderedElementsAre("content", "con", std::string("con\0\0", 5)));
}

TEST(SimulatedDiskTest, NamesNeedTheirDirectorySynced) {
  EXPECT_THAT(Outcomes([](SimulatedDisk& disk) {
                auto file = disk.Open("/file", Mode::kCreate).value();
                EXPECT_TRUE(file->WriteAt(0, "content").ok());
                EXPECT_TRUE(file->Sync().ok());
              }),
              UnorderedElementsAre("gone", "content"));
  EXPECT_THAT(Outcomes([](SimulatedDisk& disk) {
                CreateSafely(disk, "/file", "content");
                EXPECT_TRUE(disk.Remove("/file").ok());
              }),
              UnorderedElementsAre("gone", "content"));
  EXPECT_THAT(Outcomes([](SimulatedDisk& disk) {
                CreateSafely(disk, "/file", "content");
                EXPECT_TRUE(disk.Remove("/file").ok());
                EXPECT_TRUE(disk.SyncDirectory("/").ok());
              }),
              ElementsAre("gone"));
  EXPECT_THAT(Outcomes([](SimulatedDisk& disk) {
                CreateSafely(disk, "/file", "old");
                CreateSafely(disk, "/next", "new");
                EXPECT_TRUE(disk.Rename("/next", "/file").ok());
              }),
              UnorderedElementsAre("old", "new"));
}

TEST(SimulatedDiskTest, RenamesBetweenDirectoriesNeedBothSynced) {
  const auto after = [](const std::vector<std::string>& synced) {
    std::set<std::vector<std::string>> outcomes;
    for (int seed = 0; seed < 200; ++seed) {
      SimulatedDisk disk(seed);
      EXPECT_TRUE(disk.CreateDirectory("/to").ok());
      CreateSafely(disk, "/file", "content");
      EXPECT_TRUE(disk.Rename("/file", "/to/file").ok());
      for (const std::string& directory : synced) EXPECT_TRUE(disk.SyncDirectory(directory).ok());
      disk.Crash();
      outcomes.insert(disk.Paths());
      for (const std::string& path : disk.Paths()) EXPECT_EQ(disk.Contents(path), "content");
      EXPECT_EQ(disk.used_bytes(), disk.Paths().size() * 7);
      if (disk.Paths().size() == 2) {
        EXPECT_TRUE(disk.Open("/file", Mode::kReadWrite).value()->WriteAt(0, "CON").ok());
        EXPECT_EQ(disk.Contents("/to/file"), "content") << "the other name is another file";
        EXPECT_TRUE(disk.Remove("/file").ok());
        EXPECT_EQ(disk.used_bytes(), 7u);
      }
    }
    return outcomes;
  };
  using Paths = std::vector<std::string>;
  const Paths both = {"/file", "/to/file"};
  EXPECT_THAT(after({}), UnorderedElementsAre(Paths{}, Paths{"/file"}, Paths{"/to/file"}, both));
  EXPECT_THAT(after({"/to"}), UnorderedElementsAre(Paths{"/to/file"}, both));
  EXPECT_THAT(after({"/"}), UnorderedElementsAre(Paths{}, Paths{"/to/file"}));
  EXPECT_THAT(after({"/to", "/"}), ElementsAre(Paths{"/to/file"}));
}

TEST(SimulatedDiskTest, UnsyncedNamesSurviveInOrder) {
  std::set<std::vector<std::string>> outcomes;
  for (int seed = 0; seed < 200; ++seed) {
    SimulatedDisk disk(seed);
    for (const char* path : {"/1", "/2", "/3"}) EXPECT_TRUE(disk.Open(path, Mode::kCreate).ok());
    disk.Crash();
    outcomes.insert(disk.Paths());
  }
  using Paths = std::vector<std::string>;
  EXPECT_THAT(outcomes,
              UnorderedElementsAre(Paths{}, Paths{"/1"}, Paths{"/1", "/2"}, Paths{"/1", "/2", "/3"}));
}

TEST(SimulatedDiskTest, AFailedSyncLosesForGood) {
  const auto prepare = [](SimulatedDisk& disk) {
    auto file = CreateSafely(disk, "/file", "a");
    EXPECT_TRUE(file->WriteAt(0, "b").ok());
    disk.Fail(Operation::kSync);
    EXPECT_TRUE(absl::IsUnavailable(file->Sync()));
    EXPECT_EQ(disk.Contents("/file"), "b") << "still visible";
    EXPECT_TRUE(file->Sync().ok()) << "says that all is well";
  };
  EXPECT_THAT(Outcomes(prepare), UnorderedElementsAre("a", "b"));
}

TEST(SimulatedDiskTest, TheDeadChangeNothing) {
  SimulatedDisk disk(1);
  auto file = CreateSafely(disk, "/file", "content");
  auto lock = disk.Lock("/LOCK").value();
  disk.Crash();

  char byte;
  EXPECT_TRUE(absl::IsUnavailable(file->WriteAt(0, "x")));
  EXPECT_TRUE(absl::IsUnavailable(file->Truncate(0)));
  EXPECT_TRUE(absl::IsUnavailable(file->Allocate(100)));
  EXPECT_TRUE(absl::IsUnavailable(file->Sync()));
  EXPECT_TRUE(absl::IsUnavailable(file->ReadAt(0, std::span(&byte, 1))));
  EXPECT_EQ(file->ReadAt(0, std::span(&byte, 1)).message(), "the machine has crashed");
  EXPECT_TRUE(absl::IsUnavailable(file->Size().status()));
  EXPECT_EQ(disk.Contents("/file"), "content");

  auto next = disk.Lock("/LOCK");
  ASSERT_TRUE(next.ok()) << "a crash gives up locks";
  lock.reset();
  EXPECT_TRUE(absl::IsFailedPrecondition(disk.Lock("/LOCK").status())) << "a dead lock gives up nothing";
}

TEST(SimulatedDiskTest, PowerGoesOffBetweenAnyTwoChanges) {
  std::set<std::string> outcomes;
  for (uint64_t changes = 0; changes <= 4; ++changes) {
    SimulatedDisk disk(7);
    auto file = CreateSafely(disk, "/file", "0");
    disk.PowerOffAfter(changes);
    uint64_t served = 0;
    for (const char* content : {"1", "2"}) {
      served += file->WriteAt(0, content).ok() ? 1 : 0;
      served += file->Sync().ok() ? 1 : 0;
    }
    EXPECT_EQ(served, changes);
    if (changes < 4) {
      EXPECT_TRUE(absl::IsUnavailable(disk.Open("/file", Mode::kReadWrite).status()));
      EXPECT_TRUE(absl::IsUnavailable(disk.List("/").status()));
    }
    disk.Crash();
    EXPECT_TRUE(disk.Open("/file", Mode::kReadWrite).ok()) << "the power is back";
    const std::string content = disk.Contents("/file").value();
    EXPECT_GE(content, std::to_string(changes / 2)) << "what was synced";
    EXPECT_LE(content, std::to_string((changes + 1) / 2)) << "what was written";
  }
}

TEST(SimulatedDiskTest, TheSameSeedTheSameHarm) {
  const auto crash = [](uint64_t seed) {
    SimulatedDisk disk(seed);
    auto file = CreateSafely(disk, "/file");
    for (uint64_t i = 0; i < 64; ++i) EXPECT_TRUE(file->WriteAt(i * 700, std::string(700, 'x')).ok());
    disk.Crash();
    return disk.Contents("/file").value();
  };
  EXPECT_EQ(crash(5), crash(5));
  EXPECT_NE(crash(5), crash(6));
}

TEST(SimulatedDiskTest, CrashesAgainAndAgain) {
  SimulatedDisk disk(3);
  CreateSafely(disk, "/file");
  for (char round = 'a'; round <= 'z'; ++round) {
    auto file = disk.Open("/file", Mode::kReadWrite).value();
    ASSERT_TRUE(file->WriteAt(round - 'a', std::string(1, round)).ok());
    ASSERT_TRUE(file->Sync().ok());
    ASSERT_TRUE(file->WriteAt(100'000, "unsynced").ok());
    disk.Crash();
  }
  EXPECT_EQ(disk.Contents("/file")->substr(0, 26), "abcdefghijklmnopqrstuvwxyz");
}

TEST(SimulatedDiskTest, FillsUp) {
  SimulatedDisk disk(1);
  disk.SetCapacity(1000);
  auto file = CreateSafely(disk, "/file");
  ASSERT_TRUE(file->Allocate(900).ok());
  EXPECT_EQ(disk.used_bytes(), 900u);
  EXPECT_TRUE(file->WriteAt(0, std::string(900, 'x')).ok()) << "allocated space is there to be written";
  EXPECT_TRUE(absl::IsResourceExhausted(file->WriteAt(850, std::string(151, 'x'))));
  EXPECT_TRUE(absl::IsResourceExhausted(file->Allocate(1001)));
  EXPECT_EQ(file->Size().value(), 900u);

  auto other = CreateSafely(disk, "/other", std::string(100, 'y'));
  EXPECT_TRUE(absl::IsResourceExhausted(other->WriteAt(100, "y")));
  ASSERT_TRUE(file->Truncate(899).ok());
  EXPECT_TRUE(other->WriteAt(100, "y").ok()) << "space that was cut off";
  ASSERT_TRUE(disk.Remove("/file").ok());
  EXPECT_EQ(disk.used_bytes(), 101u);
  EXPECT_TRUE(other->Allocate(1000).ok()) << "space of a removed file";
  disk.SetCapacity(0);
  EXPECT_TRUE(other->WriteAt(0, "z").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(other->Allocate(1001)));
}

TEST(SimulatedDiskTest, CountsSpaceAnewAfterACrash) {
  SimulatedDisk disk(1);
  auto file = CreateSafely(disk, "/file", "0123456789");
  CreateSafely(disk, "/gone", "0123456789");
  ASSERT_TRUE(disk.Remove("/gone").ok());
  ASSERT_TRUE(disk.SyncDirectory("/").ok());
  ASSERT_TRUE(file->WriteAt(10, "0123456789").ok());
  disk.Crash();
  EXPECT_EQ(disk.used_bytes(), disk.Contents("/file")->size());
}

TEST(SimulatedDiskTest, FailsAsTold) {
  SimulatedDisk disk(1);
  auto file = CreateSafely(disk, "/file", "content");
  char byte;

  disk.Fail(Operation::kRead, 2);
  EXPECT_TRUE(file->ReadAt(0, std::span(&byte, 1)).ok());
  EXPECT_TRUE(absl::IsUnavailable(file->ReadAt(0, std::span(&byte, 1))));
  EXPECT_TRUE(file->ReadAt(0, std::span(&byte, 1)).ok()) << "once";

  disk.Fail(Operation::kAllocate, 1, SimulatedDisk::Repeat::kForGood);
  EXPECT_TRUE(absl::IsUnavailable(file->Allocate(100)));
  EXPECT_TRUE(absl::IsUnavailable(file->Allocate(100)));
  disk.ClearFaults();
  EXPECT_TRUE(file->Allocate(100).ok());

  disk.Fail(Operation::kSyncDirectory);
  EXPECT_TRUE(absl::IsUnavailable(disk.SyncDirectory("/")));
  EXPECT_TRUE(disk.SyncDirectory("/").ok());
}

TEST(SimulatedDiskTest, AFailedWriteLeavesABeginningBehind) {
  std::set<std::string> outcomes;
  for (int seed = 0; seed < 100; ++seed) {
    SimulatedDisk disk(seed);
    auto file = CreateSafely(disk, "/file", "aaa");
    disk.Fail(Operation::kWrite);
    EXPECT_TRUE(absl::IsUnavailable(file->WriteAt(0, "bbb")));
    outcomes.insert(disk.Contents("/file").value());
  }
  EXPECT_THAT(outcomes, UnorderedElementsAre("aaa", "baa", "bba", "bbb"));
}

TEST(SimulatedDiskTest, FlippedBitsOutliveACrash) {
  SimulatedDisk disk(1);
  auto file = CreateSafely(disk, "/file", "aaaa");
  ASSERT_TRUE(file->WriteAt(2, "bb").ok());
  disk.FlipBit("/file", 1, 1);
  disk.FlipBit("/file", 3, 0);
  EXPECT_EQ(disk.Contents("/file"), "acbc");
  ASSERT_TRUE(file->Sync().ok());
  disk.Crash();
  EXPECT_EQ(disk.Contents("/file"), "acbc");
}

TEST(SimulatedDiskTest, ReplacedContentsAreSafe) {
  SimulatedDisk disk(1);
  disk.SetContents("/dir/file", "planted");
  CreateSafely(disk, "/file", "content");
  disk.SetContents("/file", "replaced");
  disk.Crash();
  EXPECT_THAT(disk.Paths(), ElementsAre("/dir/file", "/file"));
  EXPECT_EQ(disk.Contents("/dir/file"), "planted");
  EXPECT_EQ(disk.Contents("/file"), "replaced");
  EXPECT_EQ(disk.used_bytes(), 15u);
  EXPECT_EQ(disk.Contents("/none"), std::nullopt);
}

TEST(SimulatedDiskTest, Counts) {
  SimulatedDisk disk(1);
  auto file = CreateSafely(disk, "/file", "12345");
  std::string out(3, 0);
  ASSERT_TRUE(file->ReadAt(0, std::span(out)).ok());
  const SimulatedDisk::Counts counts = disk.counts();
  EXPECT_EQ(counts.reads, 1u);
  EXPECT_EQ(counts.read_bytes, 3u);
  EXPECT_EQ(counts.writes, 1u);
  EXPECT_EQ(counts.written_bytes, 5u);
  EXPECT_EQ(counts.syncs, 1u);
  EXPECT_EQ(counts.directory_syncs, 1u);
}

TEST(SimulatedDiskTest, ServesThreadsAtOnceAndCrashesUnderThem) {
  SimulatedDisk disk(1);
  auto file = CreateSafely(disk, "/file");
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      uint64_t offset = t;
      while (file->WriteAt(offset, "x").ok() && file->Sync().ok()) offset = (offset + 4) % 4096;
    });
  }
  while (disk.counts().writes < 1000) std::this_thread::yield();
  disk.Crash();
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(disk.Contents("/file")->size(), 4u);
}

TEST(ManualExecutorTest, RunsWhatIsDueInAnOrderOfItsSeed) {
  const auto order_of = [](uint64_t seed) {
    std::string order;
    ManualExecutor executor(seed);
    for (char name = 'a'; name < 'h'; ++name) executor.Run([&order, name] { order += name; });
    EXPECT_EQ(order, "") << "never inside the call";
    EXPECT_EQ(executor.RunUntilIdle(), 7u);
    return order;
  };
  EXPECT_EQ(order_of(1), order_of(1));
  std::set<std::string> orders;
  for (uint64_t seed = 0; seed < 50; ++seed) orders.insert(order_of(seed));
  EXPECT_GT(orders.size(), 40u);
}

TEST(ManualExecutorTest, DelayedTasksWaitForTheTimeToBeAdvanced) {
  using std::chrono::milliseconds;
  ManualExecutor executor(1);
  std::string order;
  executor.RunAfter(milliseconds(10), [&] {
    order += 'a';
    executor.RunAfter(milliseconds(10), [&] { order += 'b'; });
  });
  executor.Advance(milliseconds(9));
  EXPECT_FALSE(executor.RunOne());
  executor.Advance(milliseconds(1));
  EXPECT_TRUE(executor.RunOne());
  EXPECT_FALSE(executor.RunOne());
  EXPECT_EQ(executor.pending(), 1u);
  executor.Advance(milliseconds(10));
  EXPECT_EQ(executor.RunUntilIdle(), 1u);
  EXPECT_EQ(order, "ab");
}

TEST(ManualExecutorTest, ForgetsWhatItDrops) {
  ManualExecutor executor(1);
  auto held = std::make_shared<int>(0);
  executor.Run([held] { *held = 1; });
  executor.RunAfter(std::chrono::milliseconds(10), [held] { *held = 1; });
  EXPECT_EQ(executor.Drop(), 2u);
  EXPECT_EQ(held.use_count(), 1);
  executor.Advance(std::chrono::milliseconds(10));
  EXPECT_EQ(executor.RunUntilIdle(), 0u);
  EXPECT_EQ(*held, 0);
}

TEST(ManualClockTest, StandsStillUntilSet) {
  ManualClock clock(1000);
  EXPECT_EQ(clock.NowMs(), 1000u);
  clock.Advance(-1);
  EXPECT_EQ(clock.NowMs(), 999u);
  clock.Set(5);
  EXPECT_EQ(clock.NowMs(), 5u);
}

}  // namespace
}  // namespace thermocline::testing
