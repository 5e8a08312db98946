#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "grpcpp/support/status_code_enum.h"
#include "gtest/gtest.h"

#include "tests/server/service/test_store.h"

namespace thermocline::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Entry = v1::BatchGetResponse::Entry;

v1::SetRequest* AddSet(v1::BatchWriteRequest& request, const std::string& key, const std::string& value) {
  v1::SetRequest* const set = request.add_writes()->mutable_set();
  set->set_key(key);
  set->set_value(value);
  return set;
}

v1::DeleteRequest* AddDelete(v1::BatchWriteRequest& request, const std::string& key) {
  v1::DeleteRequest* const deletion = request.add_writes()->mutable_delete_();
  deletion->set_key(key);
  return deletion;
}

class BatchTest : public ::testing::Test {
 protected:
  TestStore store_;
};

TEST_F(BatchTest, GetAnswersEachKeyInOrder) {
  const uint64_t a = store_.Set("a", "1").version();
  v1::SetRequest with_ttl;
  with_ttl.set_key("b");
  with_ttl.set_value("2");
  with_ttl.set_ttl_ms(500);
  store_.Set(with_ttl);
  v1::BatchGetRequest request;
  for (const char* key : {"b", "none", "a", "", "a"}) request.add_keys(key);
  const v1::BatchGetResponse response = store_.BatchGet(request);
  ASSERT_EQ(response.entries_size(), 5);
  EXPECT_EQ(response.entries(0).state(), Entry::FOUND);
  EXPECT_EQ(response.entries(0).value(), "2");
  EXPECT_EQ(response.entries(0).ttl_ms(), 500u);
  EXPECT_EQ(response.entries(1).state(), Entry::MISSING);
  EXPECT_EQ(response.entries(2).state(), Entry::FOUND);
  EXPECT_EQ(response.entries(2).value(), "1");
  EXPECT_EQ(response.entries(2).version(), a);
  EXPECT_FALSE(response.entries(2).has_ttl_ms());
  EXPECT_EQ(response.entries(3).state(), Entry::FAILED);
  EXPECT_EQ(response.entries(3).error().code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(response.entries(3).error().message(), HasSubstr("key is empty"));
  EXPECT_EQ(response.entries(4).value(), "1");
}

TEST_F(BatchTest, GetOfNothingIsEmpty) { EXPECT_EQ(store_.BatchGet({}).entries_size(), 0); }

TEST_F(BatchTest, GetMarksWhatDoesNotFit) {
  store_.Set("a", std::string(60, 'a'));
  const uint64_t b = store_.Set("b", std::string(60, 'b')).version();
  store_.Set("c", std::string(40, 'c'));
  v1::BatchGetRequest request;
  for (const char* key : {"a", "b", "c"}) request.add_keys(key);
  request.set_max_bytes(100);
  const v1::BatchGetResponse response = store_.BatchGet(request);
  EXPECT_EQ(response.entries(0).state(), Entry::FOUND);
  EXPECT_EQ(response.entries(1).state(), Entry::TOO_LARGE);
  EXPECT_EQ(response.entries(1).value(), "");
  EXPECT_EQ(response.entries(1).version(), b);
  EXPECT_EQ(response.entries(2).state(), Entry::FOUND);
}

TEST_F(BatchTest, GetAlwaysSendsTheFirstValue) {
  store_.Set("a", std::string(1000, 'a'));
  store_.Set("b", "b");
  v1::BatchGetRequest request;
  for (const char* key : {"none", "a", "b"}) request.add_keys(key);
  request.set_max_bytes(1);
  const v1::BatchGetResponse response = store_.BatchGet(request);
  EXPECT_EQ(response.entries(1).state(), Entry::FOUND);
  EXPECT_EQ(response.entries(1).value().size(), 1000u);
  EXPECT_EQ(response.entries(2).state(), Entry::TOO_LARGE);
}

// However many keys a batch has, its answer suits clients that take 4 MiB.
TEST_F(BatchTest, GetByDefaultFitsIntoAStockClient) {
  v1::BatchGetRequest request;
  for (int i = 0; i < 65'536; ++i) {
    const std::string key = "key" + std::to_string(i);
    if (i < 40) store_.Set(key, std::string(100'000, 'v'));
    if (i < 40'000) request.add_keys(key);
    if (i >= 40'000) request.add_keys("key0");
  }
  const v1::BatchGetResponse response = store_.BatchGet(request);
  EXPECT_LT(response.ByteSizeLong(), size_t{4} << 20);
  EXPECT_GT(response.ByteSizeLong(), size_t{2} << 20);
}

TEST_F(BatchTest, GetRefusesLimitsOutOfRange) {
  v1::BatchGetRequest request;
  request.set_max_bytes((16 << 20) + 1);
  EXPECT_THAT(std::string(store_.BatchGetStatus(request).message()),
              AllOf(HasSubstr("max_bytes is 16777217"), HasSubstr("16777216")));
  request.set_max_bytes(0);
  for (int i = 0; i <= 65'536; ++i) request.add_keys("k");
  EXPECT_THAT(std::string(store_.BatchGetStatus(request).message()),
              AllOf(HasSubstr("65537 keys"), HasSubstr("65536")));
}

TEST_F(BatchTest, WriteAnswersEachWriteAlone) {
  store_.Set("there", "old");
  v1::BatchWriteRequest request;
  AddSet(request, "a", "1");
  AddSet(request, "", "2");
  AddSet(request, "there", "3")->mutable_condition()->set_if_absent(true);
  AddDelete(request, "gone");
  request.add_writes();
  AddSet(request, "b", "4")->set_ttl_ms(-5);
  const v1::BatchWriteResponse response = store_.BatchWrite(request);
  ASSERT_EQ(response.results_size(), 6);
  EXPECT_TRUE(response.results(0).written().applied());
  EXPECT_GT(response.results(0).written().version(), 0u);
  EXPECT_EQ(response.results(1).error().code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(response.results(1).error().message(), HasSubstr("key is empty"));
  EXPECT_TRUE(response.results(2).has_written());
  EXPECT_FALSE(response.results(2).written().applied());
  EXPECT_TRUE(response.results(3).written().applied());
  EXPECT_THAT(response.results(4).error().message(), HasSubstr("neither set nor delete"));
  EXPECT_THAT(response.results(5).error().message(), HasSubstr("ttl_ms is -5"));
  EXPECT_EQ(store_.Get("a").value(), "1");
  EXPECT_EQ(store_.Get("there").value(), "old");
  EXPECT_FALSE(store_.Get("b").found());
}

TEST_F(BatchTest, WriteOfNothingIsEmpty) { EXPECT_EQ(store_.BatchWrite({}).results_size(), 0); }

TEST_F(BatchTest, WritesToOneKeyTakeEffectInTheirOrder) {
  v1::BatchWriteRequest request;
  AddSet(request, "key", "1");
  AddSet(request, "other", "x");
  AddDelete(request, "key")->mutable_condition()->set_if_present(true);
  AddSet(request, "key", "2")->mutable_condition()->set_if_absent(true);
  AddSet(request, "key", "3")->mutable_condition()->set_if_absent(true);
  const v1::BatchWriteResponse response = store_.BatchWrite(request);
  EXPECT_TRUE(response.results(0).written().applied());
  EXPECT_TRUE(response.results(2).written().applied());
  EXPECT_TRUE(response.results(3).written().applied());
  EXPECT_FALSE(response.results(4).written().applied());
  EXPECT_LT(response.results(0).written().version(), response.results(2).written().version());
  EXPECT_LT(response.results(2).written().version(), response.results(3).written().version());
  EXPECT_EQ(response.results(4).written().version(), response.results(3).written().version());
  EXPECT_EQ(store_.Get("key").value(), "2");
}

TEST_F(BatchTest, AKeyAThousandTimesCostsFewSyncsAndIsDurable) {
  v1::BatchWriteRequest request;
  for (int i = 0; i < 1000; ++i) AddSet(request, "key", std::to_string(i));
  // The last write does not sync: the others' wish must be met without it.
  AddSet(request, "key", "last")->set_durability(v1::MEMORY);
  const uint64_t before = store_.disk().counts().syncs;
  const v1::BatchWriteResponse response = store_.BatchWrite(request);
  EXPECT_EQ(response.results_size(), 1001);
  for (const auto& result : response.results()) EXPECT_TRUE(result.written().applied());
  EXPECT_EQ(store_.engine().Stats().unsynced_bytes, 0u);
  EXPECT_GT(store_.disk().counts().syncs, before);
  EXPECT_LT(store_.disk().counts().syncs, before + 10);
  EXPECT_EQ(store_.Get("key").value(), "last");
}

TEST_F(BatchTest, AFailedSyncFailsEveryWriteThatAskedForIt) {
  store_.disk().Fail(thermocline::testing::SimulatedDisk::Operation::kSync, 1,
                     thermocline::testing::SimulatedDisk::Repeat::kForGood);
  v1::BatchWriteRequest request;
  AddSet(request, "key", "1");
  AddSet(request, "key", "2")->set_durability(v1::MEMORY);
  AddSet(request, "other", "3");
  const v1::BatchWriteResponse response = store_.BatchWrite(request);
  EXPECT_EQ(response.results(0).error().code(), grpc::UNKNOWN);
  EXPECT_TRUE(response.results(1).written().applied());
  EXPECT_EQ(response.results(2).error().code(), grpc::UNKNOWN);
}

TEST_F(BatchTest, WriteRefusesTooMany) {
  v1::BatchWriteRequest request;
  for (int i = 0; i <= 65'536; ++i) AddDelete(request, "k");
  EXPECT_THAT(std::string(store_.BatchWriteStatus(request).message()),
              AllOf(HasSubstr("65537 writes"), HasSubstr("65536")));
}

TEST_F(BatchTest, AnswersStaySmallWhenEverythingFails) {
  v1::BatchWriteRequest request;
  for (int i = 0; i < 65'536; ++i) AddSet(request, "k", "v")->set_ttl_ms(-1);
  const v1::BatchWriteResponse response = store_.BatchWrite(request);
  EXPECT_LT(response.ByteSizeLong(), size_t{4} << 20);
  EXPECT_THAT(response.results(0).error().message(), HasSubstr("ttl_ms is -1"));
  EXPECT_EQ(response.results(65'535).error().code(), grpc::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace thermocline::server
