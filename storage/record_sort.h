#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/byte_stream.h"
#include "storage/object_store.h"

namespace thermocline::storage {

enum class RecordFormat {
  kNdjson,  // a JSON value a line; empty lines are dropped
  kCsv,     // RFC 4180: the first record names the columns and stays first; empty lines are dropped
  kLines,   // any text
};

// Records keep their bytes and line breaks; a break is added where the last one has none. What is no record
// (invalid UTF-8 in JSON, a quote that is never closed, too few columns for the key) is invalid.
//
// The order of keys: missing < null < false < true < numbers < strings < arrays < objects.
//   - Numbers by their value: whole numbers of 64 bits and doubles exactly, 1 = 1.0 = 1e0. A whole number
//   that
//     64 bits do not hold makes its record invalid.
//   - Strings by the bytes of their UTF-8, which is the order of code points, after escapes are resolved.
//   - Arrays and objects by their text without white space.
// A field is missing as well where what should hold it is no object. Of fields of one name the last counts.
// A CSV field is missing if it is empty, a number if JSON would take it for one and `text` is off, else a
// string. Whole records and lines compare as bytes, without their line break.
struct SortOptions {
  RecordFormat format = RecordFormat::kNdjson;
  // Fields of JSON ("user.name" is the field name of the field user; "\." a dot in a name) or columns of CSV,
  // the first the most significant. None: the whole record.
  std::vector<std::string> keys;
  bool text = false;          // CSV fields are never numbers
  bool descending = false;    // all keys; equal ones keep the order of the input all the same
  bool unique = false;        // of records with equal keys only the first
  bool skip_invalid = false;  // drop and count invalid records instead of failing
  // What it allocates at most, no less than kMinSortBytes. What the process has besides is not counted: code,
  // stacks, and whatever input, output and run store keep.
  uint64_t memory_bytes = 1 << 30;
  int threads = 1;  // that compute; two more read and write
};

inline constexpr uint64_t kMinSortBytes = 8 << 20;
// A record may be this long: the rest of the memory is needed for others, and for reading JSON.
constexpr uint64_t MaxRecordBytes(uint64_t memory_bytes) {
  return memory_bytes < uint64_t{16} << 30 ? memory_bytes / 128 : 128 << 20;
}

enum class SortStage { kReading, kMerging, kWriting };

// What a sort has done so far, and the way to end it. Thread-safe.
struct SortProgress {
  std::atomic<SortStage> stage{SortStage::kReading};
  std::atomic<uint64_t> bytes{0};        // of this stage
  std::atomic<uint64_t> records{0};      // that were read
  std::atomic<uint64_t> stage_bytes{0};  // in all; kReading has what the input knows
  std::atomic<bool> cancelled{false};    // set it, and the sort fails with CANCELLED soon
};

struct SortSummary {
  uint64_t records = 0;  // that were written, the header not counted
  uint64_t bytes = 0;    // likewise, the header included
  uint64_t invalid = 0;
  std::string first_invalid;  // what was wrong, and where; empty: nothing
  uint64_t duplicates = 0;    // that `unique` dropped
  uint64_t runs = 0;          // 0: all fitted in memory
  uint64_t merges = 0;        // of runs to longer ones, before the last one to the output
};

// Sorts `input` to `output`, and finishes it. The sort is stable: records with equal keys keep their order.
// What does not fit in memory becomes sorted runs, objects of `runs` (which should be empty) that are removed
// when they have been merged or the sort fails. Waits for all of them.
//   INVALID_ARGUMENT    the options contradict each other, there is no such CSV column, or a record is
//   invalid
//                       or longer than MaxRecordBytes; the message names the line
//   RESOURCE_EXHAUSTED  no space for runs or output
//   CANCELLED           as asked for, or nobody reads the output
//   DATA_LOSS           a run is not what was written
//   others              as `input`, `output` and `runs` have them
absl::StatusOr<SortSummary> SortRecords(ByteReader& input, ObjectWriter& output, ObjectStore& runs,
                                        const SortOptions& options, SortProgress& progress);

}  // namespace thermocline::storage
