#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"
#include "storage/sort/block_file.h"
#include "storage/sort/merge.h"

// Sorted records that did not fit in memory.
namespace thermocline::storage::sort {

// Writes a run. For one thread at a time.
//
// Its blocks hold whole records: the length of the key (none if the key is the whole record), that of the
// text, the key and the text.
class RunWriter : public RecordSink {
 public:
  // Blocks get about `block_bytes`, more where a record is longer.
  static absl::StatusOr<std::unique_ptr<RunWriter>> Create(ObjectStore& store, std::string name,
                                                           size_t block_bytes, bool stores_keys);

  absl::Status Add(const SortedRecord& record) override;
  absl::StatusOr<BlockFile> Finish();

 private:
  RunWriter(std::unique_ptr<BlockWriter> file, size_t block_bytes, bool stores_keys);
  absl::Status WriteBlock();

  const std::unique_ptr<BlockWriter> file_;
  const size_t block_bytes_;
  const bool stores_keys_;
  std::string block_;
};

// Reads a run; see BlockReader::Open.
absl::StatusOr<std::unique_ptr<SortedRecords>> OpenRun(ObjectStore& store, const BlockFile& run,
                                                       uint64_t window_bytes, bool stores_keys,
                                                       bool descending);

}  // namespace thermocline::storage::sort
