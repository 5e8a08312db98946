#include "storage/sort/run_crew.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace thermocline::storage::sort {

RunCrew::RunCrew(ObjectStore& store, const MemoryPlan& plan, const Order& order, SortProgress& progress)
    : store_(store), plan_(plan), order_(order), progress_(progress) {}

absl::StatusOr<std::unique_ptr<RunCrew>> RunCrew::Start(ObjectStore& store, const MemoryPlan& plan,
                                                        const Order& order, const NewFields& fields,
                                                        SortProgress& progress) {
  std::unique_ptr<RunCrew> crew(new RunCrew(store, plan, order, progress));
  for (size_t i = 0; i < plan.workers && order.keys > 0; ++i) {
    absl::StatusOr<std::unique_ptr<FieldReader>> reader = fields();
    if (!reader.ok()) return reader.status();
    crew->fields_.push_back(*std::move(reader));
  }
  for (size_t i = 0; i < plan.workers; ++i) {
    FieldReader* const reader = order.keys > 0 ? crew->fields_[i].get() : nullptr;
    crew->threads_.emplace_back([crew = crew.get(), reader] { crew->Work(reader); });
  }
  return crew;
}

RunCrew::~RunCrew() {
  Stop();
  MutexLock lock(mutex_);
  for (const Part& part : parts_) store_.Remove(part.run.name).IgnoreError();
}

void RunCrew::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

absl::StatusOr<Batch*> RunCrew::Take(size_t& text_bytes) {
  MutexLock lock(mutex_);
  if (free_.empty() && batches_.size() < plan_.batches) {
    batches_.push_back(std::make_unique<Batch>(plan_.batch_bytes));
    free_.push_back(batches_.back().get());
  }
  // None will be free unless some are written.
  if (free_.empty()) SpillAll();
  while (free_.empty() && status_.ok()) changed_.Wait(mutex_);
  if (!status_.ok()) return status_;
  Batch* const batch = free_.back();
  free_.pop_back();
  constexpr double kSpare = 1.02;
  const auto share = static_cast<size_t>(static_cast<double>(plan_.batch_bytes) / (1 + overhead_ * kSpare));
  text_bytes = std::clamp(share, std::min(2 * plan_.max_record_bytes + 64, plan_.batch_bytes / 2),
                          batch->space().size());
  return batch;
}

void RunCrew::Give(Batch* batch) {
  MutexLock lock(mutex_);
  filled_.push_back(batch);
  changed_.NotifyAll();
}

void RunCrew::Return(Batch* batch) {
  MutexLock lock(mutex_);
  free_.push_back(batch);
}

void RunCrew::SpillAll() {
  spills_ = true;
  spilled_.insert(spilled_.end(), sorted_.begin(), sorted_.end());
  sorted_.clear();
  changed_.NotifyAll();
}

absl::StatusOr<RunCrew::Result> RunCrew::Finish() {
  {
    MutexLock lock(mutex_);
    const auto working = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return busy_ > 0 || !filled_.empty() || !spilled_.empty();
    };
    while (working() && status_.ok()) changed_.Wait(mutex_);
    // What was not written is, if something was.
    if (spills_ && status_.ok()) SpillAll();
    while (working() && status_.ok()) changed_.Wait(mutex_);
  }
  Stop();
  MutexLock lock(mutex_);
  if (!status_.ok()) return status_;
  Result result{.outcome = std::move(outcome_), .duplicates = duplicates_};
  const auto is_sorted = [this](const std::unique_ptr<Batch>& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::find(sorted_.begin(), sorted_.end(), batch.get()) != sorted_.end();
  };
  for (std::unique_ptr<Batch>& batch : batches_) {
    if (is_sorted(batch)) result.batches.push_back(std::move(batch));
  }
  batches_.clear();
  std::sort(result.batches.begin(), result.batches.end(),
            [](const auto& a, const auto& b) { return a->number() < b->number(); });
  std::sort(parts_.begin(), parts_.end(), [](const Part& a, const Part& b) {
    return std::pair(a.batch, a.part) < std::pair(b.batch, b.part);
  });
  for (Part& part : parts_) result.runs.push_back(std::move(part.run));
  parts_.clear();
  return result;
}

void RunCrew::Fail(uint64_t batch, absl::Status status) {
  MutexLock lock(mutex_);
  if (batch < failed_batch_) {
    failed_batch_ = batch;
    status_ = std::move(status);
  }
}

void RunCrew::Work(FieldReader* fields) {
  MutexLock lock(mutex_);
  for (;;) {
    while (filled_.empty() && spilled_.empty() && !stopping_) changed_.Wait(mutex_);
    if (stopping_) return;
    // What is written makes room, so that the input goes on.
    const bool spills = !spilled_.empty();
    std::deque<Batch*>& queue = spills ? spilled_ : filled_;
    Batch* const batch = queue.front();
    queue.pop_front();
    ++busy_;
    mutex_.Unlock();
    if (spills) {
      if (absl::Status status = Spill(*batch, 0); !status.ok()) Fail(batch->number(), std::move(status));
    } else {
      Sort(*batch, fields);
    }
    mutex_.Lock();
    if (spills) free_.push_back(batch);
    --busy_;
    changed_.NotifyAll();
  }
}

void RunCrew::Sort(Batch& batch, FieldReader* fields) {
  Batch::Outcome outcome;
  absl::Status status;
  bool kept = false;
  for (uint64_t part = 0; status.ok() && !kept && (part == 0 || !batch.ended()); ++part) {
    status = batch.SortSome(order_, fields, outcome);
    if (!status.ok()) break;
    progress_.records.fetch_add(batch.count(), std::memory_order_relaxed);
    {
      MutexLock lock(mutex_);
      overhead_ = std::max(batch.overhead(), 0.01);
      kept = part == 0 && batch.ended() && !spills_;
      if (kept) sorted_.push_back(&batch);
      spills_ |= !kept;
    }
    if (!kept) status = Spill(batch, part);
  }
  if (!status.ok()) return Fail(batch.number(), std::move(status));
  MutexLock lock(mutex_);
  outcome_.invalid += outcome.invalid;
  if (outcome.invalid > 0 && batch.number() < first_invalid_batch_) {
    first_invalid_batch_ = batch.number();
    outcome_.first_invalid = std::move(outcome.first_invalid);
  }
  if (!kept) free_.push_back(&batch);
}

absl::Status RunCrew::Spill(const Batch& batch, uint64_t part) {
  if (batch.count() == 0) return absl::OkStatus();
  uint64_t duplicates = 0;
  absl::StatusOr<BlockFile> run = WriteRun(batch, part, duplicates);
  if (!run.ok()) return run.status();
  MutexLock lock(mutex_);
  parts_.push_back({batch.number(), part, *std::move(run)});
  duplicates_ += duplicates;
  return absl::OkStatus();
}

absl::StatusOr<BlockFile> RunCrew::WriteRun(const Batch& batch, uint64_t part, uint64_t& duplicates) {
  absl::StatusOr<std::unique_ptr<RunWriter>> writer = RunWriter::Create(
      store_, fmt::format("run-{}-{}", batch.number(), part), plan_.block_bytes, order_.keys > 0);
  if (!writer.ok()) return writer.status();
  std::vector<std::unique_ptr<SortedRecords>> sources;
  sources.push_back(batch.Records(order_));
  const absl::StatusOr<uint64_t> merged =
      Merge(std::move(sources), {order_.descending, order_.unique}, **writer,
            [this] { return !progress_.cancelled.load(std::memory_order_relaxed); });
  if (!merged.ok()) return merged.status();
  duplicates = *merged;
  return (*writer)->Finish();
}

}  // namespace thermocline::storage::sort
