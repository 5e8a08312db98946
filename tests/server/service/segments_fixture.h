#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

#include "server/service/segments.h"
#include "storage/segments.h"
#include "tests/server/service/test_store.h"
#include "tests/storage/segment/memory_objects.h"
#include "tests/support/manual_executor.h"

namespace thermocline::server {

using Ids = std::vector<uint64_t>;

Ids Range(uint64_t first, uint64_t count, uint64_t step = 1);
v1::ChangeRequest ChangeOf(const std::string& segment, const Ids& ids);
v1::QueryRequest QueryOf(const std::string& expression);
v1::QueryValuesRequest ValuesOf(const std::string& expression, const std::string& key_pattern);
// Those that are listed and those in bitmaps, which must be as the wire promises.
Ids IdsOf(const v1::QueryResponse& response);

inline std::string Message(const absl::Status& status) { return std::string(status.message()); }

// The service on real segments and a real engine, whose disk, clock and threads obey. Each call is one of the
// service, and what comes of it.
class SegmentsFixture : public ::testing::Test {
 protected:
  SegmentsFixture();
  ~SegmentsFixture() override { Settle(); }

  void Settle();

  // Starts something, and lets everybody work until it is done.
  template <typename Result, typename Begin>
  Result Await(Begin begin) {
    std::optional<Result> result;
    begin([&result](Result got) { result.emplace(std::move(got)); });
    for (int i = 0; i < 100 && !result; ++i) {
      Settle();
      executor_.Advance(std::chrono::milliseconds(100));
    }
    if (!result) {
      ADD_FAILURE() << "it never ends";
      return Result();
    }
    return *std::move(result);
  }

  absl::StatusOr<v1::ChangeResponse> Change(storage::SegmentChange change,
                                            const std::vector<v1::ChangeRequest>& requests);
  void Load(const std::string& segment, const Ids& ids);

  // All responses of a stream.
  template <typename Response, typename Reader>
  absl::StatusOr<std::vector<Response>> ReadAll(absl::StatusOr<Reader> reader) {
    if (!reader.ok()) return reader.status();
    std::vector<Response> all;
    for (bool more = true; more;) {
      const auto result =
          Await<absl::StatusOr<bool>>([&](auto done) { reader->Next(&all.emplace_back(), std::move(done)); });
      if (!result.ok()) return result.status();
      more = *result;
    }
    return all;
  }

  absl::StatusOr<std::vector<v1::QueryResponse>> Query(const v1::QueryRequest& request);
  absl::StatusOr<Ids> QueryIds(const v1::QueryRequest& request);
  absl::StatusOr<std::vector<v1::QueryValuesResponse>> QueryValues(const v1::QueryValuesRequest& request);
  absl::StatusOr<v1::CountResponse> Count(const std::string& expression);
  absl::StatusOr<v1::StoreResponse> Store(const std::string& expression, const std::string& segment);
  absl::StatusOr<v1::ExplainResponse> Explain(const std::string& expression, bool execute);
  absl::StatusOr<v1::ListResponse> List(const std::string& prefix, const std::string& after, uint32_t limit);
  absl::StatusOr<v1::Segment> Describe(const std::string& segment);
  absl::StatusOr<bool> Drop(const std::string& segment);

  // Values may have a mebibyte, and a little more.
  TestStore store_{kStoreMemory, 4 << 20};
  thermocline::testing::ManualExecutor executor_{6};
  thermocline::testing::MemoryObjects objects_;  // whose reads need no thread
  std::unique_ptr<storage::Segments> segments_;
  std::unique_ptr<ExportTargets> targets_;
  std::unique_ptr<Jobs> jobs_;
  std::unique_ptr<SegmentTimelines> timelines_;
  std::unique_ptr<SegmentsService> service_;

  static constexpr uint64_t kStoreMemory = 96 << 20;
  static constexpr uint64_t kSegmentMemory = 32 << 20;
};

}  // namespace thermocline::server
