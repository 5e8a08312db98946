#include "tests/load/load_flags.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "CLI/CLI.hpp"
#include <fmt/format.h>

#include "tests/bench/number_flags.h"
#include "tests/load/records.h"
#include "tests/load/vias.h"

namespace thermocline::load {
namespace {

constexpr uint32_t kMaxValueBytes = 16 << 20;
constexpr uint64_t kMaxKeys = 100'000'000'000;

// As they stand on the command line, before they are put together.
struct Flags {
  CommandLine line;
  std::string workload = "mixed:95";
  std::string server;
  std::string popularity;
  std::string durability = "sync";
  uint64_t value_bytes = 0;
  uint64_t rate = 0;
  std::string segments;
  SegmentOptions beside;  // but for their number and size
  bool warm_up_given = false;
};

std::string Footer() {
  std::string text = "Workloads (--workload):\n";
  for (const NamedMix& known : KnownMixes()) text += fmt::format("  {:<12}{}\n", known.name, known.summary);
  text += fmt::format("  {:<12}{}\n", "mixed:95",
                      "95 % reads and 5 % updates, zipfian, 100 bytes; any percentage will do");
  text += "\nProtocols (--via):\n";
  for (const Via& via : Vias()) text += fmt::format("  {:<12}{}; port {}\n", via.name, via.summary, via.port);
  text +=
      "\nExamples:\n"
      "  thermocline-load                                       95 % reads of a million keys, ten seconds: "
      "two numbers\n"
      "  thermocline-load --workload ycsb-a --durability memory --svg a.svg\n"
      "  thermocline-load --workload get --connections 50 --in-flight 64 --distribution uniform\n"
      "  thermocline-load --workload set --rate 50k --seconds 60 --svg stalls.svg     what a user at that "
      "rate would see\n"
      "  thermocline-load --segments 100x1M --segment-adds 1000 --segment-contrast     what segments cost "
      "gets "
      "and sets\n"
      "  thermocline-load --via redis --server 127.0.0.1:6379 --workload get --in-flight 64\n"
      "\n"
      "Every value that is read is checked. Exit codes: 0 all went well, 1 no server, calls failed or values "
      "were wrong,\n"
      "2 a wrong flag. tests/load/README.md explains more.";
  return text;
}

void AddNumber(CLI::App& app, const std::string& flag, uint32_t& number, uint32_t high,
               const std::string& text) {
  app.add_option(flag, number, text)
      ->type_name("N")
      ->check(CLI::Range(uint32_t{1}, high))
      ->capture_default_str();
}

void DescribeWhat(CLI::App& app, Flags& flags) {
  app.add_option("--workload", flags.workload, "What to do: see below.")
      ->type_name("NAME")
      ->capture_default_str();
  bench::AddCount(app, "--keys", flags.line.load.keys, "1M", "Keys that are there, and are chosen from.")
      ->check(CLI::Range(uint64_t{1}, kMaxKeys).description(""));
  bench::AddSize(app, "--value-size", flags.value_bytes, "the workload's", "Bytes of each value.")
      ->check(CLI::Range(uint64_t{Records::kMinValueBytes}, uint64_t{kMaxValueBytes}).description(""));
  app.add_option("--distribution", flags.popularity,
                 "Of the keys: uniform, zipfian (0.99, scattered) or\nlatest; default: the workload's.")
      ->type_name("NAME")
      ->check(CLI::IsMember({"uniform", "zipfian", "latest"}).description(""));
  AddNumber(app, "--batch", flags.line.load.batch, 65'536, "Operations of one call: above 1, batch calls.");
  app.add_option("--durability", flags.durability,
                 "When writes are acknowledged: sync (on the disk) or\nmemory (readable).")
      ->type_name("CLASS")
      ->check(CLI::IsMember({"sync", "memory"}).description(""))
      ->capture_default_str();
  app.add_flag(
      "!--no-load", flags.line.load.load,
      "The keys are there already. Without this, a sample is\nread, and all are written if it is not there.");
  app.add_option("--seed", flags.line.load.seed, "Other values and choices for each seed.")
      ->type_name("N")
      ->capture_default_str();
}

void DescribeHow(CLI::App& app, Flags& flags) {
  LoadOptions& load = flags.line.load;
  app.add_option("--via", load.via, "The protocol: see below.")->type_name("NAME")->capture_default_str();
  app.add_option("--server", flags.server,
                 "Where the server is; default: on this machine, at the\nprotocol's port.")
      ->type_name("HOST:PORT");
  AddNumber(app, "--connections", load.connections, 10'000, "Connections to the server.");
  AddNumber(app, "--in-flight", load.in_flight, 65'536,
            "Calls under way on each connection at the same time.");
  AddNumber(app, "--threads", load.threads, 256, "Threads of this program; the connections are shared out.");
  bench::AddCount(
      app, "--rate", flags.rate, "as fast as possible",
      "Operations a second, started on time whatever the\nserver does; latencies count from then.");
  app.add_option("--seconds", load.seconds, "How long to measure.")
      ->type_name("N")
      ->check(CLI::Range(0.1, 1e7).description(""))
      ->capture_default_str();
  bench::AddCount(app, "--operations", load.operations, "0", "How many to measure; 0: by the time.");
  app.add_option("--warm-up", load.warm_up, "Seconds to run before measuring; 0 with --operations.")
      ->type_name("N")
      ->check(CLI::Range(0.0, 1e6).description(""))
      ->capture_default_str()
      ->each([&flags](const std::string&) { flags.warm_up_given = true; });
  app.add_option(
         "--server-pid", load.server_pid,
         "The server's process, for its CPU and memory; default:\nwho listens on the port of this machine.")
      ->type_name("PID");
  app.add_option("--json", flags.line.json, "Write all numbers to this file.")->type_name("FILE");
  app.add_option("--svg", flags.line.svg, "Draw throughput and latency into this file.")->type_name("FILE");
}

void DescribeSegments(CLI::App& app, Flags& flags) {
  SegmentOptions& beside = flags.beside;
  CLI::Option* const segments = app.add_option("--segments", flags.segments,
                                               "Beside it, load the server with N segments of M "
                                               "ids\n(100x1M), as many of a hundredth, and this:")
                                    ->type_name("NxM");
  app.add_option("--segment-dense", beside.dense_percent, "Percentage of the segments that are dense.")
      ->type_name("PERCENT")
      ->check(CLI::Range(0, 100).description(""))
      ->capture_default_str()
      ->needs(segments);
  app.add_option("--segment-adds", beside.adds, "Adds a second, of four ids each, started on time.")
      ->type_name("RATE")
      ->check(CLI::Range(0.0, 1e6).description(""))
      ->capture_default_str()
      ->needs(segments);
  app.add_option("--segment-queries", beside.queries, "Clients that ask one query after the other.")
      ->type_name("N")
      ->check(CLI::Range(0, 256).description(""))
      ->capture_default_str()
      ->needs(segments);
  app.add_flag("--segment-contrast", beside.contrast,
               "Measure the workload alone, beside segments, and alone\nagain, and say what they cost it.")
      ->needs(segments);
}

void TakeSegments(const Flags& flags, LoadOptions& load) {
  if (flags.segments.empty()) return;
  const auto parsed = ParseSegments(flags.segments);
  if (!parsed.ok()) throw CLI::ValidationError("--segments", std::string(parsed.status().message()));
  if (!FindVia(load.via)->has_segments)
    throw CLI::ValidationError("--segments", fmt::format("'{}' has no segments", load.via));
  load.segments = flags.beside;
  load.segments.segments = parsed->segments;
  load.segments.ids = parsed->ids;
}

void TakeServer(const std::string& server, LoadOptions& load) {
  const size_t colon = server.rfind(':');
  unsigned port = 0;
  const char* const end = server.data() + server.size();
  const bool good = colon != std::string::npos && colon > 0 &&
                    std::from_chars(server.data() + colon + 1, end, port).ptr == end && port > 0 &&
                    port < 65'536;
  if (!good) throw CLI::ValidationError("--server", fmt::format("'{}' is not of the form HOST:PORT", server));
  load.host = server.substr(0, colon);
  if (load.host.starts_with('[') && load.host.ends_with(']'))
    load.host = load.host.substr(1, load.host.size() - 2);
  load.port = static_cast<uint16_t>(port);
}

void PutTogether(Flags& flags) {
  LoadOptions& load = flags.line.load;
  auto workload = FindMix(flags.workload);
  if (!workload.ok()) throw CLI::ValidationError("--workload", std::string(workload.status().message()));
  load.workload = *std::move(workload);
  Mix& mix = load.workload.mix;
  if (flags.value_bytes != 0)
    mix.min_value_bytes = mix.max_value_bytes = static_cast<uint32_t>(flags.value_bytes);
  if (!flags.popularity.empty()) mix.popularity = *PopularityOf(flags.popularity);
  const Via* const via = FindVia(load.via);
  if (via == nullptr) {
    std::string names;
    for (const Via& known : Vias()) names += (names.empty() ? "" : ", ") + known.name;
    throw CLI::ValidationError("--via",
                               fmt::format("there is no protocol '{}': choose one of {}", load.via, names));
  }
  load.port = via->port;
  if (!flags.server.empty()) TakeServer(flags.server, load);
  TakeSegments(flags, load);
  load.sync = flags.durability == "sync";
  load.rate = static_cast<double>(flags.rate);
  load.threads = std::min(load.threads, load.connections);
  if (load.operations > 0 && !flags.warm_up_given) load.warm_up = 0;
  if (uint64_t{load.batch} * mix.max_value_bytes > kMaxValueBytes) {
    throw CLI::ValidationError("--batch",
                               "a batch may have 16 MiB of values: take a smaller one, or smaller values");
  }
}

}  // namespace

std::variant<CommandLine, int> ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app(
      "Puts a key/value server under load, and measures it: Thermocline, and for comparison Redis and "
      "memcached.\n");
  Flags flags;
  app.option_defaults()->always_capture_default(false);
  app.get_formatter()->column_width(26);
  app.set_help_flag("-h,--help", "Print this help and leave.");
  DescribeWhat(app, flags);
  DescribeHow(app, flags);
  DescribeSegments(app, flags);
  app.footer(Footer());
  try {
    app.parse(argc, argv);
    PutTogether(flags);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return std::move(flags.line);
}

}  // namespace thermocline::load
