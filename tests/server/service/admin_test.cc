#include "server/service/admin.h"

#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/server/service/test_store.h"

namespace thermocline::server {
namespace {

class AdminTest : public ::testing::Test {
 protected:
  v1::StatsResponse Stats() {
    v1::StatsResponse response;
    store_.admin().Stats({}, &response);
    return response;
  }

  absl::Status Flush() {
    return store_.Await([this](TestStore::Done done) { store_.admin().Flush({}, std::move(done)); });
  }

  TestStore store_;
};

TEST_F(AdminTest, CountsWhatWasDone) {
  store_.Set("a", "1");
  store_.Set("b", "2");
  store_.Get("a");
  store_.Get("none");
  v1::DeleteRequest deletion;
  deletion.set_key("b");
  store_.Delete(deletion);
  const v1::StatsResponse stats = Stats();
  EXPECT_EQ(stats.operations().sets(), 2u);
  EXPECT_EQ(stats.operations().gets(), 2u);
  EXPECT_EQ(stats.operations().hits_memory(), 1u);
  EXPECT_EQ(stats.operations().hits_disk(), 0u);
  EXPECT_EQ(stats.operations().misses(), 1u);
  EXPECT_EQ(stats.operations().deletes(), 1u);
  EXPECT_EQ(stats.index().live_keys_min(), 1u);
  EXPECT_EQ(stats.index().live_keys_max(), 1u);
  EXPECT_GT(stats.log().written_bytes(), 0u);
  EXPECT_GT(stats.log().syncs(), 0u);
  EXPECT_TRUE(stats.log().accepts_writes());
  EXPECT_FALSE(stats.server_version().empty());
}

TEST_F(AdminTest, SharesOfMemoryAddUpAndStayWithinTheLimit) {
  for (int i = 0; i < 300; ++i) store_.Set("key" + std::to_string(i), std::string(100'000, 'v'));
  const v1::Memory memory = Stats().memory();
  EXPECT_EQ(memory.limit_bytes(), uint64_t{16} << 20);
  uint64_t sum = 0;
  std::vector<std::string> names;
  for (const auto& share : memory.shares()) {
    sum += share.used_bytes();
    names.push_back(share.name());
  }
  EXPECT_THAT(names, ::testing::ElementsAre("index", "blocks", "chunk tables"));
  EXPECT_EQ(memory.used_bytes(), sum);
  EXPECT_LE(memory.used_bytes(), memory.limit_bytes());
  EXPECT_GT(memory.resident_set_bytes(), memory.used_bytes() / 2);
}

TEST_F(AdminTest, FlushMakesMemoryWritesDurable) {
  v1::SetRequest request;
  request.set_key("key");
  request.set_value("value");
  request.set_durability(v1::MEMORY);
  store_.Set(request);
  EXPECT_GT(Stats().log().unsynced_bytes(), 0u);
  const absl::Status status = Flush();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(Stats().log().unsynced_bytes(), 0u);
}

TEST_F(AdminTest, TellsWhyWritesAreRefused) {
  store_.Set("key", "value");
  store_.disk().Fail(thermocline::testing::SimulatedDisk::Operation::kSync, 1,
                     thermocline::testing::SimulatedDisk::Repeat::kForGood);
  v1::SetRequest request;
  request.set_key("key");
  EXPECT_FALSE(store_.SetStatus(request).ok());
  const v1::Log log = Stats().log();
  EXPECT_FALSE(log.accepts_writes());
  EXPECT_FALSE(log.refusal().empty());
  EXPECT_FALSE(Flush().ok());
}

}  // namespace
}  // namespace thermocline::server
