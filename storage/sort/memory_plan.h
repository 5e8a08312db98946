#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "storage/record_sort.h"
#include "storage/sort/batch.h"
#include "storage/sort/field_reader.h"
#include "storage/sort/piped_output.h"

namespace thermocline::storage::sort {

// Who gets how much of a sort's memory. While the input is read: batches, one more of which stands for what
// the cutter keeps; while runs are merged: what reads them. Readers of JSON and writers have theirs all the
// time.
struct MemoryPlan {
  static constexpr size_t kMaxThreads = 20;  // with more, batches would be too small for long records

  explicit MemoryPlan(const SortOptions& options) {
    const uint64_t memory = options.memory_bytes;
    max_record_bytes = MaxRecordBytes(memory);
    // While one waits for the disk, another one computes.
    workers = std::clamp<size_t>(static_cast<size_t>(options.threads), 1, kMaxThreads) + 1;
    block_bytes = std::clamp<uint64_t>(memory / 1024, 16 << 10, 256 << 10);
    piece_bytes = std::clamp<uint64_t>(memory / 128, 64 << 10, 2 << 20);
    const bool reads_json = options.format == RecordFormat::kNdjson && !options.keys.empty();
    const uint64_t readers =
        reads_json ? JsonBytes(max_record_bytes) +
                         workers * JsonBytes(std::min<uint64_t>(kShortJsonBytes, max_record_bytes))
                   : 0;
    const uint64_t run_writers = workers * (2 * block_bytes + kStoreBufferBytes);
    const uint64_t rest = memory - std::min(memory / 2, readers + run_writers);
    batches = workers + 3;
    batch_bytes = static_cast<size_t>(std::min(rest / (batches + 1), Batch::kMaxBytes));
    merge_bytes =
        memory - PipedOutput::kPieces * piece_bytes - 2 * block_bytes - kStoreBufferBytes - max_record_bytes;
  }

  static constexpr uint64_t kStoreBufferBytes = 256 << 10;

  size_t workers;
  size_t batches;
  size_t batch_bytes;
  size_t max_record_bytes;
  size_t block_bytes;    // of runs
  size_t piece_bytes;    // of the output
  uint64_t merge_bytes;  // for what reads runs
};

}  // namespace thermocline::storage::sort
