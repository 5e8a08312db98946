#include "tests/bench/blocks_run.h"

#include <algorithm>
#include <string>

#include "tests/bench/machine.h"
#include "tests/bench/reads.h"

namespace thermocline::bench {
namespace {

absl::Status MeasureReads(Store& store, const Workload& workload, uint64_t keys, const BlocksOptions& options,
                          BlocksRow& row) {
  const auto figures =
      ReadRandomKeys(store, workload, keys, options.reads, options.depth, options.shape.seed + keys);
  if (!figures.ok()) return figures.status();
  row.reads_per_second = figures->per_second;
  row.read_p50 = figures->p50;
  row.read_p99 = figures->p99;
  row.read_p999 = figures->p999;
  row.read_cpu = figures->cpu;
  row.memory_share = figures->memory_share;
  row.disk_reads_per_cold = figures->disk_reads_per_cold;
  return absl::OkStatus();
}

absl::Status MeasureInserts(Store& store, const Workload& workload, uint64_t first, uint64_t count,
                            const BlocksOptions& options, BlocksRow& row, double& record_bytes) {
  const double cpu_before = UsageOfThisProcess().cpu_seconds;
  const auto figures = InsertKeys(store, workload, first, count, options.inserts);
  if (!figures.ok()) return figures.status();
  row.inserts_per_second = static_cast<double>(count) / figures->seconds;
  row.slowest_window = figures->slowest_window;
  row.window_ratio = figures->slowest_window / figures->median_window;
  row.longest_pause = figures->longest_pause;
  row.slowest_acknowledgement = figures->slowest_acknowledgement;
  row.insert_cpu = (UsageOfThisProcess().cpu_seconds - cpu_before) / static_cast<double>(count);
  record_bytes += static_cast<double>(figures->record_bytes);
  return absl::OkStatus();
}

void MeasureSpace(Store& store, const std::string& directory, double record_bytes, BlocksRow& row) {
  const StoreStats stats = store.Stats();
  const ProcessUsage usage = UsageOfThisProcess();
  row.resident_bytes = row.other_memory = static_cast<double>(usage.resident_bytes);
  row.peak_resident_bytes = static_cast<double>(usage.peak_resident_bytes);
  for (size_t share = 0; share < kShares; ++share) {
    row.memory[share] = static_cast<double>(stats.memory[share]);
    row.other_memory -= row.memory[share];
  }
  // A store may count memory that it has not touched yet.
  row.other_memory = std::max(0.0, row.other_memory);
  row.index_bytes_per_key = static_cast<double>(stats.memory_of(Share::kIndex)) / row.distinct_keys;
  row.disk_bytes = static_cast<double>(DiskBytes(directory));
  row.disk_per_live = row.disk_bytes / (record_bytes * row.distinct_keys / row.keys);
  row.write_amplification = static_cast<double>(stats.written_bytes) / record_bytes;
}

}  // namespace

absl::Status RunBlocks(Store& store, const std::string& directory, const BlocksOptions& options,
                       absl::FunctionRef<void(const BlocksRow&)> yield) {
  const Workload workload(options.shape);
  double record_bytes = 0;
  for (uint64_t first = 0; first < options.keys; first += options.batch) {
    const uint64_t count = std::min(options.batch, options.keys - first);
    BlocksRow row = {.keys = static_cast<double>(first + count),
                     .distinct_keys = workload.DistinctKeys(first + count)};
    absl::Status status = MeasureInserts(store, workload, first, count, options, row, record_bytes);
    if (status.ok()) status = MeasureReads(store, workload, first + count, options, row);
    if (!status.ok()) return status;
    MeasureSpace(store, directory, record_bytes, row);
    yield(row);
  }
  return absl::OkStatus();
}

}  // namespace thermocline::bench
