#include "server/service/segment_values.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/server/service/segments_fixture.h"

namespace thermocline::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using SegmentValuesTest = SegmentsFixture;

TEST_F(SegmentValuesTest, ValuesComeInTheOrderOfTheirIds) {
  Load("users", {1, 2, 30, 400, UINT64_MAX});
  store_.Set("user:1/1", "one");
  store_.Set("user:30/30", "thirty");
  store_.Set("user:400/400", std::string((1 << 20) + 1, 'x'));
  store_.Set(fmt::format("user:{}/{}", UINT64_MAX, UINT64_MAX), "last");
  const auto responses = QueryValues(ValuesOf("users", "user:{id}/{id}"));
  ASSERT_TRUE(responses.ok()) << responses.status();
  ASSERT_THAT(*responses, SizeIs(2));
  const v1::QueryValuesResponse& response = responses->front();
  ASSERT_EQ(response.items_size(), 5);
  const std::map<int, std::string> found = {{0, "one"}, {2, "thirty"}, {4, "last"}};
  for (int i = 0; i < 5; ++i) {
    const auto value = found.find(i);
    EXPECT_EQ(response.items(i).found(), value != found.end() || i == 3) << i;
    EXPECT_EQ(response.items(i).too_large(), i == 3) << i;
    EXPECT_EQ(response.items(i).value(), value == found.end() ? "" : value->second) << i;
  }
  EXPECT_EQ(response.items(4).id(), UINT64_MAX);
  EXPECT_EQ(response.progress().ids(), 5u);
  EXPECT_FALSE(response.progress().normalized().empty());
  EXPECT_FALSE(response.progress().done());
  EXPECT_TRUE(responses->back().progress().done());
  EXPECT_EQ(responses->back().progress().ids(), 5u);
  EXPECT_TRUE(responses->back().progress().normalized().empty());
  EXPECT_THAT(responses->back().items(), IsEmpty());
}

// Some of the values are on the disk, and come in any order.
TEST_F(SegmentValuesTest, ManyValuesComeInManyResponses) {
  constexpr int kCount = 1000;
  Load("users", Range(1, kCount));
  for (int i = 1; i <= kCount; ++i) {
    if (i % 10 != 0) store_.Set(std::to_string(i), std::string(static_cast<size_t>(i % 7) * 8000, 'v'));
  }
  const auto responses = QueryValues(ValuesOf("users", "{id}"));
  ASSERT_TRUE(responses.ok()) << responses.status();
  uint64_t id = 0;
  for (const auto& response : *responses) {
    size_t bytes = 0;
    for (const auto& item : response.items()) {
      ++id;
      ASSERT_EQ(item.id(), id);
      EXPECT_EQ(item.found(), id % 10 != 0);
      EXPECT_EQ(item.value().size(), id % 10 == 0 ? 0 : id % 7 * 8000);
      bytes += item.value().size();
    }
    EXPECT_LE(bytes, 1u << 20);
    EXPECT_LE(response.items_size(), 256);
    EXPECT_EQ(response.progress().ids(), id);
    EXPECT_EQ(response.progress().done(), &response == &responses->back());
  }
  EXPECT_EQ(id, static_cast<uint64_t>(kCount));
  // As large as they may be, or nearly so.
  EXPECT_LT(responses->size(), 1000 * 24'000 / (1 << 20) + 8);
}

TEST_F(SegmentValuesTest, LargeValuesAreNotReadFarAhead) {
  Load("users", Range(1, 40));
  for (int i = 1; i <= 40; ++i) store_.Set(std::to_string(i), std::string(1 << 20, 'v'));
  Settle();
  auto reader = service_->QueryValues(ValuesOf("users", "{id}"));
  ASSERT_TRUE(reader.ok()) << reader.status();
  uint64_t before = store_.engine().Stats().gets;
  for (int i = 0; i < 5; ++i) {
    v1::QueryValuesResponse response;
    const auto more =
        Await<absl::StatusOr<bool>>([&](auto done) { reader->Next(&response, std::move(done)); });
    ASSERT_TRUE(more.ok()) << more.status();
    ASSERT_EQ(response.items_size(), 1);
    EXPECT_EQ(response.items(0).value().size(), 1u << 20);
    Settle();
    const uint64_t gets = store_.engine().Stats().gets;
    // The first ones are asked for before anybody knows how large they are.
    if (i > 0) {
      EXPECT_LE(gets - before, 5u);
    }
    before = gets;
  }
}

TEST_F(SegmentValuesTest, ValuesMayBeGivenUpAtAnyTime) {
  Load("users", Range(1, 300));
  // More than the memory holds.
  for (int i = 1; i <= 300; ++i) store_.Set(std::to_string(i), std::string(400'000, 'v'));
  Settle();
  for (int steps = 0; steps < 12; ++steps) {
    auto opened = service_->QueryValues(ValuesOf("users", "{id}"));
    ASSERT_TRUE(opened.ok()) << opened.status();
    std::optional<SegmentValuesReader> reader(*std::move(opened));
    bool over = false;
    bool told_late = false;
    const auto response = std::make_shared<v1::QueryValuesResponse>();
    reader->Next(response.get(), [&, response](const absl::StatusOr<bool>&) { told_late = over; });
    for (int i = 0; i < steps; ++i) executor_.RunOne();
    over = true;
    reader.reset();
    Settle();
    EXPECT_FALSE(told_late) << steps;
    EXPECT_THAT(segments_->Stats().running, IsEmpty());
  }
}

TEST_F(SegmentValuesTest, PatternsOfKeysAreChecked) {
  Load("users", {1});
  const auto refusal = [this](const std::string& pattern) {
    const auto status = QueryValues(ValuesOf("users", pattern)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << pattern;
    return Message(status);
  };
  EXPECT_THAT(refusal(""), AllOf(HasSubstr("key_pattern is empty"), HasSubstr("user:{id}")));
  EXPECT_THAT(refusal("user:"), AllOf(HasSubstr("key_pattern"), HasSubstr("no place")));
  EXPECT_THAT(refusal("user:{ID}"), HasSubstr("no place"));
  EXPECT_THAT(refusal(std::string(65'530, 'k') + "{id}"), AllOf(HasSubstr("65550"), HasSubstr("65536")));
  EXPECT_TRUE(QueryValues(ValuesOf("users", std::string(65'516, 'k') + "{id}")).ok());
  v1::QueryValuesRequest nothing;
  nothing.set_key_pattern("{id}");
  EXPECT_THAT(Message(QueryValues(nothing).status()), HasSubstr("query is missing"));
}

}  // namespace
}  // namespace thermocline::server
