#include "client/cli/run.h"

#include <memory>
#include <variant>

#include "client/cli/command_line.h"
#include "client/cli/commands.h"

namespace thermocline::cli {

ExitCode Run(const std::vector<std::string>& arguments, Io& io) {
  const std::variant<Invocation, Ending> parsed = ParseCommandLine(arguments);
  if (const auto* ending = std::get_if<Ending>(&parsed)) {
    (ending->code == kOk ? io.out : io.err) << ending->text;
    return ending->code;
  }
  const auto& invocation = std::get<Invocation>(parsed);
  const absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect({.server = invocation.server, .timeout = invocation.timeout, .tls = invocation.tls});
  if (!client.ok()) {
    FailCall(client.status(), io);
    return kServer;
  }
  Context context{**client, io, invocation.json};
  const ExitCode code =
      std::visit([&](const auto& command) { return Execute(command, context); }, invocation.command);
  io.out.flush();
  if (!io.out && ReaderHasLeft(io)) return code;
  if (!io.out) return FailFile(absl::UnavailableError("cannot write to standard output"), io);
  return code;
}

}  // namespace thermocline::cli
