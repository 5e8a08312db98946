#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>

#include "tests/bench/report.h"
#include "tests/load/load_flags.h"
#include "tests/load/load_report.h"
#include "tests/load/load_run.h"
#include "tests/load/segment_load.h"

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

absl::Status Prepare(const LoadOptions& options, SegmentLoad& segments) {
  if (!options.load) return absl::OkStatus();
  const TimePoint start = Clock::now();
  TimePoint next = start;
  uint64_t sent = 0;
  const absl::Status status = segments.Load([&](uint64_t ids) {
    sent = ids;
    if (Clock::now() < next) return;
    next = Clock::now() + std::chrono::seconds(1);
    fmt::print("loading segments: {} ids\n", GroupedCount(ids));
  });
  if (!status.ok()) return status;
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  fmt::print("loaded segments with {} ids in {:.1f} s\n", GroupedCount(sent), seconds);
  return absl::OkStatus();
}

bool WentWell(const LoadResult& result) {
  const auto well = [](const SegmentLine& line) { return line.errors == 0 && line.wrong == 0; };
  return result.errors == 0 && result.wrong == 0 && std::ranges::all_of(result.segments, well);
}

absl::Status Measure(LoadRun& run, const char* what, SegmentLoad* segments, LoadResult& result) {
  LiveLines lines(what);
  return run.Measure([&](const LoadResult& so_far) { lines(so_far); }, result, segments);
}

// What has been measured; the first and the last only for the contrast.
struct Measured {
  LoadResult before;
  LoadResult result;
  LoadResult after;
};

absl::Status MeasureAll(const LoadOptions& options, LoadRun& run, SegmentLoad* segments, Measured& measured) {
  if (!options.segments.contrast) return Measure(run, "      ", segments, measured.result);
  absl::Status status = Measure(run, "alone ", nullptr, measured.before);
  if (status.ok()) status = Measure(run, "beside", segments, measured.result);
  if (status.ok()) status = Measure(run, "alone ", nullptr, measured.after);
  return status;
}

void Print(const Measured& measured, bool contrast) {
  const auto& [before, result, after] = measured;
  if (result.operations > 0 || result.errors > 0) fmt::print("{}", FinalTable(result));
  if (contrast) fmt::print("{}", ContrastTable(before, result, after));
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
  std::unique_ptr<SegmentLoad> segments;
  if (line.load.segments.segments > 0) {
    auto connected = SegmentLoad::Connect(line.load);
    if (!connected.ok()) return Fail(connected.status());
    segments = *std::move(connected);
    if (absl::Status status = Prepare(line.load, *segments); !status.ok()) return Fail(status);
  }
  Measured measured;
  absl::Status status = MeasureAll(line.load, **run, segments.get(), measured);
  Print(measured, status.ok() && line.load.segments.contrast);
  status.Update(WriteFiles(line, measured.result));
  if (!status.ok()) return Fail(status);
  return WentWell(measured.before) && WentWell(measured.result) && WentWell(measured.after) ? 0 : 1;
}

}  // namespace
}  // namespace thermocline::load

int main(int argc, char** argv) { return thermocline::load::Main(argc, argv); }
