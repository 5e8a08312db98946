// How long a store takes to stop and to start again: after an orderly close, without a checkpoint, and after
// a crash.

#include <chrono>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tests/bench/bench_flags.h"
#include "tests/bench/machine.h"
#include "tests/bench/reads.h"
#include "tests/bench/report.h"
#include "tests/bench/stepped_process.h"

namespace thermocline::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

// Of all keys, what is inserted between the last checkpoint and the crash.
constexpr uint64_t kBehindShare = 10;

struct Flags {
  BenchFlags bench;
  uint64_t keys = 5'000'000;
  uint64_t reads = 100'000;
  bool check_all = true;
};

// In basic units.
struct RestartRow {
  double keys = 0;  // that the store holds
  double seconds = 0;
  double recovery_seconds = kNotMeasured;  // what the engine says of them
  double records = kNotMeasured;           // read from the log
  double slots = kNotMeasured;             // taken from the checkpoint
  double reads_per_second = kNotMeasured;
  double memory_share = kNotMeasured;  // reads that needed no disk
};

std::vector<Field<RestartRow>> RestartFields() {
  constexpr double kMillion = 1e-6;
  return {{{"keys", "keys", "M", kMillion, 2}, &RestartRow::keys},
          {{"seconds", "took", "s", 1, 3}, &RestartRow::seconds},
          {{"recovery_seconds", "", ""}, &RestartRow::recovery_seconds},
          {{"recovered_records", "records", "M", kMillion, 2}, &RestartRow::records},
          {{"recovered_slots", "slots", "M", kMillion, 2}, &RestartRow::slots},
          {{"keys_per_second", "keys", "M/s", kMillion, 2},
           [](const RestartRow& row) { return row.keys / row.seconds; }},
          {{"reads_per_second", "reads", "k/s", 1e-3, 1}, &RestartRow::reads_per_second},
          {{"reads_from_memory_share", "memory", "%", 100, 1}, &RestartRow::memory_share}};
}

void Describe(CLI::App& app, Flags& flags) {
  AddCount(app, "--keys", flags.keys, "5M",
           "Keys to insert, such as 2M or 1B; a tenth more before the\n"
           "crash.")
      ->check(CLI::PositiveNumber);
  AddCount(app, "--reads", flags.reads, "100k", "Reads after each start.");
  app.add_flag("!--no-check", flags.check_all,
               "After the crash, look only for the keys inserted since the\n"
               "last checkpoint, not for all.");
  flags.bench.memory_bytes = uint64_t{1} << 30;
  AddSize(app, "--memory", flags.bench.memory_bytes, "1GiB", "The memory of the store.");
  AddBenchFlags(app, flags.bench);
  app.footer(
      "Example: twenty million keys with 2 GiB:\n"
      "  restart_bench --directory /tmp/restart --keys 20M --memory 2GiB\n"
      "tests/bench/README.md explains the rows. Exit codes: 0 done, 1 something failed or a read was wrong, "
      "2 wrong flag.");
}

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// What happens to one store, from process to process.
class Restarts {
 public:
  explicit Restarts(const Flags& flags, std::string directory)
      : flags_(flags),
        store_{.directory = std::move(directory),
               .memory_bytes = flags.bench.memory_bytes,
               .io_uring = flags.bench.io_uring,
               .read_threads = flags.bench.read_threads},
        workload_(flags.bench.shape) {}

  // Inserts all keys; the row is of the close.
  absl::StatusOr<RestartRow> InsertAndClose() const {
    return RunApart(Then::kGoOn, [this](SteppedProcess::Yield yield) -> absl::Status {
      auto store = OpenThermocline(store_);
      if (!store.ok()) return store.status();
      auto figures = InsertKeys(**store, workload_, 0, flags_.keys, flags_.bench.inserts);
      if (!figures.ok()) return figures.status();
      const Clock::time_point begin = Clock::now();
      if (absl::Status status = (*store)->Close(); !status.ok()) return status;
      Yield(yield, {.keys = workload_.DistinctKeys(flags_.keys), .seconds = SecondsSince(begin)});
      return absl::OkStatus();
    });
  }

  // Opens a store of the first `keys`, measures reads, looks for keys from number `check_from` on, and
  // closes.
  absl::StatusOr<RestartRow> Start(uint64_t keys, uint64_t check_from) const {
    return RunApart(Then::kGoOn, [=, this](SteppedProcess::Yield yield) -> absl::Status {
      const Clock::time_point begin = Clock::now();
      auto store = OpenThermocline(store_);
      if (!store.ok()) return store.status();
      RestartRow row = {.keys = workload_.DistinctKeys(keys), .seconds = SecondsSince(begin)};
      const StoreStats stats = (*store)->Stats();
      row.recovery_seconds = static_cast<double>(stats.recovery_ms) * 1e-3;
      row.records = static_cast<double>(stats.recovered_records);
      row.slots = static_cast<double>(stats.recovered_slots);
      const int depth = flags_.bench.depth;
      auto figures =
          ReadRandomKeys(**store, workload_, keys, flags_.reads, depth, flags_.bench.shape.seed + keys);
      if (!figures.ok()) return figures.status();
      row.reads_per_second = figures->per_second;
      row.memory_share = figures->memory_share;
      figures = ReadKeys(**store, workload_, keys - check_from, depth, "looking for what was acknowledged",
                         [check_from](uint64_t number) { return check_from + number; });
      if (!figures.ok()) return figures.status();
      Yield(yield, row);
      return (*store)->Close();
    });
  }

  // Inserts keys from number `first` on, and is killed when all of them are acknowledged.
  absl::Status InsertAndCrash(uint64_t first, uint64_t count) const {
    return RunApart(Then::kKill,
                    [=, this](SteppedProcess::Yield yield) -> absl::Status {
                      auto store = OpenThermocline(store_);
                      if (!store.ok()) return store.status();
                      auto figures = InsertKeys(**store, workload_, first, count, flags_.bench.inserts);
                      if (!figures.ok()) return figures.status();
                      Yield(yield, {});
                      return absl::InternalError("it was to be killed");
                    })
        .status();
  }

 private:
  enum class Then { kGoOn, kKill };

  static void Yield(SteppedProcess::Yield yield, const RestartRow& row) {
    yield({reinterpret_cast<const char*>(&row), sizeof(row)});
  }

  // Runs `body` in a process of its own, and returns the one row that it hands over.
  static absl::StatusOr<RestartRow> RunApart(Then then, SteppedProcess::Body body) {
    auto process = SteppedProcess::Start(std::move(body));
    if (!process.ok()) return process.status();
    const auto result = (*process)->Next();
    if (!result.ok()) return result.status();
    RestartRow row;
    std::memcpy(&row, (*result)->data(), sizeof(row));
    if (then == Then::kKill) return row;
    const auto end = (*process)->Next();
    if (!end.ok()) return end.status();
    return row;
  }

  const Flags& flags_;
  const StoreOptions store_;
  const Workload workload_;
};

absl::Status Run(const Flags& flags) {
  auto directory = ScratchDirectory::Create(flags.bench.directory, flags.bench.keep);
  if (!directory.ok()) return directory.status();
  const std::vector<Field<RestartRow>> fields = RestartFields();
  auto report = Report::Create(ColumnsOf(fields), flags.bench.csv);
  if (!report.ok()) return report.status();
  const auto show = [&](std::string_view label, const absl::StatusOr<RestartRow>& row) -> absl::Status {
    if (!row.ok())
      return absl::Status(row.status().code(),
                          fmt::format("{}: {}", label, std::string(row.status().message())));
    return (*report)->Add(label, ValuesOf(fields, *row));
  };
  const std::string name = "thermocline";
  const Restarts restarts(flags, (*directory)->Path(name));
  if (absl::Status status = show("close", restarts.InsertAndClose()); !status.ok()) return status;
  if (absl::Status status = show("start: closed", restarts.Start(flags.keys, flags.keys)); !status.ok())
    return status;

  for (const std::string file : {"/CHECKPOINT", "/CLEAN"}) {
    if (absl::Status status = (*directory)->Remove(name + file); !status.ok()) return status;
  }
  const auto from_blocks = restarts.Start(flags.keys, flags.keys);
  if (absl::Status status = show("start: blocks", from_blocks); !status.ok()) return status;
  if (from_blocks->slots != 0) return absl::InternalError("it found a checkpoint, and there should be none");

  const uint64_t more = flags.keys / kBehindShare + 1;
  if (absl::Status status = restarts.InsertAndCrash(flags.keys, more); !status.ok()) return status;
  return show("start: crashed", restarts.Start(flags.keys + more, flags.check_all ? 0 : flags.keys));
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Inserts keys into an embedded store and shows how long it takes to close, and to start after that, "
      "without\n"
      "a checkpoint, and after a crash; every value that is read is verified.");
  Flags flags;
  Describe(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (const absl::Status status = Run(flags); !status.ok()) {
    fmt::print(stderr, "restart_bench: {}\n", std::string(status.message()));
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace thermocline::bench

int main(int argc, char** argv) { return thermocline::bench::Main(argc, argv); }
