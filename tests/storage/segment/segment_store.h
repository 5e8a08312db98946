#pragma once

#include <condition_variable>
#include <cstdint>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "storage/segments.h"

// The asynchronous door of segments, waited for.
namespace thermocline::testing {

template <typename Result, typename Begin>
Result Await(Begin begin) {
  std::promise<Result> promise;
  std::future<Result> result = promise.get_future();
  begin([&promise](Result value) { promise.set_value(std::move(value)); });
  return result.get();
}

inline absl::StatusOr<storage::SegmentWriteResult> Change(storage::Segments& segments,
                                                          const std::string& name,
                                                          storage::SegmentChange change,
                                                          std::span<const uint64_t> ids,
                                                          bool count_changed = false, size_t at_once = 5000) {
  auto write = segments.Write(name, change, {.count_changed = count_changed});
  if (!write.ok()) return write.status();
  while (!ids.empty()) {
    const auto some = ids.first(std::min(at_once, ids.size()));
    absl::Status added = Await<absl::Status>([&](auto done) { (*write)->Add(some, std::move(done)); });
    if (!added.ok()) return added;
    ids = ids.subspan(some.size());
  }
  return Await<absl::StatusOr<storage::SegmentWriteResult>>(
      [&](auto done) { (*write)->Finish(std::move(done)); });
}

inline absl::StatusOr<std::unique_ptr<storage::SegmentQuery>> BeginQuery(
    storage::Segments& segments, const std::string& expression,
    const storage::SegmentQueryOptions& options = {}) {
  return Await<absl::StatusOr<std::unique_ptr<storage::SegmentQuery>>>(
      [&](auto done) { segments.Query(expression, options, std::move(done)); });
}

// Appends what a page holds.
inline void TakePage(const storage::IdPage& page, std::vector<uint64_t>& ids) {
  ids.insert(ids.end(), page.ids.begin(), page.ids.end());
  for (const storage::IdPage::Bitmap& bitmap : page.bitmaps) {
    for (size_t bit = 0; bit < 65536; ++bit) {
      if (page.words[bitmap.words_at + bit / 64] >> (bit % 64) & 1) ids.push_back(bitmap.first + bit);
    }
  }
}

inline absl::StatusOr<std::vector<uint64_t>> ReadAll(storage::SegmentQuery& query, size_t target = 5000,
                                                     bool bitmaps = false) {
  std::vector<uint64_t> ids;
  for (storage::IdPage page; !page.done;) {
    const absl::Status status =
        Await<absl::Status>([&](auto done) { query.Next(target, bitmaps, &page, std::move(done)); });
    if (!status.ok()) return status;
    TakePage(page, ids);
  }
  return ids;
}

inline absl::StatusOr<std::vector<uint64_t>> Query(storage::Segments& segments, const std::string& expression,
                                                   const storage::SegmentQueryOptions& options = {},
                                                   bool bitmaps = false) {
  auto query = BeginQuery(segments, expression, options);
  if (!query.ok()) return query.status();
  return ReadAll(**query, 5000, bitmaps);
}

inline absl::StatusOr<uint64_t> Count(storage::Segments& segments, const std::string& expression,
                                      const storage::SegmentQueryOptions& options = {}) {
  auto query = BeginQuery(segments, expression, options);
  if (!query.ok()) return query.status();
  return Await<absl::StatusOr<uint64_t>>([&](auto done) { (*query)->Count(std::move(done)); });
}

}  // namespace thermocline::testing
