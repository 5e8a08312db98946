#include "server/rpc/loop.h"

#include <algorithm>

#include <boost/asio/post.hpp>

namespace thermocline::server::rpc {
namespace {

thread_local Loop* current_loop = nullptr;

}  // namespace

Loop::Loop(HoldLimit& hold)
    : context_(1),
      stay_(context_.get_executor()),
      wheel_timer_(context_),
      second_timer_(context_),
      hold_(hold) {}

Loop* Loop::Current() { return current_loop; }

void Loop::LetEnd() {
  boost::asio::post(context_, [this] {
    second_timer_.cancel();
    wheel_timer_.cancel();
    stay_.reset();
  });
}

void Loop::StartSecond(void (*call)(void*), void* what) {
  current_loop = this;
  second_timer_.expires_after(std::chrono::seconds(1));
  second_timer_.async_wait([this, call, what](const boost::system::error_code& error) {
    if (error || !stay_.owns_work()) return;
    call(what);
    StartSecond(call, what);
  });
}

void Loop::Post(LoopTask& task) {
  LoopTask* head = posted_.load(std::memory_order_relaxed);
  do {
    task.next_ = head;
    // With the exchange in RunPosted: the loop sees what the task's owner wrote before.
  } while (!posted_.compare_exchange_weak(head, &task, std::memory_order_release, std::memory_order_relaxed));
  if (head == nullptr) boost::asio::post(context_, [this] { RunPosted(); });
}

void Loop::RunPosted() {
  LoopTask* task = posted_.exchange(nullptr, std::memory_order_acquire);  // with Post
  LoopTask* in_order = nullptr;
  while (task != nullptr) {
    LoopTask* const next = task->next_;
    task->next_ = in_order;
    in_order = std::exchange(task, next);
  }
  while (in_order != nullptr) {
    LoopTask* const next = in_order->next_;
    in_order->RunOnLoop();
    in_order = next;
  }
}

void Loop::RunSoon(LoopTask& task) {
  task.next_ = nullptr;
  (oldest_soon_ == nullptr ? oldest_soon_ : newest_soon_->next_) = &task;
  newest_soon_ = &task;
  if (++soon_ > kSoon) RunOldest();
}

void Loop::RunOldest() {
  LoopTask& task = *oldest_soon_;
  oldest_soon_ = task.next_;
  --soon_;
  task.RunOnLoop();
}

void Loop::EndRound() {
  while (oldest_soon_ != nullptr) RunOldest();
}

size_t Loop::SlotOf(Clock::time_point at) {
  return static_cast<size_t>(at.time_since_epoch() / kSlotTime) % kSlots;
}

void Loop::Arm(LoopTimer& timer, Clock::time_point at) {
  if (!turning_) {
    turning_ = true;
    turned_to_ = Clock::now();
    Turn();
  }
  timer.at_ = at;
  // The wheel would come to a slot that it has passed only after a whole turn.
  Link(timer, wheel_[SlotOf(std::max(at, turned_to_))]);
}

void Loop::Disarm(LoopTimer& timer) {
  if (timer.link_ == nullptr) return;
  *timer.link_ = timer.next_;
  if (timer.next_ != nullptr) timer.next_->link_ = timer.link_;
  timer.link_ = nullptr;
}

void Loop::Turn() {
  wheel_timer_.expires_after(kSlotTime);
  wheel_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    RunTimersUntil(Clock::now());
    turning_ = false;
    for (const LoopTimer* head : wheel_) turning_ = turning_ || head != nullptr;
    if (turning_) Turn();
  });
}

// A timer that is due a turn or more later stays where it is.
void Loop::RunTimersUntil(Clock::time_point now) {
  const size_t slots = std::min<size_t>(kSlots, static_cast<size_t>((now - turned_to_) / kSlotTime) + 2);
  const size_t first = SlotOf(turned_to_);
  turned_to_ = now;
  for (size_t i = 0; i < slots; ++i) {
    for (LoopTimer* timer = wheel_[(first + i) % kSlots]; timer != nullptr;) {
      LoopTimer* const next = timer->next_;
      if (timer->at_ <= now) {
        Disarm(*timer);
        Link(*timer, due_);
      }
      timer = next;
    }
  }
  // One that happens may disarm others.
  while (due_ != nullptr) {
    LoopTimer& timer = *due_;
    Disarm(timer);
    timer.OnTime();
  }
}

void Loop::Link(LoopTimer& timer, LoopTimer*& head) {
  timer.next_ = head;
  timer.link_ = &head;
  if (head != nullptr) head->link_ = &timer.next_;
  head = &timer;
}

bool Loop::Hold::Resize(Loop& loop, int64_t bytes) {
  if (!loop.hold_.Take(bytes - bytes_)) return false;
  loop_ = &loop;
  bytes_ = bytes;
  return true;
}

}  // namespace thermocline::server::rpc
