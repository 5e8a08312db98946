#include "tests/bench/bench_flags.h"

namespace thermocline::bench {
namespace {

void AddNumber(CLI::App& app, const std::string& flag, int& number, int low, int high,
               const std::string& description) {
  app.add_option(flag, number, description)
      ->type_name("N")
      ->check(CLI::Range(low, high))
      ->capture_default_str();
}

}  // namespace

void AddBenchFlags(CLI::App& app, BenchFlags& flags) {
  app.add_option("--directory", flags.directory,
                 "Where the data goes: a directory that is empty or does not\n"
                 "exist. It is removed at the end, but for --keep.")
      ->type_name("DIRECTORY")
      ->required();
  app.add_flag("--keep", flags.keep, "Leave the data behind.");
  app.add_option("--seed", flags.shape.seed, "Other keys, values and choices for each seed.")
      ->type_name("N")
      ->capture_default_str();
  AddNumber(app, "--depth", flags.depth, 1, 4096, "Operations under way at the same time.");
  AddNumber(app, "--readers-pool", flags.read_threads, 1, 1024,
            "With --no-io-uring: threads of Thermocline that wait for the disk.\n"
            "RocksDB has one for each operation under way.");
  app.add_flag("!--no-io-uring", flags.io_uring, "Thermocline reads the disk with threads.");
  app.add_option("--key-bytes", flags.shape.key_bytes,
                 "4 or 8. Keys of 4 bytes are drawn at random: some come twice,\n"
                 "and overwrite.")
      ->type_name("N")
      ->check(CLI::IsMember({4, 8}).description(""))
      ->capture_default_str();
  const CLI::Range value_bytes(uint32_t{4}, uint32_t{32} << 10);
  app.add_option("--min-value-bytes", flags.shape.min_value_bytes, "The shortest value.")
      ->type_name("N")
      ->check(value_bytes)
      ->capture_default_str();
  app.add_option("--max-value-bytes", flags.shape.max_value_bytes, "The longest value.")
      ->type_name("N")
      ->check(value_bytes)
      ->capture_default_str();
  AddNumber(app, "--writers", flags.inserts.writers, 1, 256, "Threads that insert.");
  AddCount(app, "--group", flags.inserts.group, "10k",
           "Inserts that become durable together: the group is on the\n"
           "disk when it is acknowledged.")
      ->check(CLI::PositiveNumber);
  AddNumber(app, "--groups-in-flight", flags.inserts.groups_in_flight, 1, 1024,
            "A writer waits when that many groups are not acknowledged.");
  app.add_option("--csv", flags.csv, "Write all numbers to this file.")->type_name("FILE");
  app.callback([&shape = flags.shape] {
    if (shape.min_value_bytes > shape.max_value_bytes) {
      throw CLI::ValidationError("--min-value-bytes", "must not be more than --max-value-bytes");
    }
  });
  app.set_help_flag("-h,--help", "Print this help and leave.");
}

void AddContestFlags(CLI::App& app, BenchFlags& flags) {
  app.add_option("--engine", flags.engine,
                 "thermocline, rocksdb, or both: in processes of their own,\n"
                 "which take turns.")
      ->type_name("NAME")
      ->check(CLI::IsMember({"thermocline", "rocksdb", "both"}).description(""))
      ->capture_default_str();
  app.add_option("--svg", flags.svg, "Draw the curves into this file.")->type_name("FILE");
}

std::vector<Contestant> ContestantsOf(const std::string& engine) {
  std::vector<Contestant> contestants;
  if (engine != "rocksdb") contestants.push_back({"thermocline", &OpenThermocline});
  if (engine != "thermocline") contestants.push_back({"rocksdb", &OpenRocksDb});
  return contestants;
}

}  // namespace thermocline::bench
