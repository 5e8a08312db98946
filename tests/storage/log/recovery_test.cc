// What a start reads from blocks, with one thread and with several, against a plain walk through what was
// written.

#include "storage/log/recovery.h"

#include <cstring>
#include <functional>
#include <map>
#include <tuple>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/system_clock.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::testing {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kBlockBytes = 64 << 10;
constexpr uint64_t kStoreId = 77;
constexpr uint64_t kBaseVersion = 1000;
constexpr int kPrefixBits = 7;

uint64_t HashOf(std::string_view key) { return std::hash<std::string_view>()(key); }

// A record as it was written, or as it was visited.
using Row = std::tuple<uint64_t, storage::Position, storage::Position, uint32_t, bool, bool, bool>;

Row RowOf(const storage::LoggedRecord& record) {
  return {record.hash,      record.position,   record.displaced, record.bytes,
          record.tombstone, record.unresolved, record.grave};
}

using Rows = std::map<uint64_t, std::vector<Row>>;  // by the prefix of the hash

// Blocks of random records, and what is to come out of each.
class RecoveryTest : public ::testing::Test {
 protected:
  struct Expected {
    std::vector<Row> rows;
    std::vector<uint32_t> chunks;  // offsets, and the end
    storage::BlockUse use;
  };

  RecoveryTest() : disk(1), random(2) { EXPECT_EQ(disk.CreateDirectory("log"), absl::OkStatus()); }

  uint64_t Below(uint64_t bound) { return random.Next() % bound; }
  static std::string PathOf(uint64_t sequence) { return "log/" + storage::BlockFileName(sequence); }

  storage::Record AnyRecord(std::string& key, storage::Position position) {
    key = std::to_string(Below(300));
    storage::Record record = {.key = key};
    if (Below(3) != 0) record.displaced = 1 + Below(position - 1);
    record.grave = record.displaced != 0 && Below(10) == 0;
    if (record.grave) {
      key = std::string(storage::GraveKey(HashOf(key)));
      record.key = key;
      return record;
    }
    record.version = ++version;
    record.tombstone = Below(8) == 0;
    record.unresolved = record.displaced != 0 && Below(4) == 0;
    if (!record.tombstone)
      record.value = std::string_view(filler).substr(0, Below(8) == 0 ? 5000 : Below(90));
    if (Below(9) == 0) record.expires_at_ms = 1 + Below(1'000'000);
    return record;
  }

  std::string AnyChunk(storage::Position position, bool last, Expected& expected) {
    std::string bytes(sizeof(storage::ChunkHeader), '\0');
    const uint64_t wanted = last ? 0 : 1 + Below(6000);
    uint32_t records = 0;
    while (bytes.size() < wanted) {
      std::string key;
      const storage::Position at = position + bytes.size();
      const storage::Record record = AnyRecord(key, at);
      std::string encoded(storage::EncodedBytes(record, at, kBaseVersion), '\0');
      storage::EncodeRecord(record, at, kBaseVersion, encoded.data());
      bytes += encoded;
      const auto size = static_cast<uint32_t>(encoded.size());
      const uint64_t hash = record.grave ? storage::HashOfGrave(record) : HashOf(key);
      expected.rows.emplace_back(hash, at, record.displaced, size, record.tombstone, record.unresolved,
                                 record.grave);
      expected.use.Count(record, size);
      ++records;
    }
    bytes.resize(storage::AlignChunk(static_cast<uint32_t>(bytes.size())), '\0');
    storage::ChunkHeader header = {.checksum = 0,
                                   .position = position,
                                   .horizon = 0,
                                   .base_version = kBaseVersion,
                                   .bytes = static_cast<uint32_t>(bytes.size()),
                                   .records_last = records << 1 | (last ? 1U : 0U)};
    std::memcpy(bytes.data(), &header, sizeof(header));
    header.checksum = storage::ChecksumOf(bytes, kStoreId);
    std::memcpy(bytes.data(), &header, sizeof(header));
    return bytes;
  }

  void WriteBlock(uint64_t sequence) {
    Expected& expected = written[sequence];
    storage::Block block(sequence, PathOf(sequence), kBlockBytes);
    block.version_ceiling = 1;
    std::string bytes = storage::EncodeBlockHeader(block, sequence - 1, kStoreId);
    for (bool last = false; !last;) {
      expected.chunks.push_back(static_cast<uint32_t>(bytes.size()));
      last = bytes.size() > kBlockBytes - 20'000;
      bytes += AnyChunk(block.position_of(expected.chunks.back()), last, expected);
    }
    expected.chunks.push_back(static_cast<uint32_t>(bytes.size()));
    // What is behind the last chunk counts for nothing, whatever it looks like.
    bytes += bytes.substr(storage::kFirstChunkOffset, 4096);
    disk.SetContents(block.path, bytes);
  }

  absl::StatusOr<storage::RecoveredLog> Read(size_t threads, storage::MemoryBudget& budget, Rows& rows) {
    std::vector<std::pair<size_t, Row>> seen;
    storage::Mutex mutex;
    const auto begin_block = [&](uint64_t sequence) { begun.push_back(sequence); };
    const auto visit = [&](size_t worker, std::span<const storage::LoggedRecord> records) -> absl::Status {
      EXPECT_LT(worker, threads);
      storage::MutexLock lock(mutex);
      const uint64_t prefix = records.front().hash >> (64 - kPrefixBits);
      for (const storage::LoggedRecord& record : records) {
        EXPECT_EQ(record.hash >> (64 - kPrefixBits), prefix);
        EXPECT_EQ(record.position / kBlockBytes, begun.back());
        if (record.position >= refused) return absl::AbortedError("refused");
        rows[prefix].push_back(RowOf(record));
      }
      return absl::OkStatus();
    };
    const auto hash_of = [](std::string_view key) { return HashOf(key); };
    const storage::LogVisitor visitor = {
        .hash_of = hash_of, .prefix_bits = kPrefixBits, .begin_block = begin_block, .visit = visit};
    begun.clear();
    return storage::ReadLog({.directory = "log",
                             .store_id = kStoreId,
                             .block_bytes = kBlockBytes,
                             .roster = roster,
                             .clean_end = std::nullopt,
                             .files = disk,
                             .budget = budget,
                             .threads = threads},
                            {}, &visitor);
  }

  // In the order of the log, as far as `end`.
  Rows ExpectedRows(storage::Position end = UINT64_MAX) const {
    Rows rows;
    for (const auto& [sequence, expected] : written) {
      for (const Row& row : expected.rows) {
        if (std::get<1>(row) < end) rows[std::get<0>(row) >> (64 - kPrefixBits)].push_back(row);
      }
    }
    return rows;
  }

  void ExpectRefusal(const std::string& message) {
    for (const size_t threads : {1, 2, 3, 7}) {
      for (int round = 0; round < 5; ++round) {
        storage::MemoryBudget budget(8 << 20);
        Rows rows;
        const absl::Status status = Read(threads, budget, rows).status();
        ASSERT_THAT(status.ToString(), HasSubstr(message)) << threads;
      }
    }
  }

  SimulatedDisk disk;
  storage::SeededRandom random;
  const std::string filler = std::string(5000, 'f');
  uint64_t version = kBaseVersion;
  storage::Roster roster;
  std::map<uint64_t, Expected> written;
  std::vector<uint64_t> begun;
  storage::Position refused = UINT64_MAX;
};

TEST_F(RecoveryTest, AnyNumberOfThreadsFindsTheSame) {
  for (uint64_t sequence = 1; sequence <= 12; ++sequence) WriteBlock(sequence);
  // One part of a block at a time, some, or all of them; with little memory, blocks have to leave it.
  for (const uint64_t kib : {200, 300, 1200, 4 << 10, 1 << 20}) {
    const uint64_t limit = kib << 10;
    for (const size_t threads : {1, 2, 3, 8}) {
      storage::MemoryBudget budget(limit);
      Rows rows;
      {
        const auto log = Read(threads, budget, rows);
        ASSERT_TRUE(log.ok()) << log.status() << threads;
        ASSERT_TRUE(rows == ExpectedRows()) << threads << " threads, " << limit;
        ASSERT_EQ(log->next_version, version + 1);
        ASSERT_EQ(log->blocks.size(), written.size());
        uint64_t records = 0;
        uint64_t resident = 0;
        for (const auto& block : log->blocks) {
          resident += block->memory != nullptr;
          const Expected& expected = written.at(block->sequence);
          records += expected.rows.size();
          ASSERT_EQ(block->used, expected.chunks.back());
          ASSERT_EQ(block->base_version, kBaseVersion);
          ASSERT_EQ(block->use.records, expected.use.records);
          ASSERT_EQ(block->use.record_bytes, expected.use.record_bytes);
          ASSERT_EQ(block->use.expiring_bytes, expected.use.expiring_bytes);
          ASSERT_EQ(block->use.first_expiry_ms, expected.use.first_expiry_ms);
          ASSERT_EQ(block->use.last_expiry_ms, expected.use.last_expiry_ms);
          storage::ChunkTable chunks(kBlockBytes);
          for (size_t i = 0; i + 1 < expected.chunks.size(); ++i) chunks.Add(expected.chunks[i]);
          ASSERT_EQ(block->chunks.raw(), chunks.raw());
        }
        ASSERT_EQ(log->records, records);
        ASSERT_EQ(begun.size(), written.size());
        ASSERT_EQ(resident == written.size(), limit >= 4 << 20) << resident;
      }
      ASSERT_EQ(budget.available(), limit) << "all is given back";
    }
  }
}

TEST_F(RecoveryTest, NothingBehindATornChunkIsVisited) {
  for (uint64_t sequence = 1; sequence <= 4; ++sequence) WriteBlock(sequence);
  const std::vector<uint32_t> chunks = written.at(4).chunks;
  for (size_t torn = 1; torn + 1 < chunks.size(); ++torn) {
    const uint64_t offset = chunks[torn] + (torn % 2 == 0 ? 12 : Below(chunks[torn + 1] - chunks[torn]));
    disk.FlipBit(PathOf(4), offset);
    for (const size_t threads : {1, 4}) {
      storage::MemoryBudget budget(uint64_t{1} << 30);
      Rows rows;
      const auto log = Read(threads, budget, rows);
      ASSERT_TRUE(log.ok()) << log.status();
      ASSERT_TRUE(rows == ExpectedRows(4 * uint64_t{kBlockBytes} + chunks[torn])) << threads << ", " << torn;
      ASSERT_EQ(log->tail->used, chunks[torn]);
      ASSERT_TRUE(log->seal_last);
      ASSERT_EQ(log->end, 4 * uint64_t{kBlockBytes} + chunks[torn]);
    }
    disk.FlipBit(PathOf(4), offset);
  }
}

TEST_F(RecoveryTest, TheFirstErrorInTheOrderOfTheLogIsReported) {
  for (uint64_t sequence = 1; sequence <= 6; ++sequence) WriteBlock(sequence);
  roster.below = 7;
  for (uint64_t sequence = 1; sequence < 7; ++sequence) roster.sequences.push_back(sequence);
  const auto damage = [&](uint64_t sequence, size_t chunk) {
    const uint32_t offset = written.at(sequence).chunks[chunk];
    disk.FlipBit(PathOf(sequence), offset + 20);
    return PathOf(sequence) + " is damaged at offset " + std::to_string(offset) + ":";
  };
  const std::string late = damage(5, 1);
  ExpectRefusal(late);
  damage(3, 6);
  const std::string early = damage(3, 4);
  ExpectRefusal(early);
  // Before the damage, in the same block, and behind it.
  refused = uint64_t{3} * kBlockBytes + written.at(3).chunks[3];
  ExpectRefusal("refused");
  refused = uint64_t{3} * kBlockBytes + written.at(3).chunks[5];
  ExpectRefusal(early);
  refused = uint64_t{2} * kBlockBytes;
  ExpectRefusal("refused");
}

TEST_F(RecoveryTest, AFileThatCannotBeReadIsReportedInItsTurn) {
  for (uint64_t sequence = 1; sequence <= 6; ++sequence) WriteBlock(sequence);
  disk.SetContents(PathOf(3), *disk.Contents(PathOf(3)) + std::string(kBlockBytes, '\0'));
  ExpectRefusal(PathOf(3) + " is damaged at offset 65536: it is longer than a block of this store");
  const std::string whole = *disk.Contents(PathOf(1));
  disk.SetContents(PathOf(1), whole.substr(0, 5000));
  ExpectRefusal(PathOf(1) + " is damaged at offset 4096: no valid data, but the next block has some");
}

}  // namespace
}  // namespace thermocline::testing
