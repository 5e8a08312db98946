#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/cancellation.h"
#include "storage/clock.h"
#include "storage/executor.h"
#include "storage/file_system.h"
#include "storage/id_source.h"
#include "storage/object_store.h"

namespace thermocline::storage {

// A segment's name: 1 to 256 bytes of UTF-8 without control characters.
inline constexpr size_t kMaxSegmentNameBytes = 256;
// Of the text of an expression.
inline constexpr size_t kMaxExpressionBytes = 64 << 10;
// What one query may ask for: files and recent changes that are read side by side.
inline constexpr size_t kMaxQueryLeaves = 4096;

inline constexpr uint64_t kMinSegmentMemoryBytes = uint64_t{8} << 20;

struct SegmentsOptions {
  // Of the catalog and of recent changes; created if missing. One Segments at a time.
  std::string directory;
  // What queries, writes and the catalog may take in bulk: at least kMinSegmentMemoryBytes. An eighth of it
  // goes to the catalog.
  uint64_t memory_bytes = uint64_t{64} << 20;
  // Disk space for kept results; 0: none are kept.
  uint64_t result_bytes = uint64_t{1} << 30;
  // A kept result is used for so long.
  std::chrono::milliseconds result_lifetime{3'600'000};
  // A segment's recent changes are written to an id file when there are so many.
  uint64_t max_recent = 64 << 10;
  // Shortest work whose result is kept, in bytes of id files read.
  uint64_t min_result_work_bytes = 1 << 20;
};

// What stands in an expression as source:name("parameter", ...).
struct OpenedSource {
  std::unique_ptr<IdSource> ids;
  std::string definition;  // other text: what was fetched before is of no use
};
// Opens one. Does not wait. Thread-safe.
//   NOT_FOUND         there is none of that name
//   INVALID_ARGUMENT  it takes other parameters
using SegmentSource = std::function<absl::StatusOr<OpenedSource>(const std::string& name,
                                                                 const std::vector<std::string>& parameters)>;

// Everything outside that Segments depends on. All must outlive it.
struct SegmentsWorld {
  FileSystem& files;
  Clock& clock;
  ObjectStore& objects;
  Executor& executor;  // queries, sorts and rewrites; several threads pay, for some of it waits for the disk
  Executor& changes;   // publishes changes: little work, and a sync of the disk; must not wait for `executor`
  Executor& outside;   // writes the objects of exports, and waits for their store, perhaps for minutes
  SegmentSource source;  // empty: there are none
};

// What a segment holds.
struct SegmentInfo {
  std::string name;
  uint64_t version = 0;  // grows with each change
  // Exact unless `recent_changes` or further layers are there; then between these bounds.
  uint64_t min_count = 0;
  uint64_t max_count = 0;
  uint64_t recent_changes = 0;  // adds and removes that are in no id file yet
  uint64_t bytes = 0;           // of its id files
  uint64_t files = 0;
  uint64_t created_at_ms = 0;
  uint64_t changed_at_ms = 0;
};

enum class SegmentChange : uint8_t {
  kAdd,      // add the ids; the segment is made if there is none
  kRemove,   // remove the ids; fine if there is no such segment
  kReplace,  // the segment is these ids from now on
};

struct SegmentWriteOptions {
  // Count the ids that were not members before (kAdd), or were (kRemove); this reads parts of the segment.
  bool count_changed = false;
};

struct SegmentWriteResult {
  uint64_t received = 0;            // ids that were handed over
  uint64_t distinct = 0;            // different ones among them
  std::optional<uint64_t> changed;  // if asked for
  uint64_t version = 0;             // of the segment now; 0: there is no such segment
};

// A change of one segment on its way: it takes effect as a whole when Finish completes, and not at all if
// that fails or it is destroyed before. For one caller at a time: each call's completion comes before the
// next call.
//
// Ids may come in any order and more than once; in ascending order they cost least. What does not fit the
// memory of the change is sorted in runs on the object store.
class SegmentWrite {
 public:
  ~SegmentWrite();

  // Takes some ids, which must live until `done` was called, or destroyed: during the call, or later on the
  // executor.
  void Add(std::span<const uint64_t> ids, absl::AnyInvocable<void(absl::Status)> done);

  // Publishes the change: durable when `done` is called, on the executor.
  void Finish(absl::AnyInvocable<void(absl::StatusOr<SegmentWriteResult>)> done);

 private:
  friend class Segments;
  class Impl;
  explicit SegmentWrite(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;
};

struct SegmentQueryOptions {
  uint64_t limit = 0;             // at most so many ids; 0: all
  std::optional<uint64_t> after;  // only ids greater than this
  bool use_kept_result = true;    // false: compute it in any case
  bool keep_result = true;        // false: the result is not worth keeping
  // How long to wait for memory when others use it all; 0: refuse at once.
  std::chrono::milliseconds patience{60'000};
  // Ends the query soon, with CANCELLED, whether it waits, reads or has to do other things first.
  Cancellation cancellation;
  // Memory that the caller takes beside the query as long as that lives; counts as the query's.
  uint64_t caller_bytes = 0;
};

// How far a query is, and what it has done.
struct SegmentQueryProgress {
  uint64_t ids = 0;      // that came out
  uint64_t max_ids = 0;  // no more than so many can come out in all
  uint64_t blocks = 0;   // of id files that may have to be read
  uint64_t blocks_read = 0;
  uint64_t blocks_passed = 0;  // that were behind the query without having been read
  uint64_t bytes_read = 0;
  uint64_t elapsed_ms = 0;
  uint64_t memory_bytes = 0;  // its share of the memory
  bool from_kept_result = false;
};

// Ids that a query has found, ascending: all of `ids` come before those of `bitmaps`.
struct IdPage {
  struct Bitmap {
    uint64_t first = 0;  // a multiple of 65536: the id of the lowest bit
    uint32_t count = 0;  // of bits that are set
    uint32_t words_at =
        0;  // index in `words` of the first of 1024; bit i of word w is the id first + 64 w + i
  };
  std::vector<uint64_t> ids;
  std::vector<Bitmap> bitmaps;
  std::vector<uint64_t> words;
  bool done = false;  // nothing follows

  void Clear() {
    ids.clear();
    bitmaps.clear();
    words.clear();
    done = false;
  }
};

// A query under way. It computes a page when it is asked for one, and nothing ahead but reads: whoever takes
// the pages sets the pace. It answers for the moment when it was begun, whatever is written meanwhile. For
// one caller at a time; progress() is thread-safe. Destroying it cancels it: its work stops within
// milliseconds, and no completion is called any more.
class SegmentQuery {
 public:
  ~SegmentQuery();

  // Fills `page` with about `target` ids (at least one, unless it is done; bitmaps are not cut); page and
  // query live until `done` is called, on the executor. With `bitmaps` false, every id is listed in
  // page->ids.
  void Next(size_t target, bool bitmaps, IdPage* page, absl::AnyInvocable<void(absl::Status)> done);

  // How many ids there are in all (limit and after apply); instead of any Next.
  void Count(absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done);

  SegmentQueryProgress progress() const;
  // Equal for equal expressions, however they were written.
  const std::string& normalized() const;

  class Impl;  // of storage/segment

 private:
  explicit SegmentQuery(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;
};

enum class SegmentExportFormat : uint8_t {
  kLines,   // the decimal digits of each id, and a line feed
  kPacked,  // 8 bytes for each id, the lowest first
  kIdFile,  // as segments are stored (storage/segment/id_file_format.h), with the number 0
};

struct SegmentExportOptions {
  SegmentExportFormat format = SegmentExportFormat::kLines;
  SegmentQueryOptions query;  // its caller_bytes are the export's affair
};

// An export writes two objects, one after the other.
enum class SegmentExportObject : uint8_t {
  kIds,
  kManifest,  // JSON that says what the other one is: format, count, bytes, SHA-256 and so on
};

struct SegmentExportProgress {
  enum class Stage : uint8_t { kPlanning, kWaiting, kWriting, kFinishing, kEnded };
  Stage stage = Stage::kPlanning;  // kWaiting: for memory
  uint64_t ids = 0;                // that were written
  uint64_t bytes = 0;              // of the object so far
  uint64_t ids_per_second = 0;     // over the last seconds
  uint64_t writing_ms = 0;         // since the first id was asked for
  SegmentQueryProgress query;
};

struct SegmentExportResult {
  uint64_t ids = 0;
  uint64_t bytes = 0;  // of the object
  std::string sha256;  // of its bytes: 64 hexadecimal digits
  uint64_t first = 0;  // the lowest id, if there is one,
  uint64_t last = 0;   // and the highest
  std::string normalized;
};

// The ids of an expression on their way into an object. Nobody sees the object before it is whole, and nobody
// the manifest before the object; what ends before that leaves nothing behind, as ObjectWriter promises. All
// calls are thread-safe.
class SegmentExport {
 public:
  // Cancels it, and its completion is not called any more. What it holds is let go of soon, on the executor
  // of exports.
  ~SegmentExport();

  // Its completion will soon be called: with CANCELLED, or as if nothing had happened where the object was
  // about to be finished.
  void Cancel();

  SegmentExportProgress progress() const;

 private:
  friend class Segments;
  class Impl;
  explicit SegmentExport(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;
};

// One step of the plan of a query, and those that feed it.
struct SegmentPlan {
  enum class Kind : uint8_t {
    kUnion,
    kIntersection,
    kDifference,
    kFile,
    kRecent,
    kEmpty,
    kKeptResult,
    kPart,    // what its one input yields is written to the object store first: all does not fit the memory
    kSource,  // ids that have to be fetched first
  };
  Kind kind = Kind::kEmpty;
  std::string segment;     // of kFile and kRecent; the expression of kSource
  std::string object;      // of kFile: its name in the object store
  uint64_t min_count = 0;  // of ids that come out
  uint64_t max_count = 0;
  uint64_t estimated_count = 0;
  uint64_t blocks = 0;  // of kFile
  uint64_t bytes = 0;   // of kFile
  uint64_t memory_bytes = 0;
  // After execution only.
  std::optional<uint64_t> exact_count;
  uint64_t blocks_read = 0;
  uint64_t bytes_read = 0;
  std::vector<SegmentPlan> inputs;
};

struct SegmentExplanation {
  std::string normalized;
  SegmentPlan plan;
  uint64_t memory_bytes = 0;
  bool kept_result = false;  // an equal expression's result answers it
  std::optional<SegmentQueryProgress> execution;
};

// A query, write or rewrite that runs now.
struct SegmentWork {
  std::string what;  // for people: "query a & b", "loading the segment a"
  uint64_t started_ms_ago = 0;
  SegmentQueryProgress progress;
};

struct SegmentsStats {
  uint64_t memory_limit = 0;
  uint64_t memory_used = 0;
  uint64_t segments = 0;
  uint64_t id_files = 0;
  uint64_t id_file_bytes = 0;
  uint64_t recent_changes = 0;
  uint64_t kept_results = 0;
  uint64_t kept_result_bytes = 0;
  uint64_t kept_result_hits = 0;
  uint64_t queries = 0;
  uint64_t queries_waiting = 0;  // for memory
  uint64_t queries_refused = 0;
  uint64_t changes_waiting = 0;  // and rewrites, for memory
  uint64_t ids_returned = 0;
  uint64_t blocks_read = 0;
  uint64_t bytes_read = 0;
  uint64_t rewrites = 0;
  absl::Status write_status;         // OK, or why changes are refused
  absl::Status rewrite_status;       // OK, or why the last rewrite in the background failed
  std::vector<SegmentWork> running;  // the longest first, 100 at most
};

// Named sets of 64-bit ids and their algebra: the only door to storage/segment. Thread-safe.
//
// Every change takes effect at one moment for all queries that begin later; each query sees one moment of all
// segments. A change that was acknowledged survives any crash.
//
// Memory: whatever works in bulk takes a share of options.memory_bytes first, that is known beforehand
// (storage/segment/README.md, "Memory"), waits for it in line, and is refused if it can never get it.
//
// Completions are called exactly once, without locks held, unless the object they belong to was destroyed.
//
// Errors:
//   INVALID_ARGUMENT    a bad name, or an expression that cannot be read: the message shows where, with a
//   caret NOT_FOUND           no such segment; in an expression, its place is shown as well. A prefix that no
//   segment has is an
//                       empty set.
//   RESOURCE_EXHAUSTED  no memory (now, or ever: the message says which) or no disk space
//   UNAVAILABLE         changes are refused since a write or sync failed (also for a full disk), or Close
//                       was called
//   DATA_LOSS           the object store returned bytes that fail their checksum; the message names object
//   and offset
class Segments {
 public:
  // Opens or creates the catalog, and removes what a crash left unfinished. Errors as ColdStore::Open,
  // ObjectStore.
  static absl::StatusOr<std::unique_ptr<Segments>> Open(const SegmentsOptions& options,
                                                        const SegmentsWorld& world);

  // Writes, queries and exports must have been destroyed. Closes, if Close was not called.
  ~Segments();
  // Stops what runs in the background; nothing begins any more.
  absl::Status Close();

  absl::StatusOr<std::unique_ptr<SegmentWrite>> Write(std::string_view name, SegmentChange change,
                                                      const SegmentWriteOptions& options);

  // Begins a query; `done` is called during the call or, if it has to wait for memory, later on the executor.
  using QueryDone = absl::AnyInvocable<void(absl::StatusOr<std::unique_ptr<SegmentQuery>>)>;
  void Query(std::string_view expression, const SegmentQueryOptions& options, QueryDone done);

  // Makes or replaces the segment `name` with what the expression yields, in one step.
  using StoreDone = absl::AnyInvocable<void(absl::StatusOr<SegmentInfo>)>;
  void Store(std::string_view expression, std::string_view name, const SegmentQueryOptions& options,
             StoreDone done);

  // Begins an export; `done` is called later, on the executor `outside`, when both objects are finished or
  // it has failed. `create` begins one of the objects, may wait for the store, is called there too, and
  // destroyed before `done` is called; what it fails with is the export's failure. All exports together take
  // at most half of the memory that queries have (or one of them alone what it needs), in line, each as long
  // as it takes.
  using CreateObject = absl::AnyInvocable<absl::StatusOr<std::unique_ptr<ObjectWriter>>(SegmentExportObject)>;
  using ExportDone = absl::AnyInvocable<void(absl::StatusOr<SegmentExportResult>)>;
  std::unique_ptr<SegmentExport> Export(std::string_view expression, const SegmentExportOptions& options,
                                        CreateObject create, ExportDone done);

  // The plan; with `execute`, the expression is also counted, and the plan says what that took. Of the
  // options only patience and cancellation matter.
  using ExplainDone = absl::AnyInvocable<void(absl::StatusOr<SegmentExplanation>)>;
  void Explain(std::string_view expression, bool execute, const SegmentQueryOptions& options,
               ExplainDone done);

  // Segments whose names begin with `prefix` and are greater than `after`, in the order of their names.
  using ListDone = absl::AnyInvocable<void(absl::StatusOr<std::vector<SegmentInfo>>)>;
  void List(std::string_view prefix, std::string_view after, size_t limit, ListDone done);
  using DescribeDone = absl::AnyInvocable<void(absl::StatusOr<SegmentInfo>)>;
  void Describe(std::string_view name, DescribeDone done);

  // False: there was none. Its space comes back when the last query that reads it has ended.
  using DropDone = absl::AnyInvocable<void(absl::StatusOr<bool>)>;
  void Drop(std::string_view name, DropDone done);

  SegmentsStats Stats() const;

 private:
  class Impl;
  explicit Segments(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace thermocline::storage
