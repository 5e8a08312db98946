#pragma once

#include <atomic>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "storage/executor.h"
#include "storage/segment/id_stream.h"
#include "storage/segment/read_context.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// Pulls a stream on an executor, in turns of some milliseconds, without a thread while it waits for reads.
class StreamRun : public std::enable_shared_from_this<StreamRun> {
 public:
  // `keep` is what the stream needs; it is let go of after the stream.
  StreamRun(std::unique_ptr<IdStream> stream, std::shared_ptr<ReadContext> context, Executor& executor,
            std::shared_ptr<const void> keep = nullptr)
      : keep_(std::move(keep)),
        stream_(std::move(stream)),
        context_(std::move(context)),
        executor_(executor) {}

  // What becomes of a part: kIds, kBitmap, or kBlock if it accepts blocks; else those are expanded.
  enum class Verdict { kMore, kEnough, kExpand };
  using Sink = absl::AnyInvocable<absl::StatusOr<Verdict>(const Part&)>;
  // True: the stream has ended. False: `sink` had enough for now.
  using Done = absl::AnyInvocable<void(absl::StatusOr<bool>)>;

  // Hands parts to `sink`, on the executor, until it has enough; then calls `done`. It may be run again from
  // then on.
  void Run(bool accepts_blocks, Sink sink, Done done);

  // Neither sink nor `done` is called by a turn that begins later; what they hold is let go of soon.
  // Thread-safe.
  void Cancel();

  IdStream& stream() { return *stream_; }
  ReadContext& context() { return *context_; }

 private:
  void Turn();
  void Wake();
  void Finish(absl::StatusOr<bool> ended);
  void LetGo();

  const std::shared_ptr<const void> keep_;
  const std::unique_ptr<IdStream> stream_;
  const std::shared_ptr<ReadContext> context_;
  Executor& executor_;
  bool accepts_blocks_ = false;
  Sink sink_;
  Done done_;
  std::atomic<bool> cancelled_{false};

  Mutex mutex_;
  // A turn is queued or runs: what it uses is its own.
  bool turning_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace thermocline::storage::segment
