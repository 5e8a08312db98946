#include "server/service/admin.h"

#include <optional>
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

  absl::StatusOr<v1::CompactResponse> Compact() {
    absl::StatusOr<v1::CompactResponse> response;
    store_
        .Await([&](TestStore::Done done) {
          store_.admin().Compact({}, [&response, done = std::move(done)](auto result) mutable {
            response = std::move(result);
            done(absl::OkStatus());
          });
        })
        .IgnoreError();
    return response;
  }

  // A hundred values of 20 KB each, of which the first fifteen are overwritten: worth compacting if somebody
  // asks for it, but not by itself.
  void WriteSomeGarbage() {
    for (int i = 0; i < 100; ++i) store_.Set("key" + std::to_string(i), std::string(20'000, 'v'));
    for (int i = 0; i < 15; ++i) store_.Set("key" + std::to_string(i), "new");
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
  EXPECT_THAT(names,
              ::testing::ElementsAre("index", "blocks", "chunk tables", "compaction", "deep cold", "cache"));
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

TEST_F(AdminTest, CompactionGivesDiskSpaceBackAndTellsHowMuch) {
  WriteSomeGarbage();
  const v1::Log before = Stats().log();
  EXPECT_GT(before.record_bytes(), 100 * 20'000u);
  EXPECT_LT(before.record_bytes(), 102 * 20'000u);
  EXPECT_GT(before.dead_bytes(), 14 * 20'000u);
  EXPECT_LT(before.dead_bytes(), 16 * 20'000u);

  const auto compacted = Compact();
  ASSERT_TRUE(compacted.ok()) << compacted.status();
  EXPECT_GT(compacted->blocks_freed(), 0u);
  EXPECT_GT(compacted->bytes_scanned(), 14 * 20'000u);
  EXPECT_LT(compacted->bytes_written() + 14 * 20'000u, compacted->bytes_scanned());
  EXPECT_GT(compacted->records_moved(), 0u);
  EXPECT_EQ(compacted->records_dropped(), 15u);

  const v1::StatsResponse stats = Stats();
  EXPECT_LT(stats.log().disk_bytes(), before.disk_bytes());
  EXPECT_LT(stats.log().dead_bytes(), 20'000u);
  EXPECT_FALSE(stats.compaction().running());
  EXPECT_EQ(stats.compaction().blocks_freed(), compacted->blocks_freed());
  EXPECT_EQ(stats.compaction().bytes_scanned(), compacted->bytes_scanned());
  EXPECT_EQ(stats.compaction().bytes_written(), compacted->bytes_written());
  EXPECT_EQ(stats.compaction().records_moved(), compacted->records_moved());
  EXPECT_EQ(stats.compaction().records_dropped(), compacted->records_dropped());
  EXPECT_EQ(stats.compaction().failure(), "");
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(store_.Get("key" + std::to_string(i)).value(), i < 15 ? "new" : std::string(20'000, 'v'));
  }
}

TEST_F(AdminTest, CompactionWithNothingToGainIsOverAtOnce) {
  WriteSomeGarbage();
  ASSERT_TRUE(Compact().ok());
  const auto again = Compact();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->ByteSizeLong(), 0u) << again->DebugString();
}

TEST_F(AdminTest, TellsWhyCompactionFailed) {
  WriteSomeGarbage();
  store_.disk().Fail(thermocline::testing::SimulatedDisk::Operation::kWrite);
  const auto failed = Compact();
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kUnavailable) << failed.status();
  EXPECT_EQ(Stats().compaction().failure(), failed.status().ToString());
  EXPECT_EQ(Stats().compaction().blocks_freed(), 0u);

  ASSERT_TRUE(Compact().ok());
  EXPECT_EQ(Stats().compaction().failure(), "");
  EXPECT_GT(Stats().compaction().blocks_freed(), 0u);
}

TEST_F(AdminTest, CompactionIsOverWhenTheStoreCloses) {
  WriteSomeGarbage();
  std::optional<absl::Status> status;
  store_.admin().Compact({}, [&status](const auto& result) { status = result.status(); });
  EXPECT_EQ(status, std::nullopt);
  ASSERT_TRUE(store_.engine().Close().ok());
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Compact().status().code(), absl::StatusCode::kUnavailable);
}

// Values that go out of memory are overwritten without a look at them, and somebody looks later.
TEST_F(AdminTest, CountsTheChainsThatWereResolved) {
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 200; ++i) store_.Set("key" + std::to_string(i), std::string(100'000, 'v'));
  }
  ASSERT_TRUE(Compact().ok());
  const v1::Index index = Stats().index();
  EXPECT_EQ(index.unresolved_slots(), 0u);
  EXPECT_GT(index.resolved_chains(), 0u);
  EXPECT_GT(index.resolution_reads(), 0u);
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
