#pragma once

#include <atomic>
#include <cstdint>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "client/cli/record.h"

namespace thermocline::cli {

// What became of the records of an import: counts them, tells about those that went wrong, and keeps the list
// of keys that the server has acknowledged. Thread-safe.
class ImportReport {
 public:
  // `tell` prints one line for a person. It is called for the first 20 records that went wrong.
  explicit ImportReport(std::function<void(std::string_view)> tell) : tell_(std::move(tell)) {}

  // Appends each acknowledged key to the file from now on. UNAVAILABLE etc. naming the path if it cannot be
  // opened.
  absl::Status LogAckedTo(const std::string& path);

  // These records are done: written, or compared and equal.
  void Done(const std::vector<const Record*>& records);
  // The record on this line cannot be imported: it is malformed, or the server does not take it.
  void Reject(uint64_t line, std::string_view problem);
  // The same, of a record that is somewhere else than on a line: "row 7".
  void Reject(std::string_view place, std::string_view problem);
  // --verify found another value than this record's, or none.
  void Differ(const Record& record, std::string_view problem);
  // The job cannot go on: the server has not acknowledged these records, for this reason. The first reason
  // stays.
  void Fail(const absl::Status& status, size_t unacknowledged);

  struct Counts {
    uint64_t done = 0;
    uint64_t rejected = 0;
    uint64_t missing_or_different = 0;
    uint64_t unacknowledged = 0;  // sent; they may or may not have been written
    uint64_t bytes = 0;           // of keys and values that are done
  };
  Counts counts() const;
  // Cheaper than counts().
  uint64_t done() const { return done_.load(std::memory_order_relaxed); }
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  bool rejected_any() const { return rejected_any_.load(std::memory_order_relaxed); }
  // Why the server stopped the job, if it did; and why the list of acknowledged keys could not be written.
  absl::Status status() const;
  absl::Status log_status() const;

 private:
  // Requires the lock.
  void Tell(std::string_view line);

  const std::function<void(std::string_view)> tell_;
  std::atomic<uint64_t> done_ = 0;
  std::atomic<bool> failed_ = false;
  std::atomic<bool> rejected_any_ = false;
  mutable std::mutex mutex_;
  Counts counts_;
  uint64_t told_ = 0;
  absl::Status status_;
  absl::Status log_status_;
  std::ofstream acked_log_;
  std::string acked_log_path_;
};

}  // namespace thermocline::cli
