#include "storage/segment/id_sorter.h"

#include <algorithm>
#include <array>
#include <utility>

#include "storage/segment/set_ops.h"

namespace thermocline::storage::segment {
namespace {

constexpr size_t kSmall = 256;

size_t DropEqual(std::span<uint64_t> ids) {
  return static_cast<size_t>(std::unique(ids.begin(), ids.end()) - ids.begin());
}

}  // namespace

size_t SortIds(std::span<uint64_t> ids, std::span<uint64_t> scratch) {
  if (ids.size() < kSmall) {
    std::sort(ids.begin(), ids.end());
    return DropEqual(ids);
  }
  std::array<std::array<size_t, 256>, 8> counts{};
  for (const uint64_t id : ids) {
    for (size_t byte = 0; byte < 8; ++byte) ++counts[byte][(id >> (8 * byte)) & 0xff];
  }
  std::span<uint64_t> from = ids;
  std::span<uint64_t> to = scratch.first(ids.size());
  for (size_t byte = 0; byte < 8; ++byte) {
    std::array<size_t, 256>& count = counts[byte];
    if (count[(from[0] >> (8 * byte)) & 0xff] == ids.size()) continue;
    size_t sum = 0;
    for (size_t& each : count) sum += std::exchange(each, sum);
    for (const uint64_t id : from) to[count[(id >> (8 * byte)) & 0xff]++] = id;
    std::swap(from, to);
  }
  if (from.data() != ids.data()) std::copy(from.begin(), from.end(), ids.begin());
  return DropEqual(ids);
}

IdSorter::~IdSorter() {
  for (const FileEntry& run : runs_) parts_.files->Remove(run.number);
}

void IdSorter::Grow(uint64_t bytes) {
  bytes_ = bytes;
  capacity_ = bytes == kListBytes ? kListIds : (bytes - IdFiles::kWriteBytes) / (2 * sizeof(uint64_t));
  ids_.reserve(capacity_);
}

void IdSorter::Add(std::span<const uint64_t> ids) {
  received_ += ids.size();
  if (in_order_) {
    uint64_t last = ids_.empty() ? 0 : ids_.back();
    bool first = ids_.empty();
    for (const uint64_t id : ids) {
      in_order_ &= first || id > last;
      first = false;
      last = id;
    }
  }
  ids_.insert(ids_.end(), ids.begin(), ids.end());
}

void IdSorter::SortList() {
  if (std::exchange(in_order_, true)) return;
  scratch_.resize(ids_.size());
  ids_.resize(SortIds(ids_, scratch_));
}

absl::Status IdSorter::WriteList() {
  if (ids_.empty()) return absl::OkStatus();
  SortList();
  // What goes on where the run ends belongs to it: ids that come in order are never merged.
  if (run_ != nullptr && ids_.front() <= run_last_) {
    if (absl::Status status = CloseRun(); !status.ok()) return status;
  }
  if (run_ == nullptr) {
    absl::StatusOr<uint64_t> number = parts_.new_number();
    if (!number.ok()) return number.status();
    absl::StatusOr<std::unique_ptr<IdFileWriter>> run = parts_.files->Create(*number);
    if (!run.ok()) return run.status();
    run_ = *std::move(run);
    run_number_ = *number;
  }
  run_last_ = ids_.back();
  absl::Status status = run_->Add(ids_);
  ids_.clear();
  in_order_ = true;
  return status;
}

absl::Status IdSorter::Spill() { return WriteList(); }

absl::Status IdSorter::CloseRun() {
  const absl::StatusOr<IdFileSummary> summary = run_->Finish();
  run_ = nullptr;
  if (!summary.ok()) return summary.status();
  runs_.push_back(ToEntry(run_number_, *summary));
  return absl::OkStatus();
}

void IdSorter::Finish(Done done) {
  if (run_ == nullptr && runs_.empty()) {
    SortList();
    if (ids_.size() <= kListIds) {
      std::vector<uint64_t>().swap(scratch_);
      ids_.shrink_to_fit();
      return done(Sorted{std::move(ids_), {}});
    }
  }
  absl::Status status = WriteList();
  if (status.ok() && run_ != nullptr) status = CloseRun();
  if (!status.ok()) return done(status);
  // Merging takes the same memory.
  std::vector<uint64_t>().swap(ids_);
  std::vector<uint64_t>().swap(scratch_);
  done_ = std::move(done);
  MergeSome();
}

size_t IdSorter::FanIn() const {
  const uint64_t left = bytes_ - std::min<uint64_t>(bytes_, IdFiles::kWriteBytes);
  return std::max<size_t>(2, left / (IdFileStreamBytes(kMinWindowBytes) + kOperatorBytes));
}

void IdSorter::MergeSome() {
  if (runs_.size() <= 1) {
    Sorted sorted;
    if (!runs_.empty()) sorted.file = runs_.front();
    runs_.clear();
    return std::exchange(done_, nullptr)(std::move(sorted));
  }
  // The smallest first: all ids pass through about as many merges.
  std::sort(runs_.begin(), runs_.end(),
            [](const FileEntry& a, const FileEntry& b) { return a.bytes < b.bytes; });
  const size_t count = std::min(FanIn(), runs_.size());
  const size_t window = count == runs_.size() && count > 1
                            ? (bytes_ - std::min<uint64_t>(bytes_, IdFiles::kWriteBytes)) / count / 2
                            : kMinWindowBytes;
  const std::vector<FileEntry> some(runs_.begin(), runs_.begin() + static_cast<ptrdiff_t>(count));
  const std::shared_ptr<ReadContext> context = parts_.new_context();
  const auto opened = parts_.files->Open(some, *context);
  const absl::StatusOr<uint64_t> number = parts_.new_number();
  if (!opened.ok() || !number.ok())
    return std::exchange(done_, nullptr)(!opened.ok() ? opened.status() : number.status());
  std::vector<std::unique_ptr<IdStream>> streams;
  for (const auto& file : *opened)
    streams.push_back(NewIdFileStream(file, std::max(window, kMinWindowBytes), context));
  MutexLock lock(mutex_);
  if (cancelled_) return;
  merging_ = parts_.files->Write(
      Unite(std::move(streams)), context, *number,
      [self = shared_from_this(), some](const absl::StatusOr<FileEntry>& merged) {
        if (!merged.ok()) return std::exchange(self->done_, nullptr)(merged.status());
        for (const FileEntry& run : some) self->parts_.files->Remove(run.number);
        self->runs_.erase(self->runs_.begin(), self->runs_.begin() + static_cast<ptrdiff_t>(some.size()));
        self->runs_.push_back(*merged);
        self->MergeSome();
      },
      parts_.inside);
}

void IdSorter::Cancel() {
  MutexLock lock(mutex_);
  cancelled_ = true;
  if (merging_ != nullptr) merging_->Cancel();
}

}  // namespace thermocline::storage::segment
