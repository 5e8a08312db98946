#include <atomic>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <optional>

#include "fmt/format.h"

#include "client/cli/commands.h"
#include "client/cli/entry_json.h"
#include "client/cli/progress.h"
#include "client/cli/text.h"

namespace thermocline::cli {

ExitCode Execute(const ExportCommand& command, Context& context) {
  std::ofstream file;
  if (!command.output.empty()) {
    file.open(command.output, std::ios::binary | std::ios::trunc);
    if (!file) return FailFile(absl::ErrnoToStatus(errno, "cannot open " + command.output), context.io);
  }
  std::ostream& out = command.output.empty() ? context.io.out : file;

  const auto begin = std::chrono::steady_clock::now();
  std::atomic<uint64_t> records = 0;
  std::atomic<uint64_t> bytes = 0;
  // Lines on the terminal and a display on the same terminal would tear each other.
  std::optional<Progress> progress;
  if (!context.io.out_is_terminal || !command.output.empty()) {
    progress.emplace(context.io.err, context.io.err_is_terminal, [&] {
      return ProgressLine({.records = records,
                           .bytes = bytes,
                           .elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(
                               std::chrono::steady_clock::now() - begin)});
    });
  }
  const auto scan = context.client.Scan({.prefix = command.prefix});
  while (scan->Next() && out) {
    const std::string line = EntryJson(scan->key(), scan->entry(), false).dump();
    out << line << '\n';
    ++records;
    bytes += line.size() + 1;
  }
  out.flush();
  progress.reset();
  if (!scan->status().ok()) return FailCall(scan->status(), context.io);
  if (!out) {
    if (command.output.empty() && ReaderHasLeft(context.io)) return kOk;
    const std::string name = command.output.empty() ? "standard output" : command.output;
    return FailFile(absl::UnavailableError("cannot write to " + name), context.io);
  }
  if (!context.json) context.io.err << fmt::format("{} records exported\n", FormatCount(records));
  return kOk;
}

}  // namespace thermocline::cli
