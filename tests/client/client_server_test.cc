// The client against the real server.

#include <future>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "client/client.h"
#include "tests/support/server_process.h"

namespace thermocline {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using testing::ServerProcess;

constexpr milliseconds kLong{60'000};

class ClientServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = ServerProcess::Start({.flags = {"--memory", "64MiB"}, .data_directory = ""});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto client = Client::Connect({.server = server_->address(), .timeout = kLong});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }

  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientServerTest, SetsGetsAndDeletes) {
  const std::string key("\0key\xff", 5);
  EXPECT_FALSE(client_->Get(key)->has_value());
  const auto set = client_->Set(key, "value");
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_TRUE(set->applied);
  const auto entry = client_->Get(key);
  ASSERT_TRUE(entry.ok() && entry->has_value());
  EXPECT_EQ((*entry)->value, "value");
  EXPECT_EQ((*entry)->version, set->version);
  EXPECT_EQ((*entry)->ttl, std::nullopt);
  const auto deleted = client_->Delete(key);
  ASSERT_TRUE(deleted.ok());
  EXPECT_GT(deleted->version, set->version);
  EXPECT_FALSE(client_->Get(key)->has_value());
}

TEST_F(ClientServerTest, HoldsToConditions) {
  const auto first = client_->Set("k", "1", {.condition = Condition::IfAbsent()});
  ASSERT_TRUE(first.ok() && first->applied);
  const auto again = client_->Set("k", "2", {.condition = Condition::IfAbsent()});
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->applied);
  EXPECT_EQ(again->version, first->version);
  EXPECT_FALSE(client_->Set("other", "1", {.condition = Condition::IfPresent()})->applied);
  EXPECT_TRUE(client_->Set("k", "3", {.condition = Condition::IfVersion(first->version)})->applied);
  EXPECT_FALSE(client_->Delete("k", {.condition = Condition::IfVersion(first->version)})->applied);
  EXPECT_EQ((*client_->Get("k").value()).value, "3");
}

TEST_F(ClientServerTest, LetsValuesExpire) {
  ASSERT_TRUE(client_->Set("long", "v", {.ttl = std::chrono::hours(1)}).ok());
  const auto entry = client_->Get("long");
  ASSERT_TRUE(entry.ok() && entry->has_value());
  EXPECT_GT(*(*entry)->ttl, std::chrono::minutes(59));
  ASSERT_TRUE(client_->Set("short", "v", {.ttl = milliseconds(1)}).ok());
  while (client_->Get("short")->has_value()) std::this_thread::sleep_for(milliseconds(1));
  const auto refused = client_->Set("k", "v", {.ttl = milliseconds(-5)});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("ttl"));
}

TEST_F(ClientServerTest, CarriesBatchesOfAnySize) {
  std::vector<Write> writes;
  std::vector<std::string> keys;
  for (int i = 0; i < 40; ++i) {
    keys.push_back("big" + std::to_string(i));
    writes.push_back(Write::Set(keys.back(), std::string(1 << 20, static_cast<char>('a' + i % 26))));
  }
  writes.push_back(Write::Set("", "no key"));
  const auto written = client_->BatchWrite(std::move(writes), {.durability = Durability::kMemory});
  for (size_t i = 0; i < keys.size(); ++i) ASSERT_TRUE(written[i].ok()) << written[i].status();
  EXPECT_EQ(written.back().status().code(), absl::StatusCode::kInvalidArgument);

  keys.push_back("missing");
  const auto read = client_->BatchGet(keys);
  ASSERT_EQ(read.size(), keys.size());
  for (size_t i = 0; i + 1 < keys.size(); ++i) {
    ASSERT_TRUE(read[i].ok() && read[i]->has_value()) << read[i].status();
    EXPECT_TRUE((*read[i])->value == std::string(1 << 20, static_cast<char>('a' + i % 26)));
  }
  EXPECT_TRUE(read.back().ok() && !read.back()->has_value());
}

TEST_F(ClientServerTest, ScansEveryKeyAcrossARestart) {
  constexpr int kKeys = 20'000;
  std::vector<Write> writes;
  for (int i = 0; i < kKeys; ++i)
    writes.push_back(Write::Set("key" + std::to_string(i), std::string(500, 'v')));
  for (const auto& result : client_->BatchWrite(std::move(writes)))
    ASSERT_TRUE(result.ok()) << result.status();

  std::set<std::string> seen;
  const auto scan = client_->Scan({.prefix = "key"});
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(scan->Next()) << scan->status();
    seen.insert(scan->key());
  }
  server_->Kill();
  ASSERT_TRUE(server_->Restart().ok());
  while (scan->Next()) seen.insert(scan->key());
  EXPECT_TRUE(scan->status().ok()) << scan->status();
  EXPECT_EQ(seen.size(), static_cast<size_t>(kKeys));
}

TEST_F(ClientServerTest, ReadsAndWritesGoOnAfterARestart) {
  ASSERT_TRUE(client_->Set("k", "v").ok());
  server_->Kill();
  auto reading = std::async(std::launch::async, [&] { return client_->Get("k"); });
  auto writing = std::async(std::launch::async, [&] { return client_->Set("k2", "v2"); });
  ASSERT_TRUE(server_->Restart().ok());
  const auto read = reading.get();
  ASSERT_TRUE(read.ok() && read->has_value()) << read.status();
  // A write that went into the connection before the client knew that it was broken has an unknown outcome.
  if (const auto written = writing.get(); !written.ok()) {
    EXPECT_EQ(written.status().code(), absl::StatusCode::kUnavailable) << written.status();
  }
  EXPECT_TRUE(client_->Set("k2", "v2").ok());
}

TEST_F(ClientServerTest, TellsWhatTheServerHolds) {
  ASSERT_TRUE(client_->Set("k", "v", {.durability = Durability::kMemory}).ok());
  ASSERT_TRUE(client_->Flush().ok());
  const auto stats = client_->Stats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->memory.limit_bytes, uint64_t{64} << 20);
  EXPECT_LE(stats->memory.used_bytes, stats->memory.limit_bytes);
  EXPECT_FALSE(stats->memory.shares.empty());
  EXPECT_EQ(stats->operations.sets, 1U);
  EXPECT_EQ(stats->index.live_keys_max, 1U);
  EXPECT_EQ(stats->log.unsynced_bytes, 0U);
  EXPECT_TRUE(stats->log.accepts_writes);
  EXPECT_FALSE(stats->server_version.empty());
}

TEST_F(ClientServerTest, CompactionGivesDiskSpaceBack) {
  for (int i = 0; i < 60; ++i)
    ASSERT_TRUE(client_->Set("key" + std::to_string(i), std::string(500'000, 'v')).ok());
  // A tenth: the server alone would leave it.
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(client_->Delete("key" + std::to_string(i)).ok());
  const auto before = client_->Stats();
  ASSERT_TRUE(before.ok());
  EXPECT_GT(before->log.dead_bytes, 2'900'000U);
  EXPECT_LT(before->log.dead_bytes, before->log.record_bytes);
  const auto report = client_->Compact();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->blocks_freed, 0U);
  EXPECT_GT(report->bytes_scanned, report->bytes_written + 2'900'000);
  EXPECT_GE(report->records_dropped, 6U);
  const auto after = client_->Stats();
  ASSERT_TRUE(after.ok());
  EXPECT_LT(after->log.disk_bytes, before->log.disk_bytes);
  EXPECT_EQ(after->compaction.blocks_freed, report->blocks_freed);
  EXPECT_EQ(after->compaction.failure, "");
  EXPECT_FALSE(client_->Get("key0")->has_value());
  EXPECT_EQ((*client_->Get("key59").value()).value.size(), 500'000U);
}

TEST_F(ClientServerTest, ServesManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 100; ++i) {
        const std::string key = std::to_string(t) + ":" + std::to_string(i % 10);
        const std::string value = std::to_string(i);
        ASSERT_TRUE(client_->Set(key, value, {.durability = Durability::kMemory}).ok());
        const auto entry = client_->Get(key);
        ASSERT_TRUE(entry.ok() && entry->has_value());
        EXPECT_EQ((*entry)->value, value);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace thermocline
