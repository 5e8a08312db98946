#include "tests/server/service/segments_fixture.h"

namespace thermocline::server {

using storage::SegmentChange;

Ids Range(uint64_t first, uint64_t count, uint64_t step) {
  Ids ids(count);
  for (uint64_t i = 0; i < count; ++i) ids[i] = first + i * step;
  return ids;
}

v1::ChangeRequest ChangeOf(const std::string& segment, const Ids& ids) {
  v1::ChangeRequest request;
  request.set_segment(segment);
  request.mutable_ids()->Add(ids.begin(), ids.end());
  return request;
}

v1::QueryRequest QueryOf(const std::string& expression) {
  v1::QueryRequest request;
  request.set_expression(expression);
  return request;
}

v1::QueryValuesRequest ValuesOf(const std::string& expression, const std::string& key_pattern) {
  v1::QueryValuesRequest request;
  *request.mutable_query() = QueryOf(expression);
  request.set_key_pattern(key_pattern);
  return request;
}

Ids IdsOf(const v1::QueryResponse& response) {
  Ids ids(response.ids().begin(), response.ids().end());
  for (const v1::IdBitmap& bitmap : response.bitmaps()) {
    EXPECT_EQ(bitmap.first() % 65536, 0u);
    EXPECT_EQ(bitmap.bits().size(), 8192u);
    const size_t before = ids.size();
    for (uint64_t i = 0; i < 65536; ++i) {
      if ((static_cast<unsigned char>(bitmap.bits()[i / 8]) >> (i % 8) & 1) != 0)
        ids.push_back(bitmap.first() + i);
    }
    EXPECT_EQ(ids.size() - before, bitmap.count());
  }
  return ids;
}

SegmentsFixture::SegmentsFixture() {
  storage::SegmentsOptions options;
  options.directory = "/segments";
  options.memory_bytes = kSegmentMemory;
  auto segments = storage::Segments::Open(
      options, {store_.disk(), store_.clock(), objects_, executor_, executor_, executor_, {}});
  if (!segments.ok()) ADD_FAILURE() << segments.status();
  segments_ = *std::move(segments);
  auto targets = ExportTargets::Open({"file:///exports", "s3://bucket/some"}, store_.disk(), nullptr);
  if (!targets.ok()) ADD_FAILURE() << targets.status();
  targets_ = *std::move(targets);
  jobs_ = std::make_unique<Jobs>(
      *segments_, *targets_, store_.clock(), executor_,
      Jobs::Options{.max_running = 2, .max_waiting = 4, .max_waiting_bytes = 1 << 20, .max_ended = 3});
  auto timelines = SegmentTimelines::Open(*segments_, store_.engine(), objects_, executor_, kSegmentMemory);
  if (!timelines.ok()) ADD_FAILURE() << timelines.status();
  timelines_ = *std::move(timelines);
  service_ = std::make_unique<SegmentsService>(segments_.get(), jobs_.get(), timelines_.get(),
                                               store_.engine(), executor_);
}

void SegmentsFixture::Settle() {
  do {
    store_.Settle();
  } while (executor_.RunUntilIdle() > 0);
}

absl::StatusOr<v1::ChangeResponse> SegmentsFixture::Change(SegmentChange change,
                                                           const std::vector<v1::ChangeRequest>& requests) {
  const auto changer = service_->Change(change);
  if (!changer.ok()) return changer.status();
  for (const v1::ChangeRequest& request : requests) {
    const auto status = Await<absl::Status>([&](auto done) { (*changer)->Take(request, std::move(done)); });
    if (!status.ok()) return status;
  }
  v1::ChangeResponse response;
  const auto status = Await<absl::Status>([&](auto done) { (*changer)->Finish(&response, std::move(done)); });
  if (!status.ok()) return status;
  return response;
}

void SegmentsFixture::Load(const std::string& segment, const Ids& ids) {
  const auto loaded = Change(SegmentChange::kReplace, {ChangeOf(segment, ids)});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
}

absl::StatusOr<std::vector<v1::QueryResponse>> SegmentsFixture::Query(const v1::QueryRequest& request) {
  return ReadAll<v1::QueryResponse>(service_->Query(request));
}

absl::StatusOr<Ids> SegmentsFixture::QueryIds(const v1::QueryRequest& request) {
  const auto responses = Query(request);
  if (!responses.ok()) return responses.status();
  Ids all;
  for (const auto& response : *responses) {
    const Ids ids = IdsOf(response);
    all.insert(all.end(), ids.begin(), ids.end());
  }
  return all;
}

absl::StatusOr<std::vector<v1::QueryValuesResponse>> SegmentsFixture::QueryValues(
    const v1::QueryValuesRequest& request) {
  return ReadAll<v1::QueryValuesResponse>(service_->QueryValues(request));
}

absl::StatusOr<v1::CountResponse> SegmentsFixture::Count(const std::string& expression) {
  v1::CountRequest request;
  request.set_expression(expression);
  std::shared_ptr<void> work;
  return Await<absl::StatusOr<v1::CountResponse>>(
      [&](auto done) { work = service_->Count(request, std::move(done)); });
}

absl::StatusOr<v1::StoreResponse> SegmentsFixture::Store(const std::string& expression,
                                                         const std::string& segment) {
  v1::StoreRequest request;
  request.set_expression(expression);
  request.set_segment(segment);
  std::shared_ptr<void> work;
  return Await<absl::StatusOr<v1::StoreResponse>>(
      [&](auto done) { work = service_->Store(request, std::move(done)); });
}

absl::StatusOr<v1::ExplainResponse> SegmentsFixture::Explain(const std::string& expression, bool execute) {
  v1::ExplainRequest request;
  request.set_expression(expression);
  request.set_execute(execute);
  std::shared_ptr<void> work;
  return Await<absl::StatusOr<v1::ExplainResponse>>(
      [&](auto done) { work = service_->Explain(request, std::move(done)); });
}

absl::StatusOr<v1::ListResponse> SegmentsFixture::List(const std::string& prefix, const std::string& after,
                                                       uint32_t limit) {
  v1::ListRequest request;
  request.set_prefix(prefix);
  request.set_after(after);
  request.set_limit(limit);
  v1::ListResponse response;
  const auto status =
      Await<absl::Status>([&](auto done) { service_->List(request, &response, std::move(done)); });
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<v1::Segment> SegmentsFixture::Describe(const std::string& segment) {
  v1::DescribeRequest request;
  request.set_segment(segment);
  v1::Segment response;
  const auto status =
      Await<absl::Status>([&](auto done) { service_->Describe(request, &response, std::move(done)); });
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<bool> SegmentsFixture::Drop(const std::string& segment) {
  v1::DropRequest request;
  request.set_segment(segment);
  v1::DropResponse response;
  const auto status =
      Await<absl::Status>([&](auto done) { service_->Drop(request, &response, std::move(done)); });
  if (!status.ok()) return status;
  return response.dropped();
}

}  // namespace thermocline::server
