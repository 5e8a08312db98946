// The workload that the project comes from: batches of new keys, and reads of random earlier ones in between.

#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tests/bench/bench_flags.h"
#include "tests/bench/blocks_report.h"
#include "tests/bench/blocks_run.h"
#include "tests/bench/machine.h"
#include "tests/bench/report.h"
#include "tests/bench/stepped_process.h"
#include "tests/bench/svg.h"

namespace thermocline::bench {
namespace {

struct Flags {
  BenchFlags bench;
  BlocksOptions blocks;
};

void Describe(CLI::App& app, Flags& flags) {
  AddCount(app, "--keys", flags.blocks.keys, "300M", "Keys to insert, such as 2M or 1B.")
      ->check(CLI::PositiveNumber);
  AddCount(app, "--batch", flags.blocks.batch, "10M", "Keys of a batch: a row of the table.")
      ->check(CLI::PositiveNumber);
  AddCount(app, "--reads", flags.blocks.reads, "1M", "Reads after each batch.");
  flags.bench.memory_bytes = uint64_t{6} << 30;
  AddSize(app, "--memory", flags.bench.memory_bytes, "6GiB",
          "The memory of the store: of Thermocline its one number, of\n"
          "RocksDB block cache and memtables together.");
  AddBenchFlags(app, flags.bench);
  AddContestFlags(app, flags.bench);
  app.footer(
      "Example: two million keys with 256 MiB, beside RocksDB, with curves:\n"
      "  blocks_bench --directory /tmp/blocks --keys 2M --batch 500k --reads 100k --memory 256MiB \\\n"
      "    --engine both --csv blocks.csv --svg blocks.svg\n"
      "tests/bench/README.md explains the columns. Exit codes: 0 done, 1 something failed or a read was "
      "wrong, 2 wrong "
      "flag.");
}

absl::Status RunContestant(const Contestant& contestant, const StoreOptions& store_options,
                           const BlocksOptions& options, SteppedProcess::Yield yield) {
  auto store = contestant.open(store_options);
  if (!store.ok()) return store.status();
  if (absl::Status status = RunBlocks(**store, store_options.directory, options,
                                      [&](const BlocksRow& row) {
                                        yield({reinterpret_cast<const char*>(&row), sizeof(row)});
                                      });
      !status.ok()) {
    return status;
  }
  return (*store)->Close();
}

struct Lane {
  std::string name;
  std::unique_ptr<SteppedProcess> process;
};

absl::StatusOr<std::vector<Lane>> StartLanes(const Flags& flags, const ScratchDirectory& directory) {
  std::vector<Lane> lanes;
  for (const Contestant& contestant : ContestantsOf(flags.bench.engine)) {
    const StoreOptions store = {.directory = directory.Path(contestant.name),
                                .memory_bytes = flags.bench.memory_bytes,
                                .io_uring = flags.bench.io_uring,
                                .read_threads = flags.bench.read_threads};
    auto process =
        SteppedProcess::Start([contestant, store, options = flags.blocks](SteppedProcess::Yield yield) {
          return RunContestant(contestant, store, options, yield);
        });
    if (!process.ok()) return process.status();
    lanes.push_back({contestant.name, *std::move(process)});
  }
  return lanes;
}

// A batch of each in turn, until all have ended.
absl::Status TakeTurns(std::vector<Lane>& lanes, Report& report, std::vector<BlocksRun>& runs) {
  const std::vector<Field<BlocksRow>> fields = BlocksFields();
  while (true) {
    bool ended = true;
    for (size_t i = 0; i < lanes.size(); ++i) {
      auto result = lanes[i].process->Next();
      if (!result.ok()) {
        return absl::Status(result.status().code(),
                            fmt::format("{}: {}", lanes[i].name, std::string(result.status().message())));
      }
      if (!*result) continue;
      ended = false;
      BlocksRow row;
      std::memcpy(&row, (*result)->data(), sizeof(row));
      runs[i].rows.push_back(row);
      if (absl::Status status = report.Add(lanes[i].name, ValuesOf(fields, row)); !status.ok()) return status;
    }
    if (ended) return absl::OkStatus();
    if (runs.size() == 2) {
      report.AddRatio("= ratio", ValuesOf(fields, runs[0].rows.back()),
                      ValuesOf(fields, runs[1].rows.back()));
    }
  }
}

absl::Status Conclude(const Flags& flags, const std::vector<BlocksRun>& runs, Report& report) {
  if (runs.front().rows.empty()) return absl::OkStatus();
  for (const BlocksRun& run : runs) report.AddMedians(run.name);
  if (runs.size() == 2)
    report.AddRatio("~ ratio", report.Medians(runs[0].name), report.Medians(runs[1].name));
  for (const BlocksRun& run : runs) {
    if (!run.rows.empty()) fmt::print("\n{}", BlocksSummary(run));
  }
  if (flags.bench.svg.empty()) return absl::OkStatus();
  const std::string subtitle = fmt::format(
      "{} bytes of key, {}..{} of value, {:.4g} GiB of memory, {} reads under way",
      flags.bench.shape.key_bytes, flags.bench.shape.min_value_bytes, flags.bench.shape.max_value_bytes,
      static_cast<double>(flags.bench.memory_bytes) * 0x1p-30, flags.bench.depth);
  return WriteTextFile(flags.bench.svg, RenderSvg(BlocksChart(runs, subtitle)));
}

absl::Status Run(const Flags& flags) {
  auto directory = ScratchDirectory::Create(flags.bench.directory, flags.bench.keep);
  if (!directory.ok()) return directory.status();
  auto report = Report::Create(ColumnsOf(BlocksFields()), flags.bench.csv);
  if (!report.ok()) return report.status();
  auto lanes = StartLanes(flags, **directory);
  if (!lanes.ok()) return lanes.status();
  std::vector<BlocksRun> runs;
  for (const Lane& lane : *lanes) runs.push_back({.name = lane.name, .rows = {}});
  absl::Status status = TakeTurns(*lanes, **report, runs);
  status.Update(Conclude(flags, runs, **report));  // also of what there is after a failure
  return status;
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Inserts keys in batches into an embedded store, acknowledged in groups that are on the disk, reads "
      "random\n"
      "earlier keys after each batch, verifies every value, and shows a row of numbers a batch.");
  Flags flags;
  Describe(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  flags.blocks.depth = flags.bench.depth;
  flags.blocks.shape = flags.bench.shape;
  flags.blocks.inserts = flags.bench.inserts;
  if (const absl::Status status = Run(flags); !status.ok()) {
    fmt::print(stderr, "blocks_bench: {}\n", std::string(status.message()));
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace thermocline::bench

int main(int argc, char** argv) { return thermocline::bench::Main(argc, argv); }
