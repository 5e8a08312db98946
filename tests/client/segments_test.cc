// Segments of the client against the real server.

#include "client/segments.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/support/server_process.h"

namespace thermocline {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ServerProcess;
using Ids = std::vector<uint64_t>;

constexpr milliseconds kLong{60'000};

class SegmentsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = ServerProcess::Start({.flags = {"--memory", "256MiB"}, .data_directory = ""});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto client = Client::Connect({.server = server_->address(), .timeout = kLong});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }

  Segments& segments() { return client_->segments(); }

  Ids Query(std::string_view expression, const SegmentQueryOptions& options = {}) {
    Ids all;
    const auto reader = segments().Query(expression, options);
    for (std::span<const uint64_t> ids; reader->Next(ids);) all.insert(all.end(), ids.begin(), ids.end());
    EXPECT_TRUE(reader->status().ok()) << reader->status();
    return all;
  }

  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<Client> client_;
};

// `count` ids from 0 to `end`, ascending.
Ids RandomIds(uint64_t seed, size_t count, uint64_t end) {
  std::mt19937_64 random(seed);
  std::set<uint64_t> ids;
  while (ids.size() < count) ids.insert(random() % end);
  return {ids.begin(), ids.end()};
}

TEST_F(SegmentsTest, AddsRemovesAndReplaces) {
  const auto added = segments().Add("s", Ids{5, 3, 5, ~uint64_t{0}, 0}, {.count_changed = true});
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(added->received, 5U);
  EXPECT_EQ(added->distinct, 4U);
  EXPECT_EQ(added->changed, 4U);
  EXPECT_THAT(Query("s"), ElementsAre(0, 3, 5, ~uint64_t{0}));
  const auto removed = segments().Remove("s", Ids{3, 4}, {.count_changed = true});
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->changed, 1U);
  EXPECT_GT(removed->version, added->version);
  EXPECT_THAT(Query("s"), ElementsAre(0, 5, ~uint64_t{0}));
  ASSERT_TRUE(segments().Load("s", Ids{9, 8}).ok());
  EXPECT_THAT(Query("s"), ElementsAre(8, 9));
  EXPECT_EQ(segments().Remove("none", Ids{1})->version, 0U);
  EXPECT_EQ(segments().Query("none")->progress().ids, 0U);
}

TEST_F(SegmentsTest, CombinesLikeSets) {
  // Dense and sparse ones, so that ids come as ids and as bitmaps.
  const Ids a = RandomIds(1, 100'000, 200'000);
  const Ids b = RandomIds(2, 100'000, 150'000);
  const Ids c = RandomIds(3, 20'000, uint64_t{1} << 40);
  ASSERT_TRUE(segments().Load("a", a).ok());
  ASSERT_TRUE(segments().Load("x:b", b).ok());
  ASSERT_TRUE(segments().Load("x:c", c).ok());
  Ids both;
  Ids either;
  Ids only_a;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  std::set_union(b.begin(), b.end(), c.begin(), c.end(), std::back_inserter(either));
  std::set_difference(a.begin(), a.end(), either.begin(), either.end(), std::back_inserter(only_a));
  EXPECT_TRUE(Query("a & x:b") == both);
  EXPECT_TRUE(Query("x:*") == either);
  EXPECT_TRUE(Query("a - (x:b | x:c)") == only_a);
  EXPECT_TRUE(Query("a - (x:b | x:c)", {.fresh = true}) == only_a);
  EXPECT_EQ(segments().Count("a & x:b")->count, both.size());

  const Ids part = Query("x:*", {.limit = 1'000, .after = either[70'000]});
  EXPECT_TRUE(part == Ids(either.begin() + 70'001, either.begin() + 71'001));

  ASSERT_TRUE(segments().Store("a", "a & x:b").ok()) << "an expression may name the segment itself";
  EXPECT_TRUE(Query("a") == both);
}

TEST_F(SegmentsTest, ResumesAcrossARestart) {
  std::mt19937_64 random(4);
  Ids ids;
  for (uint64_t id = 0; ids.size() < 1'000'000; id += 1 + random() % (uint64_t{1} << 40)) ids.push_back(id);
  ASSERT_TRUE(segments().Load("s", ids).ok());
  const auto reader = segments().Query("s");
  Ids all;
  std::span<const uint64_t> part;
  ASSERT_TRUE(reader->Next(part));
  all.assign(part.begin(), part.end());
  server_->Kill();
  ASSERT_TRUE(server_->Restart().ok());
  while (reader->Next(part)) all.insert(all.end(), part.begin(), part.end());
  EXPECT_TRUE(reader->status().ok()) << reader->status();
  EXPECT_TRUE(all == ids) << "every id once";
  EXPECT_EQ(reader->progress().ids, ids.size());
}

TEST_F(SegmentsTest, AWriterThatIsDroppedChangesNothing) {
  ASSERT_TRUE(segments().Load("s", Ids{1}).ok());
  Ids many(200'000);
  std::iota(many.begin(), many.end(), uint64_t{0});
  for (const bool load : {false, true}) {
    const auto writer = load ? segments().Load("s") : segments().Add("s");
    EXPECT_TRUE(writer->Write(many).ok());
  }
  EXPECT_THAT(Query("s"), ElementsAre(1));
}

TEST_F(SegmentsTest, BringsValues) {
  ASSERT_TRUE(client_->Set("user:7", "seven").ok());
  ASSERT_TRUE(client_->Set("user:9", std::string((1 << 20) + 1, 'x')).ok());
  ASSERT_TRUE(segments().Load("s", Ids{7, 8, 9}).ok());
  const auto reader = segments().QueryValues("s", "user:{id}");
  ASSERT_TRUE(reader->Next()) << reader->status();
  EXPECT_EQ(reader->item().id, 7U);
  EXPECT_EQ(reader->item().value, "seven");
  ASSERT_TRUE(reader->Next());
  EXPECT_EQ(reader->item().id, 8U);
  EXPECT_EQ(reader->item().value, std::nullopt);
  EXPECT_FALSE(reader->item().too_large);
  ASSERT_TRUE(reader->Next());
  EXPECT_TRUE(reader->item().too_large);
  EXPECT_FALSE(reader->Next());
  EXPECT_TRUE(reader->status().ok()) << reader->status();
}

TEST_F(SegmentsTest, ExplainsListsDescribesAndDrops) {
  for (const char* name : {"b:1", "b:2", "a"}) ASSERT_TRUE(segments().Load(name, Ids{1, 2, 3}).ok());
  const auto plan = segments().Explain("a & b:*", {.execute = true});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->root.exact_count, 3U);
  EXPECT_TRUE(plan->execution.has_value());
  EXPECT_FALSE(plan->normalized.empty());

  const auto list = segments().List("b:");
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->size(), 2U);
  EXPECT_EQ((*list)[0].name, "b:1");
  EXPECT_EQ((*list)[1].name, "b:2");
  const auto described = segments().Describe("a");
  ASSERT_TRUE(described.ok() && described->has_value());
  EXPECT_EQ((*described)->min_count, 3U);
  EXPECT_EQ((*described)->max_count, 3U);
  EXPECT_EQ(segments().Drop("a").value(), true);
  EXPECT_EQ(segments().Drop("a").value(), false);
  EXPECT_FALSE(segments().Describe("a").value().has_value());
}

TEST_F(SegmentsTest, SaysWhatIsWrongWithAnExpression) {
  const auto bad = segments().Count("a & (b");
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(bad.status().message());
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 2) << message;
  EXPECT_THAT(message, ::testing::EndsWith("^"));
  EXPECT_EQ(segments().Count("a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(segments().Add("", Ids{1}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace thermocline
