#include "storage/segment/stream_run.h"

#include <chrono>
#include <utility>

namespace thermocline::storage::segment {
namespace {

constexpr std::chrono::milliseconds kTurn{10};
constexpr int kPartsPerLookAtTheClock = 16;

}  // namespace

void StreamRun::Run(bool accepts_blocks, Sink sink, Done done) {
  {
    MutexLock lock(mutex_);
    if (cancelled_.load(std::memory_order_relaxed)) return;
    turning_ = true;
    accepts_blocks_ = accepts_blocks;
    sink_ = std::move(sink);
    done_ = std::move(done);
  }
  // This lives as long as it runs, also while nothing but a read knows of it.
  context_->SetWake([self = shared_from_this()] { self->Wake(); });
  if (cancelled_.load(std::memory_order_relaxed)) context_->SetWake(nullptr);
  Wake();
}

void StreamRun::Wake() {
  {
    MutexLock lock(mutex_);
    turning_ = true;
  }
  executor_.Run([self = shared_from_this()] { self->Turn(); });
}

void StreamRun::Cancel() {
  cancelled_.store(true, std::memory_order_relaxed);
  context_->SetWake(nullptr);
  MutexLock lock(mutex_);
  if (turning_) return;  // the turn lets go
  turning_ = true;
  executor_.Run([self = shared_from_this()] { self->LetGo(); });
}

void StreamRun::LetGo() {
  // Destroyed without the lock: they may be the last to hold this.
  Sink sink;
  Done done;
  MutexLock lock(mutex_);
  std::swap(sink, sink_);
  std::swap(done, done_);
}

void StreamRun::Turn() {
  const auto end = std::chrono::steady_clock::now() + kTurn;
  Part part;
  for (int i = 1;; ++i) {
    if (cancelled_.load(std::memory_order_relaxed)) return LetGo();
    if (context_->cancelled()) return Finish(absl::CancelledError("nobody waits for the answer any more"));
    if (i % kPartsPerLookAtTheClock == 0 && std::chrono::steady_clock::now() > end) break;
    context_->TakeBlocked();
    const uint64_t seen = context_->completed();
    if (absl::Status status = stream_->Next(part); !status.ok()) return Finish(status);
    if (part.kind == Part::Kind::kEnd) return Finish(true);
    if (part.kind == Part::Kind::kPending) {
      if (!context_->TakeBlocked()) {
        if (std::chrono::steady_clock::now() > end) break;
        continue;
      }
      {
        MutexLock lock(mutex_);
        if (cancelled_.load(std::memory_order_relaxed)) continue;
        turning_ = false;
      }
      if (context_->Park(seen)) return;
      MutexLock lock(mutex_);
      if (turning_) return;  // it was cancelled meanwhile
      turning_ = true;
      continue;
    }
    if (part.kind == Part::Kind::kBlock && !accepts_blocks_) {
      stream_->Expand();
      continue;
    }
    const absl::StatusOr<Verdict> verdict = sink_(part);
    if (!verdict.ok()) return Finish(verdict.status());
    if (*verdict == Verdict::kEnough) return Finish(false);
    if (*verdict == Verdict::kExpand) stream_->Expand();
  }
  executor_.Run([self = shared_from_this()] { self->Turn(); });
}

void StreamRun::Finish(absl::StatusOr<bool> ended) {
  context_->SetWake(nullptr);
  Sink sink;
  Done done;
  {
    MutexLock lock(mutex_);
    turning_ = false;
    std::swap(sink, sink_);
    std::swap(done, done_);
  }
  // Who is called may run this again.
  done(std::move(ended));
}

}  // namespace thermocline::storage::segment
