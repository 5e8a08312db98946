#include "client/cli/file_ids.h"

#include <utility>

#include "fmt/format.h"

namespace thermocline::cli {

FileIds::FileIds(std::string name, std::unique_ptr<ByteSource> bytes, const IdShape& shape)
    : name_(std::move(name)), bytes_(std::move(bytes)), shape_(shape) {}

absl::StatusOr<std::span<const uint64_t>> FileIds::Next(Reject skip) {
  if (!failure_.ok()) return failure_;
  // Not in Open(), for the first line of a pipe may be long in coming.
  if (reader_ == nullptr) {
    absl::StatusOr<std::unique_ptr<IdReader>> reader = IdReader::Open(*bytes_, shape_);
    if (!reader.ok()) return failure_ = reader.status();
    reader_ = *std::move(reader);
  }
  const auto reject = [&](uint64_t line, std::string_view problem) {
    if (skip(line, problem)) return true;
    failure_ = absl::InvalidArgumentError(fmt::format("{}: line {}: {}", name_, line, problem));
    return false;
  };
  ids_.clear();
  while (ids_.empty() && reader_->Next(ids_, reject)) {
  }
  if (failure_.ok()) failure_ = bytes_->status();
  if (!failure_.ok()) return failure_;
  rows_.fetch_add(ids_.size(), std::memory_order_relaxed);
  return ids_;
}

}  // namespace thermocline::cli
