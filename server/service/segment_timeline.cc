#include "server/service/segment_timeline.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "server/service/segment_requests.h"
#include "server/service/segment_values.h"
#include "storage/thread_annotations.h"
#include "storage/timeline.h"

namespace thermocline::server {
namespace {

using std::chrono::steady_clock;
using storage::Interval;
using storage::IntervalReader;
using storage::IntervalShape;
using storage::Moment;
using storage::Timeline;
using storage::TimelineBucket;
using storage::TimelineBuckets;
using storage::TimelineChange;

// Of segments: what queries have of less leaves nothing for the ids.
constexpr uint64_t kLeastMemory = uint64_t{16} << 20;
constexpr uint64_t kMemoryPart = 16;
constexpr uint64_t kMaxTimelineBytes = uint64_t{64} << 20;
// Rows of a response: 200 KB of them at most.
constexpr size_t kRows = 4096;
// A response's rows, as they are told and as they are sent, and what is small.
constexpr uint64_t kOutputBytes = uint64_t{1} << 20;
constexpr std::chrono::milliseconds kProgressInterval(200);

struct Order {
  IntervalShape shape;
  Moment every = 0;
};

absl::StatusOr<Moment> ToLength(const char* field, uint64_t microseconds) {
  if (microseconds <= INT64_MAX) return static_cast<Moment>(microseconds);
  return absl::InvalidArgumentError(
      fmt::format("{} is {}; give at most {}, that is, 292 000 years", field, microseconds, INT64_MAX));
}

absl::StatusOr<Order> ToOrder(const v1::TimelineRequest& request) {
  Order order;
  order.shape.start = request.start().empty() ? "start_at" : request.start();
  order.shape.end = request.end().empty() ? "end_at" : request.end();
  const absl::StatusOr<Moment> unit = ToLength("unit_us", request.unit_us());
  if (!unit.ok()) return unit.status();
  if (*unit > 0) order.shape.unit = *unit;
  const absl::StatusOr<Moment> every = ToLength("every_us", request.every_us());
  if (!every.ok()) return every.status();
  order.every = *every;
  return order;
}

void FillRow(const TimelineChange& change, v1::TimelineResponse::Change& to) {
  to.set_at_us(change.at);
  to.set_running(change.running);
  to.set_started(change.started);
  to.set_ended(change.ended);
}

void FillRow(const TimelineBucket& bucket, v1::TimelineResponse::Bucket& to) {
  to.set_begin_us(bucket.begin);
  to.set_least(bucket.least);
  to.set_most(bucket.most);
  to.set_mean(bucket.mean);
  to.set_started(bucket.started);
  to.set_ended(bucket.ended);
}

// Fills `to` with the next rows of `source`.
template <typename Row, typename Source, typename Rows>
absl::Status FillRows(Source& source, Rows& to) {
  std::vector<Row> rows(kRows);
  const absl::StatusOr<size_t> count = source.Next(rows);
  if (!count.ok()) return count.status();
  to.Reserve(static_cast<int>(*count));
  for (size_t i = 0; i < *count; ++i) FillRow(rows[i], *to.Add());
  return absl::OkStatus();
}

}  // namespace

// What all timelines share; the work of each is counted, from its beginning until it holds nothing any more.
class SegmentTimelines::World {
 public:
  World(storage::Segments& segments_of, storage::Engine& engine_of, storage::ObjectStore& objects_of,
        storage::Executor& outside_of, uint64_t memory_bytes_of)
      : segments(segments_of),
        engine(engine_of),
        objects(objects_of),
        outside(outside_of),
        memory_bytes(memory_bytes_of),
        timeline_bytes(std::clamp(memory_bytes / kMemoryPart, Timeline::kMinBytes, kMaxTimelineBytes)) {}

  std::string NewPrefix() { return fmt::format("{}{}-", kFolder, next_.fetch_add(1)); }

  void Began() {
    storage::MutexLock lock(mutex_);
    ++working_;
  }

  void Ended() {
    storage::MutexLock lock(mutex_);
    --working_;
    ended_.NotifyAll();
  }

  void AwaitEnd() {
    storage::MutexLock lock(mutex_);
    while (working_ > 0) ended_.Wait(mutex_);
  }

  storage::Segments& segments;
  storage::Engine& engine;
  storage::ObjectStore& objects;
  storage::Executor& outside;
  const uint64_t memory_bytes;
  const uint64_t timeline_bytes;

 private:
  std::atomic<uint64_t> next_{1};
  storage::Mutex mutex_;
  storage::CondVar ended_;
  size_t working_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One thing at a time, each of which begins the next: the client asks for a response, a page of values comes,
// a task on the executor deals with it. Each holds the work meanwhile, and the last one to let go of a work
// that nobody wants clears it away: on the executor, for that waits for the store.
class SegmentTimelineReader::Work : public std::enable_shared_from_this<Work> {
 public:
  Work(std::shared_ptr<SegmentTimelines::World> world, Moment every,
       std::unique_ptr<IntervalReader> intervals, SegmentValuesReader values)
      : world_(std::move(world)),
        every_(every),
        intervals_(std::move(intervals)),
        values_(std::move(values)) {
    world_->Began();
  }

  void Next(v1::TimelineResponse* response, PageDone done) {
    if (!Hold()) return;
    response_ = response;
    done_ = std::move(done);
    if (summary_.complete()) {
      RunOutside([](Work& work) { work.FillResponse(); });
    } else {
      FetchPage();
    }
    LetGo();
  }

  void Cancel() {
    bool last;
    {
      storage::MutexLock lock(mutex_);
      gone_ = true;
      last = holds_ == 0;
    }
    if (last) ClearSoon();
  }

 private:
  bool gone() {
    storage::MutexLock lock(mutex_);
    return gone_;
  }

  // False: nobody wants it any more.
  bool Hold() {
    storage::MutexLock lock(mutex_);
    if (gone_) return false;
    ++holds_;
    return true;
  }

  void LetGo() {
    bool last;
    {
      storage::MutexLock lock(mutex_);
      last = --holds_ == 0 && gone_;
    }
    if (last) ClearSoon();
  }

  void ClearSoon() {
    world_->outside.Run([self = shared_from_this()] { self->Clear(); });
  }

  void Clear() {
    done_ = nullptr;
    buckets_.reset();
    timeline_.reset();
    intervals_ = nullptr;
    values_.reset();  // last: it gives back the memory
    world_->Ended();
  }

  template <typename Task>
  void RunOutside(Task task) {
    if (!Hold()) return;
    world_->outside.Run([self = shared_from_this(), task = std::move(task)]() mutable {
      if (!self->gone()) task(*self);
      self->LetGo();
    });
  }

  void FetchPage() {
    page_.Clear();
    values_->Next(&page_, [self = shared_from_this()](absl::StatusOr<bool> more) {
      self->RunOutside([more = std::move(more)](Work& work) { work.TakePage(more); });
    });
  }

  void TakePage(const absl::StatusOr<bool>& more) {
    if (!more.ok()) return Answer(more.status());
    // Not before its memory is there.
    if (!timeline_) timeline_.emplace(world_->objects, world_->NewPrefix(), world_->timeline_bytes);
    ReadItems();
    absl::Status status = timeline_->Add(batch_);
    if (status.ok() && !*more) status = timeline_->Finish();
    if (!status.ok()) return Answer(std::move(status));
    const steady_clock::time_point now = steady_clock::now();
    if (*more && answered_at_ && now - *answered_at_ < kProgressInterval) return FetchPage();
    answered_at_ = now;
    summary_.set_complete(!*more);
    if (!*more && every_ > 0) buckets_.emplace(*timeline_, every_);
    FillSummary();
    *response_->mutable_summary() = summary_;
    FillProgress();
    Answer(true);
  }

  void ReadItems() {
    batch_.clear();
    for (const v1::QueryValuesResponse::Item& item : page_.items()) {
      if (!item.found()) {
        summary_.set_missing(summary_.missing() + 1);
        continue;
      }
      summary_.set_values(summary_.values() + 1);
      const absl::StatusOr<std::optional<Interval>> interval = ReadItem(item);
      if (!interval.ok()) {
        if (summary_.invalid() == 0) {
          summary_.set_first_invalid(
              fmt::format("the value of id {}: {}", item.id(), std::string(interval.status().message())));
        }
        summary_.set_invalid(summary_.invalid() + 1);
      } else if (!interval->has_value()) {
        summary_.set_not_started(summary_.not_started() + 1);
      } else {
        batch_.push_back(**interval);
      }
    }
  }

  absl::StatusOr<std::optional<Interval>> ReadItem(const v1::QueryValuesResponse::Item& item) {
    if (!item.too_large()) return intervals_->Read(item.value());
    return absl::InvalidArgumentError(fmt::format(
        "has more than 1 MiB; an interval is read from {} bytes at most", IntervalReader::kMaxValueBytes));
  }

  void FillSummary() {
    const Timeline::Summary so_far = timeline_->summary();
    summary_.set_inverted(intervals_->inverted());
    summary_.set_numbers(intervals_->numbers());
    summary_.set_intervals(so_far.intervals);
    summary_.set_empty(so_far.empty);
    summary_.set_open_ends(so_far.open_ends);
    summary_.set_always(so_far.always);
    if (so_far.first) summary_.set_first_us(*so_far.first);
    if (so_far.last) summary_.set_last_us(*so_far.last);
  }

  // The values' own, which is done before this is.
  void FillProgress() {
    v1::Progress& progress = *response_->mutable_progress();
    progress = page_.progress();
    page_.mutable_progress()->clear_normalized();  // said once
    progress.set_done(false);
  }

  void FillResponse() {
    absl::Status status = buckets_ ? FillRows<TimelineBucket>(*buckets_, *response_->mutable_buckets())
                                   : FillRows<TimelineChange>(*timeline_, *response_->mutable_changes());
    if (!status.ok()) return Answer(std::move(status));
    FillProgress();
    const bool done = response_->changes().empty() && response_->buckets().empty();
    response_->mutable_progress()->set_done(done);
    Answer(!done);
  }

  // After this, the client may ask for the next one.
  void Answer(absl::StatusOr<bool> result) {
    if (gone()) return;
    response_ = nullptr;
    PageDone done = std::move(done_);
    done(std::move(result));
  }

  const std::shared_ptr<SegmentTimelines::World> world_;
  const Moment every_;

  storage::Mutex mutex_;
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
  int holds_ ABSL_GUARDED_BY(mutex_) = 0;

  // For whoever has the turn.
  std::unique_ptr<IntervalReader> intervals_;
  std::optional<SegmentValuesReader> values_;  // kept to the end: its query has the memory
  std::optional<Timeline> timeline_;
  std::optional<TimelineBuckets> buckets_;
  v1::QueryValuesResponse page_;
  std::vector<Interval> batch_;
  v1::TimelineResponse::Summary summary_;
  std::optional<steady_clock::time_point> answered_at_;
  v1::TimelineResponse* response_ = nullptr;  // that is asked for
  PageDone done_;
};

SegmentTimelines::SegmentTimelines(std::shared_ptr<World> world) : world_(std::move(world)) {}
SegmentTimelines::~SegmentTimelines() { world_->AwaitEnd(); }

absl::StatusOr<std::unique_ptr<SegmentTimelines>> SegmentTimelines::Open(storage::Segments& segments,
                                                                         storage::Engine& engine,
                                                                         storage::ObjectStore& objects,
                                                                         storage::Executor& outside,
                                                                         uint64_t memory_bytes) {
  std::vector<std::string> left;
  absl::Status status = objects.List(kFolder, [&left](storage::ObjectStore::Listed object) {
    left.push_back(std::move(object.name));
    return true;
  });
  for (const std::string& name : left) {
    if (status.ok()) status = objects.Remove(name);
  }
  if (!status.ok()) return status;
  return std::unique_ptr<SegmentTimelines>(
      new SegmentTimelines(std::make_shared<World>(segments, engine, objects, outside, memory_bytes)));
}

absl::StatusOr<SegmentTimelineReader> SegmentTimelines::Read(const v1::TimelineRequest& request) {
  if (!request.has_query()) {
    return absl::InvalidArgumentError(
        "query is missing: set query.expression, the ids whose intervals are wanted");
  }
  absl::StatusOr<storage::SegmentQueryOptions> options = ToQueryOptions(request.query());
  if (!options.ok()) return options.status();
  absl::StatusOr<KeyPattern> keys = KeyPattern::Parse(request.key_pattern());
  if (!keys.ok()) return keys.status();
  absl::StatusOr<Order> order = ToOrder(request);
  if (!order.ok()) return order.status();
  absl::StatusOr<std::unique_ptr<IntervalReader>> intervals = IntervalReader::New(std::move(order->shape));
  if (!intervals.ok()) return intervals.status();
  if (world_->memory_bytes < kLeastMemory) {
    return absl::ResourceExhaustedError(
        fmt::format("a timeline needs {} MiB of memory for segments, which have {} MiB here, without what S3 "
                    "takes: start the server with a larger --segment-memory",
                    kLeastMemory >> 20, world_->memory_bytes >> 20));
  }
  options->caller_bytes = world_->timeline_bytes + IntervalReader::kMemoryBytes + kOutputBytes;
  SegmentValuesReader values(world_->segments, world_->engine, request.query(), *options, *std::move(keys));
  return SegmentTimelineReader(std::make_shared<SegmentTimelineReader::Work>(
      world_, order->every, *std::move(intervals), std::move(values)));
}

SegmentTimelineReader::SegmentTimelineReader(std::shared_ptr<Work> work) : work_(std::move(work)) {}

SegmentTimelineReader::~SegmentTimelineReader() {
  if (work_ != nullptr) work_->Cancel();
}

void SegmentTimelineReader::Next(v1::TimelineResponse* response, PageDone done) {
  work_->Next(response, std::move(done));
}

}  // namespace thermocline::server
