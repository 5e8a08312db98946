#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "storage/executor_reads.h"
#include "storage/record_sort.h"
#include "storage/thread_pool.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::testing {

// A text as an input that comes in pieces.
class TextReader : public storage::ByteReader {
 public:
  explicit TextReader(std::string_view text, size_t piece_bytes = 1 << 20)
      : text_(text), size_(text.size()), piece_bytes_(piece_bytes) {}

  absl::StatusOr<size_t> Read(std::span<char> out) override;
  std::optional<uint64_t> size() const override { return size_; }

 private:
  std::string_view text_;
  const uint64_t size_;
  const size_t piece_bytes_;
};

// An output in memory.
class TextWriter : public storage::ObjectWriter {
 public:
  absl::Status Append(std::string_view bytes) override;
  absl::Status Finish() override;

  const std::string& text() const { return text_; }
  bool finished() const { return finished_; }
  // Fails behind so many bytes.
  void FailAfter(size_t bytes, absl::Status status);

 private:
  std::string text_;
  size_t fail_after_ = SIZE_MAX;
  absl::Status failure_;
  bool finished_ = false;
};

// Sorts texts with runs on a simulated disk.
class SortRun {
 public:
  SortRun();

  // Checks that no run is left.
  absl::StatusOr<std::string> Sort(std::string_view input, const storage::SortOptions& options,
                                   size_t piece_bytes = 1 << 20);

  SimulatedDisk disk{1};
  storage::SortProgress progress;
  storage::SortSummary summary;  // of the last sort that succeeded
  TextWriter* output = nullptr;  // if set, what is written instead of a text

 private:
  storage::ThreadPool pool_{"reads", 2};
  storage::ExecutorReads reads_{pool_};
  std::unique_ptr<storage::ObjectStore> store_;
};

// The lines of a text, without their breaks.
std::vector<std::string> Lines(std::string_view text);

}  // namespace thermocline::testing
