#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>

namespace thermocline::cli {

struct ProgressState {
  uint64_t records = 0;
  uint64_t bytes = 0;                   // of the input
  std::optional<uint64_t> total_bytes;  // nullopt: unknown, as of a pipe
  std::chrono::milliseconds elapsed{0};
  std::string_view what = "records";
};

// "[#####---------------]  25 %": `part` of a bar, from 0 to 1.
std::string ProgressBar(double part);

// "[########------------]  42 %  63 000 records  41 000/s  7.2 MiB of 17.1 MiB  2.1 s left"
std::string ProgressLine(const ProgressState& state);

// Shows how far a long job is: on a terminal a line that is drawn again and again, elsewhere a line every few
// seconds. Thread-safe.
class Progress {
 public:
  // `line` says how far the job is; it is called from a thread of this object until it is stopped.
  Progress(std::ostream& out, bool terminal, std::function<std::string()> line);
  ~Progress();

  // Prints a line of its own.
  void Note(std::string_view line);

  // Ends the display and takes its line off the terminal. Idempotent.
  void Stop();

 private:
  void Show();
  void Erase();

  std::ostream& out_;
  const bool terminal_;
  const std::function<std::string()> line_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace thermocline::cli
