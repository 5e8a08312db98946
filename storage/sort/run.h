#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"
#include "storage/sort/merge.h"
#include "storage/sort/pages.h"

// Sorted records that did not fit in memory: objects of the run store.
//
// A run is blocks of whole records. Each begins with a BlockHeader; a record is the length of its key (none
// if the key is the whole record), the length of its text, the key and the text. Runs do not outlive the
// process that has written them: where the blocks lie is kept in memory.
namespace thermocline::storage::sort {

struct BlockHeader {
  uint64_t checksum = 0;  // XXH3 of the number, the length and what follows
  uint32_t number = 0;    // of the block in its run
  uint32_t bytes = 0;     // of records
};

struct Run {
  std::string name;
  uint64_t bytes = 0;
  uint64_t records = 0;
  uint32_t largest_block = 0;         // its bytes, the header included
  std::vector<uint32_t> block_bytes;  // likewise, of each block
};

// Writes a run. For one thread at a time.
class RunWriter : public RecordSink {
 public:
  // Blocks get about `block_bytes`, more where a record is longer.
  static absl::StatusOr<std::unique_ptr<RunWriter>> Create(ObjectStore& store, std::string name,
                                                           size_t block_bytes, bool stores_keys);

  absl::Status Add(const SortedRecord& record) override;
  absl::StatusOr<Run> Finish();

 private:
  RunWriter(std::unique_ptr<ObjectWriter> object, std::string name, size_t block_bytes, bool stores_keys);
  absl::Status WriteBlock();

  const std::unique_ptr<ObjectWriter> object_;
  const size_t block_bytes_;
  const bool stores_keys_;
  std::string block_;
  Run run_;
};

// What reading a run takes with windows of the least bytes that it can have.
uint64_t LeastReadBytes(const Run& run);

// Reads a run in windows of blocks, the next one while the records of the last are taken: 2 * `window_bytes`,
// or LeastReadBytes if that is more. `store` and `run` must outlive it. DATA_LOSS: not what was written.
absl::StatusOr<std::unique_ptr<SortedRecords>> OpenRun(ObjectStore& store, const Run& run,
                                                       uint64_t window_bytes, bool stores_keys,
                                                       bool descending);

}  // namespace thermocline::storage::sort
