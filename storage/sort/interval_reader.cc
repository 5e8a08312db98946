#include <array>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "storage/sort/field_reader.h"
#include "storage/sort/interval_fields.h"
#include "storage/timeline.h"

namespace thermocline::storage {
namespace {

// JSON for one reader, the text with the room behind it that the parser wants, and what is small.
static_assert(IntervalReader::kMemoryBytes >=
              sort::JsonBytes(sort::kShortJsonBytes) + IntervalReader::kMaxValueBytes + (16 << 10));
static_assert(IntervalReader::kMaxValueBytes <= sort::kShortJsonBytes);

bool IsObject(std::string_view value) {
  const size_t begin = value.find_first_not_of(" \t\r\n");
  return begin != std::string_view::npos && value[begin] == '{';
}

}  // namespace

class IntervalReader::Impl {
 public:
  Impl(IntervalShape shape, std::unique_ptr<sort::FieldReader> fields)
      : shape_(std::move(shape)), intervals_(shape_), fields_(std::move(fields)) {}

  absl::StatusOr<std::optional<Interval>> Read(std::string_view value) {
    if (value.size() > kMaxValueBytes) {
      return absl::InvalidArgumentError(
          fmt::format("has {} bytes; an interval is read from {} at most", value.size(), kMaxValueBytes));
    }
    if (!IsObject(value))
      return absl::InvalidArgumentError("is not a JSON object; write {\"" + shape_.start + "\": ...}");
    text_.assign(value);
    text_.append(sort::FieldReader::kPaddingBytes, '\0');
    std::array<sort::Field, 2> found;
    const std::string_view record = std::string_view(text_).substr(0, value.size());
    if (absl::Status status = fields_->Read(record, found); !status.ok()) return status;
    return intervals_.Read(found);
  }

  const sort::IntervalFields& intervals() const { return intervals_; }

 private:
  const IntervalShape shape_;
  sort::IntervalFields intervals_;
  const std::unique_ptr<sort::FieldReader> fields_;
  std::string text_;
};

IntervalReader::IntervalReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
IntervalReader::~IntervalReader() = default;

absl::StatusOr<std::unique_ptr<IntervalReader>> IntervalReader::New(IntervalShape shape) {
  auto fields = sort::NewFieldReader({.format = RecordFormat::kNdjson, .names = {shape.start, shape.end}}, "",
                                     sort::NewJsonMemory());
  if (!fields.ok()) return fields.status();
  return std::unique_ptr<IntervalReader>(
      new IntervalReader(std::make_unique<Impl>(std::move(shape), *std::move(fields))));
}

absl::StatusOr<std::optional<Interval>> IntervalReader::Read(std::string_view value) {
  return impl_->Read(value);
}
uint64_t IntervalReader::inverted() const { return impl_->intervals().inverted(); }
bool IntervalReader::numbers() const { return impl_->intervals().numbers(); }

}  // namespace thermocline::storage
