#include "server/service/key_value.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/types.h"
#include "tests/server/service/test_store.h"

namespace thermocline::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kHundredYearsMs = 3'153'600'000'000;

v1::SetRequest SetOf(const std::string& key, const std::string& value) {
  v1::SetRequest request;
  request.set_key(key);
  request.set_value(value);
  return request;
}

v1::DeleteRequest DeleteOf(const std::string& key) {
  v1::DeleteRequest request;
  request.set_key(key);
  return request;
}

class KeyValueTest : public ::testing::Test {
 protected:
  // The message with which a set is refused.
  std::string Refusal(const v1::SetRequest& request) {
    const absl::Status status = store_.SetStatus(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  TestStore store_;
};

TEST_F(KeyValueTest, ReadsWhatWasWritten) {
  const v1::WriteResponse written = store_.Set("key", "value");
  EXPECT_TRUE(written.applied());
  EXPECT_GT(written.version(), 0u);
  const v1::GetResponse found = store_.Get("key");
  EXPECT_TRUE(found.found());
  EXPECT_EQ(found.value(), "value");
  EXPECT_EQ(found.version(), written.version());
  EXPECT_FALSE(found.has_ttl_ms());
}

TEST_F(KeyValueTest, AMissIsAnAnswer) {
  const v1::GetResponse found = store_.Get("nothing");
  EXPECT_FALSE(found.found());
  EXPECT_EQ(found.version(), 0u);
}

TEST_F(KeyValueTest, KeysAndValuesAreAnyBytes) {
  const std::string bytes("\0\xff\n\0", 4);
  store_.Set(bytes, bytes);
  EXPECT_EQ(store_.Get(bytes).value(), bytes);
  store_.Set("empty", "");
  EXPECT_TRUE(store_.Get("empty").found());
  EXPECT_EQ(store_.Get("empty").value(), "");
}

TEST_F(KeyValueTest, LeavesOutTheValueIfTold) {
  const uint64_t version = store_.Set("key", "value").version();
  v1::GetRequest request;
  request.set_key("key");
  request.set_no_value(true);
  const v1::GetResponse found = store_.Get(request);
  EXPECT_TRUE(found.found());
  EXPECT_EQ(found.value(), "");
  EXPECT_EQ(found.version(), version);
}

TEST_F(KeyValueTest, DeletesAndDeletesAgain) {
  const uint64_t set = store_.Set("key", "value").version();
  const v1::WriteResponse deleted = store_.Delete(DeleteOf("key"));
  EXPECT_TRUE(deleted.applied());
  EXPECT_GT(deleted.version(), set);
  EXPECT_FALSE(store_.Get("key").found());
  EXPECT_TRUE(store_.Delete(DeleteOf("key")).applied());
}

TEST_F(KeyValueTest, WritesOnlyWhatItsConditionAllows) {
  v1::SetRequest if_absent = SetOf("key", "first");
  if_absent.mutable_condition()->set_if_absent(true);
  const v1::WriteResponse first = store_.Set(if_absent);
  EXPECT_TRUE(first.applied());
  const v1::WriteResponse again = store_.Set(if_absent);
  EXPECT_FALSE(again.applied());
  EXPECT_EQ(again.version(), first.version());

  v1::SetRequest if_version = SetOf("key", "second");
  if_version.mutable_condition()->set_if_version(first.version());
  const v1::WriteResponse second = store_.Set(if_version);
  EXPECT_TRUE(second.applied());
  EXPECT_FALSE(store_.Set(if_version).applied());
  EXPECT_EQ(store_.Get("key").value(), "second");

  v1::DeleteRequest if_present = DeleteOf("key");
  if_present.mutable_condition()->set_if_present(true);
  EXPECT_TRUE(store_.Delete(if_present).applied());
  const v1::WriteResponse gone = store_.Delete(if_present);
  EXPECT_FALSE(gone.applied());
  EXPECT_EQ(gone.version(), 0u);
}

TEST_F(KeyValueTest, RefusesConditionsThatSayNothing) {
  v1::SetRequest request = SetOf("key", "value");
  request.mutable_condition()->set_if_absent(false);
  EXPECT_THAT(Refusal(request), HasSubstr("if_absent is false"));
  request.mutable_condition()->set_if_present(false);
  EXPECT_THAT(Refusal(request), HasSubstr("if_present is false"));
  request.mutable_condition()->set_if_version(0);
  EXPECT_THAT(Refusal(request), HasSubstr("if_version is 0"));
  request.mutable_condition()->clear_kind();
  EXPECT_THAT(Refusal(request), HasSubstr("condition is of no kind"));

  v1::DeleteRequest deletion = DeleteOf("key");
  deletion.mutable_condition()->set_if_present(false);
  EXPECT_EQ(store_.DeleteStatus(deletion).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(store_.Get("key").found());
}

TEST_F(KeyValueTest, ExpiresWhatHasATimeToLive) {
  v1::SetRequest request = SetOf("key", "value");
  request.set_ttl_ms(1000);
  store_.Set(request);
  store_.clock().Advance(400);
  EXPECT_EQ(store_.Get("key").ttl_ms(), 600u);
  store_.clock().Advance(599);
  EXPECT_EQ(store_.Get("key").ttl_ms(), 1u);
  store_.clock().Advance(1);
  EXPECT_FALSE(store_.Get("key").found());
}

TEST_F(KeyValueTest, ASetWithoutTimeToLiveRemovesIt) {
  v1::SetRequest request = SetOf("key", "value");
  request.set_ttl_ms(1000);
  store_.Set(request);
  store_.Set("key", "other");
  EXPECT_FALSE(store_.Get("key").has_ttl_ms());
  store_.clock().Advance(5000);
  EXPECT_TRUE(store_.Get("key").found());
}

TEST_F(KeyValueTest, RefusesTimesToLiveOutOfRange) {
  v1::SetRequest request = SetOf("key", "value");
  for (int64_t ttl : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min(), kHundredYearsMs + 1,
                      std::numeric_limits<int64_t>::max()}) {
    request.set_ttl_ms(ttl);
    EXPECT_THAT(Refusal(request), AllOf(HasSubstr("ttl_ms is " + std::to_string(ttl)),
                                        HasSubstr(std::to_string(kHundredYearsMs))));
  }
  request.set_ttl_ms(kHundredYearsMs);
  EXPECT_TRUE(store_.Set(request).applied());
}

TEST_F(KeyValueTest, RefusesUnknownDurabilityAndNamesTheKnown) {
  v1::SetRequest request = SetOf("key", "value");
  request.set_durability(static_cast<v1::Durability>(7));
  EXPECT_THAT(Refusal(request),
              AllOf(HasSubstr("durability is 7"), HasSubstr("1 (SYNC)"), HasSubstr("2 (MEMORY)")));
  v1::DeleteRequest deletion = DeleteOf("key");
  deletion.set_durability(static_cast<v1::Durability>(-1));
  EXPECT_THAT(std::string(store_.DeleteStatus(deletion).message()), HasSubstr("durability is -1"));
}

TEST_F(KeyValueTest, RefusesKeysOutOfRangeAndNamesSizeAndLimit) {
  const std::string longest(storage::kMaxKeyBytes, 'k');
  EXPECT_THAT(Refusal(SetOf("", "value")), AllOf(HasSubstr("key is empty"), HasSubstr("65536")));
  EXPECT_THAT(Refusal(SetOf(longest + "k", "value")),
              AllOf(HasSubstr("key has 65537 bytes"), HasSubstr("65536")));
  v1::GetRequest get;
  EXPECT_EQ(store_.GetStatus(get).code(), absl::StatusCode::kInvalidArgument);
  get.set_key(longest + "k");
  EXPECT_EQ(store_.GetStatus(get).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_.DeleteStatus(DeleteOf("")).code(), absl::StatusCode::kInvalidArgument);
  store_.Set(longest, "value");
  EXPECT_EQ(store_.Get(longest).value(), "value");
}

// Blocks of 256 KiB cannot hold 16 MiB: the limit in force is smaller, and the message tells it.
TEST_F(KeyValueTest, RefusesValuesThatTheStoreCannotHold) {
  const uint64_t limit = store_.engine().max_value_bytes(3);
  ASSERT_LT(limit, storage::kMaxValueBytes);
  store_.Set("key", std::string(limit, 'v'));
  EXPECT_EQ(store_.Get("key").value().size(), limit);
  EXPECT_THAT(Refusal(SetOf("key", std::string(limit + 1, 'v'))),
              AllOf(HasSubstr("value has " + std::to_string(limit + 1) + " bytes"),
                    HasSubstr(std::to_string(limit))));
}

TEST(KeyValueLargeTest, TakesValuesOf16MiBAndNoMore) {
  TestStore store(160 << 20, 32 << 20);
  store.Set("key", std::string(16 << 20, 'v'));
  EXPECT_EQ(store.Get("key").value().size(), size_t{16} << 20);
  EXPECT_THAT(std::string(store.SetStatus(SetOf("key", std::string((16 << 20) + 1, 'v'))).message()),
              AllOf(HasSubstr("16777217"), HasSubstr("16777216")));
}

TEST_F(KeyValueTest, MemoryWritesAreAnsweredBeforeAnySync) {
  v1::SetRequest request = SetOf("key", "value");
  request.set_durability(v1::MEMORY);
  const uint64_t syncs = store_.disk().counts().syncs;
  bool answered = false;
  v1::WriteResponse response;
  store_.key_value().Set(request, &response, [&](const absl::Status& status) { answered = status.ok(); });
  EXPECT_TRUE(answered);
  EXPECT_EQ(store_.disk().counts().syncs, syncs);

  bool durable = false;
  request.set_durability(v1::DURABILITY_UNSPECIFIED);
  store_.key_value().Set(request, &response, [&](const absl::Status& status) { durable = status.ok(); });
  EXPECT_FALSE(durable);
  store_.Settle();
  EXPECT_TRUE(durable);
  EXPECT_GT(store_.disk().counts().syncs, syncs);
}

TEST_F(KeyValueTest, AFailedSyncIsToldAsUnknownAndLaterWritesAreRefused) {
  store_.Set("before", "value");
  store_.disk().Fail(thermocline::testing::SimulatedDisk::Operation::kSync, 1,
                     thermocline::testing::SimulatedDisk::Repeat::kForGood);
  EXPECT_EQ(store_.SetStatus(SetOf("key", "value")).code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(store_.SetStatus(SetOf("key", "value")).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store_.Get("before").value(), "value");
}

}  // namespace
}  // namespace thermocline::server
