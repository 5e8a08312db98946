#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"

#include "storage/thread_annotations.h"

namespace thermocline::storage {

// Tells work that nobody wants it any more. Copies are the same cancellation. Thread-safe.
class Cancellation {
 public:
  // One that never happens.
  Cancellation() = default;
  static Cancellation New() {
    Cancellation cancellation;
    cancellation.state_ = std::make_shared<State>();
    return cancellation;
  }

  // Tells those who listen. Not for one that was made by the constructor.
  void Cancel() const {
    std::list<Listener> told;
    {
      MutexLock lock(state_->mutex);
      state_->cancelled.store(true, std::memory_order_relaxed);
      told.swap(state_->listeners);
    }
    for (const Listener& listener : told) (*listener)();
  }

  bool cancelled() const { return state_ != nullptr && state_->cancelled.load(std::memory_order_relaxed); }

  // `then` is called at most once: by Cancel, or now if that was called; not when what this returns has been
  // destroyed, unless it is being called.
  [[nodiscard]] std::shared_ptr<const void> OnCancel(std::function<void()> then) const {
    if (state_ == nullptr) return nullptr;
    auto listener = std::make_shared<const std::function<void()>>(std::move(then));
    {
      MutexLock lock(state_->mutex);
      if (!state_->cancelled.load(std::memory_order_relaxed)) {
        const auto at = state_->listeners.insert(state_->listeners.end(), listener);
        return std::shared_ptr<const void>(nullptr, [state = state_, at](const void*) {
          MutexLock locked(state->mutex);
          if (!state->cancelled.load(std::memory_order_relaxed)) state->listeners.erase(at);
        });
      }
    }
    (*listener)();
    return nullptr;
  }

 private:
  using Listener = std::shared_ptr<const std::function<void()>>;
  struct State {
    std::atomic<bool> cancelled{false};
    Mutex mutex;
    std::list<Listener> listeners ABSL_GUARDED_BY(mutex);
  };

  std::shared_ptr<State> state_;
};

}  // namespace thermocline::storage
