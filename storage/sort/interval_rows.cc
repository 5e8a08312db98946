#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "storage/sort/field_reader.h"
#include "storage/sort/interval_fields.h"
#include "storage/sort/pages.h"
#include "storage/sort/record_cutter.h"
#include "storage/sort/record_text.h"
#include "storage/timeline.h"

namespace thermocline::storage {
namespace sort {
namespace {

constexpr size_t kBatch = 4096;  // intervals

class IntervalRows {
 public:
  IntervalRows(ByteReader& input, const IntervalShape& shape, uint64_t memory_bytes, Timeline& timeline,
               SortProgress& progress)
      : shape_(shape),
        intervals_of_(shape),
        timeline_(timeline),
        progress_(progress),
        max_record_bytes_(MaxRecordBytes(memory_bytes)),
        text_(std::clamp<uint64_t>(memory_bytes / 4, 4 * max_record_bytes_, 16 << 20)),
        cutter_(input, shape.format, max_record_bytes_, [&progress](size_t bytes) {
          progress.bytes.fetch_add(bytes, std::memory_order_relaxed);
          return !progress.cancelled.load(std::memory_order_relaxed);
        }) {
    progress.stage_bytes = input.size().value_or(0);
  }

  absl::StatusOr<IntervalSummary> Read() {
    const absl::StatusOr<std::string> header = cutter_.TakeHeader();
    if (!header.ok()) return header.status();
    auto fields = NewFieldReader({.format = shape_.format, .names = {shape_.start, shape_.end}}, *header,
                                 NewJsonMemory());
    if (!fields.ok()) return fields.status();
    fields_ = *std::move(fields);
    const std::span<char> space = text_.span().first(text_.size() - FieldReader::kPaddingBytes);
    for (;;) {
      const absl::StatusOr<RecordCutter::Piece> piece = cutter_.Fill(space);
      if (!piece.ok()) return piece.status();
      if (piece->bytes == 0) break;
      if (absl::Status status = ReadPiece({text_.data(), piece->bytes}, piece->first_line); !status.ok())
        return status;
    }
    if (absl::Status status = Flush(); !status.ok()) return status;
    summary_.inverted = intervals_of_.inverted();
    summary_.numbers = intervals_of_.numbers();
    return std::move(summary_);
  }

 private:
  absl::Status ReadPiece(std::string_view text, uint64_t line) {
    const uint64_t before = summary_.rows;
    while (!text.empty()) {
      const std::string_view record = text.substr(0, RecordLength(shape_.format, text));
      text.remove_prefix(record.size());
      if (absl::Status status = Take(WithoutBreak(record)); !status.ok()) {
        if (!absl::IsInvalidArgument(status)) return status;
        std::string message = fmt::format("line {}: {}", line, std::string(status.message()));
        if (!shape_.skip_invalid) return absl::InvalidArgumentError(message);
        if (summary_.invalid++ == 0) summary_.first_invalid = std::move(message);
      }
      line += static_cast<uint64_t>(std::count(record.begin(), record.end(), '\n'));
    }
    progress_.records.fetch_add(summary_.rows - before, std::memory_order_relaxed);
    return absl::OkStatus();
  }

  absl::Status Take(std::string_view row) {
    if (IsBlank(shape_.format, row)) return absl::OkStatus();
    ++summary_.rows;
    if (row.size() > max_record_bytes_)
      return absl::InvalidArgumentError(TooLong(shape_.format, max_record_bytes_));
    std::array<Field, 2> found;
    if (absl::Status status = fields_->Read(row, found); !status.ok()) return status;
    const absl::StatusOr<std::optional<Interval>> interval = intervals_of_.Read(found);
    if (!interval.ok()) return interval.status();
    if (!interval->has_value()) {
      ++summary_.not_started;
      return absl::OkStatus();
    }
    intervals_.push_back(**interval);
    return intervals_.size() < kBatch ? absl::OkStatus() : Flush();
  }

  absl::Status Flush() {
    absl::Status status = timeline_.Add(intervals_);
    intervals_.clear();
    return status;
  }

  const IntervalShape& shape_;
  IntervalFields intervals_of_;
  Timeline& timeline_;
  SortProgress& progress_;
  const size_t max_record_bytes_;
  const Pages text_;
  RecordCutter cutter_;
  std::unique_ptr<FieldReader> fields_;
  std::vector<Interval> intervals_;
  IntervalSummary summary_;
};

}  // namespace
}  // namespace sort

absl::StatusOr<IntervalSummary> ReadIntervals(ByteReader& input, const IntervalShape& shape,
                                              uint64_t memory_bytes, Timeline& timeline,
                                              SortProgress& progress) {
  return sort::IntervalRows(input, shape, memory_bytes, timeline, progress).Read();
}

}  // namespace thermocline::storage
