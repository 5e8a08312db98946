#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "absl/functional/any_invocable.h"

#include "server/rpc/loop.h"
#include "storage/thread_annotations.h"

namespace thermocline::server::rpc {

// Where other threads leave news for an exchange, which gets them on its loop. Whoever brings news shares
// it: the exchange may go first, and the loop after it.
template <typename News>
class Letterbox final : public std::enable_shared_from_this<Letterbox<News>>, private LoopTask {
 public:
  // `receive` is called on the loop for each news, never inside the call that brings them.
  using Receive = absl::AnyInvocable<void(News)>;

  Letterbox(Loop& loop, Receive receive) : receive_(std::move(receive)), loop_(&loop) {}

  // Thread-safe, but the news before must have been received. Without effect once the box is closed.
  void Bring(News news) {
    storage::MutexLock lock(mutex_);
    if (loop_ == nullptr) return;
    news_.emplace(std::move(news));
    self_ = this->shared_from_this();
    loop_->Post(*this);
  }

  // Nothing is received any more. On the loop's thread, also by `receive` itself.
  void Close() {
    storage::MutexLock lock(mutex_);
    loop_ = nullptr;
  }

 private:
  void RunOnLoop() override {
    std::shared_ptr<Letterbox> self;
    std::optional<News> news;
    bool open;
    {
      storage::MutexLock lock(mutex_);
      self = std::move(self_);
      news.swap(news_);
      open = loop_ != nullptr;
    }
    if (open) receive_(*std::move(news));
  }

  Receive receive_;
  storage::Mutex mutex_;
  Loop* loop_ ABSL_GUARDED_BY(mutex_);  // nullptr: closed
  std::optional<News> news_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Letterbox> self_ ABSL_GUARDED_BY(mutex_);  // while the loop has it
};

}  // namespace thermocline::server::rpc
