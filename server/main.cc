// The server program: flags, signals, start and stop.

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <signal.h>
#include <string_view>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

#include "fmt/format.h"
#include "spdlog/spdlog.h"

#include "server/config.h"
#include "server/heap.h"
#include "server/log.h"
#include "server/server.h"

namespace thermocline::server {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr std::chrono::seconds kDrainPatience(10);

// Takes SIGTERM and SIGINT on a thread of its own: one asks for a clean stop; a second one, or one before the
// server serves, when there is nothing to finish, ends the process at once.
class StopSignals {
 public:
  // Before any other thread starts, so that all of them leave the signals to this one.
  StopSignals() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, kLeave);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    thread_ = std::thread([this] { Watch(); });
  }

  ~StopSignals() {
    pthread_kill(thread_.native_handle(), kLeave);
    thread_.join();
  }

  // From here on, the first signal asks for a clean stop.
  void Serving() {
    std::lock_guard lock(mutex_);
    serving_ = true;
  }

  // Waits for that signal and returns its name.
  std::string_view Wait() {
    std::unique_lock lock(mutex_);
    came_.wait(lock, [this] { return first_ != 0; });
    return NameOf(first_);
  }

 private:
  static constexpr int kLeave = SIGUSR1;

  static std::string_view NameOf(int signal) { return signal == SIGTERM ? "SIGTERM" : "SIGINT"; }

  void Watch() {
    for (;;) {
      int signal = 0;
      if (sigwait(&signals_, &signal) != 0 || signal == kLeave) return;
      std::lock_guard lock(mutex_);
      if (!serving_ || first_ != 0) {
        spdlog::error("{}: leaving at once", NameOf(signal));
        _exit(kExitFailure);
      }
      first_ = signal;
      came_.notify_all();
    }
  }

  sigset_t signals_;
  std::mutex mutex_;
  std::condition_variable came_;
  bool serving_ = false;  // guarded by mutex_
  int first_ = 0;         // guarded by mutex_
  std::thread thread_;
};

void LogStart(const Config& config, const Server& server) {
  const storage::EngineStats stats = server.Stats();
  if (stats.truncated_bytes > 0) {
    spdlog::warn(
        "cut {} off the end of the log: unfinished writes of a crash, none of them acknowledged as SYNC",
        FormatSize(stats.truncated_bytes));
  }
  if (!stats.checkpoint_status.ok()) {
    spdlog::warn("the index was read from all of the log, for its checkpoint is of no use: {}",
                 stats.checkpoint_status.ToString());
  }
  spdlog::info(
      "serving on {}, data in {}, memory {}; {} keys of the index came from a checkpoint, {} records were "
      "read "
      "from the log, in {:.3f} s",
      server.address(), config.data_directory, FormatSize(config.memory_bytes), stats.recovered_slots,
      stats.recovered_records, static_cast<double>(stats.recovery_ms) / 1000);
}

// The store keeps the file of every block open, and the usual limit of 1024 is soon reached.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Run(const Config& config) {
  StopSignals signals;
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(config);
  if (!server.ok()) {
    spdlog::error("cannot start: {}", std::string(server.status().message()));
    return kExitFailure;
  }
  signals.Serving();
  LogStart(config, **server);
  const std::string_view signal = signals.Wait();
  spdlog::info("{}: stopping; calls under way have {} s to end", signal, kDrainPatience.count());
  if (absl::Status status = (*server)->Stop(kDrainPatience); !status.ok()) {
    spdlog::error("stopped, but not everything is on the disk: {}", std::string(status.message()));
    return kExitFailure;
  }
  spdlog::info("stopped; everything written is on the disk");
  return 0;
}

int Main(int argc, char** argv) {
  LimitHeapSlack();
  RaiseFileLimit();
  absl::StatusOr<CommandLine> command = ParseCommandLine(argc, argv);
  if (!command.ok()) {
    fmt::print(stderr, "thermocline-server: {}\n", std::string(command.status().message()));
    return kExitUsage;
  }
  if (!command->answer.empty()) {
    fmt::print("{}", command->answer);
    return 0;
  }
  StartLog(command->config.log_level);
  return Run(command->config);
}

}  // namespace
}  // namespace thermocline::server

int main(int argc, char** argv) { return thermocline::server::Main(argc, argv); }
