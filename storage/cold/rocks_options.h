#pragma once

#include <cstdint>
#include <memory>

#include <rocksdb/cache.h>
#include <rocksdb/options.h>

namespace thermocline::storage::cold {

// What of `memory_bytes` is no part of the block cache and not charged to it, at its most: read-ahead and
// output buffers of two compactions (256 KiB for each of up to kMostFilesAtLevel0 + 2 inputs, 1 MiB of
// output, the index of the file being written), the same for the file of a batch, memtables that stay empty;
// and an eighth of everything for what malloc rounds up and cannot give back.
constexpr uint64_t UnchargedBytes(uint64_t memory_bytes) { return (uint64_t{12} << 20) + memory_bytes / 8; }

// Writes wait while level 0 has this many files, for each is one more place that a get may have to look at.
inline constexpr int kMostFilesAtLevel0 = 24;

// A file of a batch is closed once it has this many bytes.
inline constexpr uint64_t kBatchFileBytes = uint64_t{256} << 20;

// Of everything RocksDB does for the store, on memory that is bounded by `memory_bytes`, which may grow; the
// caller adds the environment and listeners. `cache` is where blocks live and everything else is charged.
struct RocksOptions {
  std::shared_ptr<rocksdb::Cache> cache;
  rocksdb::Options options;
  rocksdb::Options batch_options;  // of the files of a batch
};
RocksOptions RocksOptionsFor(uint64_t memory_bytes, uint64_t most_memory_bytes);

}  // namespace thermocline::storage::cold
