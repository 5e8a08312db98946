#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"

#include "storage/disk_reads.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// Reads through one io_uring, driven by one thread: the first that calls Enter() is the one that makes every
// later call but Interrupt().
//
// UringReads drives a ring with a thread of its own. An event loop can drive one too: it watches an eventfd
// and, when that was signalled, calls Enter(Wait::kNo) and Complete(); and Enter(Wait::kNo) again before it
// waits, for what was added since.
class ReadRing {
 public:
  // Keeps up to `depth` (1 to 16384) reads under way; further ones queue up in memory.
  //   UNIMPLEMENTED  the kernel has no io_uring, or one before Linux 5.11
  //   UNAVAILABLE    the system refuses it; the message says what may be the reason
  static absl::StatusOr<std::unique_ptr<ReadRing>> Create(uint32_t depth);
  // Nothing may be pending.
  ~ReadRing();

  // Has the kernel signal this eventfd(2) when Enter() will find something to report. Before the first
  // Enter(), from any thread, and once.
  absl::Status SignalTo(int event);

  // Starts nothing before the next Enter(), so what was added by then costs one system call together.
  void Add(DiskRead read);

  // Hands over to the kernel what was added, and has it report what is done. kYes: waits until there is
  // something to report, or Interrupt() was called; may return earlier.
  enum class Wait { kNo, kYes };
  void Enter(Wait wait);

  // Completes what the kernel has reported, and prepares the next Enter(). Completions may add reads.
  void Complete();

  // Makes an Enter() that waits, or else the next that would, return. From any thread.
  void Interrupt();

  // Reads added and not yet completed.
  size_t pending() const;

 private:
  class Impl;
  explicit ReadRing(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

// Reads through an io_uring with a thread of its own, on which all completions run.
class UringReads : public DiskReads {
 public:
  static constexpr uint32_t kDepth = 256;

  // As ReadRing::Create.
  static absl::StatusOr<std::unique_ptr<UringReads>> Create(uint32_t depth = kDepth);
  ~UringReads() override;

  void SubmitAll(std::span<DiskRead> reads) override;
  std::string_view name() const override { return "io_uring"; }

 private:
  explicit UringReads(std::unique_ptr<ReadRing> ring);

  void Drive();
  bool TakeSubmitted(std::vector<DiskRead>& taken);

  const std::unique_ptr<ReadRing> ring_;
  Mutex mutex_;
  std::vector<DiskRead> submitted_ ABSL_GUARDED_BY(mutex_);  // by other threads, and not yet in the ring
  bool asleep_ ABSL_GUARDED_BY(mutex_) = false;              // the thread wants an Interrupt() to look here
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace thermocline::storage
