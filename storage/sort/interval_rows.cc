#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "storage/sort/field_reader.h"
#include "storage/sort/interval_taker.h"
#include "storage/sort/pages.h"
#include "storage/sort/record_cutter.h"
#include "storage/sort/record_text.h"
#include "storage/timeline.h"

namespace thermocline::storage {
namespace sort {
namespace {

class IntervalRows {
 public:
  IntervalRows(ByteReader& input, const IntervalShape& shape, uint64_t memory_bytes, Timeline& timeline,
               SortProgress& progress)
      : shape_(shape),
        progress_(progress),
        taker_(shape, timeline),
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
    if (absl::Status status = taker_.Flush(); !status.ok()) return status;
    return std::move(taker_.summary());
  }

 private:
  absl::Status ReadPiece(std::string_view text, uint64_t line) {
    const uint64_t before = taker_.summary().rows;
    while (!text.empty()) {
      const std::string_view record = text.substr(0, RecordLength(shape_.format, text));
      text.remove_prefix(record.size());
      if (absl::Status status = Take(WithoutBreak(record)); !status.ok()) {
        status = taker_.Reject(fmt::format("line {}", line), status);
        if (!status.ok()) return status;
      }
      line += static_cast<uint64_t>(std::count(record.begin(), record.end(), '\n'));
    }
    progress_.records.fetch_add(taker_.summary().rows - before, std::memory_order_relaxed);
    return absl::OkStatus();
  }

  absl::Status Take(std::string_view row) {
    if (IsBlank(shape_.format, row)) return absl::OkStatus();
    ++taker_.summary().rows;
    if (row.size() > max_record_bytes_)
      return absl::InvalidArgumentError(TooLong(shape_.format, max_record_bytes_));
    std::array<Field, 2> found;
    if (absl::Status status = fields_->Read(row, found); !status.ok()) return status;
    return taker_.Take(found[0], found[1]);
  }

  const IntervalShape& shape_;
  SortProgress& progress_;
  IntervalTaker taker_;
  const size_t max_record_bytes_;
  const Pages text_;
  RecordCutter cutter_;
  std::unique_ptr<FieldReader> fields_;
};

// A query's rows.
class QueriedIntervals {
 public:
  QueriedIntervals(RowSource& source, const IntervalShape& shape, Timeline& timeline, SortProgress& progress)
      : source_(source), shape_(shape), progress_(progress), taker_(shape, timeline) {}

  absl::StatusOr<IntervalSummary> Read() {
    RowBatch batch;
    do {
      if (absl::Status status = source_.Next(batch); !status.ok()) return status;
      if (progress_.cancelled) return absl::CancelledError("cancelled");
      if (!places_known_) {
        if (absl::Status status = FindColumns(); !status.ok()) return status;
      }
      for (size_t row = 0; row < batch.rows(); ++row) {
        const uint64_t number = ++taker_.summary().rows;
        absl::Status status = taker_.Take(FieldOf(batch.at(row, start_)), FieldOf(batch.at(row, end_)));
        if (!status.ok()) status = taker_.Reject(fmt::format("{}: row {}", source_.name(), number), status);
        if (!status.ok()) return status;
      }
      progress_.records = taker_.summary().rows;
      progress_.bytes += batch.text_bytes();
    } while (!batch.empty());
    if (absl::Status status = taker_.Flush(); !status.ok()) return status;
    return std::move(taker_.summary());
  }

 private:
  absl::Status FindColumns() {
    const std::vector<std::string>& columns = source_.columns();
    for (const auto& [name, place] : {std::pair(&shape_.start, &start_), std::pair(&shape_.end, &end_)}) {
      const auto found = std::find(columns.begin(), columns.end(), *name);
      if (found == columns.end()) {
        return absl::InvalidArgumentError(
            fmt::format("{}: there is no column \"{}\"; the query has these: {}", source_.name(), *name,
                        fmt::join(columns, ", ")));
      }
      *place = static_cast<size_t>(found - columns.begin());
    }
    places_known_ = true;
    return absl::OkStatus();
  }

  static Field FieldOf(std::optional<std::string_view> text) {
    if (!text.has_value()) return {.kind = Field::Kind::kNull};
    const Field number = NumberOf(*text);
    return number.is_number() ? number : Field{.kind = Field::Kind::kString, .text = *text};
  }

  RowSource& source_;
  const IntervalShape& shape_;
  SortProgress& progress_;
  IntervalTaker taker_;
  bool places_known_ = false;
  size_t start_ = 0;
  size_t end_ = 0;
};

}  // namespace
}  // namespace sort

absl::StatusOr<IntervalSummary> ReadIntervals(RowSource& source, const IntervalShape& shape,
                                              Timeline& timeline, SortProgress& progress) {
  return sort::QueriedIntervals(source, shape, timeline, progress).Read();
}

absl::StatusOr<IntervalSummary> ReadIntervals(ByteReader& input, const IntervalShape& shape,
                                              uint64_t memory_bytes, Timeline& timeline,
                                              SortProgress& progress) {
  return sort::IntervalRows(input, shape, memory_bytes, timeline, progress).Read();
}

}  // namespace thermocline::storage
