#include "tests/support/server_process.h"

#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <random>
#include <signal.h>
#include <sstream>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"
#include <stdlib.h>

namespace thermocline::testing {
namespace {

constexpr int kStartSeconds = 60;
constexpr std::chrono::milliseconds kPoll(5);

std::string MakeScratchDirectory() {
  std::string path = (std::filesystem::temp_directory_path() / "thermocline-server-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr) return "";
  return path;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

std::string LogPath(const std::string& scratch) { return scratch + "/log"; }

// Ports below the system's ephemeral range, so that no outgoing connection takes the port between a kill and
// a restart.
int PickPort() {
  static std::mt19937 random(std::random_device{}());
  return std::uniform_int_distribution<int>(20000, 32000)(random);
}

// Runs the server with its output appended to `log`. Returns -1 if the system has no process to give.
pid_t Spawn(const std::vector<std::string>& arguments, const std::string& log) {
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (output < 0) return -1;
  std::vector<char*> argv = {const_cast<char*>(THERMOCLINE_SERVER_BINARY)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);

  const pid_t child = fork();
  if (child == 0) {
    // A test that is killed must not leave its server behind.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(output);
  return child;
}

int ExitCode(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -WTERMSIG(wait_status);
}

// The exit code of `child`, or nullopt if it still runs after `patience`.
std::optional<int> Reap(pid_t child, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) return ExitCode(status);
    if (std::chrono::steady_clock::now() >= deadline) return std::nullopt;
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace

ServerProcess::ServerProcess(Options options, std::string scratch)
    : flags_(std::move(options.flags)),
      scratch_(std::move(scratch)),
      data_directory_(options.data_directory.empty() ? scratch_ + "/data" : options.data_directory) {}

ServerProcess::~ServerProcess() {
  Kill();
  std::error_code ignored;
  std::filesystem::remove_all(scratch_, ignored);
}

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start(Options options) {
  const std::string scratch = MakeScratchDirectory();
  if (scratch.empty()) return absl::InternalError("no temporary directory for the server");
  std::unique_ptr<ServerProcess> server(new ServerProcess(std::move(options), scratch));
  absl::Status started;
  for (int attempt = 0; attempt < 20; ++attempt) {
    server->address_ = fmt::format("127.0.0.1:{}", PickPort());
    started = server->Launch();
    if (started.ok()) return server;
    if (server->Log().find("is already in use") == std::string::npos) break;
  }
  return started;
}

absl::StatusOr<ServerProcess::Outcome> ServerProcess::Run(const std::vector<std::string>& arguments) {
  const std::string scratch = MakeScratchDirectory();
  if (scratch.empty()) return absl::InternalError("no temporary directory for the server");
  const pid_t child = Spawn(arguments, LogPath(scratch));
  if (child < 0) return absl::InternalError("cannot start a process");
  std::optional<int> code = Reap(child, std::chrono::seconds(kStartSeconds));
  if (!code.has_value()) {
    kill(child, SIGKILL);
    Reap(child, std::chrono::seconds(kStartSeconds));
  }
  const std::string output = ReadFile(LogPath(scratch));
  std::filesystem::remove_all(scratch);
  if (!code.has_value()) return absl::DeadlineExceededError("the server did not exit; it printed: " + output);
  return Outcome{*code, output};
}

absl::Status ServerProcess::Launch() {
  const size_t log_offset = Log().size();
  std::vector<std::string> arguments = {"--listen", address_, "--data", data_directory_};
  arguments.insert(arguments.end(), flags_.begin(), flags_.end());
  pid_ = Spawn(arguments, LogPath(scratch_));
  if (pid_ < 0) return absl::InternalError("cannot start a process");
  return AwaitServing(log_offset);
}

absl::Status ServerProcess::AwaitServing(size_t log_offset) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(kStartSeconds);
  while (std::chrono::steady_clock::now() < deadline) {
    if (Log().find("serving on " + address_ + ",", log_offset) != std::string::npos) return absl::OkStatus();
    if (const std::optional<int> code = Wait(0)) {
      return absl::FailedPreconditionError(
          fmt::format("the server exited with {}: {}", *code, Log().substr(log_offset)));
    }
    std::this_thread::sleep_for(kPoll);
  }
  Kill();
  return absl::DeadlineExceededError("the server does not serve; it printed: " + Log().substr(log_offset));
}

void ServerProcess::Signal(int signal) {
  if (pid_ > 0) kill(pid_, signal);
}

std::optional<int> ServerProcess::Wait(int seconds) {
  if (pid_ < 0) return std::nullopt;
  const std::optional<int> code = Reap(pid_, std::chrono::seconds(seconds));
  if (code.has_value()) pid_ = -1;
  return code;
}

std::optional<int> ServerProcess::Terminate() {
  Signal(SIGTERM);
  return Wait();
}

void ServerProcess::Kill() {
  Signal(SIGKILL);
  Wait();
}

absl::Status ServerProcess::Restart() {
  if (pid_ > 0) return absl::FailedPreconditionError("the server still runs");
  return Launch();
}

std::string ServerProcess::Log() const { return ReadFile(LogPath(scratch_)); }

uint64_t ServerProcess::ResidentBytes() const {
  if (pid_ < 0) return 0;
  std::ifstream statm(fmt::format("/proc/{}/statm", pid_));
  uint64_t total_pages = 0;
  uint64_t resident_pages = 0;
  if (!(statm >> total_pages >> resident_pages)) return 0;
  return resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace thermocline::testing
