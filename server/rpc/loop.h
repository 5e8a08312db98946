#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace thermocline::server::rpc {

// Something that a loop runs once after it was handed over. It may be handed over again from then on.
class LoopTask {
 public:
  virtual void RunOnLoop() = 0;

 protected:
  ~LoopTask() = default;

 private:
  friend class Loop;
  LoopTask* next_ = nullptr;
};

// Something that happens at a time unless it is disarmed first.
class LoopTimer {
 public:
  virtual void OnTime() = 0;

 protected:
  ~LoopTimer() = default;

 private:
  friend class Loop;
  LoopTimer* next_ = nullptr;
  LoopTimer** link_ = nullptr;  // what points here; nullptr: not armed
  std::chrono::steady_clock::time_point at_;
};

// What requests and answers may hold, in all loops together. Thread-safe.
class HoldLimit {
 public:
  explicit HoldLimit(int64_t bytes) : left_(bytes) {}

  // Takes (or, below zero, gives back) bytes; false, and nothing taken, if there are not so many.
  bool Take(int64_t bytes) {
    if (left_.fetch_sub(bytes, std::memory_order_relaxed) >= bytes || bytes <= 0) return true;
    left_.fetch_add(bytes, std::memory_order_relaxed);
    return false;
  }

 private:
  std::atomic<int64_t> left_;
};

// An event loop: one thread that runs one io_context, with what its connections share. Everything is for that
// thread alone but what says otherwise.
class Loop {
 public:
  using Clock = std::chrono::steady_clock;

  // `hold` must outlive the loop.
  explicit Loop(HoldLimit& hold);

  boost::asio::io_context& context() { return context_; }
  // Runs until the context has nothing left to do; the calling thread is the loop's. `every_second` is called
  // as often.
  template <typename EverySecond>
  void Run(EverySecond every_second);
  // Lets Run end when nothing is left but its ticks. Thread-safe.
  void LetEnd();

  // The loop whose thread this is; nullptr: none. Thread-safe.
  static Loop* Current();

  // Has the loop run a task. Thread-safe, and may be called by a loop on itself: the task runs later.
  void Post(LoopTask& task);

  // Has the task run in this round, a little later: what it needs of memory may be on its way meanwhile.
  // Every round ends with EndRound().
  void RunSoon(LoopTask& task);
  bool HasSoon() const { return oldest_soon_ != nullptr; }
  void EndRound();

  // Precise to some milliseconds. Once armed, a timer must be disarmed or have happened before it is
  // destroyed.
  void Arm(LoopTimer& timer, Clock::time_point at);
  static void Disarm(LoopTimer& timer);

  // Work that a stop waits for.
  void OperationBegan() { Add(operations_, 1); }
  void OperationEnded() { Add(operations_, -1); }
  int64_t operations() const { return operations_.load(std::memory_order_acquire); }  // thread-safe

  // Memory that requests and answers hold; given back when this is destroyed.
  class Hold {
   public:
    Hold() = default;
    Hold(Hold&& other) noexcept { *this = std::move(other); }
    Hold& operator=(Hold&& other) noexcept {
      std::swap(loop_, other.loop_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Hold() { Release(); }

    int64_t bytes() const { return bytes_; }
    // Holds `bytes` in all. False, and nothing changed, if the limit does not allow them.
    bool Resize(Loop& loop, int64_t bytes);
    void Release() {
      if (bytes_ != 0) loop_->hold_.Take(-std::exchange(bytes_, 0));
    }

   private:
    Loop* loop_ = nullptr;
    int64_t bytes_ = 0;
  };

  // How many connections the loop serves. Thread-safe.
  int connections() const { return connections_.load(std::memory_order_relaxed); }
  void CountConnection(int difference) { connections_.fetch_add(difference, std::memory_order_relaxed); }

 private:
  static constexpr size_t kSlots = 256;
  static constexpr std::chrono::milliseconds kSlotTime{8};

  // Written by the loop alone; release so that who sees that an operation has ended sees what it has done.
  static void Add(std::atomic<int64_t>& count, int64_t difference) {
    count.store(count.load(std::memory_order_relaxed) + difference, std::memory_order_release);
  }

  // As many tasks as there can be misses of the processor's cache under way.
  static constexpr size_t kSoon = 12;

  void RunOldest();
  static size_t SlotOf(Clock::time_point at);
  static void Link(LoopTimer& timer, LoopTimer*& head);
  void RunPosted();
  void Turn();
  void RunTimersUntil(Clock::time_point now);
  void StartSecond(void (*call)(void*), void* what);

  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> stay_;
  boost::asio::steady_timer wheel_timer_;
  boost::asio::steady_timer second_timer_;

  // The newest first. Whoever makes it non-empty wakes the loop.
  std::atomic<LoopTask*> posted_{nullptr};

  LoopTask* oldest_soon_ = nullptr;
  LoopTask* newest_soon_ = nullptr;
  size_t soon_ = 0;

  std::array<LoopTimer*, kSlots> wheel_{};
  LoopTimer* due_ = nullptr;  // while they happen
  bool turning_ = false;
  Clock::time_point turned_to_;

  std::atomic<int64_t> operations_{0};
  std::atomic<int> connections_{0};
  HoldLimit& hold_;
};

template <typename EverySecond>
void Loop::Run(EverySecond every_second) {
  StartSecond([](void* what) { (*static_cast<EverySecond*>(what))(); }, &every_second);
  context_.run();
}

}  // namespace thermocline::server::rpc
