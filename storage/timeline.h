#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/byte_stream.h"
#include "storage/object_store.h"
#include "storage/record_sort.h"
#include "storage/row_source.h"

namespace thermocline::storage {

// Microseconds since 1970-01-01T00:00:00Z, before it as well.
using Moment = int64_t;

// An interval runs from its start on and until just before its end.
//   - kNever as its end: it is open, and never ends.
//   - kAlways as its start: it has been running before every moment.
//   - An empty interval (start = end) starts and ends, but never runs.
//   - An inverted one (end < start) is a mistake.
struct Interval {
  Moment start = 0;
  Moment end = 0;
};
inline constexpr Moment kAlways = INT64_MIN;
inline constexpr Moment kNever = INT64_MAX;

// A moment at which intervals start or end, and how many run from then on.
struct TimelineChange {
  Moment at = 0;
  uint64_t running = 0;
  uint64_t started = 0;  // at that moment
  uint64_t ended = 0;
};

// How many intervals run at the same time: takes them in any order, in bounded memory, then tells every
// moment at which something changes, in order. Starts and ends are sorted apart, through the object store
// where they do not fit in memory, and merged when they are read. For one thread at a time.
class Timeline {
 public:
  static constexpr uint64_t kMinBytes = 4 << 20;

  // `prefix` begins the names of its objects, which are removed with it: no other timeline of the store may
  // have it. Takes `memory_bytes` (kMinBytes at least) of memory. `store` must outlive it.
  Timeline(ObjectStore& store, std::string prefix, uint64_t memory_bytes);
  ~Timeline();

  // Takes intervals, of which none is inverted. May wait for the store, and fails as it does; then only the
  // destructor may be called.
  absl::Status Add(std::span<const Interval> intervals);
  // No more intervals come. Likewise.
  absl::Status Finish();

  struct Summary {
    uint64_t intervals = 0;
    uint64_t empty = 0;           // of them
    uint64_t open_ends = 0;       // likewise
    uint64_t always = 0;          // run from before the first change
    std::optional<Moment> first;  // change; nullopt: there is none
    std::optional<Moment> last;
  };
  Summary summary() const;

  // After Finish: the next changes, in the order of time, as many as fit; 0 at the end. `running` may be what
  // it was, where as many start as end. Waits for the store.
  absl::StatusOr<size_t> Next(std::span<TimelineChange> changes);

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

// A stretch of time [begin, begin + every).
struct TimelineBucket {
  Moment begin = 0;
  uint64_t least = 0;  // that ran at a moment of it, and the most
  uint64_t most = 0;
  double mean = 0;       // over its time
  uint64_t started = 0;  // in it
  uint64_t ended = 0;
};

// A finished timeline in buckets, which begin at multiples of their length (so in UTC, a day's at midnight;
// seven days' on a Thursday): from the one of the first change to that of the last, none left out. For one
// thread at a time.
class TimelineBuckets {
 public:
  // `every` is at least 1. `timeline` must outlive it, and is read by nobody else.
  TimelineBuckets(Timeline& timeline, Moment every);
  ~TimelineBuckets();

  // As Timeline::Next.
  absl::StatusOr<size_t> Next(std::span<TimelineBucket> buckets);

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

// Reads "2025-07-01", "2025-07-01 12:30", "2025-07-01T12:30:15.25Z", "... +02:00", "+0200" or "+02" (RFC
// 3339, ISO 8601 and what PostgreSQL and MariaDB write), UTC without a zone; digits beyond microseconds are
// cut off. "infinity" is kNever, "-infinity" kAlways. nullopt for others, and for days that no calendar has.
std::optional<Moment> ParseMoment(std::string_view text);

// "2025-07-01T12:30:15Z", with a fraction where there is one; "infinity" and "-infinity".
std::string FormatMoment(Moment moment);

// Where rows have their intervals.
struct IntervalShape {
  RecordFormat format = RecordFormat::kNdjson;  // or kCsv
  std::string start;                            // the field
  std::string end;
  Moment unit = 1000;         // of times that are numbers, in microseconds; texts are as ParseMoment has them
  bool skip_invalid = false;  // count rows that have no interval or an inverted one instead of failing
};

struct IntervalSummary {
  uint64_t rows = 0;
  uint64_t not_started =
      0;                 // rows without a start (missing, null, empty or "infinity"): they count for nothing
  uint64_t invalid = 0;  // inverted ones included
  uint64_t inverted = 0;
  std::string first_invalid;
  bool numbers = true;  // all times were
};

// Adds the intervals of all rows of an input. A row without an end (missing, null or empty) is open. Takes
// JsonBytes of a record more memory than the timeline: `memory_bytes`, at least kMinSortBytes.
//   INVALID_ARGUMENT  a row is none, or its interval is inverted; names the line
//   CANCELLED         as SortProgress has it
absl::StatusOr<IntervalSummary> ReadIntervals(ByteReader& input, const IntervalShape& shape,
                                              uint64_t memory_bytes, Timeline& timeline,
                                              SortProgress& progress);

// The same of the rows of a query; `format` does not matter. What the database prints for a number is a
// number, an empty text is NULL. Takes the memory of a RowSource. Errors name source and row, others are
// those of RowSource; to end a query that waits, cancel the source as well.
absl::StatusOr<IntervalSummary> ReadIntervals(RowSource& source, const IntervalShape& shape,
                                              Timeline& timeline, SortProgress& progress);
// Reads the interval of one value after the other, each a JSON object. For one thread at a time.
class IntervalReader {
 public:
  static constexpr size_t kMaxValueBytes = 64 << 10;  // longer values are invalid
  static constexpr uint64_t kMemoryBytes = 1 << 20;   // that it takes at most

  // Of the shape, the format and skip_invalid do not matter. INVALID_ARGUMENT: a name stands for no field.
  static absl::StatusOr<std::unique_ptr<IntervalReader>> New(IntervalShape shape);
  ~IntervalReader();

  // nullopt: it has no start (missing, null, empty or "infinity"), and counts for nothing. Without an end
  // (missing, null or empty) it is open. INVALID_ARGUMENT: what is wrong with the value, or its interval.
  absl::StatusOr<std::optional<Interval>> Read(std::string_view value);

  uint64_t inverted() const;  // of the invalid ones
  bool numbers() const;       // all times were, so far

 private:
  class Impl;
  explicit IntervalReader(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace thermocline::storage
