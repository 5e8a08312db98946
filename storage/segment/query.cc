#include "storage/segment/query.h"

#include <algorithm>
#include <utility>

#include "storage/segment/kernels.h"

namespace thermocline::storage {
namespace {

using segment::kContainerWords;

}  // namespace

SegmentQuery::Impl::Impl(Parts parts)
    : core_(std::move(parts.core)),
      work_(std::move(parts.work)),
      normalized_(std::move(parts.normalized)),
      options_(parts.options),
      known_count_(parts.known_count),
      keeping_(std::move(parts.keeping)),
      run_(std::make_shared<segment::StreamRun>(std::move(parts.stream), work_->context,
                                                core_->world.executor, std::move(parts.reading))) {
  if (options_.after.has_value()) {
    keeping_ = std::nullopt;
    if (*options_.after == UINT64_MAX) {
      ended_ = true;
    } else {
      run_->stream().SkipTo(*options_.after + 1);
    }
  }
  if (options_.limit != 0) keeping_ = std::nullopt;
}

std::unique_ptr<SegmentQuery> SegmentQuery::Impl::Make(Parts parts) {
  return std::unique_ptr<SegmentQuery>(new SegmentQuery(std::make_shared<Impl>(std::move(parts))));
}

void SegmentQuery::Impl::Next(size_t target, bool bitmaps, IdPage* page,
                              absl::AnyInvocable<void(absl::Status)> done) {
  target_ = std::max<size_t>(target, 1);
  bitmaps_ = bitmaps;
  page_.Clear();
  page_ids_ = 0;
  auto finish = [this, page, done = std::move(done)](absl::StatusOr<bool> ended) mutable {
    if (!failure_.ok()) ended = failure_;
    failure_ = ended.status();
    if (ended.ok() && *ended) ended_ = true;
    page_.done = ended_;
    if (ended.ok() && ended_) KeepResult();
    core_->ids_returned.fetch_add(page_ids_, std::memory_order_relaxed);
    completions_.Deliver([this, page, status = ended.status(), &done] {
      std::swap(*page, page_);
      done(status);
    });
  };
  // Its views are good until the stream is asked again.
  const bool enough = held_.has_value() && TakeNow(*std::exchange(held_, std::nullopt)) == Verdict::kEnough;
  if (ended_ || enough || !failure_.ok()) {
    core_->world.executor.Run(
        [self = shared_from_this(), finish = std::move(finish), ended = ended_]() mutable { finish(ended); });
    return;
  }
  run_->Run(
      /*accepts_blocks=*/false, [this](const Part& part) { return TakePart(part); },
      [self = shared_from_this(), finish = std::move(finish)](absl::StatusOr<bool> ended) mutable {
        finish(std::move(ended));
      });
}

// A bitmap of few ids is larger than their list.
bool SegmentQuery::Impl::GoesAsBitmap(const Part& part) const {
  return bitmaps_ && part.kind == Part::Kind::kBitmap && part.count >= kContainerWords && IsWhole(part);
}

bool SegmentQuery::Impl::IsWhole(const Part& part) const {
  return part.count <= left() && (!options_.after.has_value() || part.first > *options_.after);
}

absl::StatusOr<SegmentQuery::Impl::Verdict> SegmentQuery::Impl::TakePart(const Part& part) {
  if (absl::Status status = KeepPart(part); !status.ok()) return status;
  if (!GoesAsBitmap(part) && !page_.bitmaps.empty()) {
    // The ids of a page come before its bitmaps.
    held_ = part;
    return Verdict::kEnough;
  }
  return TakeNow(part);
}

SegmentQuery::Impl::Verdict SegmentQuery::Impl::TakeNow(const Part& part) {
  if (part.kind == Part::Kind::kIds) {
    TakeIds(part.list());
  } else if (GoesAsBitmap(part)) {
    TakeBitmap(part);
  } else {
    ListPart(part);
  }
  work_->ids.store(ids_, std::memory_order_relaxed);
  if (left() == 0) ended_ = true;
  return ended_ || page_ids_ >= target_ ? Verdict::kEnough : Verdict::kMore;
}

void SegmentQuery::Impl::TakeIds(std::span<const uint64_t> ids) {
  if (options_.after.has_value() && !ids.empty() && ids.front() <= *options_.after) {
    ids = ids.subspan(*options_.after == UINT64_MAX ? ids.size()
                                                    : segment::FirstAtLeast(ids, 0, *options_.after + 1));
  }
  ids = ids.first(std::min<uint64_t>(ids.size(), left()));
  page_.ids.insert(page_.ids.end(), ids.begin(), ids.end());
  page_ids_ += ids.size();
  ids_ += ids.size();
}

void SegmentQuery::Impl::TakeBitmap(const Part& part) {
  page_.bitmaps.push_back(
      {part.container(), static_cast<uint32_t>(part.count), static_cast<uint32_t>(page_.words.size())});
  page_.words.insert(page_.words.end(), part.words, part.words + kContainerWords);
  page_ids_ += part.count;
  ids_ += part.count;
}

void SegmentQuery::Impl::ListPart(const Part& part) {
  if (!IsWhole(part)) {
    listed_.resize(part.count + 8);
    const size_t count = segment::ListWords(part.words, part.container(), listed_.data());
    return TakeIds({listed_.data(), count});
  }
  // Straight into the page.
  const size_t before = page_.ids.size();
  page_.ids.resize(before + part.count + 8);
  page_.ids.resize(before + segment::ListWords(part.words, part.container(), page_.ids.data() + before));
  page_ids_ += part.count;
  ids_ += part.count;
}

void SegmentQuery::Impl::Count(absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done) {
  auto finish = [this, done = std::move(done)](const absl::StatusOr<bool>& ended) mutable {
    if (ended.ok()) KeepResult();
    completions_.Deliver([this, &ended, &done] {
      if (!ended.ok()) return done(ended.status());
      done(ids_);
    });
  };
  const bool known = known_count_.has_value() && !options_.after.has_value();
  if (known) {
    ids_ = std::min(*known_count_, left());
    work_->from_kept_result.store(true, std::memory_order_relaxed);
    work_->ids.store(ids_, std::memory_order_relaxed);
  }
  if (known || ended_) {
    core_->world.executor.Run(
        [self = shared_from_this(), finish = std::move(finish)]() mutable { finish(true); });
    return;
  }
  if (keeping_.has_value()) keeping_->max_file_bytes = 0;
  run_->Run(
      /*accepts_blocks=*/true, [this](const Part& part) { return CountPart(part); },
      [self = shared_from_this(), finish = std::move(finish)](const absl::StatusOr<bool>& ended) mutable {
        finish(ended);
      });
}

absl::StatusOr<SegmentQuery::Impl::Verdict> SegmentQuery::Impl::CountPart(const Part& part) {
  uint64_t count = part.count;
  if (options_.after.has_value() && part.first <= *options_.after) {
    if (part.last <= *options_.after) return Verdict::kMore;
    if (part.kind == Part::Kind::kBlock) return Verdict::kExpand;
    std::span<const uint64_t> ids = part.list();
    if (part.kind == Part::Kind::kBitmap) {
      listed_.resize(part.count + 8);
      ids = {listed_.data(), segment::ListWords(part.words, part.container(), listed_.data())};
    }
    count = ids.size() - segment::FirstAtLeast(ids, 0, *options_.after + 1);
  }
  ids_ += std::min(count, left());
  work_->ids.store(ids_, std::memory_order_relaxed);
  return left() == 0 ? Verdict::kEnough : Verdict::kMore;
}

// A result is written while it is found. What fails there costs the result, not the query.
absl::Status SegmentQuery::Impl::KeepPart(const Part& part) {
  if (!keeping_.has_value() || keeping_->max_file_bytes == 0) return absl::OkStatus();
  absl::Status status;
  if (keeper_ == nullptr) {
    const absl::StatusOr<uint64_t> number = core_->catalog->NewNumber();
    status = number.status();
    if (number.ok()) {
      absl::StatusOr<std::unique_ptr<segment::IdFileWriter>> writer = core_->files->Create(*number);
      status = writer.status();
      if (writer.ok()) {
        keeper_ = *std::move(writer);
        core_->keeping.fetch_add(1, std::memory_order_relaxed);
      }
      keeper_number_ = *number;
    }
  }
  if (status.ok()) status = keeper_->Add(part);
  if (!status.ok() || keeper_->bytes() > keeping_->max_file_bytes) {
    DropKeeper();
    keeping_->max_file_bytes = 0;  // the count is still worth it
  }
  return absl::OkStatus();
}

void SegmentQuery::Impl::KeepResult() {
  if (!keeping_.has_value()) return;
  segment::ResultEntry entry = std::move(keeping_->entry);
  const bool whole = keeping_->max_file_bytes > 0;
  keeping_ = std::nullopt;
  entry.count = ids_;
  if (keeper_ != nullptr && whole) {
    const absl::StatusOr<segment::IdFileSummary> summary = keeper_->Finish();
    if (summary.ok()) entry.file = segment::ToEntry(keeper_number_, *summary);
  }
  DropKeeper();
  core_->KeepResult(std::move(entry));
}

void SegmentQuery::Impl::DropKeeper() {
  if (keeper_ == nullptr) return;
  keeper_ = nullptr;
  core_->keeping.fetch_sub(1, std::memory_order_relaxed);
}

void SegmentQuery::Impl::Cancel() {
  run_->Cancel();
  completions_.Stop();
}

SegmentQuery::SegmentQuery(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
SegmentQuery::~SegmentQuery() { impl_->Cancel(); }

void SegmentQuery::Next(size_t target, bool bitmaps, IdPage* page,
                        absl::AnyInvocable<void(absl::Status)> done) {
  impl_->Next(target, bitmaps, page, std::move(done));
}
void SegmentQuery::Count(absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done) {
  impl_->Count(std::move(done));
}
SegmentQueryProgress SegmentQuery::progress() const { return impl_->progress(); }
const std::string& SegmentQuery::normalized() const { return impl_->normalized(); }

}  // namespace thermocline::storage
