// What stats and compact print, to the letter.

#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "client/cli/run.h"
#include "tests/client/scripted_server.h"

namespace thermocline::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using thermocline::testing::ScriptedServer;

constexpr uint64_t kMiB = 1 << 20;

class AdminCommandsTest : public ::testing::Test {
 protected:
  void SetUp() override { server_.Start(); }

  ExitCode Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server_.address()});
    out_.str("");
    Io io{.in = -1, .out = out_, .err = err_};
    return cli::Run(arguments, io);
  }

  std::ostringstream out_;
  std::ostringstream err_;
  ScriptedServer server_;
};

void FillStats(v1::StatsResponse& stats) {
  stats.set_server_version("1.2.3");
  stats.set_uptime_ms(7'260'000);
  stats.set_recovery_ms(350);
  v1::Memory& memory = *stats.mutable_memory();
  memory.set_limit_bytes(64 * kMiB);
  memory.set_used_bytes(33 * kMiB);
  for (const auto& [name, bytes] : {std::pair("index", kMiB), std::pair("blocks", 32 * kMiB)}) {
    memory.add_shares()->set_name(name);
    memory.mutable_shares()->rbegin()->set_used_bytes(bytes);
  }
  memory.set_resident_set_bytes(50 * kMiB);
  memory.set_cached_records(21);
  v1::Log& log = *stats.mutable_log();
  log.set_blocks(12);
  log.set_resident_blocks(8);
  log.set_resident_bytes(32 * kMiB);
  log.set_disk_bytes(48 * kMiB);
  log.set_written_bytes(96 * kMiB);
  log.set_syncs(1500);
  log.set_unsynced_bytes(512);
  log.set_refusal("the disk is gone");
  log.set_record_bytes(40 * kMiB);
  log.set_dead_bytes(4 * kMiB);
  v1::Index& index = *stats.mutable_index();
  index.set_slots(1000);
  index.set_unresolved_slots(10);
  index.set_bytes(kMiB);
  index.set_live_keys_min(980);
  index.set_live_keys_max(990);
  index.set_resolved_chains(20);
  index.set_resolution_reads(30);
  v1::Operations& operations = *stats.mutable_operations();
  operations.set_gets(1);
  operations.set_hits_memory(2);
  operations.set_hits_disk(3);
  operations.set_misses(4);
  operations.set_disk_reads(5);
  operations.set_sets(6);
  operations.set_deletes(7);
  operations.set_updates_in_place(8);
  operations.set_conditions_failed(9);
  operations.set_hits_deep_cold(14);
  operations.set_disk_reads_by("io_uring");
  v1::Compaction& compaction = *stats.mutable_compaction();
  compaction.set_running(true);
  compaction.set_blocks_freed(10);
  compaction.set_bytes_scanned(40 * kMiB);
  compaction.set_bytes_written(8 * kMiB);
  compaction.set_records_moved(11'000);
  compaction.set_records_dropped(12'000);
  compaction.set_graves_written(13);
  compaction.set_failure("DATA_LOSS: block 3");
  v1::DeepCold& deep_cold = *stats.mutable_deep_cold();
  deep_cold.set_keys(5'000);
  deep_cold.set_bytes(2 * kMiB);
  deep_cold.set_disk_bytes(3 * kMiB);
  deep_cold.set_shadowed_keys_max(15);
  deep_cold.set_records_demoted(6'000);
  deep_cold.set_failure("UNAVAILABLE: broken");
  deep_cold.set_records_promoted(16);
  v1::Recovery& recovery = *stats.mutable_recovery();
  recovery.set_slots_from_checkpoint(17'000);
  recovery.set_records_read(18);
  recovery.set_records_warmed(19);
  recovery.set_checkpoints(20);
  recovery.set_checkpoint_failure("DATA_LOSS: CHECKPOINT is damaged");
}

// Each number is another one.
void FillSegments(v1::SegmentsStats& segments) {
  segments.set_memory_limit_bytes(16 * kMiB);
  segments.set_memory_used_bytes(6 * kMiB);
  segments.set_segments(1'200);
  segments.set_id_files(1'300);
  segments.set_id_file_bytes(80 * kMiB);
  segments.set_recent_changes(21'000);
  segments.set_kept_results(22);
  segments.set_kept_result_bytes(5 * kMiB);
  segments.set_kept_result_hits(23);
  segments.set_queries(2'400);
  segments.set_queries_waiting(25);
  segments.set_queries_refused(26);
  segments.set_changes_waiting(33);
  segments.set_ids_returned(27'000);
  segments.set_blocks_read(28);
  segments.set_bytes_read(7 * kMiB);
  segments.set_rewrites(29);
  segments.set_refusal("the disk is full");
  segments.set_rewrite_failure("DATA_LOSS: file 30");
  v1::SegmentsStats::Work& query = *segments.add_running();
  query.set_what("query \"b\nc\"");
  query.set_started_ms_ago(1'200);
  v1::Progress& progress = *query.mutable_progress();
  progress.set_ids(1'234);
  progress.set_max_ids(50'000);
  progress.set_blocks(100);
  progress.set_blocks_read(20);
  progress.set_blocks_passed(5);
  progress.set_bytes_read(6);
  progress.set_elapsed_ms(1'100);
  progress.set_memory_bytes(7);
  v1::SegmentsStats::Work& load = *segments.add_running();
  load.set_what(std::string(200, 'x'));
  load.set_started_ms_ago(120'000);
  load.mutable_progress()->set_ids(31);
}

TEST_F(AdminCommandsTest, StatsForPeople) {
  server_.stats = [](const v1::StatsRequest&, v1::StatsResponse& response) {
    FillStats(response);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"stats"}), kOk);
  EXPECT_EQ(out_.str(), R"(thermocline-server 1.2.3, up 2 h 1 m, recovered in 350 ms
memory
  limit               64.0 MiB
  used                33.0 MiB
    index             1.0 MiB
    blocks            32.0 MiB
  process             50.0 MiB
  hot records         21
keys
  live                980 to 990
  index slots         1 000, 10 unresolved
  resolved            20 with 30 disk reads
log
  blocks              12, 8 of them in memory
  on disk             48.0 MiB
  records             40.0 MiB, about 4.0 MiB of them dead
  not yet synced      512 B
  written             96.0 MiB in 1 500 syncs
  accepts writes      no: the disk is gone
deep cold
  keys                5 000, up to 15 of them superseded
  on disk             3.0 MiB
  demoted             6 000
  came back           16
  failed              UNAVAILABLE: broken
operations since the start
  gets                1
    from memory       2
    from disk         3
    from deep cold    14
    not found         4
  disk reads          5 by io_uring
  sets                6
    in place          8
  deletes             7
  conditions not met  9
compaction since the start
  running             yes
  failed              DATA_LOSS: block 3
  blocks freed        10, 40.0 MiB
  written again       8.0 MiB
  records kept        11 000
  records dropped     12 000
  graves written      13
recovery at the start
  from a checkpoint   17 000 slots
  from the log        18 records
  warm again          19 records
  checkpoints since   20
  checkpoint failed   DATA_LOSS: CHECKPOINT is damaged
)");
}

TEST_F(AdminCommandsTest, StatsForPrograms) {
  server_.stats = [](const v1::StatsRequest&, v1::StatsResponse& response) {
    FillStats(response);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"stats", "--json"}), kOk);
  EXPECT_EQ(out_.str(),
            R"({"server_version":"1.2.3","uptime_ms":7260000,"recovery_ms":350,)"
            R"("memory":{"limit_bytes":67108864,"used_bytes":34603008,)"
            R"("shares":[{"name":"index","used_bytes":1048576},{"name":"blocks","used_bytes":33554432}],)"
            R"("resident_set_bytes":52428800,"cached_records":21},)"
            R"("log":{"blocks":12,"resident_blocks":8,"resident_bytes":33554432,"disk_bytes":50331648,)"
            R"("written_bytes":100663296,"syncs":1500,"unsynced_bytes":512,"accepts_writes":false,)"
            R"("refusal":"the disk is gone","record_bytes":41943040,"dead_bytes":4194304},)"
            R"("index":{"slots":1000,"unresolved_slots":10,"bytes":1048576,"live_keys_min":980,)"
            R"("live_keys_max":990,"resolved_chains":20,"resolution_reads":30},)"
            R"("operations":{"gets":1,"hits_memory":2,"hits_disk":3,"misses":4,"disk_reads":5,"sets":6,)"
            R"("deletes":7,"updates_in_place":8,"conditions_failed":9,"hits_deep_cold":14,)"
            R"("disk_reads_by":"io_uring"},)"
            R"("compaction":{"running":true,"blocks_freed":10,"bytes_scanned":41943040,)"
            R"("bytes_written":8388608,"records_moved":11000,"records_dropped":12000,"graves_written":13,)"
            R"("failure":"DATA_LOSS: block 3"},)"
            R"("deep_cold":{"keys":5000,"bytes":2097152,"disk_bytes":3145728,"shadowed_keys_max":15,)"
            R"("records_demoted":6000,"failure":"UNAVAILABLE: broken","records_promoted":16},)"
            R"("recovery":{"slots_from_checkpoint":17000,"records_read":18,"records_warmed":19,)"
            R"("checkpoints":20,"checkpoint_failure":"DATA_LOSS: CHECKPOINT is damaged"}})"
            "\n");
}

TEST_F(AdminCommandsTest, StatsOfSegmentsForPeople) {
  server_.stats = [](const v1::StatsRequest&, v1::StatsResponse& response) {
    FillSegments(*response.mutable_segments());
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"stats"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr(R"(
segments
  number              1 200
  memory              6.0 MiB of 16.0 MiB
  on disk             80.0 MiB in 1 300 id files
  recent changes      21 000
  kept results        22, 5.0 MiB
  accepts changes     no: the disk is full
  rewrite failed      DATA_LOSS: file 30
running on segments
  query "b\nc"
    [#####---------------]  25 %  1 234 ids of at most 50 000  20 of 100 blocks  1.2 s
)" + ("  " + std::string(100, 'x')) +
                                    R"(... (200 B)
    31 ids  2 m 0 s
operations since the start
)"));
  EXPECT_THAT(out_.str(), HasSubstr(R"(
  conditions not met  0
segment operations since the start
  queries             2 400
    by a kept result  23
    waiting now       25
    refused           26
  changes waiting     33
  ids returned        27 000
  blocks read         28, 7.0 MiB
  rewrites            29
compaction since the start
)"));
}

TEST_F(AdminCommandsTest, StatsOfSegmentsWhereNothingIsWrong) {
  server_.stats = [](const v1::StatsRequest&, v1::StatsResponse& response) {
    response.mutable_segments()->set_accepts_changes(true);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"stats"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("  accepts changes     yes\noperations since the start\n"));
}

TEST_F(AdminCommandsTest, StatsOfSegmentsForPrograms) {
  server_.stats = [](const v1::StatsRequest&, v1::StatsResponse& response) {
    FillSegments(*response.mutable_segments());
    response.mutable_segments()->mutable_running()->RemoveLast();
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"stats", "--json"}), kOk);
  EXPECT_THAT(
      out_.str(),
      EndsWith(R"(,"segments":{"memory_limit_bytes":16777216,"memory_used_bytes":6291456,"segments":1200,)"
               R"("id_files":1300,"id_file_bytes":83886080,"recent_changes":21000,"kept_results":22,)"
               R"("kept_result_bytes":5242880,"kept_result_hits":23,"queries":2400,"queries_waiting":25,)"
               R"("queries_refused":26,"changes_waiting":33,"ids_returned":27000,"blocks_read":28,"bytes_read":7340032,)"
               R"("rewrites":29,"accepts_changes":false,"refusal":"the disk is full",)"
               R"("rewrite_failure":"DATA_LOSS: file 30",)"
               R"("running":[{"what":"query \"b\nc\"","started_ms_ago":1200,)"
               R"("progress":{"ids":1234,"max_ids":50000,"blocks":100,"blocks_read":20,"blocks_passed":5,)"
               R"("bytes_read":6,"elapsed_ms":1100,"memory_bytes":7,"from_kept_result":false}}]}})"
               "\n"));
}

TEST_F(AdminCommandsTest, CompactTellsWhatItHasFreed) {
  server_.compact = [](v1::CompactResponse& response, grpc::ServerContext&) {
    response.set_blocks_freed(12);
    response.set_bytes_scanned(48 * kMiB);
    response.set_bytes_written(12 * kMiB);
    response.set_records_moved(1200);
    response.set_records_dropped(40'000);
    response.set_duration_ms(4200);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"compact"}), kOk);
  EXPECT_EQ(out_.str(),
            "freed 12 blocks in 4.2 s: from 48.0 MiB to 12.0 MiB (1 200 records kept, 40 000 dropped)\n");
  EXPECT_EQ(Run({"compact", "--json"}), kOk);
  EXPECT_EQ(out_.str(),
            R"({"blocks_freed":12,"bytes_scanned":50331648,"bytes_written":12582912,"records_moved":1200,)"
            R"("records_dropped":40000,"duration_ms":4200})"
            "\n");
}

TEST_F(AdminCommandsTest, CompactTellsThatThereWasNothingToFree) {
  server_.compact = [](v1::CompactResponse&, grpc::ServerContext&) { return grpc::Status::OK; };
  EXPECT_EQ(Run({"compact"}), kOk);
  EXPECT_EQ(out_.str(), "nothing to free\n");
}

TEST_F(AdminCommandsTest, CompactTellsThatTheServerGoesOn) {
  server_.compact = [](v1::CompactResponse&, grpc::ServerContext&) {
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "too late");
  };
  EXPECT_EQ(Run({"compact"}), kServer);
  EXPECT_EQ(out_.str(), "");
  EXPECT_EQ(
      err_.str(),
      "thermocline: DEADLINE_EXCEEDED: too late\nthe server goes on compacting; see thermocline stats\n");
}

TEST_F(AdminCommandsTest, CompactTellsWhyItFailed) {
  server_.compact = [](v1::CompactResponse&, grpc::ServerContext&) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the disk is full");
  };
  EXPECT_EQ(Run({"compact"}), kServer);
  EXPECT_EQ(err_.str(), "thermocline: RESOURCE_EXHAUSTED: the disk is full\n");
}

}  // namespace
}  // namespace thermocline::cli
