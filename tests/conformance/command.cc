#include "tests/conformance/command.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "fmt/format.h"
#include <spawn.h>

namespace thermocline::testing {
namespace {

bool IsSet(const std::string& variable, const Command& command) {
  for (const auto& [name, value] : command.environment) {
    if (variable.substr(0, name.size() + 1) == name + "=") return true;
  }
  // Made for our own process: see tests/support/grpc_under_tsan.cc.
  return variable.substr(0, 11) == "LD_PRELOAD=";
}

std::vector<std::string> Environment(const Command& command) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!IsSet(*variable, command)) variables.emplace_back(*variable);
  }
  for (const auto& [name, value] : command.environment) variables.push_back(name + "=" + value);
  return variables;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<pid_t> Spawn(const Command& command) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (!command.output.empty()) {
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, command.output.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  }
  for (const auto& [ours, theirs] : command.descriptors)
    posix_spawn_file_actions_adddup2(&actions, ours, theirs);
  const std::vector<std::string> environment = Environment(command);
  pid_t process = -1;
  const int error = posix_spawnp(&process, command.arguments.front().c_str(), &actions, nullptr,
                                 Pointers(command.arguments).data(), Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT)
    return absl::NotFoundError(fmt::format("there is no program {}", command.arguments.front()));
  if (error != 0) {
    return absl::InternalError(fmt::format("cannot run {}: {}", command.arguments.front(), strerror(error)));
  }
  return process;
}

int AwaitExit(pid_t process) {
  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

absl::StatusOr<int> Run(const Command& command) {
  const absl::StatusOr<pid_t> process = Spawn(command);
  if (!process.ok()) return process.status();
  return AwaitExit(*process);
}

}  // namespace thermocline::testing
