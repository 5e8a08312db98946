#include "storage/segment/rewriter.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "storage/segment/planner.h"

namespace thermocline::storage::segment {
namespace {

constexpr size_t kMostAtOnce = 2;
// More layers than this are merged whatever their sizes are.
constexpr size_t kMostLayers = 8;
constexpr std::chrono::milliseconds kPatience{60'000};
// What a rewrite would like to read with, as a part of the memory of all changes.
constexpr uint64_t kMemoryPart = 4;
// After a failure, it is tried again.
constexpr std::chrono::milliseconds kPause{5'000};

uint64_t SizeOf(const Layer& layer) { return layer.adds.count + layer.removes.count; }

// Which layers should become one: this one and all younger ones. Their number: none.
size_t FirstToMerge(const std::vector<Layer>& layers, uint64_t max_recent) {
  size_t first = layers.size();
  uint64_t recent = 0;
  uint64_t younger = 0;
  bool younger_files = false;
  for (size_t i = layers.size(); i-- > 0;) {
    const uint64_t size = SizeOf(layers[i]);
    if (layers[i].recent != 0) {
      recent += size;
      if (recent >= max_recent) first = i;
    } else if (younger_files && size <= 2 * younger) {
      first = i;
    }
    younger_files |= layers[i].recent == 0;
    younger += size;
  }
  if (layers.size() > kMostLayers) first = std::min(first, layers.size() - 2);
  // As the result will be: larger than all younger ones together.
  uint64_t merged = 0;
  for (size_t i = first; i < layers.size(); ++i) merged += SizeOf(layers[i]);
  while (first > 0 && first < layers.size() && SizeOf(layers[first - 1]) <= 2 * merged)
    merged += SizeOf(layers[--first]);
  return first;
}

bool Equal(const Layer& a, const Layer& b) {
  return a.recent == b.recent && a.adds.number == b.adds.number && a.removes.number == b.removes.number;
}

}  // namespace

void Rewriter::Consider(const std::string& name, const SegmentEntry& entry) {
  if (FirstToMerge(entry.layers, core_->options.max_recent) == entry.layers.size()) return;
  {
    MutexLock lock(mutex_);
    if (stopped_ || std::find(waiting_.begin(), waiting_.end(), name) != waiting_.end()) return;
    waiting_.push_back(name);
  }
  BeginSome();
}

void Rewriter::BeginSome() {
  for (;;) {
    std::string name;
    {
      MutexLock lock(mutex_);
      if (stopped_ || running_.size() >= kMostAtOnce) return;
      const auto next = std::find_if(waiting_.begin(), waiting_.end(),
                                     [&](const std::string& each) { return !running_.contains(each); });
      if (next == waiting_.end()) return;
      name = *next;
      waiting_.erase(next);
      running_[name] = nullptr;
    }
    core_->locks->Acquire(name, [self = shared_from_this(), name] {
      self->core_->world.changes.Run([self, name] { self->Begin(name); });
    });
  }
}

// Under the lock of the name.
void Rewriter::Begin(const std::string& name) {
  auto rewrite = std::make_shared<Rewrite>();
  rewrite->name = name;
  absl::StatusOr<std::shared_ptr<Core::Reading>> reading = core_->NewReading();
  absl::StatusOr<std::optional<SegmentEntry>> entry = std::optional<SegmentEntry>();
  if (reading.ok()) {
    std::shared_lock naming(core_->naming);
    rewrite->reading = *std::move(reading);
    rewrite->reading->at = core_->catalog->Now();
    entry = core_->catalog->Find(name, rewrite->reading->at.get());
    if (entry.ok() && entry->has_value()) {
      rewrite->segment = (*entry)->id;
      rewrite->first = FirstToMerge((*entry)->layers, core_->options.max_recent);
      rewrite->layers.assign((*entry)->layers.begin() + static_cast<ptrdiff_t>(rewrite->first),
                             (*entry)->layers.end());
      // The youngest first, if all at once take more memory than there is.
      while (rewrite->layers.size() > 2 && BytesFor(*rewrite) > core_->change_memory->limit()) {
        rewrite->layers.erase(rewrite->layers.begin());
        ++rewrite->first;
      }
      std::vector<uint64_t> numbers;
      for (const Layer& layer : rewrite->layers) {
        if (layer.recent != 0) continue;
        if (layer.adds.number != 0) numbers.push_back(layer.adds.number);
        if (layer.removes.number != 0) numbers.push_back(layer.removes.number);
      }
      rewrite->reading->pins = core_->files->Pin(std::move(numbers));
      MutexLock lock(mutex_);
      for (const Layer& layer : rewrite->layers) {
        if (layer.recent != 0) frozen_.insert(layer.recent);
      }
    }
  }
  core_->locks->Release(name);
  if (rewrite->layers.empty()) return End(name, nullptr, entry.status());

  core_->change_memory->Request(
      BytesFor(*rewrite), kPatience, fmt::format("rewriting the segment {}", name),
      [self = shared_from_this(), rewrite](absl::StatusOr<MemoryLine::Grant> grant) {
        if (!grant.ok()) return self->End(rewrite->name, rewrite.get(), grant.status());
        rewrite->reading->memory = *std::move(grant);
        self->Write(rewrite, /*adds=*/true);
      });
}

uint64_t Rewriter::BytesFor(const Rewrite& rewrite) const {
  const uint64_t wanted = core_->change_memory->limit() / kMemoryPart;
  uint64_t bytes = 0;
  for (const bool adds : {true, false}) {
    const Plan plan = PlanOfLayers(rewrite.name, rewrite.layers, adds);
    bytes = std::max(bytes, MemoryOf(plan, WindowFor(plan, wanted)));
  }
  return bytes + IdFiles::kWriteBytes;
}

void Rewriter::Write(std::shared_ptr<Rewrite> rewrite, bool adds) {
  const Plan plan = PlanOfLayers(rewrite->name, rewrite->layers, adds);
  const std::shared_ptr<ReadContext> context = core_->NewContext();
  const size_t window = WindowFor(plan, core_->change_memory->limit() / kMemoryPart);
  rewrite->work = std::make_shared<Work>();
  rewrite->work->what = "rewrite " + rewrite->name;
  rewrite->work->max_ids = plan.max_count;
  rewrite->work->context = context;
  rewrite->reading->listed = core_->works.Add(rewrite->work);
  absl::StatusOr<std::unique_ptr<IdStream>> stream =
      Build(plan, window, *core_->files, *core_->catalog, rewrite->reading->at, context);
  const absl::StatusOr<uint64_t> number = core_->catalog->NewNumber();
  if (!stream.ok() || !number.ok()) {
    core_->files->Remove(rewrite->made.adds.number);
    return End(rewrite->name, rewrite.get(), !stream.ok() ? stream.status() : number.status());
  }
  const auto written = [self = shared_from_this(), rewrite, adds](const absl::StatusOr<FileEntry>& file) {
    if (!file.ok()) {
      self->core_->files->Remove(rewrite->made.adds.number);
      return self->End(rewrite->name, rewrite.get(), file.status());
    }
    (adds ? rewrite->made.adds : rewrite->made.removes) = *file;
    // The oldest layer has nothing to remove from.
    if (adds && rewrite->first > 0) return self->Write(rewrite, /*adds=*/false);
    self->core_->world.executor.Run([self, rewrite] { self->AwaitLock(rewrite); });
  };
  MutexLock lock(mutex_);
  if (stopped_) return;
  running_[rewrite->name] =
      core_->files->Write(*std::move(stream), context, *number, written, rewrite->reading);
}

// Who has the lock may wait for memory: who waits for the lock holds none.
void Rewriter::AwaitLock(std::shared_ptr<Rewrite> rewrite) {
  std::shared_ptr<StreamRun> done;
  {
    MutexLock lock(mutex_);
    std::swap(done, running_[rewrite->name]);
  }
  done = nullptr;
  rewrite->reading->memory = MemoryLine::Grant();
  core_->locks->Acquire(rewrite->name, [self = shared_from_this(), rewrite] {
    self->core_->world.changes.Run([self, rewrite] { self->Publish(rewrite); });
  });
}

// Under the lock of the name.
void Rewriter::Publish(std::shared_ptr<Rewrite> rewrite) {
  const absl::Status status = Replace(*rewrite);
  core_->locks->Release(rewrite->name);
  End(rewrite->name, rewrite.get(), status);
}

absl::Status Rewriter::Replace(Rewrite& rewrite) {
  std::vector<uint64_t> unused = {rewrite.made.adds.number, rewrite.made.removes.number};
  absl::StatusOr<std::optional<SegmentEntry>> entry = core_->catalog->Find(rewrite.name);
  absl::Status status = entry.status();
  const auto same = [&](const SegmentEntry& now) {
    return now.id == rewrite.segment && now.layers.size() >= rewrite.first + rewrite.layers.size() &&
           std::equal(rewrite.layers.begin(), rewrite.layers.end(),
                      now.layers.begin() + static_cast<ptrdiff_t>(rewrite.first), &Equal);
  };
  if (status.ok() && entry->has_value() && same(**entry)) {
    SegmentEntry& now = **entry;
    Catalog::Batch batch;
    std::vector<uint64_t> removed;
    for (const Layer& layer : rewrite.layers) {
      if (layer.recent != 0) {
        batch.DropRecent(layer.recent);
      } else {
        if (layer.adds.number != 0) removed.push_back(layer.adds.number);
        if (layer.removes.number != 0) removed.push_back(layer.removes.number);
      }
    }
    const SegmentEntry before = now;
    const auto first = now.layers.begin() + static_cast<ptrdiff_t>(rewrite.first);
    const auto at = now.layers.erase(first, first + static_cast<ptrdiff_t>(rewrite.layers.size()));
    rewrite.made.min_adds = rewrite.made.adds.count;
    if (SizeOf(rewrite.made) > 0) now.layers.insert(at, rewrite.made);
    batch.Put(rewrite.name, now);
    status = core_->catalog->Write(batch);
    if (status.ok()) {
      unused.clear();
      core_->Count(before, -1);
      core_->Count(now, 1);
      status = core_->Settle(/*changed_segment=*/0, std::move(removed));
    }
  }
  for (const uint64_t number : unused) core_->files->Remove(number);
  return status;
}

void Rewriter::End(const std::string& name, const Rewrite* rewrite, const absl::Status& status) {
  {
    MutexLock lock(mutex_);
    running_.erase(name);
    if (rewrite != nullptr) {
      for (const Layer& layer : rewrite->layers) frozen_.erase(layer.recent);
      if (status.ok()) ++counts_.rewrites;
    }
    if (rewrite != nullptr || !status.ok()) counts_.last_status = status;
  }
  if (!status.ok()) {
    core_->world.executor.RunAfter(kPause, [weak = weak_from_this(), name] {
      if (const std::shared_ptr<Rewriter> self = weak.lock()) self->Look(name);
    });
  } else if (rewrite != nullptr) {
    Look(name);
  }
  BeginSome();
}

void Rewriter::Look(const std::string& name) {
  const absl::StatusOr<std::shared_ptr<Core::Reading>> inside = core_->NewReading();
  if (!inside.ok()) return;
  const absl::StatusOr<std::optional<SegmentEntry>> entry = core_->catalog->Find(name);
  if (entry.ok() && entry->has_value()) Consider(name, **entry);
}

bool Rewriter::IsFrozen(uint64_t recent_layer) const {
  MutexLock lock(mutex_);
  return frozen_.contains(recent_layer);
}

void Rewriter::Stop() {
  std::vector<std::shared_ptr<StreamRun>> runs;
  MutexLock lock(mutex_);
  stopped_ = true;
  for (auto& [name, run] : running_) {
    if (run != nullptr) run->Cancel();
    runs.push_back(std::move(run));
  }
}

Rewriter::Counts Rewriter::counts() const {
  MutexLock lock(mutex_);
  return counts_;
}

}  // namespace thermocline::storage::segment
