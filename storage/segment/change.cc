#include "storage/segment/change.h"

#include <algorithm>
#include <shared_mutex>
#include <utility>

#include "fmt/format.h"

#include "storage/segment/planner.h"
#include "storage/segment/set_ops.h"

namespace thermocline::storage {
namespace {

using segment::Catalog;
using segment::Core;
using segment::FileEntry;
using segment::IdSorter;
using segment::IdStream;
using segment::Layer;
using segment::MemoryLine;
using segment::Plan;
using segment::SegmentEntry;
using segment::StreamRun;

constexpr std::chrono::milliseconds kPatience{60'000};
// What a change takes to sort with, as a part of that of all changes.
constexpr uint64_t kMemoryPart = 4;
constexpr uint64_t kMostSortBytes = uint64_t{64} << 20;

std::string NameOf(SegmentChange change, const std::string& segment) {
  const char* const verb = change == SegmentChange::kAdd      ? "adding to"
                           : change == SegmentChange::kRemove ? "removing from"
                                                              : "loading";
  return fmt::format("{} the segment {}", verb, segment);
}

}  // namespace

SegmentWrite::Impl::Impl(std::shared_ptr<Core> core, segment::Rewriter& rewriter,
                         std::shared_ptr<Core::Reading> inside, std::string name, SegmentChange change,
                         const SegmentWriteOptions& options)
    : core_(std::move(core)),
      inside_(std::move(inside)),
      rewriter_(rewriter),
      name_(std::move(name)),
      change_(change),
      options_(options),
      sorter_(core_->NewSorter(inside_)),
      work_(std::make_shared<segment::Work>()) {
  work_->what = NameOf(change_, name_);
  listed_ = core_->works.Add(work_);
}

SegmentWrite::Impl::~Impl() {
  if (owns_file_) core_->files->Remove(sorted_.file.number);
}

void SegmentWrite::Impl::Add(std::span<const uint64_t> ids, AddDone done) {
  work_->ids.fetch_add(ids.size(), std::memory_order_relaxed);
  AddMore(ids, std::move(done));
}

void SegmentWrite::Impl::AddMore(std::span<const uint64_t> ids, AddDone done) {
  if (ids.size() <= sorter_->room()) {
    sorter_->Add(ids);
    return completions_.Deliver([&] { done(absl::OkStatus()); });
  }
  if (granted_ <= IdSorter::kListBytes) return GrowAndAdd(ids, std::move(done));
  core_->world.executor.Run([self = shared_from_this(), ids, done = std::move(done)]() mutable {
    absl::Status status;
    while (status.ok() && !ids.empty()) {
      const size_t count = std::min(ids.size(), self->sorter_->room());
      self->sorter_->Add(ids.first(count));
      ids = ids.subspan(count);
      if (self->sorter_->room() == 0) status = self->sorter_->Spill();
    }
    self->completions_.Deliver([&] { done(status); });
  });
}

void SegmentWrite::Impl::GrowAndAdd(std::span<const uint64_t> ids, AddDone done) {
  const uint64_t bytes = granted_ == 0 ? IdSorter::kListBytes
                                       : std::clamp<uint64_t>(core_->change_memory->limit() / kMemoryPart,
                                                              IdSorter::kMinBytes, kMostSortBytes);
  // Who waits for more while it holds some may keep others, and itself, from it.
  inside_->memory = MemoryLine::Grant();
  core_->change_memory->Request(bytes, kPatience, NameOf(change_, name_),
                                [self = shared_from_this(), bytes, ids,
                                 done = std::move(done)](absl::StatusOr<MemoryLine::Grant> grant) mutable {
                                  if (!grant.ok())
                                    return self->completions_.Deliver([&] { done(grant.status()); });
                                  self->inside_->memory = *std::move(grant);
                                  self->work_->memory_bytes = bytes;
                                  self->granted_ = bytes;
                                  self->sorter_->Grow(bytes);
                                  self->AddMore(ids, std::move(done));
                                });
}

void SegmentWrite::Impl::Finish(absl::AnyInvocable<void(absl::StatusOr<SegmentWriteResult>)> done) {
  done_ = std::move(done);
  result_.received = sorter_->received();
  // Who sorts does not keep this: a change that was given up ends.
  core_->world.changes.Run([self = shared_from_this()] {
    const auto sorted = [weak = self->weak_from_this(), core = self->core_](absl::StatusOr<Sorted> result) {
      if (const std::shared_ptr<Impl> live = weak.lock()) return live->TakeSorted(std::move(result));
      if (result.ok()) core->files->Remove(result->file.number);
    };
    self->sorter_->Finish(sorted);
  });
}

void SegmentWrite::Impl::TakeSorted(absl::StatusOr<Sorted> result) {
  if (!result.ok()) return completions_.Deliver([&] { std::exchange(done_, nullptr)(result.status()); });
  sorted_ = *std::move(result);
  inside_->memory = MemoryLine::Grant();
  owns_file_ = sorted_.file.number != 0;
  result_.distinct = sorted_.count();
  core_->locks->Acquire(name_, [self = shared_from_this()] {
    self->core_->world.changes.Run([self] { self->CountChanged(); });
  });
}

// Under the lock of the name, as all that follows until Release.
void SegmentWrite::Impl::CountChanged() {
  absl::StatusOr<std::optional<SegmentEntry>> entry = core_->catalog->Find(name_);
  if (!entry.ok()) return Release(entry.status());
  before_ = *std::move(entry);
  if (!options_.count_changed || change_ == SegmentChange::kReplace) return Publish();
  if (!before_.has_value() || sorted_.count() == 0) return CountedChanged(0);

  const uint64_t bytes = segment::MemoryOf(segment::PlanOf(name_, *before_), segment::kMinWindowBytes) +
                         segment::kOperatorBytes + segment::IdFileStreamBytes(segment::kMinWindowBytes);
  core_->change_memory->Request(bytes, kPatience, NameOf(change_, name_),
                                [self = shared_from_this()](absl::StatusOr<MemoryLine::Grant> grant) {
                                  if (!grant.ok()) return self->Release(grant.status());
                                  self->CountMembers(*std::move(grant));
                                });
}

void SegmentWrite::Impl::CountMembers(MemoryLine::Grant memory) {
  absl::StatusOr<std::shared_ptr<Core::Reading>> reading = core_->NewReading();
  if (!reading.ok()) return Release(reading.status());
  (*reading)->memory = std::move(memory);
  (*reading)->at = core_->catalog->Now();
  const std::shared_ptr<segment::ReadContext> context = core_->NewContext();
  absl::StatusOr<std::unique_ptr<IdStream>> members =
      segment::Build(segment::PlanOf(name_, *before_), segment::kMinWindowBytes, *core_->files,
                     *core_->catalog, (*reading)->at, context);
  if (!members.ok()) return Release(members.status());
  std::unique_ptr<IdStream> ids;
  if (owns_file_) {
    auto file = core_->files->Open({&sorted_.file, 1}, *context);
    if (!file.ok()) return Release(file.status());
    ids = segment::NewIdFileStream(file->front(), segment::kMinWindowBytes, context);
  } else {
    ids = segment::ListStream(sorted_.list);
  }
  auto run = std::make_shared<StreamRun>(segment::Intersect(std::move(ids), *std::move(members)), context,
                                         core_->world.executor, *std::move(reading));
  auto count = std::make_shared<uint64_t>(0);
  run->Run(
      /*accepts_blocks=*/true,
      [count](const segment::Part& part) -> absl::StatusOr<StreamRun::Verdict> {
        *count += part.count;
        return StreamRun::Verdict::kMore;
      },
      [self = shared_from_this(), count](const absl::StatusOr<bool>& ended) {
        if (!ended.ok()) return self->Release(ended.status());
        self->CountedChanged(*count);
      });
}

void SegmentWrite::Impl::CountedChanged(uint64_t members) {
  result_.changed = change_ == SegmentChange::kAdd ? result_.distinct - members : members;
  Publish();
}

void SegmentWrite::Impl::Publish() {
  if (completions_.stopped()) return core_->locks->Release(name_);
  if (change_ == SegmentChange::kRemove && !before_.has_value()) return Release(result_);
  SegmentEntry entry = before_.value_or(SegmentEntry());
  const absl::StatusOr<uint64_t> version = core_->catalog->NewNumber();
  if (!version.ok()) return Release(version.status());
  entry.version = *version;
  entry.changed_at_ms = core_->world.clock.NowMs();
  if (!before_.has_value()) {
    entry.id = *version;
    entry.created_at_ms = entry.changed_at_ms;
  }
  Catalog::Batch batch;
  std::vector<uint64_t> removed_files;
  if (absl::Status status = MakeChange(entry, batch, removed_files); !status.ok()) return Release(status);
  batch.Put(name_, entry);
  result_.version = entry.version;
  const absl::Status status = core_->catalog->Write(batch);
  if (!status.ok()) return Release(status);
  owns_file_ = false;
  if (before_.has_value()) core_->Count(*before_, -1);
  core_->Count(entry, 1);
  core_->locks->Release(name_);
  // The sync is shared with other changes, also of this segment.
  const absl::Status settled = core_->Settle(entry.id, std::move(removed_files));
  completions_.Deliver([&] {
    if (!settled.ok()) return std::exchange(done_, nullptr)(settled);
    std::exchange(done_, nullptr)(result_);
  });
  rewriter_.Consider(name_, entry);
}

absl::Status SegmentWrite::Impl::MakeChange(SegmentEntry& entry, Catalog::Batch& batch,
                                            std::vector<uint64_t>& removed_files) {
  if (change_ == SegmentChange::kReplace) {
    for (const Layer& layer : entry.layers) {
      if (layer.recent != 0) {
        batch.DropRecent(layer.recent);
        continue;
      }
      for (const uint64_t number : {layer.adds.number, layer.removes.number}) {
        if (number != 0) removed_files.push_back(number);
      }
    }
    entry.layers.clear();
  }
  if (sorted_.count() == 0) return absl::OkStatus();
  if (change_ == SegmentChange::kRemove && entry.layers.empty()) {
    if (owns_file_) removed_files.push_back(sorted_.file.number);
    return absl::OkStatus();
  }
  return MakeLayer(entry, batch);
}

absl::Status SegmentWrite::Impl::MakeLayer(SegmentEntry& entry, Catalog::Batch& batch) {
  const bool adds = change_ != SegmentChange::kRemove;
  Layer layer;
  if (sorted_.file.number != 0) {
    (adds ? layer.adds : layer.removes) = sorted_.file;
    layer.min_adds = layer.adds.count;
    entry.layers.push_back(layer);
    return absl::OkStatus();
  }
  const uint64_t count = sorted_.list.size();
  const bool goes_on = !entry.layers.empty() && entry.layers.back().recent != 0 &&
                       !rewriter_.IsFrozen(entry.layers.back().recent);
  if (!goes_on) {
    const absl::StatusOr<uint64_t> number = core_->catalog->NewNumber();
    if (!number.ok()) return number.status();
    layer.recent = *number;
    entry.layers.push_back(layer);
  }
  Layer& recent = entry.layers.back();
  if (adds) {
    batch.AddRecent(recent.recent, sorted_.list, recent.removes.count > 0);
    recent.adds.count += count;
    recent.min_adds = std::max(recent.min_adds, count);
  } else {
    batch.RemoveRecent(recent.recent, sorted_.list, recent.adds.count > 0);
    recent.removes.count += count;
    recent.min_adds -= std::min(recent.min_adds, count);
  }
  return absl::OkStatus();
}

void SegmentWrite::Impl::Release(absl::StatusOr<SegmentWriteResult> result) {
  core_->locks->Release(name_);
  completions_.Deliver([&] { std::exchange(done_, nullptr)(std::move(result)); });
}

void SegmentWrite::Impl::Cancel() {
  sorter_->Cancel();
  completions_.Stop();
}

SegmentWrite::SegmentWrite(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
SegmentWrite::~SegmentWrite() { impl_->Cancel(); }

void SegmentWrite::Add(std::span<const uint64_t> ids, absl::AnyInvocable<void(absl::Status)> done) {
  impl_->Add(ids, std::move(done));
}
void SegmentWrite::Finish(absl::AnyInvocable<void(absl::StatusOr<SegmentWriteResult>)> done) {
  impl_->Finish(std::move(done));
}

}  // namespace thermocline::storage
