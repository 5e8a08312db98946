#include "server/config.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <charconv>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "fmt/format.h"

#include "server/export_targets.h"
#include "storage/options.h"
#include "storage/s3_url.h"
#include "storage/segments.h"

namespace thermocline::server {
namespace {

constexpr uint64_t kMaxMemoryBytes = uint64_t{16} << 40;
constexpr std::chrono::milliseconds kMinFlushInterval(1);
constexpr std::chrono::milliseconds kMaxFlushInterval(60'000);
constexpr std::chrono::milliseconds kMinResultLifetime(1000);
constexpr std::chrono::milliseconds kMaxResultLifetime(std::chrono::hours(720));
constexpr int kMaxReadThreads = 256;
constexpr int kMaxIoThreads = 256;
constexpr std::array kLogLevels = {"trace", "debug", "info", "warn", "error"};

struct Unit {
  std::string_view name;  // in lower case
  uint64_t factor;
};
constexpr std::array<Unit, 10> kSizeUnits = {{{"", 1},
                                              {"b", 1},
                                              {"kib", uint64_t{1} << 10},
                                              {"mib", uint64_t{1} << 20},
                                              {"gib", uint64_t{1} << 30},
                                              {"tib", uint64_t{1} << 40},
                                              {"kb", 1'000},
                                              {"mb", 1'000'000},
                                              {"gb", 1'000'000'000},
                                              {"tb", 1'000'000'000'000}}};
constexpr std::array<Unit, 4> kTimeUnits = {{{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}}};

// What segments get of the memory number, unless told.
constexpr uint64_t kSegmentMemoryPart = 16;
constexpr uint64_t kMaxDefaultSegmentMemory = uint64_t{2} << 30;
constexpr uint64_t kMinMemoryForSegments = uint64_t{64} << 20;
// With S3, whose client and cache take their part of it.
constexpr uint64_t kDefaultSegmentMemoryWithS3 = uint64_t{96} << 20;
constexpr uint64_t kMinMemoryForS3 = uint64_t{256} << 20;

// The values as they were written, before they are understood.
struct Texts {
  std::string listen = "127.0.0.1:7070";
  std::string data = "./data";
  std::string memory = "1GiB";
  std::string segment_memory = "auto";
  std::string segment_results = "1GiB";
  std::string segment_result_lifetime = "1h";
  ObjectsTexts objects;
  std::string sources;
  std::string export_to;
  std::string block_size = "0";
  std::string flush_interval = "100ms";
  std::string disk_reads = "auto";
  std::string read_threads = "16";
  std::string io_threads = "0";
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  std::string log_level = "info";
};

// A whole number followed by a unit, perhaps with spaces between them.
template <size_t N>
std::optional<uint64_t> ParseWithUnit(std::string_view text, const std::array<Unit, N>& units) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  std::string name(end, text.data() + text.size());
  name.erase(0, name.find_first_not_of(' '));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const Unit& unit : units) {
    if (unit.name != name) continue;
    uint64_t product = 0;
    if (__builtin_mul_overflow(number, unit.factor, &product)) return std::nullopt;
    return product;
  }
  return std::nullopt;
}

absl::Status Refuse(std::string_view flag, std::string_view value, std::string_view allowed) {
  return absl::InvalidArgumentError(fmt::format("--{} '{}' is not allowed: {}", flag, value, allowed));
}

absl::Status ReadListen(const std::string& text, Config& config) {
  constexpr std::string_view kAllowed =
      "give HOST:PORT, such as 127.0.0.1:7070 or [::1]:7070, with a port from 0 to 65535 (0: any free one)";
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return Refuse("listen", text, kAllowed);
  std::string host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return Refuse("listen", text, kAllowed);
  }
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, config.port);
  if (error != std::errc() || stop != end || host.empty()) return Refuse("listen", text, kAllowed);
  config.host = std::move(host);
  return absl::OkStatus();
}

absl::Status ReadData(const std::string& text, Config& config) {
  // The parser of config files ends a string at '#', and so leaves half of the quotes.
  if (text.empty() || text.find_first_of("\"'") != std::string::npos) {
    return Refuse("data", text,
                  "give the path of a directory, without quotes in it (and, in a config file, without #)");
  }
  config.data_directory = text;
  return absl::OkStatus();
}

absl::Status ReadMemory(const std::string& text, Config& config) {
  const std::optional<uint64_t> bytes = ParseSize(text);
  if (!bytes || *bytes < storage::kMinMemoryBytes || *bytes > kMaxMemoryBytes) {
    return Refuse("memory", text,
                  fmt::format("give a size from {} to {}, a whole number with a unit such as 512MiB or 8GiB",
                              FormatSize(storage::kMinMemoryBytes), FormatSize(kMaxMemoryBytes)));
  }
  config.memory_bytes = *bytes;
  return absl::OkStatus();
}

uint64_t DefaultSegmentMemory(uint64_t memory_bytes) {
  if (memory_bytes < kMinMemoryForSegments) return 0;
  return std::clamp(memory_bytes / kSegmentMemoryPart, storage::kMinSegmentMemoryBytes,
                    kMaxDefaultSegmentMemory);
}

// After --memory, of which it is a part.
absl::Status ReadSegmentMemory(const std::string& text, Config& config) {
  config.segment_memory_bytes = DefaultSegmentMemory(config.memory_bytes);
  if (text == "auto") return absl::OkStatus();
  constexpr uint64_t kLeast = storage::kMinSegmentMemoryBytes;
  const std::optional<uint64_t> bytes = ParseSize(text);
  const uint64_t most = config.memory_bytes - storage::kMinMemoryBytes;
  if (bytes == 0 || (bytes && *bytes >= kLeast && *bytes <= most)) {
    config.segment_memory_bytes = *bytes;
    return absl::OkStatus();
  }
  if (most < kLeast) {
    return Refuse(
        "segment-memory", text,
        fmt::format("it is a part of --memory, which is {}: give 0, or raise --memory to {} or more",
                    FormatSize(config.memory_bytes), FormatSize(kLeast + storage::kMinMemoryBytes)));
  }
  return Refuse(
      "segment-memory", text,
      fmt::format("it is a part of --memory, which is {}: give a size from {} to {} with a unit such as "
                  "64MiB, 0 to serve no segments, or auto",
                  FormatSize(config.memory_bytes), FormatSize(kLeast), FormatSize(most)));
}

absl::Status ReadSegmentResults(const Texts& texts, Config& config) {
  const std::optional<uint64_t> bytes = ParseSize(texts.segment_results);
  if (!bytes) {
    return Refuse("segment-results", texts.segment_results,
                  "give a size, a whole number with a unit such as 1GiB, or 0 to keep no results");
  }
  config.segment_result_bytes = *bytes;
  const std::optional<std::chrono::milliseconds> lifetime = ParseDuration(texts.segment_result_lifetime);
  if (!lifetime || *lifetime < kMinResultLifetime || *lifetime > kMaxResultLifetime) {
    return Refuse("segment-result-lifetime", texts.segment_result_lifetime,
                  "give a time from 1s to 720h, a whole number with a unit (ms, s, m, h)");
  }
  config.segment_result_lifetime = *lifetime;
  return absl::OkStatus();
}

absl::Status ReadExportTo(const std::string& text, Config& config) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    std::string url = text.substr(at, end - at);
    at = end + 1;
    if (absl::Status status = ExportTargets::CheckAllowed(url); !status.ok()) {
      return Refuse(
          "export-to", text,
          fmt::format("{}; give file:///folder or s3://bucket/beginning, several with commas between",
                      std::string(status.message())));
    }
    config.export_to.push_back(std::move(url));
  }
  return absl::OkStatus();
}

absl::Status ReadBlockSize(const std::string& text, Config& config) {
  const std::optional<uint64_t> bytes = ParseSize(text);
  const bool in_range = bytes && *bytes >= storage::kMinBlockBytes && *bytes <= storage::kMaxBlockBytes;
  if (!bytes || (*bytes != 0 && (!in_range || !std::has_single_bit(*bytes)))) {
    return Refuse("block-size", text,
                  fmt::format("give a power of two from {} to {}, or 0 to have it chosen from --memory",
                              FormatSize(storage::kMinBlockBytes), FormatSize(storage::kMaxBlockBytes)));
  }
  config.block_bytes = static_cast<uint32_t>(*bytes);
  return absl::OkStatus();
}

absl::Status ReadFlushInterval(const std::string& text, Config& config) {
  const std::optional<std::chrono::milliseconds> interval = ParseDuration(text);
  if (!interval || *interval < kMinFlushInterval || *interval > kMaxFlushInterval) {
    return Refuse("flush-interval", text,
                  "give a time from 1ms to 1m, a whole number with a unit (ms, s, m, h)");
  }
  config.flush_interval = *interval;
  return absl::OkStatus();
}

absl::Status ReadDiskReads(const std::string& text, Config& config) {
  using storage::DiskReadsChoice;
  if (text == "auto") {
    config.disk_reads = DiskReadsChoice::kAuto;
  } else if (text == "io_uring") {
    config.disk_reads = DiskReadsChoice::kIoUring;
  } else if (text == "threads") {
    config.disk_reads = DiskReadsChoice::kThreads;
  } else {
    return Refuse("disk-reads", text, "give auto, io_uring or threads");
  }
  return absl::OkStatus();
}

absl::Status ReadCount(std::string_view flag, const std::string& text, int least, int most, int& count) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc() || stop != end || count < least || count > most) {
    return Refuse(flag, text, fmt::format("give a whole number from {} to {}", least, most));
  }
  return absl::OkStatus();
}

absl::Status ReadTls(const Texts& texts, Config& config) {
  if (texts.tls_cert.empty() != texts.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key belong together: give both, or none of them");
  }
  if (!texts.tls_client_ca.empty() && texts.tls_cert.empty()) {
    return absl::InvalidArgumentError(
        "--tls-client-ca needs --tls-cert and --tls-key: there is no TLS without them");
  }
  config.tls_certificate = texts.tls_cert;
  config.tls_key = texts.tls_key;
  config.tls_client_ca = texts.tls_client_ca;
  return absl::OkStatus();
}

absl::Status ReadLogLevel(const std::string& text, Config& config) {
  if (std::find(kLogLevels.begin(), kLogLevels.end(), text) == kLogLevels.end()) {
    return Refuse("log-level", text, fmt::format("give one of {}", fmt::join(kLogLevels, ", ")));
  }
  config.log_level = text;
  return absl::OkStatus();
}

absl::StatusOr<Config> Understand(const Texts& texts) {
  Config config;
  absl::Status status = ReadListen(texts.listen, config);
  status.Update(ReadData(texts.data, config));
  status.Update(ReadMemory(texts.memory, config));
  status.Update(ReadSegmentMemory(texts.segment_memory, config));
  status.Update(ReadSegmentResults(texts, config));
  status.Update(ReadObjects(texts.objects, config.objects));
  config.sources_file = texts.sources;
  status.Update(ReadExportTo(texts.export_to, config));
  if (texts.segment_memory == "auto" && UsesS3(config) && config.memory_bytes >= kMinMemoryForS3)
    config.segment_memory_bytes = std::max(config.segment_memory_bytes, kDefaultSegmentMemoryWithS3);
  status.Update(ReadBlockSize(texts.block_size, config));
  status.Update(ReadFlushInterval(texts.flush_interval, config));
  status.Update(ReadDiskReads(texts.disk_reads, config));
  status.Update(ReadCount("read-threads", texts.read_threads, 1, kMaxReadThreads, config.read_threads));
  status.Update(ReadCount("io-threads", texts.io_threads, 0, kMaxIoThreads, config.io_threads));
  status.Update(ReadTls(texts, config));
  status.Update(ReadLogLevel(texts.log_level, config));
  if (!status.ok()) return status;
  return config;
}

void Describe(CLI::App& app, Texts& texts) {
  const auto add = [&app](const std::string& flag, std::string& text, const std::string& kind,
                          const std::string& description) {
    app.add_option(flag, text, description)->type_name(kind)->capture_default_str();
  };
  add("--listen", texts.listen, "HOST:PORT",
      "Where to serve. Everyone who can reach this address can read\n"
      "and write; 0.0.0.0 serves the whole network. Port 0 takes any\n"
      "free port, which the first line of the log tells.");
  add("--data", texts.data, "DIRECTORY",
      "Where the data lives; created if missing. One server at a\n"
      "time.");
  add("--memory", texts.memory, "SIZE",
      "The one number for memory, such as 512MiB or 8GiB: the index\n"
      "of the keys, and as many values as fit. The others are read\n"
      "from the disk, and so are keys that the index has no room for\n"
      "(where --segment-memory leaves 128 MiB). The process takes at\n"
      "most 64 MiB more, and for requests and answers under way up to\n"
      "a quarter of it (at least 256 MiB).");
  add("--segment-memory", texts.segment_memory, "SIZE",
      "How much of --memory is for segments, sets of ids that are\n"
      "combined by AND, OR and NOT: 8MiB or more; more lets larger\n"
      "queries run, and more of them at once. 0 serves no segments;\n"
      "auto is a sixteenth, from 8MiB to 2GiB, and 0 if --memory is\n"
      "below 64MiB. With S3 it is 72MiB or more (auto: 96MiB or more),\n"
      "a quarter of which, at least 64MiB, goes to S3 and its cache.");
  add("--segment-results", texts.segment_results, "SIZE",
      "How much of the disk results of queries on segments may take,\n"
      "to answer equal queries at once while nothing has changed;\n"
      "0 keeps none.");
  add("--segment-result-lifetime", texts.segment_result_lifetime, "TIME",
      "How long such a result is kept: 1s to 720h.");
  add("--sources", texts.sources, "FILE",
      "Queries to databases that may stand in expressions, as\n"
      "source:orders(\"2025-01-01\"): a JSON file of their URLs and\n"
      "statements (see the README).");
  DescribeObjects(add, texts.objects);
  add("--export-to", texts.export_to, "URL[,URL...]",
      "Where clients may have segments exported to, as objects: below\n"
      "file:///folder, which is made if missing, or s3://bucket/beginning.\n"
      "Without it, nowhere.");
  add("--block-size", texts.block_size, "SIZE",
      "Size of the log's files, for a new data directory: a power of\n"
      "two from 64KiB to 64MiB; 0 chooses it from --memory. It bounds\n"
      "the largest value.");
  add("--flush-interval", texts.flush_interval, "TIME",
      "A write of class MEMORY is on the disk after at most this\n"
      "long: 1ms to 1m.");
  add("--disk-reads", texts.disk_reads, "HOW",
      "How values are read from the disk: io_uring, threads, or auto:\n"
      "io_uring where the system allows it.");
  add("--read-threads", texts.read_threads, "N",
      "How many threads read from the disk what does not go through\n"
      "io_uring: 1 to 256.");
  add("--io-threads", texts.io_threads, "N",
      "How many threads serve connections: 1 to 256; 0: one for each\n"
      "processor that the server may use.");
  add("--tls-cert", texts.tls_cert, "FILE",
      "Serve over TLS only, with this certificate and its chain (PEM).\n"
      "Goes with --tls-key.");
  add("--tls-key", texts.tls_key, "FILE", "The certificate's private key (PEM).");
  add("--tls-client-ca", texts.tls_client_ca, "FILE",
      "Serve only clients with a certificate that one of these has\n"
      "signed (PEM).");
  add("--log-level", texts.log_level, "LEVEL",
      "How much to log on stderr: trace, debug, info, warn or error.");
  app.set_version_flag("--version", "thermocline-server " THERMOCLINE_VERSION, "Print the version and leave.")
      ->configurable(false);
  app.set_help_flag("-h,--help", "Print this help and leave.")->configurable(false);
  app.set_config("--config", "",
                 "Read settings from a TOML file, in which memory = \"8GiB\"\n"
                 "stands for --memory 8GiB. Flags win over it.")
      ->type_name("FILE")
      ->configurable(false);
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.footer(
      "Example: keep values in ./data, at most 8 GiB of them in memory, and serve this machine:\n"
      "  thermocline-server --data ./data --memory 8GiB\n"
      "SIGTERM or Ctrl-C finishes what is under way, syncs and exits with 0; a second one exits at once with "
      "1.\n"
      "Exit codes: 0 stopped as told, 1 could not start or stop cleanly, 2 wrong flag or config file.");
}

// One line for people, from the messages of the command line library.
std::string Explain(const CLI::ParseError& error, const CLI::App& app) {
  constexpr std::string_view kUnknownKey = "INI was not able to parse ";
  constexpr std::string_view kSectionBegins = ".++";
  const std::string what = error.what();
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ConfigError)) {
    const std::string file = app.get_config_ptr()->as<std::string>();
    if (!what.starts_with(kUnknownKey)) return fmt::format("config file {}: {}", file, what);
    const std::string key = what.substr(kUnknownKey.size());
    if (key.ends_with(kSectionBegins)) {
      return fmt::format(
          "config file {}: section [{}] is not known; keys stand by themselves, without sections", file,
          key.substr(0, key.size() - kSectionBegins.size()));
    }
    return fmt::format(
        "config file {}: unknown key '{}'; known are listen, data, memory, segment-memory, "
        "segment-results, segment-result-lifetime, sources, export-to, segment-store, segment-cache, "
        "s3-endpoint, "
        "s3-region, s3-addressing, s3-profile, s3-access-key, s3-secret-key, s3-ca-file, block-size, "
        "flush-interval, disk-reads, read-threads, "
        "io-threads, tls-cert, tls-key, tls-client-ca and log-level",
        file, key);
  }
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::FileError)) return "--config " + what;
  return what + " (see --help)";
}

}  // namespace

bool UsesS3(const Config& config) {
  return !config.objects.url.empty() ||
         std::any_of(config.export_to.begin(), config.export_to.end(),
                     [](const std::string& url) { return storage::IsS3Url(url); });
}

absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app(
      "Thermocline: a durable key/value server for more data than memory, with segments of ids, over gRPC.",
      "thermocline-server");
  Texts texts;
  Describe(app, texts);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return CommandLine{{}, app.help() + "\n"};
  } catch (const CLI::CallForVersion& version) {
    return CommandLine{{}, std::string(version.what()) + "\n"};
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(Explain(error, app));
  }
  absl::StatusOr<Config> config = Understand(texts);
  if (!config.ok()) return config.status();
  return CommandLine{*std::move(config), ""};
}

std::string HostPort(std::string_view host, int port) {
  const bool bare_ipv6 = host.find(':') != std::string_view::npos;
  return bare_ipv6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

std::optional<uint64_t> ParseSize(std::string_view text) { return ParseWithUnit(text, kSizeUnits); }

std::optional<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  const std::optional<uint64_t> ms = ParseWithUnit(text, kTimeUnits);
  if (!ms || *ms > static_cast<uint64_t>(std::chrono::milliseconds::max().count())) return std::nullopt;
  return std::chrono::milliseconds(*ms);
}

std::string FormatSize(uint64_t bytes) {
  constexpr std::array kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  double amount = static_cast<double>(bytes);
  while (amount >= 1024 && unit + 1 < kNames.size()) {
    amount /= 1024;
    ++unit;
  }
  const bool whole = amount == static_cast<double>(static_cast<uint64_t>(amount));
  return whole ? fmt::format("{:.0f} {}", amount, kNames[unit])
               : fmt::format("{:.1f} {}", amount, kNames[unit]);
}

}  // namespace thermocline::server
