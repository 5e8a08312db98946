#include "storage/record_sort.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "storage/sort/memory_plan.h"
#include "storage/sort/merge.h"
#include "storage/sort/piped_output.h"
#include "storage/sort/record_cutter.h"
#include "storage/sort/run.h"
#include "storage/sort/run_crew.h"

namespace thermocline::storage {
namespace sort {
namespace {

constexpr uint64_t kMaxWindowBytes = 4 << 20;

absl::Status Check(const SortOptions& options) {
  if (options.memory_bytes < kMinSortBytes) {
    return absl::InvalidArgumentError(
        fmt::format("{} bytes of memory are too few for a sort, which takes {} at least",
                    options.memory_bytes, kMinSortBytes));
  }
  if (options.format == RecordFormat::kLines && !options.keys.empty())
    return absl::InvalidArgumentError("lines have no fields: a key needs NDJSON or CSV");
  if (options.keys.size() > kMaxKeys)
    return absl::InvalidArgumentError(
        fmt::format("{} keys are too many; {} is the most", options.keys.size(), kMaxKeys));
  return absl::OkStatus();
}

class RecordSort {
 public:
  RecordSort(ByteReader& input, ObjectWriter& output, ObjectStore& store, const SortOptions& options,
             SortProgress& progress)
      : options_(options),
        plan_(options),
        order_{options.format, options.keys.size(),  options.descending,
               options.unique, options.skip_invalid, plan_.max_record_bytes},
        output_(output),
        store_(store),
        progress_(progress),
        input_(input),
        cutter_(input, options.format, plan_.max_record_bytes, [&progress](size_t bytes) {
          progress.bytes.fetch_add(bytes, std::memory_order_relaxed);
          return !progress.cancelled.load(std::memory_order_relaxed);
        }) {}

  ~RecordSort() {
    for (const BlockFile& run : runs_) store_.Remove(run.name).IgnoreError();
  }

  absl::StatusOr<SortSummary> Execute() {
    Enter(SortStage::kReading, input_.size().value_or(0));
    absl::StatusOr<std::string> header = cutter_.TakeHeader();
    if (!header.ok()) return header.status();
    absl::StatusOr<RunCrew::Result> sorted = ReadAndSort(*header);
    if (!sorted.ok()) return sorted.status();
    runs_ = std::move(sorted->runs);
    summary_.invalid = sorted->outcome.invalid;
    summary_.first_invalid = std::move(sorted->outcome.first_invalid);
    summary_.duplicates = sorted->duplicates;
    summary_.runs = runs_.size();
    if (absl::Status status = MergeToFew(); !status.ok()) return status;
    if (absl::Status status = WriteOutput(*header, sorted->batches); !status.ok()) return status;
    return std::move(summary_);
  }

 private:
  bool stores_keys() const { return order_.keys > 0; }

  void Enter(SortStage stage, uint64_t bytes) {
    progress_.bytes = 0;
    progress_.stage_bytes = bytes;
    progress_.stage = stage;
  }

  absl::StatusOr<RunCrew::Result> ReadAndSort(const std::string& header) {
    const std::shared_ptr<JsonMemory> json = NewJsonMemory();
    const auto fields = [&] {
      return NewFieldReader({options_.format, options_.keys, options_.text}, header, json);
    };
    absl::StatusOr<std::unique_ptr<RunCrew>> crew = RunCrew::Start(store_, plan_, order_, fields, progress_);
    if (!crew.ok()) return crew.status();
    for (uint64_t number = 0;; ++number) {
      size_t text_bytes = 0;
      const absl::StatusOr<Batch*> batch = (*crew)->Take(text_bytes);
      if (!batch.ok()) return batch.status();
      const absl::StatusOr<RecordCutter::Piece> piece = cutter_.Fill((*batch)->space().first(text_bytes));
      if (!piece.ok()) {
        (*crew)->Return(*batch);
        // What is wrong in an earlier line is said first.
        const absl::Status earlier = (*crew)->Finish().status();
        return earlier.ok() ? piece.status() : earlier;
      }
      if (piece->bytes == 0) {
        (*crew)->Return(*batch);
        return (*crew)->Finish();
      }
      (*batch)->Begin(piece->bytes, number, piece->first_line);
      (*crew)->Give(*batch);
    }
  }

  // Merges runs until the rest can be read at once: the neighbours that are smallest together first, so that
  // equal keys keep their order and few bytes are copied.
  absl::Status MergeToFew() {
    for (uint64_t number = 0;; ++number) {
      uint64_t need = 0;
      for (const BlockFile& run : runs_) need = std::max(need, BlockReader::LeastBytes(run));
      const size_t most = need == 0 ? runs_.size() : std::max<size_t>(2, plan_.merge_bytes / need);
      if (runs_.size() <= most) return absl::OkStatus();
      const size_t count = std::min(most, runs_.size() - most + 1);
      if (absl::Status status = MergeRuns(Smallest(count), count, number); !status.ok()) return status;
      ++summary_.merges;
    }
  }

  size_t Smallest(size_t count) const {
    uint64_t sum = 0;
    uint64_t least = UINT64_MAX;
    size_t first = 0;
    for (size_t i = 0; i < runs_.size(); ++i) {
      sum += runs_[i].bytes;
      if (i >= count) sum -= runs_[i - count].bytes;
      if (i + 1 < count || sum >= least) continue;
      least = sum;
      first = i + 1 - count;
    }
    return first;
  }

  absl::StatusOr<std::vector<std::unique_ptr<SortedRecords>>> Open(std::span<const BlockFile> runs) {
    const uint64_t window =
        std::min(kMaxWindowBytes, plan_.merge_bytes / std::max<size_t>(1, runs.size()) / 2);
    std::vector<std::unique_ptr<SortedRecords>> sources;
    for (const BlockFile& run : runs) {
      auto source = OpenRun(store_, run, window, stores_keys(), order_.descending);
      if (!source.ok()) return source.status();
      sources.push_back(*std::move(source));
    }
    return sources;
  }

  absl::Status MergeTo(std::vector<std::unique_ptr<SortedRecords>> sources, RecordSink& sink) {
    const absl::StatusOr<uint64_t> dropped =
        Merge(std::move(sources), {order_.descending, order_.unique}, sink,
              [this] { return !progress_.cancelled.load(std::memory_order_relaxed); });
    if (!dropped.ok()) return dropped.status();
    summary_.duplicates += *dropped;
    return absl::OkStatus();
  }

  absl::Status MergeRuns(size_t first, size_t count, uint64_t number) {
    const auto begin = runs_.begin() + static_cast<ptrdiff_t>(first);
    const auto end = begin + static_cast<ptrdiff_t>(count);
    if (number == 0) Enter(SortStage::kMerging, 0);
    auto sources = Open({begin, end});
    if (!sources.ok()) return sources.status();
    auto writer =
        RunWriter::Create(store_, fmt::format("merged-{}", number), plan_.block_bytes, stores_keys());
    if (!writer.ok()) return writer.status();
    if (absl::Status status = MergeTo(*std::move(sources), **writer); !status.ok()) return status;
    absl::StatusOr<BlockFile> merged = (*writer)->Finish();
    if (!merged.ok()) return merged.status();
    progress_.bytes += merged->bytes;
    for (auto run = begin; run != end; ++run) store_.Remove(run->name).IgnoreError();
    *begin = *std::move(merged);
    runs_.erase(begin + 1, end);
    return absl::OkStatus();
  }

  absl::Status WriteOutput(const std::string& header, const std::vector<std::unique_ptr<Batch>>& batches) {
    uint64_t bytes = 0;
    for (const BlockFile& run : runs_) bytes += run.bytes;
    const uint64_t read = progress_.bytes;
    Enter(SortStage::kWriting, runs_.empty() ? read : bytes);
    std::vector<std::unique_ptr<SortedRecords>> sources;
    for (const auto& batch : batches) sources.push_back(batch->Records(order_));
    if (!runs_.empty()) {
      auto opened = Open(runs_);
      if (!opened.ok()) return opened.status();
      sources = *std::move(opened);
    }
    PipedOutput output(output_, plan_.piece_bytes, progress_.bytes);
    if (absl::Status status = output.AddText(header); !status.ok()) return status;
    if (absl::Status status = MergeTo(std::move(sources), output); !status.ok()) return status;
    summary_.records = output.records();
    summary_.bytes = output.bytes();
    return output.Finish();
  }

  const SortOptions& options_;
  const MemoryPlan plan_;
  const Order order_;
  ObjectWriter& output_;
  ObjectStore& store_;
  SortProgress& progress_;
  ByteReader& input_;
  RecordCutter cutter_;
  std::vector<BlockFile> runs_;  // in the order of the input
  SortSummary summary_;
};

}  // namespace
}  // namespace sort

absl::StatusOr<SortSummary> SortRecords(ByteReader& input, ObjectWriter& output, ObjectStore& runs,
                                        const SortOptions& options, SortProgress& progress) {
  if (absl::Status status = sort::Check(options); !status.ok()) return status;
  return sort::RecordSort(input, output, runs, options, progress).Execute();
}

}  // namespace thermocline::storage
