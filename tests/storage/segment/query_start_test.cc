// What comes before a query reads: plans that do not fit the memory, ids of sources, clients that leave.

#include "storage/segment/query_start.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/id_source.h"
#include "storage/posix_file_system.h"
#include "storage/segments.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/storage/segment/memory_objects.h"
#include "tests/storage/segment/random_ids.h"
#include "tests/storage/segment/segment_store.h"
#include "tests/support/temp_directory.h"

namespace thermocline::storage {
namespace {

using segment::Plan;
using testing::Await;
using testing::Change;
using testing::Count;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Query;
using Ids = std::set<uint64_t>;

// Hands out a list, and then an error if it has one. Waits first, if told so, until it is cancelled or let
// go.
class ListSource : public IdSource {
 public:
  ListSource(std::vector<uint64_t> ids, absl::Status end, std::shared_future<void> wait,
             std::atomic<int>* read)
      : ids_(std::move(ids)), end_(std::move(end)), wait_(std::move(wait)), read_(read) {}

  absl::StatusOr<std::span<const uint64_t>> Next(Reject) override {
    if (at_ == 0) ++*read_;
    while (wait_.valid() && wait_.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
      if (cancelled_) return absl::CancelledError("the source was cancelled");
    }
    const size_t count = std::min<size_t>(ids_.size() - at_, 1000);
    if (count == 0 && !end_.ok()) return end_;
    at_ += count;
    return std::span<const uint64_t>(ids_).subspan(at_ - count, count);
  }
  void Cancel() override { cancelled_ = true; }
  uint64_t rows() const override { return at_; }
  const std::string& name() const override { return name_; }

 private:
  const std::vector<uint64_t> ids_;
  const absl::Status end_;
  const std::shared_future<void> wait_;
  const std::string name_ = "list";
  size_t at_ = 0;
  std::atomic<int>* const read_;
  std::atomic<bool> cancelled_{false};
};

class QueryStartTest : public ::testing::Test {
 protected:
  QueryStartTest() {
    options_.directory = directory_.path() + "/segments";
    options_.memory_bytes = kMinSegmentMemoryBytes;
    options_.min_result_work_bytes = 1;
    Open();
  }

  void Open() {
    segments_ = nullptr;
    const auto source = [this](const std::string& name, const std::vector<std::string>& parameters) {
      return OpenSource(name, parameters);
    };
    auto opened =
        Segments::Open(options_, {files_, clock_, objects_, executor_, executor_, outside_, source});
    ASSERT_TRUE(opened.ok()) << opened.status();
    segments_ = *std::move(opened);
  }

  absl::StatusOr<OpenedSource> OpenSource(const std::string& name,
                                          const std::vector<std::string>& parameters) {
    if (name != "orders") return absl::NotFoundError("there is no source with the name " + name);
    if (parameters.size() != 1) return absl::InvalidArgumentError("orders takes one parameter");
    return OpenedSource{std::make_unique<ListSource>(source_ids_, source_end_, source_wait_, &read_),
                        definition_};
  }

  void Load(const std::string& name, const Ids& ids) {
    const std::vector<uint64_t> list(ids.begin(), ids.end());
    ASSERT_TRUE(Change(*segments_, name, SegmentChange::kReplace, list).ok());
  }

  testing::TempDirectory directory_;
  PosixFileSystem files_;
  SystemClock clock_;
  testing::MemoryObjects objects_;
  std::vector<uint64_t> source_ids_;
  absl::Status source_end_;
  std::shared_future<void> source_wait_;
  std::string definition_ = "a query";
  std::atomic<int> read_{0};  // sources of which something was read
  ThreadPool executor_{"query", 2};
  ThreadPool outside_{"outside", 3};
  SegmentsOptions options_;
  std::unique_ptr<Segments> segments_;
};

TEST_F(QueryStartTest, WhatDoesNotFitTheMemoryIsComputedInParts) {
  options_.result_bytes = 0;
  Open();
  std::mt19937_64 random(5);
  Ids all;
  Ids both;
  std::string even;
  std::string odd;
  std::vector<Ids> sets;
  for (int i = 0; i < 60; ++i) {
    sets.push_back(testing::RandomIds(random, 20'000));
    Load(fmt::format("s{:02}", i), sets.back());
    all.insert(sets.back().begin(), sets.back().end());
    std::string& side = i % 2 == 0 ? even : odd;
    side += fmt::format("{}s{:02}", side.empty() ? "" : " | ", i);
  }
  const size_t objects = objects_.size();
  EXPECT_EQ(*Count(*segments_, "s*"), all.size());
  Ids sides[2];
  for (size_t i = 0; i < sets.size(); ++i) sides[i % 2].insert(sets[i].begin(), sets[i].end());
  std::vector<uint64_t> expected;
  std::set_difference(sides[0].begin(), sides[0].end(), sides[1].begin(), sides[1].end(),
                      std::back_inserter(expected));
  EXPECT_EQ(*Query(*segments_, fmt::format("({}) - ({})", even, odd)), expected);
  expected.clear();
  std::set_intersection(sides[0].begin(), sides[0].end(), sides[1].begin(), sides[1].end(),
                        std::back_inserter(expected));
  EXPECT_EQ(*Query(*segments_, fmt::format("({}) & ({})", even, odd)), expected);
  EXPECT_LE(segments_->Stats().memory_used, options_.memory_bytes);

  const auto plan = Await<absl::StatusOr<SegmentExplanation>>(
      [&](auto done) { segments_->Explain("s*", true, {}, std::move(done)); });
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->plan.exact_count, all.size());
  EXPECT_LT(plan->memory_bytes, options_.memory_bytes);
  const auto part =
      std::find_if(plan->plan.inputs.begin(), plan->plan.inputs.end(),
                   [](const SegmentPlan& input) { return input.kind == SegmentPlan::Kind::kPart; });
  ASSERT_NE(part, plan->plan.inputs.end());
  EXPECT_EQ(part->inputs.front().kind, SegmentPlan::Kind::kUnion);
  // The parts go with their queries.
  while (objects_.size() != objects) std::this_thread::yield();
}

// Fails for every seed in which a part, or what is left, takes more than there is.
TEST(StageTest, EveryPartFits) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    uint64_t number = 0;
    const std::function<Plan(int)> some = [&](int depth) {
      Plan plan;
      if (depth == 0 || random() % 4 == 0) {
        plan.kind = Plan::Kind::kFile;
        plan.file.number = ++number;
        plan.min_count = plan.max_count = plan.file.count = 1 + random() % 1000;
        return plan;
      }
      std::vector<Plan> inputs;
      for (uint64_t i = 0; i < 2 + random() % 30; ++i) inputs.push_back(some(depth - 1));
      if (random() % 3 == 0) return segment::PlanDifference(std::move(inputs[0]), std::move(inputs[1]));
      return random() % 2 == 0 ? segment::PlanUnion(std::move(inputs))
                               : segment::PlanIntersection(std::move(inputs));
    };
    Plan plan = some(3);
    std::vector<segment::FileEntry> before;
    segment::CollectFiles(plan, before);
    const uint64_t kBudget = (900 << 10) + random() % (4 << 20);
    const uint64_t kPartBudget = (900 << 10) + random() % (4 << 20);
    ASSERT_TRUE(segment::Stage(plan, kBudget, kPartBudget).ok()) << seed;
    EXPECT_LE(segment::MemoryOf(plan, segment::kMinWindowBytes), kBudget);
    std::vector<uint64_t> read;
    std::vector<segment::FileEntry> files;
    for (Plan* part = segment::NextPart(plan); part != nullptr; part = segment::NextPart(plan)) {
      EXPECT_LE(segment::MemoryOf(part->inputs.front(), segment::kMinWindowBytes), kPartBudget);
      segment::CollectFiles(part->inputs.front(), files);
      segment::FileEntry file;
      file.number = 1'000'000 + files.size();
      file.count = 1;
      segment::PartIsWritten(*part, file, nullptr);
    }
    segment::CollectFiles(plan, files);
    for (const segment::FileEntry& file : files) {
      if (file.number < 1'000'000) read.push_back(file.number);
    }
    std::sort(read.begin(), read.end());
    EXPECT_EQ(read.size(), before.size()) << "seed " << seed;
    EXPECT_EQ(std::unique(read.begin(), read.end()), read.end()) << "every file is read once";
  }
}

TEST_F(QueryStartTest, SourcesAreFetchedOnceAndKept) {
  Load("a", {1, 2, 3, 500'000});
  // More than the memory holds, in no order, some twice.
  for (uint64_t i = 0; i < 900'000; ++i) source_ids_.push_back(i * 7919 % 600'000 * 2);
  EXPECT_THAT(*Query(*segments_, R"(a & source:orders("x"))"), ElementsAre(2, 500'000));
  EXPECT_EQ(read_, 1);
  EXPECT_EQ(*Count(*segments_, R"(source:orders("x") - a)"), 599'998u);
  EXPECT_EQ(read_, 1);
  EXPECT_EQ(*Count(*segments_, R"(source:orders("y"))"), 600'000u);
  EXPECT_EQ(read_, 2);
  source_ids_ = {3};
  EXPECT_THAT(*Query(*segments_, R"(a & source:orders("x"))"), ElementsAre(2, 500'000)) << "kept";
  EXPECT_THAT(*Query(*segments_, R"(a & source:orders("x"))", {.use_kept_result = false}), ElementsAre(3));
  EXPECT_THAT(*Query(*segments_, R"(a & source:orders("x"))"), ElementsAre(3)) << "the newest is kept";
  Open();
  EXPECT_THAT(*Query(*segments_, R"(a & source:orders("x"))"), ElementsAre(3)) << "also after a restart";
  EXPECT_EQ(read_, 3);
  // What the operator has changed is fetched anew.
  definition_ = "another query";
  source_ids_ = {1};
  EXPECT_THAT(*Query(*segments_, R"(a & source:orders("x"))"), ElementsAre(1));
  source_ids_ = {};
  EXPECT_THAT(*Query(*segments_, R"(a & source:orders("x"))", {.use_kept_result = false}), IsEmpty());
  EXPECT_THAT(*Query(*segments_, R"(a & source:orders("x"))"), IsEmpty()) << "nothing is an answer, too";
  EXPECT_THAT(*Query(*segments_, R"(a & source:orders("none"))"), IsEmpty());
  EXPECT_THAT(*Query(*segments_, R"(a - source:orders("none"))"), ElementsAre(1, 2, 3, 500'000));
}

TEST_F(QueryStartTest, SourcesAreUsedEvenIfNothingIsKept) {
  options_.result_bytes = 0;
  Open();
  source_ids_ = {5, 4, 4};
  const size_t objects = objects_.size();
  EXPECT_THAT(*Query(*segments_, R"(source:orders("x"))"), ElementsAre(4, 5));
  EXPECT_THAT(*Query(*segments_, R"(source:orders("x"))"), ElementsAre(4, 5));
  EXPECT_EQ(read_, 2);
  while (objects_.size() != objects) std::this_thread::yield();
}

TEST_F(QueryStartTest, SaysWhatIsWrongWithASource) {
  Load("a", {1});
  const auto status = [&](const std::string& text) { return Count(*segments_, text).status(); };
  EXPECT_TRUE(absl::IsNotFound(status("a & source:nothing()")));
  EXPECT_TRUE(absl::IsInvalidArgument(status("a & source:orders()")));
  EXPECT_THAT(std::string(status("source:orders(x)").message()), HasSubstr("stand in quotes"));
  EXPECT_THAT(std::string(status(R"(source:orders("x" "y"))").message()), HasSubstr("put a ,"));
  EXPECT_THAT(std::string(status(R"(source:orders("x")").message()), HasSubstr("never closed"));
  EXPECT_THAT(std::string(status("source:()").message()), HasSubstr("no name of a source"));
  source_ids_ = {1, 2};
  source_end_ = absl::UnavailableError("the database went away");
  EXPECT_TRUE(absl::IsUnavailable(status(R"(a & source:orders("x"))")));
  source_end_ = absl::OkStatus();
  EXPECT_EQ(*Count(*segments_, R"(a & source:orders("x"))"), 1u) << "nothing of it was kept";
}

TEST_F(QueryStartTest, WhoAsksForTheSameWaitsForIt) {
  std::promise<void> go;
  source_wait_ = go.get_future().share();
  source_ids_ = {7};
  std::vector<std::future<absl::StatusOr<uint64_t>>> counts;
  for (int i = 0; i < 5; ++i) {
    counts.push_back(
        std::async(std::launch::async, [&] { return Count(*segments_, R"(source:orders("x"))"); }));
  }
  while (read_ == 0) std::this_thread::yield();
  go.set_value();
  for (auto& count : counts) EXPECT_EQ(*count.get(), 1u);
  EXPECT_EQ(read_, 1);
}

TEST_F(QueryStartTest, WhoLeavesEndsTheFetch) {
  options_.memory_bytes = 64 << 20;  // for two at once
  Open();
  std::promise<void> never;
  source_wait_ = never.get_future().share();
  Load("a", {1});
  const Cancellation cancellation = Cancellation::New();
  std::promise<absl::Status> ended;
  segments_->Explain(R"(a & source:orders("x") & source:orders("y"))", true, {.cancellation = cancellation},
                     [&](const absl::StatusOr<SegmentExplanation>& done) { ended.set_value(done.status()); });
  while (read_ < 2) std::this_thread::yield();
  cancellation.Cancel();
  EXPECT_TRUE(absl::IsCancelled(ended.get_future().get()));
}

TEST_F(QueryStartTest, AStopEndsFetches) {
  std::promise<void> never;
  source_wait_ = never.get_future().share();
  std::promise<absl::Status> ended;
  segments_->Query(R"(source:orders("x"))", {}, [&](absl::StatusOr<std::unique_ptr<SegmentQuery>> query) {
    ended.set_value(query.status());
  });
  while (read_ == 0) std::this_thread::yield();
  EXPECT_TRUE(segments_->Close().ok());
  EXPECT_FALSE(ended.get_future().get().ok());
}

TEST_F(QueryStartTest, ExplainsWithoutFetching) {
  Load("a", {1});
  const auto plan = Await<absl::StatusOr<SegmentExplanation>>(
      [&](auto done) { segments_->Explain(R"(a & source:orders("x"))", false, {}, std::move(done)); });
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->normalized, R"(a & source:orders("x"))");
  ASSERT_EQ(plan->plan.inputs.size(), 2u);
  EXPECT_EQ(plan->plan.inputs[1].kind, SegmentPlan::Kind::kSource);
  EXPECT_EQ(read_, 0);
}

}  // namespace
}  // namespace thermocline::storage
