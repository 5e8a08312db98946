#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"
#include "storage/record_sort.h"
#include "storage/sort/batch.h"
#include "storage/sort/memory_plan.h"
#include "storage/sort/run.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::sort {

// Threads that sort batches and write them as runs. As long as there are batches for all of the input, they
// stay in memory. Its functions are for one thread.
class RunCrew {
 public:
  using NewFields = std::function<absl::StatusOr<std::unique_ptr<FieldReader>>()>;

  // `fields` makes a reader for each thread; null if there are no keys. `store` and `progress` must outlive
  // it. Fails as `fields` does.
  static absl::StatusOr<std::unique_ptr<RunCrew>> Start(ObjectStore& store, const MemoryPlan& plan,
                                                        const Order& order, const NewFields& fields,
                                                        SortProgress& progress);
  // Runs that nobody has taken are removed.
  ~RunCrew();

  // A batch that may be filled: so much of its space that its keys will fit. Waits for one.
  absl::StatusOr<Batch*> Take(size_t& text_bytes);
  // It has been filled, and begun.
  void Give(Batch* batch);
  // It has not.
  void Return(Batch* batch);

  // Waits until all is sorted. Then either every batch is in memory, or all are in runs; both in the order of
  // the input.
  struct Result {
    std::vector<std::unique_ptr<Batch>> batches;
    std::vector<BlockFile> runs;
    Batch::Outcome outcome;
    uint64_t duplicates = 0;
  };
  absl::StatusOr<Result> Finish();

 private:
  struct Part {
    uint64_t batch;
    uint64_t part;
    BlockFile run;
  };

  RunCrew(ObjectStore& store, const MemoryPlan& plan, const Order& order, SortProgress& progress);
  void Work(FieldReader* fields);
  void Sort(Batch& batch, FieldReader* fields);
  absl::StatusOr<BlockFile> WriteRun(const Batch& batch, uint64_t part, uint64_t& duplicates);
  absl::Status Spill(const Batch& batch, uint64_t part);
  void SpillAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(uint64_t batch, absl::Status status);
  void Stop();

  ObjectStore& store_;
  const MemoryPlan plan_;
  const Order order_;
  SortProgress& progress_;
  std::vector<std::unique_ptr<FieldReader>> fields_;

  Mutex mutex_;
  CondVar changed_;
  std::vector<std::unique_ptr<Batch>> batches_;  // all there are
  std::vector<Batch*> free_ ABSL_GUARDED_BY(mutex_);
  std::deque<Batch*> filled_ ABSL_GUARDED_BY(mutex_);
  std::vector<Batch*> sorted_ ABSL_GUARDED_BY(mutex_);
  std::deque<Batch*> spilled_ ABSL_GUARDED_BY(mutex_);  // sorted, to be written
  bool spills_ ABSL_GUARDED_BY(mutex_) = false;
  size_t busy_ ABSL_GUARDED_BY(mutex_) = 0;  // threads
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  double overhead_ ABSL_GUARDED_BY(mutex_) = 0.5;  // see Batch::overhead
  std::vector<Part> parts_ ABSL_GUARDED_BY(mutex_);
  Batch::Outcome outcome_ ABSL_GUARDED_BY(mutex_);
  uint64_t first_invalid_batch_ ABSL_GUARDED_BY(mutex_) = UINT64_MAX;
  uint64_t duplicates_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t failed_batch_ ABSL_GUARDED_BY(mutex_) = UINT64_MAX;  // the first one
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace thermocline::storage::sort
