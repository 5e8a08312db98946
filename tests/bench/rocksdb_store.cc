#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/perf_context.h>
#include <rocksdb/perf_level.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "tests/bench/store.h"

namespace thermocline::bench {
namespace {

constexpr std::chrono::milliseconds kSyncInterval{100};
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr int kMemtableCount = 4;

absl::Status FromRocksDb(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::InternalError("RocksDB: " + status.ToString());
}

rocksdb::Slice SliceOf(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

// A sixteenth of the memory each: a larger one means fewer levels to be rewritten.
uint64_t MemtableBytes(uint64_t memory_bytes) {
  return std::clamp(memory_bytes / (4 * kMemtableCount), kMiB / 4, 256 * kMiB);
}

rocksdb::BlockBasedTableOptions TableOptions(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  // One memory number: filters and indexes are charged to the cache too, and come before data when it is
  // short.
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  // A get that misses the index or a filter then reads 4 KiB of it, not all of a file's. The top level is
  // small.
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.metadata_cache_options.top_level_index_pinning = rocksdb::PinningTier::kAll;
  table.metadata_block_size = 4096;
  // 1 % of false positives. Ribbon filters are a third smaller, but take several times the CPU to build,
  // which compactions on few cores do not have.
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  // Small records: a cold get wants one page of the disk.
  table.block_size = 4096;
  // Finds a key in a block without a binary search.
  table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
  table.format_version = 5;
  return table;
}

rocksdb::Options TunedOptions(const std::shared_ptr<rocksdb::Cache>& cache, uint64_t memory_bytes) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(TableOptions(cache)));

  // The page cache would be memory beyond the number.
  options.use_direct_reads = true;
  options.use_direct_io_for_flush_and_compaction = true;
  options.compaction_readahead_size = 2 * kMiB;

  // A writer goes on while full memtables are flushed.
  options.write_buffer_size = MemtableBytes(memory_bytes);
  options.max_write_buffer_number = kMemtableCount;
  // With several writers the log of one group is written while the memtable takes another.
  options.enable_pipelined_write = true;

  // Flushes and compactions on all cores, a large compaction on two.
  const int cores = static_cast<int>(std::max(2u, std::thread::hardware_concurrency()));
  options.max_background_jobs = cores + 1;
  options.max_subcompactions = 2;
  // Levels of a fixed factor from the largest down: little dead data, and one read for nearly every get. The
  // first level is as large as what is merged into it.
  options.compaction_style = rocksdb::kCompactionStyleLevel;
  options.level_compaction_dynamic_level_bytes = true;
  options.max_bytes_for_level_base = kMemtableCount * options.write_buffer_size;
  options.target_file_size_base = std::clamp(options.write_buffer_size, kMiB / 4, 64 * kMiB);
  // A burst may run ahead of the compactions before writers are slowed down.
  options.level0_file_num_compaction_trigger = 4;
  options.level0_slowdown_writes_trigger = 24;
  options.level0_stop_writes_trigger = 40;
  // Random bytes do not compress.
  options.compression = rocksdb::kNoCompression;
  // The gets of the benches find their keys, so filters of the last level would only take memory from the
  // data.
  options.optimize_filters_for_hits = true;
  // All files stay open: no table is opened again for a get.
  options.max_open_files = -1;
  // A log file is used again, so that a sync need not write its metadata.
  options.recycle_log_file_num = kMemtableCount;
  options.stats_dump_period_sec = 0;
  return options;
}

// Syncs the write-ahead log for all who wait, on a thread of its own: like Thermocline's writers, those of
// RocksDB need not stand still until a group is on the disk.
class WalSyncer {
 public:
  using Acknowledge = absl::AnyInvocable<void(absl::Status)>;

  explicit WalSyncer(rocksdb::DB& db) : db_(db), thread_([this] { Work(); }) {}
  ~WalSyncer() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  // What has been written is synced as soon as possible.
  void WhenSynced(Acknowledge acknowledge) {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(acknowledge));
    }
    changed_.notify_one();
  }
  // What has been written is synced within the interval.
  void NoteWrite() { dirty_.store(true, std::memory_order_relaxed); }

 private:
  void Work() {
    std::unique_lock lock(mutex_);
    while (!stopping_ || !waiting_.empty()) {
      changed_.wait_for(lock, kSyncInterval, [this] { return stopping_ || !waiting_.empty(); });
      std::vector<Acknowledge> served;
      served.swap(waiting_);
      if (!dirty_.exchange(false, std::memory_order_relaxed) && served.empty()) continue;
      lock.unlock();
      const absl::Status status = FromRocksDb(db_.SyncWAL());
      for (Acknowledge& acknowledge : served) acknowledge(status);
      lock.lock();
    }
  }

  rocksdb::DB& db_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Acknowledge> waiting_;
  bool stopping_ = false;
  std::atomic<bool> dirty_{false};
  std::thread thread_;
};

// Sorts each group by key first: the memtable, a skip list, then searches near the last record instead of
// from the top, which halves the CPU of an insert.
class RocksDbWriter : public GroupWriter {
 public:
  RocksDbWriter(rocksdb::DB& db, WalSyncer& syncer, std::atomic<uint64_t>& wal_bytes)
      : db_(db), syncer_(syncer), wal_bytes_(wal_bytes) {}

  absl::Status Put(std::string_view key, std::string_view value) override {
    records_.push_back({bytes_.size(), key.size(), value.size()});
    bytes_.append(key).append(value);
    return absl::OkStatus();
  }

  absl::Status Flush(absl::AnyInvocable<void(absl::Status)> acknowledged) override {
    std::stable_sort(records_.begin(), records_.end(),
                     [this](const Record& a, const Record& b) { return KeyOf(a) < KeyOf(b); });
    rocksdb::Status status;
    for (const Record& record : records_) {
      const std::string_view value =
          std::string_view(bytes_).substr(record.at + record.key_bytes, record.value_bytes);
      if (status.ok()) status = batch_.Put(SliceOf(KeyOf(record)), SliceOf(value));
    }
    // What RocksDB counts per operation by default costs a tenth of an insert.
    rocksdb::SetPerfLevel(rocksdb::PerfLevel::kDisable);
    if (status.ok()) status = db_.Write(rocksdb::WriteOptions(), &batch_);
    wal_bytes_ += batch_.GetDataSize();
    batch_.Clear();
    records_.clear();
    bytes_.clear();
    if (status.ok()) syncer_.WhenSynced(std::move(acknowledged));
    return FromRocksDb(status);
  }

 private:
  // A record of the group, in bytes_.
  struct Record {
    size_t at;
    size_t key_bytes;
    size_t value_bytes;
  };

  std::string_view KeyOf(const Record& record) const {
    return std::string_view(bytes_).substr(record.at, record.key_bytes);
  }

  rocksdb::DB& db_;
  WalSyncer& syncer_;
  std::atomic<uint64_t>& wal_bytes_;
  std::string bytes_;
  std::vector<Record> records_;
  rocksdb::WriteBatch batch_;
};

class RocksDbStore : public Store {
 public:
  absl::Status Open(const StoreOptions& options) {
    memory_bytes_ = options.memory_bytes;
    cache_ = rocksdb::NewLRUCache(options.memory_bytes - kMemtableCount * MemtableBytes(options.memory_bytes),
                                  /*num_shard_bits=*/-1, /*strict_capacity_limit=*/false,
                                  /*high_pri_pool_ratio=*/0.5);
    rocksdb::DB* db = nullptr;
    const rocksdb::Status status =
        rocksdb::DB::Open(TunedOptions(cache_, memory_bytes_), options.directory, &db);
    if (!status.ok()) return FromRocksDb(status);
    db_.reset(db);
    syncer_ = std::make_unique<WalSyncer>(*db_);
    return absl::OkStatus();
  }

  std::unique_ptr<GroupWriter> NewWriter() override {
    return std::make_unique<RocksDbWriter>(*db_, *syncer_, wal_bytes_);
  }

  // A get of RocksDB blocks, and this library has no asynchronous one: a thread for each.
  void Run(OperationSource& source, int depth) override {
    std::vector<std::thread> threads;
    threads.reserve(depth);
    for (int i = 0; i < depth; ++i) threads.emplace_back([this, &source] { RunSome(source); });
    for (std::thread& thread : threads) thread.join();
  }

  StoreStats Stats() override {
    StoreStats stats;
    stats.memory_limit = memory_bytes_;
    const auto memory = [&stats](Share share) -> uint64_t& {
      return stats.memory[static_cast<size_t>(share)];
    };
    const uint64_t cached = cache_->GetUsage();
    memory(Share::kIndex) = std::min(cached, CachedIndexBytes());
    memory(Share::kBlocks) = cached - memory(Share::kIndex);
    memory(Share::kTables) = Property(rocksdb::DB::Properties::kEstimateTableReadersMem);
    memory(Share::kMemtables) = Property(rocksdb::DB::Properties::kSizeAllMemTables);
    stats.written_bytes = wal_bytes_ + TableBytesWritten();
    stats.gets_from_memory = gets_from_memory_;
    stats.gets_from_disk = gets_from_disk_;
    stats.disk_reads = disk_reads_;
    return stats;
  }

  absl::Status Close() override {
    syncer_.reset();
    return FromRocksDb(db_->Close());
  }

 private:
  void RunSome(OperationSource& source) {
    rocksdb::SetPerfLevel(rocksdb::PerfLevel::kEnableCount);
    Operation operation;
    std::string value;
    while (source.Next(operation, value)) {
      operation.start = std::chrono::steady_clock::now();
      if (operation.is_set) {
        Set(source, operation, value);
      } else {
        Get(source, operation);
      }
    }
  }

  void Set(OperationSource& source, const Operation& operation, const std::string& value) {
    const rocksdb::Status status =
        db_->Put(rocksdb::WriteOptions(), SliceOf(operation.key.view()), SliceOf(value));
    wal_bytes_.fetch_add(operation.key.size + value.size(), std::memory_order_relaxed);
    syncer_->NoteWrite();
    if (status.ok()) {
      source.Done(operation, std::nullopt);
    } else {
      source.Done(operation, FromRocksDb(status));
    }
  }

  void Get(OperationSource& source, const Operation& operation) {
    const uint64_t before = rocksdb::get_perf_context()->block_read_count;
    rocksdb::PinnableSlice value;
    const rocksdb::Status status =
        db_->Get(rocksdb::ReadOptions(), db_->DefaultColumnFamily(), SliceOf(operation.key.view()), &value);
    const uint64_t reads = rocksdb::get_perf_context()->block_read_count - before;
    (reads == 0 ? gets_from_memory_ : gets_from_disk_).fetch_add(1, std::memory_order_relaxed);
    disk_reads_.fetch_add(reads, std::memory_order_relaxed);
    if (status.ok()) {
      source.Done(operation, std::string_view(value.data(), value.size()));
    } else if (status.IsNotFound()) {
      source.Done(operation, std::nullopt);
    } else {
      source.Done(operation, FromRocksDb(status));
    }
  }

  uint64_t Property(const std::string& name) {
    uint64_t number = 0;
    db_->GetIntProperty(name, &number);
    return number;
  }

  // RocksDB walks the cache for it, and does so again only after some time: the number may be seconds old.
  uint64_t CachedIndexBytes() {
    using Keys = rocksdb::BlockCacheEntryStatsMapKeys;
    using Role = rocksdb::CacheEntryRole;
    std::map<std::string, std::string> entries;
    if (!db_->GetMapProperty(rocksdb::DB::Properties::kBlockCacheEntryStats, &entries)) return 0;
    uint64_t bytes = 0;
    for (const Role role : {Role::kFilterBlock, Role::kFilterMetaBlock, Role::kIndexBlock}) {
      bytes += std::strtoull(entries[Keys::UsedBytes(role)].c_str(), nullptr, 10);
    }
    return bytes;
  }

  // By flushes and compactions. RocksDB counts these also without its Statistics, which would cost CPU.
  uint64_t TableBytesWritten() {
    std::map<std::string, std::string> entries;
    db_->GetMapProperty(rocksdb::DB::Properties::kCFStats, &entries);
    return static_cast<uint64_t>(std::strtod(entries["compaction.Sum.WriteGB"].c_str(), nullptr) * 0x1p30);
  }

  uint64_t memory_bytes_ = 0;
  std::shared_ptr<rocksdb::Cache> cache_;
  std::unique_ptr<rocksdb::DB> db_;
  std::unique_ptr<WalSyncer> syncer_;
  std::atomic<uint64_t> wal_bytes_{0};
  std::atomic<uint64_t> gets_from_memory_{0};
  std::atomic<uint64_t> gets_from_disk_{0};
  std::atomic<uint64_t> disk_reads_{0};
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenRocksDb(const StoreOptions& options) {
  auto store = std::make_unique<RocksDbStore>();
  if (absl::Status status = store->Open(options); !status.ok()) return status;
  return store;
}

}  // namespace thermocline::bench
