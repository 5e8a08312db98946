#include "client/cli/timeline_output.h"

#include <utility>

#include "fmt/format.h"

#include "client/cli/local_work.h"

namespace thermocline::cli {

using storage::Moment;
using storage::TimelineBucket;
using storage::TimelineChange;

TimelineOutput::TimelineOutput(const TimelineStyle& style, const Span& span, S3Access& s3, Io& io)
    : style_(style),
      ndjson_(style.format == TimelineStyle::Format::kNdjson),
      numbers_(span.numbers),
      unit_(span.unit),
      s3_(s3),
      io_(io),
      running_(span.running) {
  if (!style.picture.empty()) picture_.emplace(span.first.value_or(0), span.last.value_or(0), span.running);
  if (!ndjson_) io_.out << (span.buckets ? "begin,least,most,mean,started,ended\n" : "at,running\n");
  if (!span.buckets && running_ > 0) WriteChange(storage::kAlways, running_);
}

void TimelineOutput::Add(std::span<const TimelineChange> changes) {
  for (const TimelineChange& change : changes) {
    if (std::exchange(running_, change.running) == change.running) continue;
    WriteChange(change.at, change.running);
    if (picture_) picture_->Add(change.at, change.running);
  }
}

void TimelineOutput::Add(std::span<const TimelineBucket> buckets) {
  for (const TimelineBucket& bucket : buckets) {
    const char* const format =
        ndjson_ ? "{{\"begin\":{},\"least\":{},\"most\":{},\"mean\":{:.6g},\"started\":{},\"ended\":{}}}\n"
                : "{},{},{},{:.6g},{},{}\n";
    io_.out << fmt::format(fmt::runtime(format), Time(bucket.begin), bucket.least, bucket.most, bucket.mean,
                           bucket.started, bucket.ended);
    if (!picture_) continue;
    picture_->Add(bucket.begin, bucket.most);
    picture_->Add(bucket.begin, bucket.least);
  }
}

void TimelineOutput::WriteChange(Moment at, uint64_t running) {
  io_.out << (ndjson_ ? fmt::format("{{\"at\":{},\"running\":{}}}\n", Time(at), running)
                      : fmt::format("{},{}\n", Time(at), running));
}

absl::Status TimelineOutput::Finish() {
  if (!picture_) return absl::OkStatus();
  auto output = OpenOutput(style_.picture, io_, s3_);
  if (!output.ok()) return output.status();
  absl::Status status = (*output)->Append(picture_->Render(style_.title));
  return status.ok() ? (*output)->Finish() : status;
}

std::string TimelineOutput::Time(Moment moment) const {
  const bool bound = moment == storage::kAlways || moment == storage::kNever;
  // What was a fraction of the unit stays one.
  if (numbers_ && !bound) {
    return moment % unit_ == 0 ? fmt::format("{}", moment / unit_)
                               : fmt::format("{}", static_cast<double>(moment) / static_cast<double>(unit_));
  }
  const std::string text = storage::FormatMoment(moment);
  return ndjson_ ? "\"" + text + "\"" : text;
}

}  // namespace thermocline::cli
