// Starts the servers, and runs a client of another language against them:
//
//   run_client plain|tls|mutual-tls PROGRAM [ARGUMENTS...]
//
// The client finds addresses and files in its environment (see below). To have the real server restarted, it
// writes a line to descriptor 3 and reads one from descriptor 4. Exits as the client does, and with 77, for a
// test that was skipped, if a program is missing.

#include <cstdio>
#include <fcntl.h>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

#include "absl/status/statusor.h"

#include "tests/conformance/command.h"
#include "tests/conformance/servers.h"

namespace thermocline::testing {
namespace {

constexpr int kSkipped = 77;
constexpr int kCommandsOfClient = 3;
constexpr int kAnswersToClient = 4;

int Fail(const absl::Status& status) {
  const bool missing = absl::IsNotFound(status);
  std::fprintf(stderr, "%s: %s\n", missing ? "SKIPPED" : "FAILED", status.ToString().c_str());
  return missing ? kSkipped : 1;
}

struct Pipe {
  int read = -1;
  int write = -1;
};

// Beyond the descriptors that the client knows.
Pipe NewPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {};
  const Pipe moved{fcntl(ends[0], F_DUPFD_CLOEXEC, 10), fcntl(ends[1], F_DUPFD_CLOEXEC, 10)};
  close(ends[0]);
  close(ends[1]);
  return moved;
}

// Restarts the server as often as the client asks, until it has ended.
absl::Status ServeClient(Servers& servers, int commands, int answers) {
  char byte;
  while (read(commands, &byte, 1) == 1) {
    if (byte != '\n') continue;
    if (absl::Status status = servers.Restart(); !status.ok()) return status;
    if (write(answers, "\n", 1) != 1) return absl::InternalError("the client hears no answer");
  }
  return absl::OkStatus();
}

int RunClient(Security security, const std::string& name, const std::vector<std::string>& arguments) {
  absl::StatusOr<std::unique_ptr<Servers>> started = Servers::Start(security);
  if (!started.ok()) return Fail(started.status());
  Servers& servers = **started;
  const Pipe commands = NewPipe();
  const Pipe answers = NewPipe();
  const absl::StatusOr<pid_t> client =
      Spawn({.arguments = arguments,
             .output = "",
             .environment = {{"CONFORMANCE_SECURITY", name},
                             {"CONFORMANCE_SERVER", servers.address()},
                             {"CONFORMANCE_ECHO", servers.echo_address()},
                             {"CONFORMANCE_CA", servers.certificates().ca},
                             {"CONFORMANCE_CERT", servers.certificates().client},
                             {"CONFORMANCE_KEY", servers.certificates().client_key},
                             {"CONFORMANCE_OTHER_CA", servers.certificates().other_ca},
                             {"CONFORMANCE_STRANGER_CERT", servers.certificates().stranger},
                             {"CONFORMANCE_STRANGER_KEY", servers.certificates().stranger_key}},
             .descriptors = {{commands.write, kCommandsOfClient}, {answers.read, kAnswersToClient}}});
  if (!client.ok()) return Fail(client.status());
  close(commands.write);
  close(answers.read);
  absl::Status status = ServeClient(servers, commands.read, answers.write);
  close(commands.read);
  close(answers.write);
  const int code = AwaitExit(*client);
  status.Update(servers.Stop());
  if (!status.ok()) return Fail(absl::InternalError(status.ToString()));
  return code < 0 ? 1 : code;
}

int Main(const std::vector<std::string>& arguments) {
  if (arguments.size() >= 3) {
    const std::vector<std::string> client(arguments.begin() + 2, arguments.end());
    if (arguments[1] == "plain") return RunClient(Security::kPlain, arguments[1], client);
    if (arguments[1] == "tls") return RunClient(Security::kTls, arguments[1], client);
    if (arguments[1] == "mutual-tls") return RunClient(Security::kMutualTls, arguments[1], client);
  }
  std::fprintf(stderr, "usage: run_client plain|tls|mutual-tls PROGRAM [ARGUMENTS...]\n");
  return 2;
}

}  // namespace
}  // namespace thermocline::testing

int main(int argc, char** argv) { return thermocline::testing::Main({argv, argv + argc}); }
