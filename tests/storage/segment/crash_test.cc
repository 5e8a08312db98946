// The power goes off, or the process is killed, at any change of the disk: while ids are added, removed,
// loaded, sorted in runs, while layers are rewritten and results kept. What was acknowledged is there; the
// change that was under way is there wholly or not at all; no file is left that nobody names.

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "storage/executor_reads.h"
#include "storage/segments.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/storage/segment/random_ids.h"
#include "tests/storage/segment/segment_store.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::storage {
namespace {

using testing::Await;
using testing::SimulatedDisk;
using Ids = std::set<uint64_t>;
using Model = std::map<std::string, Ids>;

class SegmentsCrash {
 public:
  explicit SegmentsCrash(uint64_t seed) : disk_(seed), random_(seed) {
    options_.directory = "/segments";
    options_.memory_bytes = kMinSegmentMemoryBytes;
    options_.max_recent = 500;
    options_.min_result_work_bytes = 1;
  }

  void Round() {
    switch (Below(4)) {
      case 0:
        disk_.Fail(Below(2) == 0 ? SimulatedDisk::Operation::kSync : SimulatedDisk::Operation::kWrite,
                   1 + Below(80));
        break;
      default:
        disk_.PowerOffAfter(Below(400));
    }
    Model with_last = model_;
    {
      Store store = Open();
      // A fault may meet what happens in the background, and nobody else.
      for (int step = 0; step < 60 && store.segments != nullptr && Step(*store.segments, with_last); ++step) {
      }
    }
    Below(4) == 0 ? disk_.Kill() : disk_.Crash();
    disk_.ClearFaults();
    Store store = Open();
    ASSERT_NE(store.segments, nullptr) << store.status;
    if (ReadAll(*store.segments) == with_last) model_ = with_last;
    const Model found = ReadAll(*store.segments);
    ASSERT_EQ(found.size(), model_.size());
    for (const auto& [name, ids] : model_) {
      ASSERT_TRUE(found.contains(name)) << name;
      ASSERT_EQ(found.at(name).size(), ids.size()) << name;
      ASSERT_TRUE(found.at(name) == ids) << name;
    }
    // A result that was kept before the crash is still right.
    for (const auto& [name, ids] : model_) {
      const auto all = testing::Query(*store.segments, "\"" + name + "\" | x0 | \"" + name + "\" - none*");
      if (!model_.contains("x0")) break;
      ASSERT_TRUE(all.ok()) << all.status();
      Ids united = model_["x0"];
      united.insert(ids.begin(), ids.end());
      ASSERT_TRUE(Ids(all->begin(), all->end()) == united) << name;
    }
    ASSERT_TRUE(store.segments->Close().ok());
    store = {};
    ASSERT_LE(ObjectFiles(), NamedFiles());
  }

 private:
  // Everything that is opened, in the order in which it is.
  struct Store {
    std::unique_ptr<ThreadPool> executor;
    std::unique_ptr<ThreadPool> read_threads;
    std::unique_ptr<DiskReads> reads;
    std::unique_ptr<ObjectStore> objects;
    std::unique_ptr<Segments> segments;
    absl::Status status;

    Store() = default;
    Store(Store&&) = default;
    Store& operator=(Store&& other) {
      segments = std::move(other.segments);
      executor = std::move(other.executor);  // its tasks may still remove objects
      objects = std::move(other.objects);
      reads = std::move(other.reads);
      read_threads = std::move(other.read_threads);
      return *this;
    }
    ~Store() {
      segments = nullptr;
      executor = nullptr;
    }
  };

  uint64_t Below(uint64_t bound) { return random_() % bound; }

  Store Open() {
    Store store;
    store.executor = std::make_unique<ThreadPool>("query", 2);
    store.read_threads = std::make_unique<ThreadPool>("read", 1);
    store.reads = std::make_unique<ExecutorReads>(*store.read_threads);
    auto objects = OpenDirectoryStore("/objects", disk_, *store.reads);
    store.status = objects.status();
    if (!objects.ok()) return store;
    store.objects = *std::move(objects);
    auto segments = Segments::Open(
        options_, {disk_, clock_, *store.objects, *store.executor, *store.executor, *store.executor, {}});
    store.status = segments.status();
    if (segments.ok()) store.segments = *std::move(segments);
    return store;
  }

  // One change: to `last` first, and if it was acknowledged, to model_. False if not.
  bool Step(Segments& segments, Model& last) {
    const std::string name = fmt::format("x{}", Below(3));
    const Ids ids = testing::RandomIds(random_, 1 + Below(Below(6) == 0 ? 40'000 : 300));
    std::vector<uint64_t> list(ids.begin(), ids.end());
    if (Below(2) == 0) std::shuffle(list.begin(), list.end(), random_);
    const auto apply = [&](Model& model, uint64_t kind) {
      if (kind < 3) {
        if (const auto found = model.find(name); found != model.end()) {
          for (const uint64_t id : ids) found->second.erase(id);
        }
      } else if (kind < 7) {
        model[name].insert(ids.begin(), ids.end());
      } else if (kind == 7) {
        model[name] = ids;
      } else {
        model.erase(name);
      }
    };
    if (Below(3) == 0) testing::Query(segments, "x*").status().IgnoreError();
    const uint64_t kind = Below(9);
    apply(last, kind);
    absl::Status status;
    if (kind == 8) {
      status = Await<absl::StatusOr<bool>>([&](auto done) { segments.Drop(name, std::move(done)); }).status();
    } else {
      const auto change = kind < 3   ? SegmentChange::kRemove
                          : kind < 7 ? SegmentChange::kAdd
                                     : SegmentChange::kReplace;
      status = testing::Change(segments, name, change, list).status();
    }
    if (!status.ok()) return false;
    apply(model_, kind);
    return true;
  }

  Model ReadAll(Segments& segments) {
    const auto infos = Await<absl::StatusOr<std::vector<SegmentInfo>>>(
        [&](auto done) { segments.List("", "", 100, std::move(done)); });
    EXPECT_TRUE(infos.ok()) << infos.status();
    Model model;
    named_files_ = 0;
    for (const SegmentInfo& info : *infos) {
      const auto ids = testing::Query(segments, info.name, {.use_kept_result = false, .keep_result = false});
      EXPECT_TRUE(ids.ok()) << ids.status();
      if (ids.ok()) model[info.name] = Ids(ids->begin(), ids->end());
      EXPECT_LE(info.min_count, model[info.name].size());
      EXPECT_GE(info.max_count, model[info.name].size());
      named_files_ += info.files;
    }
    named_files_ += segments.Stats().kept_results;
    return model;
  }

  // At most, for a rewrite may have begun since.
  uint64_t NamedFiles() const { return named_files_ + 8; }
  uint64_t ObjectFiles() const {
    uint64_t files = 0;
    for (const std::string& path : disk_.Paths()) files += path.starts_with("/objects/ids/");
    return files;
  }

  SimulatedDisk disk_;
  std::mt19937_64 random_;
  SystemClock clock_;
  SegmentsOptions options_;
  Model model_;  // what is there for sure
  uint64_t named_files_ = 0;
};

// THERMOCLINE_CRASH_RUNS asks for more of them.
TEST(SegmentsCrashTest, NothingAcknowledgedIsLost) {
  const char* const runs = std::getenv("THERMOCLINE_CRASH_RUNS");
  const uint64_t seeds = runs != nullptr ? std::strtoull(runs, nullptr, 10) : 6;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    SegmentsCrash crash(seed);
    for (int round = 0; round < 6; ++round) {
      SCOPED_TRACE(fmt::format("round {}", round));
      crash.Round();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace thermocline::storage
