#include "storage/timeline.h"

#include <algorithm>
#include <utility>

#include "storage/sort/moment_sorter.h"

namespace thermocline::storage {

using sort::Moments;
using sort::MomentSorter;
using sort::MomentStream;

class Timeline::Impl {
 public:
  Impl(ObjectStore& store, const std::string& prefix, uint64_t memory_bytes)
      : starts_(store, prefix + "starts-", memory_bytes / 2),
        ends_(store, prefix + "ends-", memory_bytes / 2) {}

  absl::Status Add(const Interval& interval) {
    ++summary_.intervals;
    summary_.empty += interval.start == interval.end;
    if (interval.start == kAlways) {
      ++summary_.always;
    } else {
      Widen(interval.start);
      if (absl::Status status = starts_.Add(interval.start); !status.ok()) return status;
    }
    if (interval.end == kNever) {
      ++summary_.open_ends;
      return absl::OkStatus();
    }
    Widen(interval.end);
    return ends_.Add(interval.end);
  }

  absl::Status Finish() {
    absl::StatusOr<std::unique_ptr<MomentStream>> starts = starts_.Finish();
    if (!starts.ok()) return starts.status();
    absl::StatusOr<std::unique_ptr<MomentStream>> ends = ends_.Finish();
    if (!ends.ok()) return ends.status();
    start_stream_ = *std::move(starts);
    end_stream_ = *std::move(ends);
    running_ = summary_.always;
    if (absl::Status status = Advance(*start_stream_, start_); !status.ok()) return status;
    return Advance(*end_stream_, end_);
  }

  absl::StatusOr<size_t> Next(std::span<TimelineChange> changes) {
    size_t count = 0;
    while (count < changes.size() && (start_.count > 0 || end_.count > 0)) {
      // An end counts as later than all moments.
      const bool starts = end_.count == 0 || (start_.count > 0 && start_.at <= end_.at);
      const bool ends = start_.count == 0 || (end_.count > 0 && end_.at <= start_.at);
      TimelineChange& change = changes[count++];
      change = {.at = starts ? start_.at : end_.at};
      if (starts) {
        change.started = start_.count;
        if (absl::Status status = Advance(*start_stream_, start_); !status.ok()) return status;
      }
      if (ends) {
        change.ended = end_.count;
        if (absl::Status status = Advance(*end_stream_, end_); !status.ok()) return status;
      }
      running_ += change.started - change.ended;
      change.running = running_;
    }
    return count;
  }

  const Summary& summary() const { return summary_; }

 private:
  void Widen(Moment moment) {
    summary_.first = std::min(moment, summary_.first.value_or(moment));
    summary_.last = std::max(moment, summary_.last.value_or(moment));
  }

  // A count of 0: the end.
  static absl::Status Advance(MomentStream& stream, Moments& head) {
    const absl::StatusOr<bool> more = stream.Next(head);
    if (!more.ok()) return more.status();
    if (!*more) head.count = 0;
    return absl::OkStatus();
  }

  Summary summary_;
  MomentSorter starts_;
  MomentSorter ends_;
  std::unique_ptr<MomentStream> start_stream_;
  std::unique_ptr<MomentStream> end_stream_;
  Moments start_;
  Moments end_;
  uint64_t running_ = 0;
};

Timeline::Timeline(ObjectStore& store, std::string prefix, uint64_t memory_bytes)
    : impl_(std::make_unique<Impl>(store, prefix, memory_bytes)) {}
Timeline::~Timeline() = default;

absl::Status Timeline::Add(std::span<const Interval> intervals) {
  for (const Interval& interval : intervals) {
    if (absl::Status status = impl_->Add(interval); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Timeline::Finish() { return impl_->Finish(); }
Timeline::Summary Timeline::summary() const { return impl_->summary(); }
absl::StatusOr<size_t> Timeline::Next(std::span<TimelineChange> changes) { return impl_->Next(changes); }

class TimelineBuckets::Impl {
 public:
  Impl(Timeline& timeline, Moment every)
      : timeline_(timeline), every_(every), running_(timeline.summary().always), changes_(kChanges) {
    const std::optional<Moment> first = timeline.summary().first;
    ended_ = !first.has_value();
    if (ended_) return;
    // Rounded down, below zero as well; one that would begin before all moments begins with them.
    const Moment into = (*first % every + every) % every;
    begin_ = *first < INT64_MIN + into ? INT64_MIN : *first - into;
    last_ = *timeline.summary().last;
  }

  absl::StatusOr<size_t> Next(std::span<TimelineBucket> buckets) {
    size_t count = 0;
    for (; count < buckets.size() && !ended_; ++count) {
      if (absl::Status status = Fill(buckets[count]); !status.ok()) return status;
    }
    return count;
  }

 private:
  static constexpr size_t kChanges = 1024;

  // Of this bucket's begin; there may be more between two moments than a moment holds.
  uint64_t Since(Moment moment) const {
    return static_cast<uint64_t>(moment) - static_cast<uint64_t>(begin_);
  }

  absl::StatusOr<const TimelineChange*> Peek() {
    if (at_ < filled_) return &changes_[at_];
    const absl::StatusOr<size_t> filled = timeline_.Next(changes_);
    if (!filled.ok()) return filled.status();
    filled_ = *filled;
    at_ = 0;
    return filled_ == 0 ? nullptr : &changes_[0];
  }

  absl::Status Fill(TimelineBucket& bucket) {
    const bool last = Since(last_) < static_cast<uint64_t>(every_) || begin_ > INT64_MAX - every_;
    bucket = {.begin = begin_, .least = UINT64_MAX};
    Moment since = begin_;
    // Times the share of the bucket: a sum of counts and microseconds could be too large.
    const auto pass = [&](Moment length) {
      if (length == 0) return;
      bucket.least = std::min(bucket.least, running_);
      bucket.most = std::max(bucket.most, running_);
      bucket.mean +=
          static_cast<double>(running_) * (static_cast<double>(length) / static_cast<double>(every_));
    };
    for (;;) {
      const absl::StatusOr<const TimelineChange*> change = Peek();
      if (!change.ok()) return change.status();
      if (*change == nullptr || Since((*change)->at) >= static_cast<uint64_t>(every_)) break;
      pass((*change)->at - since);
      since = (*change)->at;
      running_ = (*change)->running;
      bucket.started += (*change)->started;
      bucket.ended += (*change)->ended;
      ++at_;
    }
    pass(every_ - (since - begin_));
    ended_ = last;
    if (!last) begin_ += every_;
    return absl::OkStatus();
  }

  Timeline& timeline_;
  const Moment every_;
  Moment begin_ = 0;
  Moment last_ = 0;
  bool ended_ = false;
  uint64_t running_;
  std::vector<TimelineChange> changes_;
  size_t filled_ = 0;
  size_t at_ = 0;
};

TimelineBuckets::TimelineBuckets(Timeline& timeline, Moment every)
    : impl_(std::make_unique<Impl>(timeline, every)) {}
TimelineBuckets::~TimelineBuckets() = default;

absl::StatusOr<size_t> TimelineBuckets::Next(std::span<TimelineBucket> buckets) {
  return impl_->Next(buckets);
}

}  // namespace thermocline::storage
