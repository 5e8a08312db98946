#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/byte_stream.h"
#include "storage/record_sort.h"

namespace thermocline::storage::sort {

// Cuts an input into pieces of whole records. For one thread at a time.
class RecordCutter {
 public:
  // `read` is told of bytes as they are read; false ends it with CANCELLED. `input` must outlive it.
  RecordCutter(ByteReader& input, RecordFormat format, size_t max_record_bytes,
               std::function<bool(size_t bytes)> read);

  // The first record of a CSV with its line break, which is taken out of what Fill finds; empty for other
  // formats, and for a CSV of nothing.
  absl::StatusOr<std::string> TakeHeader();

  struct Piece {
    size_t bytes = 0;         // 0: the end
    uint64_t first_line = 0;  // the number of the first record's line; the first is 1
  };
  // Fills the front of `out` with records, each with a line break. `out` must be at least twice as long as
  // the longest record. INVALID_ARGUMENT: a record is too long, or never ends.
  absl::StatusOr<Piece> Fill(std::span<char> out);

 private:
  // How far Fill has come.
  struct Filling {
    size_t filled = 0;
    size_t whole = 0;  // of that, records
  };

  absl::Status ReadSome(std::span<char> out, Filling& filling);
  void Scan(std::span<char> out, size_t scanned, Filling& filling);
  absl::Status End(std::span<char> out, Filling& filling);
  absl::Status EndlessRecord() const;

  ByteReader& input_;
  const RecordFormat format_;
  const size_t max_record_bytes_;
  const std::function<bool(size_t)> read_;
  std::string carry_;  // read, but not given out yet; begins with a record
  uint64_t line_ = 1;  // of the next record
  bool at_start_ = true;
  bool ended_ = false;
  bool two_byte_breaks_ = false;  // as the first record has
};

}  // namespace thermocline::storage::sort
