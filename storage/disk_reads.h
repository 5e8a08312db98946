#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"

namespace thermocline::storage {

// A read of exactly out.size() bytes. File and memory belong to the caller and must outlive the completion.
//
// A file that was opened kReadDirect is read straight into `out` if offset, length and memory are multiples
// of its alignment; else the bytes are copied there.
struct DiskRead {
  File* file;
  uint64_t offset;
  std::span<char> out;  // what it holds after a failure is unknown
  // Called exactly once, with the errors of File::ReadAt, without any lock held. It runs on a thread that
  // serves the other reads: it should be short, and must not wait for another read. It may submit reads.
  absl::AnyInvocable<void(absl::Status)> done;
};

// Reads of files that complete later, many at a time and in any order. Thread-safe.
//
// Two implementations: UringReads (storage/uring_reads.h), and ExecutorReads (storage/executor_reads.h) where
// io_uring is refused and in tests.
class DiskReads {
 public:
  // Waits until every read has completed, those included that completions submit meanwhile. Not from a
  // completion.
  virtual ~DiskReads() = default;

  // Takes the reads out of the span. Never completes one before it returns, and never waits for the disk: how
  // many are under way is the caller's to limit.
  virtual void SubmitAll(std::span<DiskRead> reads) = 0;
  void Submit(DiskRead read) { SubmitAll({&read, 1}); }

  // How the reads are done, for people: "io_uring" or "threads".
  virtual std::string_view name() const = 0;
};

enum class DiskReadsChoice {
  kAuto,     // io_uring, or threads where it is refused
  kIoUring,  // fails where it is refused
  kThreads,
};

struct OpenedDiskReads {
  std::unique_ptr<DiskReads> reads;
  absl::Status refusal;  // why kAuto did not take io_uring; OK if it did, or was not asked to choose
};

// `threads` (at least 1) are started only if it comes to threads. UNIMPLEMENTED or UNAVAILABLE: the system
// refuses io_uring; the message says why.
absl::StatusOr<OpenedDiskReads> OpenDiskReads(DiskReadsChoice choice, int threads);

}  // namespace thermocline::storage
