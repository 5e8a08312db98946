// Segments through their door, against std::set: changes, expressions, restarts, results, limits. At every
// place that the program has for objects.

#include "storage/segments.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/posix_file_system.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/storage/segment/object_place.h"
#include "tests/storage/segment/random_ids.h"
#include "tests/storage/segment/segment_store.h"
#include "tests/support/temp_directory.h"

namespace thermocline::storage {
namespace {

using testing::Await;
using testing::Change;
using testing::Count;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Query;
using Ids = std::set<uint64_t>;

class SegmentsFixture : public ::testing::Test {
 protected:
  explicit SegmentsFixture(const std::string& place) : place_(testing::NewObjectPlace(place)) {
    options_.directory = directory_.path() + "/segments";
    options_.memory_bytes = 32 << 20;
    options_.max_recent = 3000;
    options_.min_result_work_bytes = 1;
    Open();
  }

  void Open() {
    segments_ = nullptr;
    auto opened =
        Segments::Open(options_, {files_, clock_, place_->store(), executor_, executor_, executor_, {}});
    ASSERT_TRUE(opened.ok()) << opened.status();
    segments_ = *std::move(opened);
  }

  void Load(const std::string& name, const Ids& ids) {
    const std::vector<uint64_t> list(ids.begin(), ids.end());
    const auto result = Change(*segments_, name, SegmentChange::kReplace, list);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->distinct, ids.size());
  }

  uint64_t Objects() {
    uint64_t objects = 0;
    const absl::Status listed =
        place_->store().List("", [&](const ObjectStore::Listed&) { return ++objects > 0; });
    EXPECT_TRUE(listed.ok()) << listed;
    return objects;
  }

  static Ids Range(uint64_t first, uint64_t end, uint64_t step = 1) {
    Ids ids;
    for (uint64_t id = first; id < end; id += step) ids.insert(ids.end(), id);
    return ids;
  }

  testing::TempDirectory directory_;
  PosixFileSystem files_;
  SystemClock clock_;
  const std::unique_ptr<testing::ObjectPlace> place_;
  ThreadPool executor_{"query", 3};
  SegmentsOptions options_;
  std::unique_ptr<Segments> segments_;
};

class SegmentsTest : public SegmentsFixture, public ::testing::WithParamInterface<std::string> {
 protected:
  SegmentsTest() : SegmentsFixture(GetParam()) {}
};

TEST_P(SegmentsTest, CombinesWhatWasLoaded) {
  Load("ny", Range(0, 200'000, 2));
  Load("shoes", Range(0, 200'000, 3));
  Load("new", {6, 12, 600'000});
  EXPECT_THAT(*Query(*segments_, "(ny & shoes) - new", {.limit = 4}), ElementsAre(0, 18, 24, 30));
  EXPECT_THAT(*Query(*segments_, "ny & shoes & new"), ElementsAre(6, 12));
  EXPECT_EQ(*Count(*segments_, "ny | shoes"), 133'333u);
  EXPECT_EQ(*Count(*segments_, "ny - shoes"), 66'666u);
  EXPECT_EQ(*Count(*segments_, "ne*"), 3u);
  EXPECT_EQ(*Count(*segments_, "nothing-begins-so*"), 0u);
  EXPECT_THAT(*Query(*segments_, "new", {.after = 6}), ElementsAre(12, 600'000));
}

TEST_P(SegmentsTest, PointsAtWhatIsWrong) {
  Load("a", {1});
  EXPECT_THAT(Query(*segments_, "a & b").status().message(),
              HasSubstr("there is no segment with the name b\n  a & b\n      ^"));
  EXPECT_TRUE(absl::IsNotFound(Query(*segments_, "a & b").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Query(*segments_, "a &").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(segments_->Write("", SegmentChange::kAdd, {}).status()));
}

TEST_P(SegmentsTest, CountsWhatChanged) {
  Load("a", Range(0, 100'000));
  const std::vector<uint64_t> some = {99'998, 99'999, 100'000, 100'001, 100'000};
  auto added = Change(*segments_, "a", SegmentChange::kAdd, some, true);
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(added->received, 5u);
  EXPECT_EQ(added->distinct, 4u);
  EXPECT_EQ(added->changed, 2u);
  auto removed = Change(*segments_, "a", SegmentChange::kRemove, std::vector<uint64_t>{5, 500'000}, true);
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->changed, 1u);
  EXPECT_GT(removed->version, added->version);
  EXPECT_EQ(*Count(*segments_, "a"), 100'001u);
  removed = Change(*segments_, "none", SegmentChange::kRemove, some, true);
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(removed->version, 0u);
}

TEST_P(SegmentsTest, ABrokenChangeChangesNothing) {
  Load("a", {1, 2, 3});
  {
    auto write = segments_->Write("a", SegmentChange::kReplace, {});
    ASSERT_TRUE(write.ok());
    std::vector<uint64_t> many(400'000);
    for (uint64_t& id : many) id = testing::RandomIds(*std::make_unique<std::mt19937_64>(1), 1).size();
    ASSERT_TRUE(Await<absl::Status>([&](auto done) { (*write)->Add(many, std::move(done)); }).ok());
  }
  EXPECT_THAT(*Query(*segments_, "a"), ElementsAre(1, 2, 3));
}

TEST_P(SegmentsTest, SortsMoreThanItsMemory) {
  std::mt19937_64 random(7);
  std::vector<uint64_t> ids(2'000'000);
  for (uint64_t& id : ids) id = random() % 5'000'000;
  const auto result = Change(*segments_, "big", SegmentChange::kAdd, ids, true, 100'000);
  ASSERT_TRUE(result.ok()) << result.status();
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  EXPECT_EQ(result->distinct, ids.size());
  EXPECT_EQ(result->changed, ids.size());
  EXPECT_EQ(*Query(*segments_, "big"), ids);
  EXPECT_EQ(*Query(*segments_, "big", {}, true), ids);
  EXPECT_EQ(segments_->Stats().id_files, 1u);
  EXPECT_LE(segments_->Stats().memory_used, options_.memory_bytes);
}

TEST_P(SegmentsTest, KeepsResultsUntilAnInputChanges) {
  Load("a", Range(0, 300'000, 2));
  Load("b", Range(0, 300'000, 100));
  Load("c", {1});
  const auto ask = [&](const std::string& expression) {
    auto query = testing::BeginQuery(*segments_, expression);
    EXPECT_TRUE(query.ok()) << query.status();
    const auto ids = testing::ReadAll(**query);
    EXPECT_EQ(ids->size(), 3000u);
    return (*query)->progress().from_kept_result;
  };
  EXPECT_FALSE(ask("a & b"));
  EXPECT_TRUE(ask("a & b"));
  EXPECT_TRUE(ask("b&(a)"));
  EXPECT_EQ(*Count(*segments_, "a & b"), 3000u);
  ASSERT_TRUE(Change(*segments_, "c", SegmentChange::kAdd, std::vector<uint64_t>{7}).ok());
  EXPECT_TRUE(ask("a & b"));
  Open();
  EXPECT_TRUE(ask("a & b"));
  ASSERT_TRUE(Change(*segments_, "b", SegmentChange::kAdd, std::vector<uint64_t>{7}).ok());
  EXPECT_FALSE(ask("a & b"));
  EXPECT_TRUE(ask("a & b"));
}

TEST_P(SegmentsTest, ListsDescribesAndDrops) {
  Load("a:1", Range(0, 100'000));
  Load("a:2", {5});
  Load("b", {6});
  const auto list = [&](const std::string& prefix, const std::string& after, size_t limit) {
    std::vector<std::string> names;
    const auto infos = Await<absl::StatusOr<std::vector<SegmentInfo>>>(
        [&](auto done) { segments_->List(prefix, after, limit, std::move(done)); });
    for (const SegmentInfo& info : *infos) names.push_back(info.name);
    return names;
  };
  EXPECT_THAT(list("", "", 10), ElementsAre("a:1", "a:2", "b"));
  EXPECT_THAT(list("a:", "", 10), ElementsAre("a:1", "a:2"));
  EXPECT_THAT(list("", "a:1", 1), ElementsAre("a:2"));
  EXPECT_THAT(list("a:", "a:2", 10), IsEmpty());
  const auto info =
      Await<absl::StatusOr<SegmentInfo>>([&](auto done) { segments_->Describe("a:1", std::move(done)); });
  EXPECT_EQ(info->min_count, 100'000u);
  EXPECT_EQ(info->max_count, 100'000u);
  EXPECT_EQ(info->files, 1u);
  EXPECT_GT(Objects(), 0u);
  const auto drop = [&] {
    return *Await<absl::StatusOr<bool>>([&](auto done) { segments_->Drop("a:1", std::move(done)); });
  };
  // A query that runs goes on.
  auto query = testing::BeginQuery(*segments_, "a:1");
  ASSERT_TRUE(query.ok());
  EXPECT_TRUE(drop());
  EXPECT_FALSE(drop());
  EXPECT_EQ(testing::ReadAll(**query)->size(), 100'000u);
  *query = nullptr;
  while (Objects() > 0) std::this_thread::yield();  // space comes back
  EXPECT_EQ(segments_->Stats().segments, 2u);
}

TEST_P(SegmentsTest, StoresAndExplains) {
  Load("a", Range(0, 100'000));
  Load("b", Range(50'000, 150'000));
  const auto stored = Await<absl::StatusOr<SegmentInfo>>(
      [&](auto done) { segments_->Store("a - b", "a", {}, std::move(done)); });
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->max_count, 50'000u);
  EXPECT_EQ(*Count(*segments_, "a & b"), 0u);
  const auto plan = Await<absl::StatusOr<SegmentExplanation>>(
      [&](auto done) { segments_->Explain("b | a", true, {}, std::move(done)); });
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->normalized, "a | b");
  EXPECT_EQ(plan->plan.exact_count, 150'000u);
  ASSERT_EQ(plan->plan.inputs.size(), 2u);
  EXPECT_EQ(plan->plan.inputs[0].segment, "a");
  EXPECT_GT(plan->memory_bytes, 0u);
}

TEST_P(SegmentsTest, WhoDoesNotFitWaitsOrIsRefused) {
  options_.memory_bytes = kMinSegmentMemoryBytes;
  Open();
  const uint64_t idle_bytes = segments_->Stats().memory_used;
  std::string all;
  for (int i = 0; i < 20; ++i) {
    const std::string name = fmt::format("s{:02}", i);
    Load(name, Range(0, 20'000));
    all += (i == 0 ? "" : " | ") + name;
  }
  EXPECT_EQ(*Count(*segments_, all), 20'000u);
  // What the queries before this line held comes back a moment after they have gone.
  while (segments_->Stats().memory_used > idle_bytes) std::this_thread::yield();

  std::vector<std::unique_ptr<SegmentQuery>> running;
  for (;;) {
    auto query = testing::BeginQuery(*segments_, "s00 | s01", {.patience = std::chrono::milliseconds(0)});
    if (!query.ok()) {
      EXPECT_TRUE(absl::IsResourceExhausted(query.status()));
      EXPECT_THAT(query.status().message(), HasSubstr("--segment-memory"));
      break;
    }
    running.push_back(*std::move(query));
  }
  ASSERT_GT(running.size(), 0u);
  std::promise<absl::Status> begun;
  std::unique_ptr<SegmentQuery> waiting;
  segments_->Query("s00 | s01", {}, [&](absl::StatusOr<std::unique_ptr<SegmentQuery>> query) {
    if (query.ok()) waiting = *std::move(query);
    begun.set_value(query.status());
  });
  while (segments_->Stats().queries_waiting == 0) std::this_thread::yield();
  running.pop_back();
  EXPECT_TRUE(begun.get_future().get().ok());

  // Who has left does not wait.
  const Cancellation cancellation = Cancellation::New();
  std::promise<absl::Status> left;
  segments_->Store("s00 | s01", "stored", {.cancellation = cancellation},
                   [&](const absl::StatusOr<SegmentInfo>& stored) { left.set_value(stored.status()); });
  while (segments_->Stats().queries_waiting == 0) std::this_thread::yield();
  cancellation.Cancel();
  EXPECT_TRUE(absl::IsCancelled(left.get_future().get()));
  EXPECT_EQ(segments_->Stats().queries_waiting, 0u);
}

// Everything at once, by chance.
class SegmentsModelTest : public SegmentsFixture,
                          public ::testing::WithParamInterface<std::tuple<std::string, uint64_t>> {
 protected:
  SegmentsModelTest() : SegmentsFixture(std::get<0>(GetParam())) {}

  Ids& Model(const std::string& name) { return model_[name]; }

  std::pair<std::string, Ids> RandomExpression(std::mt19937_64& random, int depth) {
    if (depth == 0 || random() % 4 == 0) {
      if (random() % 5 == 0) {
        Ids all;
        for (const auto& [name, ids] : model_) {
          if (name.starts_with("x")) all.insert(ids.begin(), ids.end());
        }
        return {"x*", all};
      }
      auto at = model_.begin();
      std::advance(at, random() % model_.size());
      return {at->first, at->second};
    }
    const auto [a_text, a] = RandomExpression(random, depth - 1);
    const auto [b_text, b] = RandomExpression(random, depth - 1);
    Ids ids;
    const auto into = std::inserter(ids, ids.end());
    switch (random() % 3) {
      case 0:
        std::set_union(a.begin(), a.end(), b.begin(), b.end(), into);
        return {"(" + a_text + " | " + b_text + ")", ids};
      case 1:
        std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), into);
        return {"(" + a_text + " & " + b_text + ")", ids};
      default:
        std::set_difference(a.begin(), a.end(), b.begin(), b.end(), into);
        return {"(" + a_text + " - " + b_text + ")", ids};
    }
  }

  void ChangeSome(std::mt19937_64& random) {
    const std::string name = fmt::format("{}{}", "xy"[random() % 2], random() % 5);
    const uint64_t kind = random() % 8;
    Ids ids = testing::RandomIds(random, 1 + random() % (random() % 4 == 0 ? 60'000 : 800));
    if (kind < 4 && model_.contains(name) && !model_[name].empty() && random() % 2 == 0) {
      // Of what is there.
      for (const uint64_t id : model_[name]) {
        if (ids.size() < 2000 && random() % 7 == 0) ids.insert(id);
      }
    }
    std::vector<uint64_t> list(ids.begin(), ids.end());
    if (random() % 2 == 0) std::shuffle(list.begin(), list.end(), random);
    const bool counted = random() % 2 == 0;
    if (kind < 3) {
      const auto result = Change(*segments_, name, SegmentChange::kRemove, list, counted);
      ASSERT_TRUE(result.ok()) << result.status();
      if (!model_.contains(name)) return;
      uint64_t changed = 0;
      for (const uint64_t id : ids) changed += model_[name].erase(id);
      if (counted) {
        EXPECT_EQ(result->changed, changed);
      }
    } else if (kind < 7) {
      const auto result = Change(*segments_, name, SegmentChange::kAdd, list, counted);
      ASSERT_TRUE(result.ok()) << result.status();
      uint64_t changed = 0;
      for (const uint64_t id : ids) changed += model_[name].insert(id).second;
      if (counted) {
        EXPECT_EQ(result->changed, changed);
      }
    } else if (random() % 4 == 0 && model_.size() > 2 && model_.contains(name)) {
      ASSERT_TRUE(*Await<absl::StatusOr<bool>>([&](auto done) { segments_->Drop(name, std::move(done)); }));
      model_.erase(name);
    } else {
      Load(name, ids);
      model_[name] = ids;
    }
  }

  std::map<std::string, Ids> model_;
};

TEST_P(SegmentsModelTest, DoesWhatSetsDo) {
  std::mt19937_64 random(std::get<1>(GetParam()));
  Load("x0", model_["x0"] = testing::RandomIds(random, 1000));
  // Its answer must not change, whatever is written meanwhile.
  std::unique_ptr<SegmentQuery> old_query;
  Ids old_ids;
  for (int step = 0; step < 60; ++step) {
    SCOPED_TRACE(step);
    ASSERT_NO_FATAL_FAILURE(ChangeSome(random));
    const auto [text, ids] = RandomExpression(random, 3);
    SCOPED_TRACE(text);
    const std::vector<uint64_t> wanted(ids.begin(), ids.end());
    const auto found = Query(*segments_, text, {}, random() % 2 == 0);
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(found->size(), wanted.size());
    ASSERT_EQ(*found, wanted);
    ASSERT_EQ(*Count(*segments_, text), wanted.size());
    if (!wanted.empty()) {
      const uint64_t after = wanted[random() % wanted.size()];
      const uint64_t limit = 1 + random() % 1000;
      const auto first = std::upper_bound(wanted.begin(), wanted.end(), after);
      const auto last = first + static_cast<ptrdiff_t>(std::min<uint64_t>(limit, wanted.end() - first));
      ASSERT_EQ(*Query(*segments_, text, {.limit = limit, .after = after}, random() % 2 == 0),
                std::vector<uint64_t>(first, last));
      ASSERT_EQ(*Count(*segments_, text, {.after = after}), static_cast<uint64_t>(wanted.end() - first));
    }
    if (old_query != nullptr && random() % 8 == 0) {
      ASSERT_EQ(*testing::ReadAll(*old_query), std::vector<uint64_t>(old_ids.begin(), old_ids.end()));
      old_query = nullptr;
    }
    if (old_query == nullptr) {
      const auto [old_text, all] = RandomExpression(random, 2);
      old_query = *testing::BeginQuery(*segments_, old_text, {.keep_result = false});
      old_ids = all;
    }
    if (random() % 20 == 0) {
      old_query = nullptr;
      Open();
    }
  }
}

// THERMOCLINE_MODEL_RUNS asks for more of them.
uint64_t Runs() {
  const char* const runs = std::getenv("THERMOCLINE_MODEL_RUNS");
  return runs != nullptr ? std::strtoull(runs, nullptr, 10) : testing::ObjectPlaceSeeds();
}

const auto kPlaces = ::testing::ValuesIn(testing::ObjectPlaceNames());

INSTANTIATE_TEST_SUITE_P(Places, SegmentsTest, kPlaces);
INSTANTIATE_TEST_SUITE_P(Places, SegmentsModelTest,
                         ::testing::Combine(kPlaces, ::testing::Range<uint64_t>(0, Runs())));

}  // namespace
}  // namespace thermocline::storage
