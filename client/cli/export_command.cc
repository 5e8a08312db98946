#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "fmt/format.h"

#include "client/cli/commands.h"
#include "client/cli/entry_json.h"
#include "client/cli/local_work.h"
#include "client/cli/progress.h"
#include "client/cli/s3_access.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

constexpr size_t kWriteBytes = 256 << 10;

}  // namespace

ExitCode Execute(const ExportCommand& command, Context& context) {
  S3Access s3(command.s3);
  std::unique_ptr<storage::ObjectWriter> file;
  if (!command.output.empty()) {
    auto opened = OpenOutput(command.output, context.io, s3);
    if (!opened.ok()) return FailFile(opened.status(), context.io);
    file = *std::move(opened);
  }
  // What has begun to be written must not stay behind.
  std::atomic<bool> cancelled = false;
  std::optional<Interruption> interruption;
  if (file != nullptr) interruption.emplace(cancelled);
  std::ostream& out = context.io.out;

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
  absl::Status written;
  std::string text;  // for the file
  const auto write = [&] {
    if (written.ok()) written = cancelled ? absl::CancelledError("cancelled") : file->Append(text);
    text.clear();
  };
  while (written.ok() && (file != nullptr || out) && scan->Next()) {
    const std::string line = EntryJson(scan->key(), scan->entry(), false).dump() + '\n';
    if (file == nullptr) {
      out << line;
    } else if ((text += line).size() >= kWriteBytes) {
      write();
    }
    ++records;
    bytes += line.size();
  }
  if (file == nullptr) {
    out.flush();
  } else if (scan->status().ok()) {
    write();
    if (written.ok()) written = file->Finish();
  }
  progress.reset();
  if (!written.ok()) return FailFile(written, context.io);
  if (!scan->status().ok()) return FailCall(scan->status(), context.io);
  if (file == nullptr && !out) {
    if (ReaderHasLeft(context.io)) return kOk;
    return FailFile(absl::UnavailableError("cannot write to standard output"), context.io);
  }
  if (!context.json) context.io.err << fmt::format("{} records exported\n", FormatCount(records));
  return kOk;
}

}  // namespace thermocline::cli
