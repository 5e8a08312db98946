#include "storage/cold/rocks_options.h"

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <memory>

#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

namespace thermocline::storage::cold {
namespace {

// Every batch asks every filter for every of its keys, and each false answer costs a read. Level 0 has many
// files with few of the keys, so there more bits cost hardly any memory; below, they are what a key costs.
constexpr double kBitsPerKeyAtLevel0 = 18;
constexpr double kBitsPerKeyBelow = 10.5;

class FilterPolicyByLevel : public rocksdb::FilterPolicy {
 public:
  const char* Name() const override { return "thermocline.FilterPolicyByLevel"; }
  // RocksDB's own name of the filters: they are ordinary Bloom filters, whoever reads them.
  const char* CompatibilityName() const override { return below_->CompatibilityName(); }

  rocksdb::FilterBitsBuilder* GetBuilderWithContext(
      const rocksdb::FilterBuildingContext& context) const override {
    // The file of a batch is of no level yet, which is -1, and enters level 0.
    return (context.level_at_creation <= 0 ? level0_ : below_)->GetBuilderWithContext(context);
  }
  rocksdb::FilterBitsReader* GetFilterBitsReader(const rocksdb::Slice& bytes) const override {
    return below_->GetFilterBitsReader(bytes);
  }

 private:
  const std::unique_ptr<const FilterPolicy> level0_{rocksdb::NewBloomFilterPolicy(kBitsPerKeyAtLevel0)};
  const std::unique_ptr<const FilterPolicy> below_{rocksdb::NewBloomFilterPolicy(kBitsPerKeyBelow)};
};

// What RocksDB would write to a file of its own reaches us as the status of a call.
class SilentLogger : public rocksdb::Logger {
 public:
  SilentLogger() : Logger(rocksdb::InfoLogLevel::FATAL_LEVEL) {}
  void Logv(const char*, va_list) override {}
};

std::shared_ptr<rocksdb::Cache> NewCache(uint64_t bytes) {
  rocksdb::LRUCacheOptions cache;
  cache.capacity = bytes;
  // The limit is one: what does not fit is not cached, and read again.
  cache.strict_capacity_limit = true;
  // Shards have at least 16 MiB, as each must hold what is charged to it in pieces of 256 KiB; 16 at most.
  cache.num_shard_bits = std::clamp(static_cast<int>(std::bit_width(bytes >> 24)) - 1, 0, 4);
  // Whole blocks of cold records are hardly ever read twice; filters and indexes are read by every get.
  cache.high_pri_pool_ratio = 0.9;
  return rocksdb::NewLRUCache(cache);
}

rocksdb::BlockBasedTableOptions TableOptions(std::shared_ptr<rocksdb::Cache> cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = std::move(cache);
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  table.filter_policy = std::make_shared<FilterPolicyByLevel>();
  // Filters and indexes in pieces, all of them in the cache and none pinned: no file costs memory of its own.
  // A batch walks through them in order, so pieces are larger than the 4 KiB that single gets would like.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = false;
  table.pin_top_level_index_and_filter = false;
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.metadata_block_size = 32 << 10;
  table.optimize_filters_for_memory = true;
  // Charged to the cache although they live outside of it.
  for (const auto role :
       {rocksdb::CacheEntryRole::kCompressionDictionaryBuildingBuffer,
        rocksdb::CacheEntryRole::kFilterConstruction, rocksdb::CacheEntryRole::kBlockBasedTableReader,
        rocksdb::CacheEntryRole::kFileMetadata}) {
    table.cache_usage_options.options_overrides[role].charged =
        rocksdb::CacheEntryRoleOptions::Decision::kEnabled;
  }
  return table;
}

void SetLevels(rocksdb::Options& options) {
  options.level0_file_num_compaction_trigger = 4;
  // Ingestion heeds neither; ColdStore waits by itself. They make RocksDB put its second thread to work.
  options.level0_slowdown_writes_trigger = 12;
  options.level0_stop_writes_trigger = kMostFilesAtLevel0;
  // The last level holds nine tenths of all keys, whatever their number: few overwritten entries are kept.
  options.level_compaction_dynamic_level_bytes = true;
  options.max_bytes_for_level_base = uint64_t{256} << 20;
  options.target_file_size_base = uint64_t{64} << 20;
  // Neither is worth rewriting files for: nothing here expires by RocksDB's clock.
  options.ttl = 0;
  options.periodic_compaction_seconds = 0;
  // What is cold enough to get here is often text; LZ4 gives up early on what does not shrink.
  options.compression = rocksdb::kNoCompression;
  options.bottommost_compression = rocksdb::kLZ4Compression;
}

// Large values leave the tables at their first compaction, so that later ones do not write them again.
void SetBlobs(rocksdb::Options& options) {
  options.enable_blob_files = true;
  options.min_blob_size = 4 << 10;
  options.blob_file_size = uint64_t{256} << 20;
  options.blob_compression_type = rocksdb::kLZ4Compression;
  options.enable_blob_garbage_collection = true;
  options.blob_garbage_collection_age_cutoff = 0.25;
  // Files of which half is garbage are cleaned even if compactions would not come by.
  options.blob_garbage_collection_force_threshold = 0.5;
  options.blob_compaction_readahead_size = 256 << 10;
}

}  // namespace

RocksOptions RocksOptionsFor(uint64_t memory_bytes, uint64_t most_memory_bytes) {
  RocksOptions result;
  result.cache = NewCache(memory_bytes - UnchargedBytes(memory_bytes));
  rocksdb::Options& options = result.options;
  options.create_if_missing = true;
  options.info_log = std::make_shared<SilentLogger>();
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(TableOptions(result.cache)));
  SetLevels(options);
  SetBlobs(options);

  options.max_background_compactions = 2;
  options.max_background_flushes = 1;  // there is nothing to flush
  // Reads past the page cache: the memory number is all the memory there is, and the log's pages stay.
  options.use_direct_reads = true;
  options.compaction_readahead_size = 256 << 10;
  options.writable_file_max_buffer_size = 1 << 20;
  // An open table costs some KiB, charged to the cache; a tenth of it at most.
  options.max_open_files =
      static_cast<int>(std::clamp<uint64_t>(most_memory_bytes / 10 / (8 << 10), 256, 8192));
  // Batches are ingested: memtables and write-ahead log stay empty.
  options.write_buffer_size = 1 << 20;
  options.arena_block_size = 64 << 10;
  // Read as a whole when the store is opened.
  options.max_manifest_file_size = 16 << 20;
  // A failure of the disk is final until the store is opened again.
  options.max_bgerror_resume_count = 0;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.skip_stats_update_on_db_open = true;  // it would open every table

  result.batch_options = options;
  // They enter at the top, and will be written again soon.
  result.batch_options.bottommost_compression = rocksdb::kDisableCompressionOption;
  return result;
}

}  // namespace thermocline::storage::cold
