#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>

#include "client/bitmap.h"
#include "client/segment_stream.h"
#include "client/segments.h"

namespace thermocline {

class SegmentReader::Impl {
 public:
  Impl(transport::Transport& transport, v1::QueryRequest request,
       std::optional<std::chrono::milliseconds> timeout, std::chrono::milliseconds reconnect_timeout)
      : stream_(transport, &SegmentCalls::Query, std::move(request), timeout, reconnect_timeout) {}

  bool Next(std::span<const uint64_t>& ids);
  const absl::Status& status() const { return stream_.status(); }
  SegmentProgress progress() const { return stream_.progress(); }

 private:
  // The next ids of response_; false if it has no more, or is malformed.
  bool NextOfResponse(std::span<const uint64_t>& ids);
  bool Expand(const v1::IdBitmap& bitmap, std::span<const uint64_t>& ids);

  SegmentStream<v1::QueryRequest, v1::QueryResponse> stream_;
  v1::QueryResponse response_;
  bool ids_given_ = true;   // those of response_.ids()
  int next_bitmap_ = 0;     // of response_.bitmaps()
  uint64_t least_ = 0;      // no id that is still to come is smaller,
  bool past_last_ = false;  // or may come at all
  std::unique_ptr<uint64_t[]> expanded_;
};

class SegmentValueReader::Impl {
 public:
  Impl(transport::Transport& transport, v1::QueryValuesRequest request,
       std::optional<std::chrono::milliseconds> timeout, std::chrono::milliseconds reconnect_timeout)
      : stream_(transport, &SegmentCalls::QueryValues, std::move(request), timeout, reconnect_timeout) {}

  bool Next();
  SegmentValue& item() { return item_; }
  const absl::Status& status() const { return stream_.status(); }
  SegmentProgress progress() const { return stream_.progress(); }

 private:
  SegmentStream<v1::QueryValuesRequest, v1::QueryValuesResponse> stream_;
  v1::QueryValuesResponse response_;
  int position_ = -1;  // of the current item in response_
  SegmentValue item_;
};

}  // namespace thermocline
