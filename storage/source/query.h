#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "storage/row_source.h"

namespace thermocline::storage::source {

// A query on a connection of its own. Errors are as RowSource has them, but do not name the source. After
// one, only Stop() and the destructor may be called. For one thread at a time.
class Query {
 public:
  // Closes the connection without waiting for the database.
  virtual ~Query() = default;

  // Connects, sends the query and waits until the database has taken it.
  virtual absl::Status Begin(std::vector<std::string>& columns) = 0;

  // Adds rows to an empty `batch`, at least one; waits for the first only. None at the end.
  virtual absl::Status Fill(RowBatch& batch) = 0;

  // Tells the database to stop working on the query, whatever it is at. Takes kStopWait at most.
  virtual void Stop() = 0;
};

inline bool IsFull(const RowBatch& batch) {
  return batch.rows() >= kMaxBatchRows || batch.text_bytes() >= kMaxBatchBytes;
}

// What is said of a row that is too long.
absl::Status RowTooLong();

}  // namespace thermocline::storage::source
