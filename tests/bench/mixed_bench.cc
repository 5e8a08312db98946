// Reads and overwrites of keys some of which are much more popular than others, on more data than memory.

#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tests/bench/bench_flags.h"
#include "tests/bench/machine.h"
#include "tests/bench/mixed_report.h"
#include "tests/bench/mixed_run.h"
#include "tests/bench/report.h"
#include "tests/bench/stepped_process.h"
#include "tests/bench/svg.h"

namespace thermocline::bench {
namespace {

struct Flags {
  BenchFlags bench;
  MixedOptions mixed;
  std::vector<double> ratios = {1, 4, 10};
  std::string distribution = "zipfian";
};

void Describe(CLI::App& app, Flags& flags) {
  app.add_option("--ratio", flags.ratios, "Bytes of keys and values to those of memory: a run for each.")
      ->type_name("N,N..")
      ->delimiter(',')
      ->check(CLI::Range(0.001, 1e6).description(""))
      ->default_str("1,4,10");
  app.add_option("--read-share", flags.mixed.popularity.read_share,
                 "Of all operations; the others overwrite.")
      ->type_name("SHARE")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->capture_default_str();
  app.add_option("--distribution", flags.distribution, "Of the keys: zipfian or uniform.")
      ->type_name("NAME")
      ->check(CLI::IsMember({"zipfian", "uniform"}).description(""))
      ->capture_default_str();
  app.add_option("--theta", flags.mixed.popularity.theta,
                 "How unequal: the key of rank r comes as often as 1/r^theta.")
      ->type_name("N")
      ->check(CLI::Range(0.01, 10.0).description(""))
      ->capture_default_str();
  app.add_option("--seconds", flags.mixed.seconds, "How long to measure.")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  AddCount(app, "--operations", flags.mixed.operations, "0", "How many to measure instead; 0: by the time.");
  app.add_option("--warm-up", flags.mixed.warm_up, "How long before it, as a share of the measurement.")
      ->type_name("SHARE")
      ->check(CLI::Range(0.0, 1000.0).description(""))
      ->capture_default_str();
  flags.bench.memory_bytes = uint64_t{1} << 30;
  AddSize(app, "--memory", flags.bench.memory_bytes, "1GiB",
          "The memory of the store: of Thermocline its one number, of\n"
          "RocksDB block cache and memtables together.");
  flags.bench.shape.min_value_bytes = 200;
  flags.bench.shape.max_value_bytes = 300;
  AddBenchFlags(app, flags.bench);
  AddContestFlags(app, flags.bench);
  app.footer(
      "Example: four times as much data as memory, for half a minute, with curves:\n"
      "  mixed_bench --directory /tmp/mixed --memory 256MiB --ratio 4 --seconds 30 --csv mixed.csv --svg "
      "mixed.svg\n"
      "tests/bench/README.md explains the columns. Exit codes: 0 done, 1 something failed or a read was "
      "wrong, 2 wrong "
      "flag.");
}

absl::Status RunOne(const Flags& flags, const Contestant& contestant, double ratio,
                    const ScratchDirectory& directory, Report& report, MixedRun& run) {
  const StoreOptions store = {.directory = directory.Path(contestant.name),
                              .memory_bytes = flags.bench.memory_bytes,
                              .io_uring = flags.bench.io_uring,
                              .read_threads = flags.bench.read_threads};
  MixedOptions options = flags.mixed;
  options.ratio = ratio;
  auto process = SteppedProcess::Start([&](SteppedProcess::Yield yield) {
    return RunMixed(contestant, store, options, [&](const MixedRow& row) {
      yield({reinterpret_cast<const char*>(&row), sizeof(row)});
    });
  });
  if (!process.ok()) return process.status();
  while (true) {
    auto result = (*process)->Next();
    if (!result.ok()) {
      return absl::Status(result.status().code(),
                          fmt::format("{}: {}", run.name, std::string(result.status().message())));
    }
    if (!*result) return directory.Remove(contestant.name);
    MixedRow row;
    std::memcpy(&row, (*result)->data(), sizeof(row));
    run.rows.push_back(row);
    if (absl::Status status = report.Add(contestant.name, ValuesOf(MixedFields(), row)); !status.ok())
      return status;
  }
}

absl::Status RunAll(const Flags& flags, const ScratchDirectory& directory, Report& report,
                    std::vector<MixedRun>& runs) {
  for (const double ratio : flags.ratios) {
    for (const Contestant& contestant : ContestantsOf(flags.bench.engine)) {
      runs.push_back({.name = fmt::format("{}, {:g}x", contestant.name, ratio), .rows = {}});
      absl::Status status = RunOne(flags, contestant, ratio, directory, report, runs.back());
      if (!status.ok()) return status;
    }
    if (flags.bench.engine == "both") {
      const std::vector<Field<MixedRow>> fields = MixedFields();
      report.AddRatio("= ratio", ValuesOf(fields, runs[runs.size() - 2].rows.back()),
                      ValuesOf(fields, runs.back().rows.back()));
    }
  }
  return absl::OkStatus();
}

void PrintSummary(const std::vector<MixedRun>& runs) {
  fmt::print("\n");
  for (const MixedRun& run : runs) {
    if (run.rows.empty()) continue;
    const MixedRow& all = run.rows.back();
    fmt::print(
        "{}: {:.1f} k operations/s, {:.1f} % of the gets from memory = {:.3f} of an ideal LRU, longest get "
        "{:.1f} ms, longest set {:.1f} ms\n",
        run.name, all.operations_per_second / 1e3, all.memory_share * 100, all.hit_ratio,
        all.longest_get * 1e3, all.longest_set * 1e3);
  }
}

absl::Status Run(const Flags& flags) {
  auto directory = ScratchDirectory::Create(flags.bench.directory, flags.bench.keep);
  if (!directory.ok()) return directory.status();
  auto report = Report::Create(ColumnsOf(MixedFields()), flags.bench.csv);
  if (!report.ok()) return report.status();
  std::vector<MixedRun> runs;
  absl::Status status = RunAll(flags, **directory, **report, runs);
  PrintSummary(runs);
  if (flags.bench.svg.empty()) return status;
  const std::string subtitle = fmt::format(
      "{:.0f} % reads, {}{}, values of {}..{} bytes, {:.4g} GiB of memory, {} operations under way",
      flags.mixed.popularity.read_share * 100, flags.distribution,
      flags.mixed.popularity.uniform ? "" : fmt::format(" {:g}", flags.mixed.popularity.theta),
      flags.bench.shape.min_value_bytes, flags.bench.shape.max_value_bytes,
      static_cast<double>(flags.bench.memory_bytes) * 0x1p-30, flags.bench.depth);
  status.Update(WriteTextFile(flags.bench.svg, RenderSvg(MixedChart(runs, subtitle))));
  return status;
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Loads an embedded store with more data than its memory, then reads and overwrites keys of unequal "
      "popularity,\n"
      "verifies every value, and compares the hit rate with that of an ideal LRU cache of the same bytes.");
  Flags flags;
  Describe(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  flags.mixed.depth = flags.bench.depth;
  flags.mixed.shape = flags.bench.shape;
  flags.mixed.inserts = flags.bench.inserts;
  flags.mixed.popularity.seed = flags.bench.shape.seed;
  flags.mixed.popularity.uniform = flags.distribution == "uniform";
  if (const absl::Status status = Run(flags); !status.ok()) {
    fmt::print(stderr, "mixed_bench: {}\n", std::string(status.message()));
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace thermocline::bench

int main(int argc, char** argv) { return thermocline::bench::Main(argc, argv); }
