// The power goes off, the process dies or a call fails at any change of the disk. Objects that were finished
// are there as a whole, and those that were not are never seen.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "storage/executor_reads.h"
#include "storage/object_store.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/storage/object/object_calls.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::testing {
namespace {

using storage::ExecutorReads;
using storage::ObjectStore;
using storage::ObjectWriter;
using storage::OpenDirectoryStore;
using storage::SeededRandom;
using storage::ThreadPool;

class StoreInPeril {
 public:
  StoreInPeril(uint64_t seed, storage::DiskReads& reads) : disk_(seed), random_(seed), reads_(reads) {}

  // Works until something goes wrong, or for a while, crashes, and checks what is left.
  void Round() {
    constexpr SimulatedDisk::Operation kFaults[] = {SimulatedDisk::Operation::kWrite,
                                                    SimulatedDisk::Operation::kSync,
                                                    SimulatedDisk::Operation::kSyncDirectory};
    if (Below(4) != 0) {
      disk_.PowerOffAfter(Below(60));
    } else {
      disk_.Fail(kFaults[Below(3)], 1 + Below(5));
    }
    Work();
    if (Below(4) == 0) {
      disk_.Kill();
    } else {
      disk_.Crash();
    }
    auto store = OpenDirectoryStore("/objects", disk_, reads_);
    ASSERT_TRUE(store.ok()) << store.status();
    Check(**store);
    for (const std::string& path : disk_.Paths()) {
      EXPECT_FALSE(path.starts_with("/objects/UNFINISHED/")) << path;
    }
  }

  int survivors() const { return survivors_; }
  int maybes() const { return maybes_; }

 private:
  struct Known {
    std::string content;
    bool certain = false;  // finished, and not removed
  };

  uint64_t Below(uint64_t bound) { return random_.Next() % bound; }

  void Work() {
    auto store = OpenDirectoryStore("/objects", disk_, reads_);
    if (!store.ok()) return;
    std::vector<std::unique_ptr<ObjectWriter>> unfinished;
    for (int i = 0; i < 20; ++i) {
      if (Below(4) == 0 && !known_.empty()) {
        Remove(**store);
        continue;
      }
      const uint64_t number = ++objects_;
      const std::string name =
          fmt::format("{}{}", Below(2) == 0 ? "" : fmt::format("f{}/", Below(5)), number);
      absl::StatusOr<std::unique_ptr<ObjectWriter>> writer = (*store)->Create(name);
      if (!writer.ok()) continue;
      const std::string content = ObjectBytes(number, Below(12) == 0 ? Below(600'000) : Below(3000));
      if (!AppendAll(**writer, content, 50'000).ok()) continue;
      if (Below(4) == 0) {
        unfinished.push_back(*std::move(writer));
        continue;
      }
      const bool finished = (*writer)->Finish().ok();
      known_[name] = {content, finished};
      if (!finished) ++maybes_;
    }
  }

  void Remove(ObjectStore& store) {
    auto known = known_.begin();
    std::advance(known, Below(known_.size()));
    known->second.certain = false;  // a crash may bring it back
    if (store.Remove(known->first).ok()) ++maybes_;
  }

  void Check(ObjectStore& store) {
    const auto listing = ListObjects(store);
    ASSERT_TRUE(listing.ok()) << listing.status();
    for (const auto& [name, bytes] : *listing) {
      ASSERT_TRUE(known_.contains(name)) << name << " was never finished";
      EXPECT_EQ(bytes, known_[name].content.size());
      EXPECT_TRUE(ContentOf(store, name).value() == known_[name].content) << name;
    }
    // What is not certain may come and go: its name was never made safe, or its removal.
    for (const auto& [name, known] : known_) {
      if (known.certain) ++survivors_;
      EXPECT_TRUE(listing->contains(name) || !known.certain) << name << " is lost";
    }
  }

  SimulatedDisk disk_;
  SeededRandom random_;
  storage::DiskReads& reads_;
  std::map<std::string, Known> known_;
  uint64_t objects_ = 0;
  int survivors_ = 0;
  int maybes_ = 0;
};

TEST(DirectoryStoreCrashTest, FinishedObjectsSurviveAndOthersAreNeverSeen) {
  ThreadPool threads("read", 1);
  ExecutorReads reads(threads);
  int survivors = 0;
  int maybes = 0;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    StoreInPeril store(seed, reads);
    for (int round = 0; round < 8; ++round) {
      store.Round();
      if (::testing::Test::HasFailure()) return;
    }
    survivors += store.survivors();
    maybes += store.maybes();
  }
  EXPECT_GT(survivors, 500) << "or it shows little";
  EXPECT_GT(maybes, 100);
}

// Every single place where the power may go off while one object is written.
TEST(DirectoryStoreCrashTest, AtEveryChangeWhileAnObjectIsWritten) {
  ThreadPool threads("read", 1);
  ExecutorReads reads(threads);
  const std::string content = ObjectBytes(1, 300'000);
  bool finished = false;
  for (uint64_t changes = 0; !finished; ++changes) {
    ASSERT_LT(changes, 100u);
    for (uint64_t seed = 0; seed < 10; ++seed) {
      SimulatedDisk disk(seed);
      disk.PowerOffAfter(changes);
      if (auto store = OpenDirectoryStore("/objects", disk, reads); store.ok()) {
        finished = WriteObject(**store, "folder/object", content).ok();
      }
      disk.Crash();
      const auto store = OpenDirectoryStore("/objects", disk, reads).value();
      const absl::StatusOr<std::string> found = ContentOf(*store, "folder/object");
      ASSERT_TRUE(found.ok() ? *found == content : absl::IsNotFound(found.status()) && !finished)
          << changes << " changes, seed " << seed << ": " << found.status();
    }
  }
}

}  // namespace
}  // namespace thermocline::testing
