#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "client/client.h"
#include "client/segment_progress.h"

namespace thermocline {

// Segments are named sets of 64-bit ids: "bought:2025" may hold the ids of a hundred million users.
// Expressions combine them: "(city:ny & bought:2025) - bought:2026". What names and expressions may look
// like, what the limits are and what each number means is explained in proto/thermocline/v1/segments.proto.
//
//   thermocline::Segments& segments = client->segments();
//   auto loaded = segments.Load("bought:2025", ids);
//   auto reader = segments.Query("bought:2025 - bought:2026");
//   for (std::span<const uint64_t> ids; reader->Next(ids);) Use(ids);
//   if (!reader->status().ok()) ...

// What a change has done.
struct SegmentChange {
  uint64_t received = 0;  // ids that came
  uint64_t distinct = 0;  // different ones among them
  // Of Add: ids that were not members before; of Remove: that were. Only with count_changed.
  std::optional<uint64_t> changed;
  uint64_t version = 0;  // of the segment now; 0 if there is none
};

struct SegmentChangeOptions {
  bool count_changed = false;  // see SegmentChange::changed; takes time, for it reads parts of the segment
  // The longest wait for the server to take the next part of the ids, and for its answer. nullopt: as long as
  // it takes; sorting a billion ids is minutes.
  std::optional<std::chrono::milliseconds> timeout;
};

// Ids on their way into a segment, as many as one likes, in any order and more than once; sorted ones cost
// least. The change takes effect as a whole when Finish() succeeds; a writer that is dropped before has
// changed nothing. For one thread at a time. Must not outlive its Client.
class SegmentWriter {
 public:
  // Abandons the change if Finish() was not called.
  ~SegmentWriter();

  // Sends ids; waits while the server is behind, so that memory stays bounded (half a mebibyte). An error
  // ends the change: the same comes from then on.
  absl::Status Write(std::span<const uint64_t> ids);

  // Sends what is left and waits for the server's answer. Call it once. If the connection breaks or the
  // timeout passes in here, nobody knows whether the change took effect; making it again is harmless unless
  // somebody else has changed the segment in between.
  absl::StatusOr<SegmentChange> Finish();

 private:
  friend class Segments;
  class Impl;
  explicit SegmentWriter(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

struct SegmentQueryOptions {
  uint64_t limit = 0;             // at most so many ids; 0: all
  std::optional<uint64_t> after;  // only ids greater than this
  bool fresh = false;             // compute the result even if an equal one was kept
  // The longest wait for the next part of the result. nullopt: as long as it takes, for ids that are far
  // between may be minutes apart.
  std::optional<std::chrono::milliseconds> timeout;
};

// The ids of an expression, ascending, as fast as one takes them.
//
// A broken connection is made again and the query goes on behind the last id; what it brings from there on is
// of a later moment. For one thread at a time, but for progress(). Must not outlive its Client.
class SegmentReader {
 public:
  // Ends the query; the server stops working on it.
  ~SegmentReader();

  // The next ids, at least one; valid until the next call. False at the end, at the limit or on failure: see
  // status().
  bool Next(std::span<const uint64_t>& ids);

  // OK unless Next() returned false because of a failure. UNAVAILABLE if the server could not be reached
  // again within Client::Options::timeout, DEADLINE_EXCEEDED if it sent nothing for longer than the timeout,
  // INVALID_ARGUMENT for a bad expression, NOT_FOUND for a segment that does not exist.
  const absl::Status& status() const;

  // From any thread.
  SegmentProgress progress() const;

 private:
  friend class Segments;
  class Impl;
  explicit SegmentReader(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

// An id and the value of its key.
struct SegmentValue {
  uint64_t id = 0;
  std::optional<std::string> value;  // nullopt: there is no such key, or its value is too large
  bool too_large = false;            // more than 1 MiB: Client::Get brings it
};

// The ids of an expression with the values of their keys; otherwise like SegmentReader.
class SegmentValueReader {
 public:
  ~SegmentValueReader();

  // Steps to the next item. False as in SegmentReader.
  bool Next();

  // The current item; valid until the next call of Next(), and only after it returned true. May be moved
  // from.
  SegmentValue& item();

  const absl::Status& status() const;
  SegmentProgress progress() const;

 private:
  friend class Segments;
  class Impl;
  explicit SegmentValueReader(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

// How the intervals of Segments::Timeline stand in their values. What open, empty, inverted and missing ones
// count for is explained in proto/thermocline/v1/segments.proto.
struct SegmentTimelineOptions {
  std::string start = "start_at";  // the fields; OUTER.INNER for a field in a field
  std::string end = "end_at";
  std::chrono::microseconds unit{1000};  // of times that are numbers
  std::chrono::microseconds every{0};    // the length of a bucket; 0: a change for each moment
  uint64_t limit = 0;                    // as of SegmentQueryOptions, like the next three
  std::optional<uint64_t> after;
  bool fresh = false;
  std::optional<std::chrono::milliseconds> timeout;
};

// A moment at which intervals start or end, in microseconds since 1970.
struct SegmentTimelineChange {
  int64_t at_us = 0;
  uint64_t running = 0;  // from then on; what it was before if as many start as end
  uint64_t started = 0;  // at that moment
  uint64_t ended = 0;
};

// A stretch of time [begin, begin + every).
struct SegmentTimelineBucket {
  int64_t begin_us = 0;
  uint64_t least = 0;  // that ran at a moment of it, and the most
  uint64_t most = 0;
  double mean = 0;       // over its time
  uint64_t started = 0;  // in it
  uint64_t ended = 0;
};

// What has been read: values = intervals + not_started + invalid.
struct SegmentTimelineSummary {
  uint64_t values = 0;
  uint64_t missing = 0;  // ids without a value
  uint64_t not_started = 0;
  uint64_t invalid = 0;  // inverted ones included
  uint64_t inverted = 0;
  std::string first_invalid;
  uint64_t intervals = 0;
  uint64_t empty = 0;  // of the intervals
  uint64_t open_ends = 0;
  uint64_t always = 0;              // that run from before the first change
  std::optional<int64_t> first_us;  // change; nullopt: there is none
  std::optional<int64_t> last_us;
  bool numbers = false;   // all times were
  bool complete = false;  // all values have been read
};

// A timeline, in the order of time. Until its first change or bucket has been handed out, a broken connection
// is made again and all values are read anew; later it is the end. For one thread at a time, but for
// summary() and progress(). Must not outlive its Client.
class SegmentTimelineReader {
 public:
  // Ends the call; the server stops working on it.
  ~SegmentTimelineReader();

  // Waits until all values have been read: summary() is complete then. False on failure: see status(). Next()
  // does it as well.
  bool ReadValues();

  // The next changes (if `every` is 0) or buckets (if not), at least one; valid until the next call. False at
  // the end or on failure: see status().
  bool Next(std::span<const SegmentTimelineChange>& changes);
  bool Next(std::span<const SegmentTimelineBucket>& buckets);

  // As of SegmentReader.
  const absl::Status& status() const;

  // From any thread: so far, like progress(), whose `ids` are those that were looked up.
  SegmentTimelineSummary summary() const;
  SegmentProgress progress() const;

 private:
  friend class Segments;
  class Impl;
  explicit SegmentTimelineReader(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

struct SegmentCountOptions {
  bool fresh = false;                                // as of SegmentQueryOptions
  std::optional<std::chrono::milliseconds> timeout;  // nullopt: as long as it takes
};

struct SegmentCount {
  uint64_t count = 0;  // exact
  SegmentProgress progress;
};

struct SegmentExplainOptions {
  bool execute = false;                              // also run it, and say what each step took
  std::optional<std::chrono::milliseconds> timeout;  // nullopt: as long as it takes
};

// One step of a plan, with those that it takes its ids from.
struct SegmentPlanStep {
  enum class Kind {
    kUnknown,
    kUnion,
    kIntersection,
    kDifference,
    kFile,
    kRecent,
    kEmpty,
    kKeptResult,
    kPart,    // what its one input yields goes into a file first: all does not fit the memory
    kSource,  // ids that have to be fetched first; `segment` has its expression
  };

  Kind kind = Kind::kUnknown;
  std::string segment;     // of kFile and kRecent
  std::string object;      // of kFile: its name in the object store
  uint64_t min_count = 0;  // of ids that come out: bounds and a guess
  uint64_t max_count = 0;
  uint64_t estimated_count = 0;
  uint64_t blocks = 0;  // of kFile
  uint64_t bytes = 0;   // of kFile
  uint64_t memory_bytes = 0;
  std::optional<uint64_t> exact_count;  // after execution, like the next two
  uint64_t blocks_read = 0;
  uint64_t bytes_read = 0;
  std::vector<SegmentPlanStep> inputs;
};

struct SegmentPlan {
  std::string normalized;  // the expression as the server understands it
  SegmentPlanStep root;
  uint64_t memory_bytes = 0;                 // that the query takes while it runs
  bool kept_result = false;                  // the answer is kept from an equal query
  std::optional<SegmentProgress> execution;  // with `execute`
};

struct SegmentStoreOptions {
  bool fresh = false;                                // as of SegmentQueryOptions
  std::optional<std::chrono::milliseconds> timeout;  // nullopt: as long as it takes
};

struct SegmentInfo {
  std::string name;
  uint64_t version = 0;    // grows with each change
  uint64_t min_count = 0;  // of ids: exact if both are equal, else Count() tells
  uint64_t max_count = 0;
  uint64_t recent_changes = 0;  // that are in no id file yet
  uint64_t bytes = 0;           // of its id files
  uint64_t files = 0;
  std::chrono::system_clock::time_point created;
  std::chrono::system_clock::time_point changed;
};

enum class SegmentExportFormat {
  kLines,   // the decimal digits of each id, and a line feed
  kPacked,  // 8 bytes for each id, the lowest first
  kIdFile,  // the server's own compressed format
};

struct SegmentExportOptions {
  SegmentExportFormat format = SegmentExportFormat::kLines;
  bool replace = false;  // an object that is there already
  uint64_t limit = 0;    // as of SegmentQueryOptions, like the next two
  std::optional<uint64_t> after;
  bool fresh = false;
  std::optional<std::chrono::milliseconds> timeout;  // of the answer that the job is there
};

// An export on the server, as it was when the server said so.
struct SegmentJob {
  enum class Stage { kUnknown, kWaiting, kPlanning, kWriting, kFinishing, kDone, kFailed, kCancelled };

  std::string id;
  std::string expression;  // its first 500 bytes
  std::string url;
  SegmentExportFormat format = SegmentExportFormat::kLines;
  Stage stage = Stage::kUnknown;
  uint64_t ids = 0;      // written so far
  uint64_t max_ids = 0;  // no more than so many can come out in all
  uint64_t bytes = 0;    // of the object so far
  uint64_t ids_per_second = 0;
  std::optional<std::chrono::milliseconds> remaining;  // an estimate
  std::chrono::system_clock::time_point created;
  std::optional<std::chrono::system_clock::time_point> started;
  std::optional<std::chrono::system_clock::time_point> finished;
  absl::Status failure;  // of kFailed and kCancelled: why
  std::string sha256;    // of kDone: of the object's bytes
  SegmentProgress progress;

  bool ended() const { return stage >= Stage::kDone; }
};

// A job, again and again while something changes. A broken connection is made again. For one thread at a
// time. Must not outlive its Client.
class SegmentJobWatcher {
 public:
  // Stops watching; the job goes on.
  ~SegmentJobWatcher();

  // Waits for news; those that come first are how the job is now. False when the job has ended and that has
  // been said, or on failure: see status().
  bool Next(SegmentJob& job);

  // OK unless Next() returned false because of a failure: NOT_FOUND if the server knows no such job (a server
  // that was started anew does not), UNAVAILABLE if it could not be reached again within
  // Client::Options::timeout.
  const absl::Status& status() const;

 private:
  friend class Segments;
  class Impl;
  explicit SegmentJobWatcher(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

// The segments of a server, reached as client->segments(). Thread-safe.
//
// Errors and repetition are as Client says: queries and whatever else changes nothing are repeated on
// UNAVAILABLE; Add, Remove, Load, Store, Drop and Export wait for a connection, at most for
// Client::Options::timeout, and are sent once. To repeat one of them after its outcome was lost is harmless
// unless somebody else has changed the segment in between.
class Segments {
 public:
  // Adds ids to a segment, which is made if there is none.
  std::unique_ptr<SegmentWriter> Add(std::string_view segment, const SegmentChangeOptions& options = {});
  absl::StatusOr<SegmentChange> Add(std::string_view segment, std::span<const uint64_t> ids,
                                    const SegmentChangeOptions& options = {});

  // Removes ids from a segment, which need not exist.
  std::unique_ptr<SegmentWriter> Remove(std::string_view segment, const SegmentChangeOptions& options = {});
  absl::StatusOr<SegmentChange> Remove(std::string_view segment, std::span<const uint64_t> ids,
                                       const SegmentChangeOptions& options = {});

  // Replaces a whole segment, or makes it. It is what it was until the writer has finished.
  std::unique_ptr<SegmentWriter> Load(std::string_view segment, const SegmentChangeOptions& options = {});
  absl::StatusOr<SegmentChange> Load(std::string_view segment, std::span<const uint64_t> ids,
                                     const SegmentChangeOptions& options = {});

  // Starts a query; the first message is sent by the first Next().
  std::unique_ptr<SegmentReader> Query(std::string_view expression, const SegmentQueryOptions& options = {});

  // The same ids, each with the value of its key. `key_pattern` holds {id} at least once: "user:{id}".
  std::unique_ptr<SegmentValueReader> QueryValues(std::string_view expression, std::string_view key_pattern,
                                                  const SegmentQueryOptions& options = {});

  // How many intervals run at the same time, over time, of those that the ids have as values.
  std::unique_ptr<SegmentTimelineReader> Timeline(std::string_view expression, std::string_view key_pattern,
                                                  const SegmentTimelineOptions& options = {});

  // How many ids an expression has.
  absl::StatusOr<SegmentCount> Count(std::string_view expression, const SegmentCountOptions& options = {});

  // How a query would be answered, or was.
  absl::StatusOr<SegmentPlan> Explain(std::string_view expression, const SegmentExplainOptions& options = {});

  // Makes or replaces a segment with the ids of an expression, which may name the segment itself.
  absl::StatusOr<SegmentInfo> Store(std::string_view segment, std::string_view expression,
                                    const SegmentStoreOptions& options = {});

  // Starts a job that writes the ids of an expression into one object, file:///folder/name or
  // s3://bucket/name, below what the server allows, and a manifest beside it. The job goes on whatever
  // becomes of this client. ALREADY_EXISTS: there is such an object, or a job that writes it;
  // PERMISSION_DENIED: the server does not allow the URL, and says what it allows.
  absl::StatusOr<SegmentJob> Export(std::string_view expression, std::string_view url,
                                    const SegmentExportOptions& options = {});

  // Follows a job until it has ended.
  std::unique_ptr<SegmentJobWatcher> WatchJob(std::string_view id);

  // Jobs that run or wait, and the last that have ended; the newest first.
  absl::StatusOr<std::vector<SegmentJob>> ListJobs(bool unfinished_only = false,
                                                   const CallOptions& options = {});

  // Ends a job; nothing of it stays. One that has ended already stays what it is. NOT_FOUND if there is no
  // such job. What is returned may be the job before its end.
  absl::StatusOr<SegmentJob> CancelJob(std::string_view id, const CallOptions& options = {});

  // All segments whose names begin with `prefix`, in the order of their names. They are asked for in pages;
  // the timeout is that of a page.
  absl::StatusOr<std::vector<SegmentInfo>> List(std::string_view prefix = "",
                                                const CallOptions& options = {});

  // One segment, or nullopt.
  absl::StatusOr<std::optional<SegmentInfo>> Describe(std::string_view segment,
                                                      const CallOptions& options = {});

  // Removes a segment. False if there was none.
  absl::StatusOr<bool> Drop(std::string_view segment, const CallOptions& options = {});

  ~Segments();
  Segments(const Segments&) = delete;
  Segments& operator=(const Segments&) = delete;

 private:
  friend class Client;
  class Impl;
  explicit Segments(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace thermocline
