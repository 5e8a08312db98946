#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"

#include "client/cli/io.h"
#include "client/cli/s3_access.h"
#include "client/cli/timeline_picture.h"
#include "storage/timeline.h"

namespace thermocline::cli {

// How a timeline is shown.
struct TimelineStyle {
  enum class Format { kCsv, kNdjson };

  Format format = Format::kCsv;
  std::string picture;  // an SVG file, or object; empty: none
  std::string title;    // of it
};

// Writes a timeline to standard output as it comes, a line for each change of the number or for each bucket,
// and draws its picture. For one thread at a time.
class TimelineOutput {
 public:
  // `numbers`: times are written as numbers of `unit` microseconds. `running` run before the first change, at
  // `first`; the last one is at `last`.
  struct Span {
    std::optional<storage::Moment> first;
    std::optional<storage::Moment> last;
    uint64_t running = 0;
    bool numbers = false;
    storage::Moment unit = 1000;
    bool buckets = false;  // come, instead of changes
  };

  // Writes the beginning. All must outlive it.
  TimelineOutput(const TimelineStyle& style, const Span& span, S3Access& s3, Io& io);

  // False: nobody wants more of it.
  bool wanted() const { return io_.out.good() || picture_.has_value(); }

  void Add(std::span<const storage::TimelineChange> changes);
  void Add(std::span<const storage::TimelineBucket> buckets);

  // Writes the picture.
  absl::Status Finish();

 private:
  void WriteChange(storage::Moment at, uint64_t running);
  std::string Time(storage::Moment moment) const;

  const TimelineStyle& style_;
  const bool ndjson_;
  const bool numbers_;
  const storage::Moment unit_;
  S3Access& s3_;
  Io& io_;
  uint64_t running_;
  std::optional<TimelinePicture> picture_;
};

}  // namespace thermocline::cli
