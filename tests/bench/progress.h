#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace thermocline::bench {

// While it lives, and if stdout is a terminal, a line that says how far something has come and how fast.
class Progress {
 public:
  // `done` counts up to `total` (0: nobody knows).
  Progress(std::string what, const std::atomic<uint64_t>& done, uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  void Print();

  const std::string what_;
  const std::atomic<uint64_t>& done_;
  const uint64_t total_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace thermocline::bench
