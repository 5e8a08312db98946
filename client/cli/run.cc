#include "client/cli/run.h"

#include <memory>
#include <optional>
#include <variant>

#include "client/cli/command_line.h"
#include "client/cli/commands.h"

namespace thermocline::cli {
namespace {

ExitCode ExecuteOnServer(const Invocation& invocation, Io& io) {
  const absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect({.server = invocation.server, .timeout = invocation.timeout, .tls = invocation.tls});
  if (!client.ok()) {
    FailCall(client.status(), io);
    return kServer;
  }
  Context context{**client, io, invocation.json};
  return std::visit(
      [&](const auto& command) {
        if constexpr (requires { Execute(command, context); }) return Execute(command, context);
        return kUsage;
      },
      invocation.command);
}

// nullopt: the command needs a server.
std::optional<ExitCode> ExecuteHere(const Invocation& invocation, Io& io) {
  LocalContext context{io, invocation.json};
  return std::visit(
      [&](const auto& command) -> std::optional<ExitCode> {
        if constexpr (requires { Execute(command, context); }) return Execute(command, context);
        return std::nullopt;
      },
      invocation.command);
}

}  // namespace

ExitCode Run(const std::vector<std::string>& arguments, Io& io) {
  const std::variant<Invocation, Ending> parsed = ParseCommandLine(arguments);
  if (const auto* ending = std::get_if<Ending>(&parsed)) {
    (ending->code == kOk ? io.out : io.err) << ending->text;
    return ending->code;
  }
  const auto& invocation = std::get<Invocation>(parsed);
  std::optional<ExitCode> code = ExecuteHere(invocation, io);
  if (!code.has_value()) code = ExecuteOnServer(invocation, io);
  io.out.flush();
  if (!io.out && ReaderHasLeft(io)) return *code;
  if (!io.out) return FailFile(absl::UnavailableError("cannot write to standard output"), io);
  return *code;
}

}  // namespace thermocline::cli
