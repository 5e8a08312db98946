#include "storage/disk_reads.h"

#include <utility>

#include "storage/executor_reads.h"
#include "storage/thread_pool.h"
#include "storage/uring_reads.h"

namespace thermocline::storage {
namespace {

// Reads on threads that it starts itself.
class ThreadReads : public DiskReads {
 public:
  explicit ThreadReads(int threads) : threads_("disk", threads) {}

  void SubmitAll(std::span<DiskRead> reads) override { reads_.SubmitAll(reads); }
  std::string_view name() const override { return reads_.name(); }

 private:
  ThreadPool threads_;
  ExecutorReads reads_{threads_};
};

}  // namespace

absl::StatusOr<OpenedDiskReads> OpenDiskReads(DiskReadsChoice choice, int threads) {
  OpenedDiskReads opened;
  if (choice != DiskReadsChoice::kThreads) {
    absl::StatusOr<std::unique_ptr<UringReads>> uring = UringReads::Create();
    if (uring.ok()) {
      opened.reads = *std::move(uring);
      return opened;
    }
    if (choice == DiskReadsChoice::kIoUring) return uring.status();
    opened.refusal = uring.status();
  }
  opened.reads = std::make_unique<ThreadReads>(threads);
  return opened;
}

}  // namespace thermocline::storage
