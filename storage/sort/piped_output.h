#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "storage/object_store.h"
#include "storage/sort/merge.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::sort {

// Writes the texts of records from a thread of its own, in pieces. For one thread at a time.
class PipedOutput : public RecordSink {
 public:
  static constexpr size_t kPieces = 3;  // in all: one is filled while others are written

  // `written` gets the bytes as they are written. `output` must outlive it.
  PipedOutput(ObjectWriter& output, size_t piece_bytes, std::atomic<uint64_t>& written);
  // Drops what is not written yet.
  ~PipedOutput() override;

  absl::Status Add(const SortedRecord& record) override;
  absl::Status AddText(std::string_view text);
  // Writes all and finishes the output.
  absl::Status Finish();

  uint64_t records() const { return records_; }
  uint64_t bytes() const { return bytes_; }

 private:
  void Write();
  absl::Status Hand();

  ObjectWriter& output_;
  const size_t piece_bytes_;
  std::atomic<uint64_t>& written_;
  uint64_t records_ = 0;
  uint64_t bytes_ = 0;
  std::string piece_;

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> full_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> empty_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace thermocline::storage::sort
