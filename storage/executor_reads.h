#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/base/thread_annotations.h"

#include "storage/disk_reads.h"
#include "storage/executor.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// Reads that are tasks of an executor, each of which waits for its read: as many at a time as the executor
// runs tasks. A read whose task the executor drops never completes, and nobody waits for it.
class ExecutorReads : public DiskReads {
 public:
  // The executor must outlive it.
  explicit ExecutorReads(Executor& executor) : executor_(executor) {}
  // With a manual executor, drain it first.
  ~ExecutorReads() override;

  void SubmitAll(std::span<DiskRead> reads) override;
  std::string_view name() const override { return "threads"; }

 private:
  class Pending;

  Executor& executor_;
  Mutex mutex_;
  CondVar none_pending_;
  uint64_t pending_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace thermocline::storage
