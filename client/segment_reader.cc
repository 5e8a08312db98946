#include "client/segment_reader.h"

#include <limits>
#include <utility>

#include "fmt/format.h"

namespace thermocline {

bool SegmentReader::Impl::Next(std::span<const uint64_t>& ids) {
  ids = {};
  while (!NextOfResponse(ids)) {
    if (!stream_.Next(response_)) return false;
    ids_given_ = false;
    next_bitmap_ = 0;
  }
  // What would not ascend would be lost or repeated when a broken connection is made again.
  if (past_last_ || ids.front() < least_) {
    return stream_.Fail(absl::InternalError(
        fmt::format("the server sent the id {} after ids that are not smaller", ids.front())));
  }
  past_last_ = ids.back() == std::numeric_limits<uint64_t>::max();
  least_ = ids.back() + 1;
  stream_.HandedOut(ids.size(), ids.back());
  return true;
}

bool SegmentReader::Impl::NextOfResponse(std::span<const uint64_t>& ids) {
  if (!stream_.status().ok()) return false;
  if (!std::exchange(ids_given_, true) && response_.ids_size() > 0) {
    ids = {response_.ids().data(), static_cast<size_t>(response_.ids_size())};
    return true;
  }
  while (next_bitmap_ < response_.bitmaps_size() && stream_.status().ok()) {
    if (Expand(response_.bitmaps(next_bitmap_++), ids)) return true;
  }
  return false;
}

bool SegmentReader::Impl::Expand(const v1::IdBitmap& bitmap, std::span<const uint64_t>& ids) {
  if (bitmap.bits().size() != bitmap::kBytes || bitmap.first() % bitmap::kBits != 0) {
    return stream_.Fail(absl::InternalError(
        fmt::format("the server sent a bitmap of {} bytes that begins with {}; that should be {} bytes and a "
                    "multiple of {}",
                    bitmap.bits().size(), bitmap.first(), bitmap::kBytes, bitmap::kBits)));
  }
  if (expanded_ == nullptr) expanded_ = std::make_unique_for_overwrite<uint64_t[]>(bitmap::kIdsRoom);
  const size_t count = bitmap::Expand(bitmap.first(), bitmap.bits().data(), expanded_.get());
  if (count != bitmap.count()) {
    return stream_.Fail(absl::InternalError(
        fmt::format("the server sent a bitmap that has {} ids and says {}", count, bitmap.count())));
  }
  ids = {expanded_.get(), count};
  return count > 0;
}

bool SegmentValueReader::Impl::Next() {
  while (++position_ >= response_.items_size()) {
    if (!stream_.Next(response_)) return false;
    position_ = -1;
  }
  v1::QueryValuesResponse::Item& item = *response_.mutable_items(position_);
  item_ = {.id = item.id(), .value = std::nullopt, .too_large = item.too_large()};
  if (item.found() && !item.too_large()) item_.value = std::move(*item.mutable_value());
  stream_.HandedOut(1, item_.id);
  return true;
}

SegmentReader::SegmentReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SegmentReader::~SegmentReader() = default;

bool SegmentReader::Next(std::span<const uint64_t>& ids) { return impl_->Next(ids); }
const absl::Status& SegmentReader::status() const { return impl_->status(); }
SegmentProgress SegmentReader::progress() const { return impl_->progress(); }

SegmentValueReader::SegmentValueReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SegmentValueReader::~SegmentValueReader() = default;

bool SegmentValueReader::Next() { return impl_->Next(); }
SegmentValue& SegmentValueReader::item() { return impl_->item(); }
const absl::Status& SegmentValueReader::status() const { return impl_->status(); }
SegmentProgress SegmentValueReader::progress() const { return impl_->progress(); }

}  // namespace thermocline
