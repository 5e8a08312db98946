#include "tests/bench/stepped_process.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace thermocline::bench {
namespace {

enum class Kind : uint32_t { kResult, kError, kEnd };

struct Header {
  Kind kind = Kind::kEnd;
  uint32_t bytes = 0;
};

bool ReadAll(int file, void* data, size_t bytes) {
  auto* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t n = read(file, at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

bool WriteAll(int file, const void* data, size_t bytes) {
  const auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = write(file, at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

void Send(int file, Kind kind, std::string_view text) {
  const Header header = {.kind = kind, .bytes = static_cast<uint32_t>(text.size())};
  if (!WriteAll(file, &header, sizeof(header)) || !WriteAll(file, text.data(), text.size())) _exit(1);
}

void AwaitCommand(int file) {
  char command = 0;
  if (!ReadAll(file, &command, 1)) _exit(1);  // nobody wants the results any more
}

[[noreturn]] void RunChild(SteppedProcess::Body& body, int commands, int results) {
  AwaitCommand(commands);
  const absl::Status status = body([&](std::string_view result) {
    Send(results, Kind::kResult, result);
    AwaitCommand(commands);
  });
  Send(results, status.ok() ? Kind::kEnd : Kind::kError, status.ToString());
  std::fflush(nullptr);
  _exit(0);
}

}  // namespace

SteppedProcess::SteppedProcess(pid_t child, int commands, int results)
    : child_(child), commands_(commands), results_(results) {}

absl::StatusOr<std::unique_ptr<SteppedProcess>> SteppedProcess::Start(Body body) {
  int commands[2];
  int results[2];
  if (pipe2(commands, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  if (pipe2(results, O_CLOEXEC) != 0) {
    const int error = errno;
    for (const int file : commands) close(file);
    return absl::ErrnoToStatus(error, "pipe");
  }
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);  // a process that has died shows in what Next returns
  std::fflush(nullptr);      // else both would write what is buffered
  const pid_t parent = getpid();
  const pid_t child = fork();
  const int error = errno;
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    signal(SIGINT, SIG_DFL);
    close(commands[1]);
    close(results[0]);
    RunChild(body, commands[0], results[1]);
  }
  close(commands[0]);
  close(results[1]);
  if (child < 0) {
    close(commands[1]);
    close(results[0]);
    return absl::ErrnoToStatus(error, "fork");
  }
  return std::unique_ptr<SteppedProcess>(new SteppedProcess(child, commands[1], results[0]));
}

SteppedProcess::~SteppedProcess() {
  if (child_ != 0) {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  close(commands_);
  close(results_);
}

absl::StatusOr<std::optional<std::string>> SteppedProcess::Next() {
  if (child_ == 0) return std::nullopt;
  kill(child_, SIGCONT);
  const char command = 'n';
  Header header;
  if (!WriteAll(commands_, &command, 1) || !ReadAll(results_, &header, sizeof(header))) return Died();
  std::string text(header.bytes, '\0');
  if (!ReadAll(results_, text.data(), text.size())) return Died();
  if (header.kind == Kind::kResult) {
    kill(child_, SIGSTOP);
    return text;
  }
  waitpid(std::exchange(child_, 0), nullptr, 0);
  if (header.kind == Kind::kError) return absl::AbortedError(text);
  return std::nullopt;
}

absl::Status SteppedProcess::Died() {
  int status = 0;
  waitpid(std::exchange(child_, 0), &status, 0);
  if (WIFSIGNALED(status)) {
    return absl::AbortedError(fmt::format("the process was killed by signal {} ({})", WTERMSIG(status),
                                          strsignal(WTERMSIG(status))));
  }
  return absl::AbortedError(fmt::format("the process ended with exit code {}", WEXITSTATUS(status)));
}

}  // namespace thermocline::bench
