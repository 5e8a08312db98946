#include <cstdio>
#include <string>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>

#include "tests/bench/report.h"
#include "tests/load/load_flags.h"
#include "tests/load/load_report.h"
#include "tests/load/load_run.h"

namespace thermocline::load {
namespace {

int Fail(const absl::Status& status) {
  fmt::print(stderr, "thermocline-load: {}\n", std::string(status.message()));
  return 1;
}

// A line a second: on a terminal in place of the last, else one after the other.
class LiveLines {
 public:
  explicit LiveLines(std::string what) : what_(std::move(what)) {}
  ~LiveLines() { Erase(); }

  void operator()(const LoadResult& so_far) {
    if (so_far.windows.size() % 10 != 0) return;
    Erase();
    fmt::print("{} {}{}", what_, LiveLine(so_far), terminal_ ? "" : "\n");
    std::fflush(stdout);
  }

 private:
  void Erase() const {
    if (!terminal_) return;
    fmt::print("\r\x1b[K");
    std::fflush(stdout);
  }

  const std::string what_;
  const bool terminal_ = isatty(STDOUT_FILENO) == 1;
};

absl::Status Prepare(const LoadOptions& options, LoadRun& run) {
  if (!options.load || options.workload.mix.starts_empty) return absl::OkStatus();
  const auto loaded = run.IsLoaded();
  if (!loaded.ok()) return loaded.status();
  if (*loaded) {
    fmt::print("the keys are there already\n");
    return absl::OkStatus();
  }
  LiveLines lines("loading");
  const auto result = run.Load([&](const LoadResult& so_far) { lines(so_far); });
  if (!result.ok()) return result.status();
  fmt::print("loaded {} keys in {:.1f} s\n", GroupedCount(result->operations), result->seconds);
  return absl::OkStatus();
}

absl::Status WriteFiles(const CommandLine& line, const LoadResult& result) {
  absl::Status status;
  if (!line.json.empty()) status.Update(bench::WriteTextFile(line.json, ResultJson(line.load, result)));
  if (!line.svg.empty()) status.Update(bench::WriteTextFile(line.svg, ResultSvg(line.load, result)));
  return status;
}

int Main(int argc, const char* const* argv) {
  const auto parsed = ParseCommandLine(argc, argv);
  if (const int* const exit_code = std::get_if<int>(&parsed)) return *exit_code;
  const auto& line = std::get<CommandLine>(parsed);
  fmt::print("{}\n", DescribeRun(line.load));
  if (line.load.workload.mix.range_reads > 0) fmt::print("note: {}\n", line.load.workload.summary);
  auto run = LoadRun::Connect(line.load);
  if (!run.ok()) return Fail(run.status());
  if (absl::Status status = Prepare(line.load, **run); !status.ok()) return Fail(status);
  LoadResult result;
  absl::Status status;
  {
    LiveLines lines("      ");
    status = (*run)->Measure([&](const LoadResult& so_far) { lines(so_far); }, result);
  }
  if (result.operations > 0 || result.errors > 0) fmt::print("{}", FinalTable(result));
  status.Update(WriteFiles(line, result));
  if (!status.ok()) return Fail(status);
  return result.errors > 0 || result.wrong > 0 ? 1 : 0;
}

}  // namespace
}  // namespace thermocline::load

int main(int argc, char** argv) { return thermocline::load::Main(argc, argv); }
