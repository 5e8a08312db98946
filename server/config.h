#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "server/objects_config.h"
#include "storage/disk_reads.h"

namespace thermocline::server {

// What a server is told at its start. Every value has been checked on its own; what depends on the machine (a
// port in use, a directory that cannot be written, a store with other block sizes) shows when the server
// starts.
struct Config {
  std::string host = "127.0.0.1";  // a name or address; IPv6 without brackets
  uint16_t port = 7070;            // 0: any free one
  std::string data_directory = "./data";
  uint64_t memory_bytes = uint64_t{1} << 30;           // of everything
  uint64_t segment_memory_bytes = uint64_t{64} << 20;  // of them, for segments; 0: none are served
  uint64_t segment_result_bytes = uint64_t{1} << 30;   // on the disk; 0: no results are kept
  std::chrono::milliseconds segment_result_lifetime{3'600'000};
  ObjectsConfig objects;               // where the files of segments live
  std::string sources_file;            // of what may stand in expressions; empty: nothing
  std::vector<std::string> export_to;  // URLs below which segments may be exported; each is possible
  uint32_t block_bytes = 0;            // 0: chosen from the memory
  std::chrono::milliseconds flush_interval{100};
  storage::DiskReadsChoice disk_reads = storage::DiskReadsChoice::kAuto;
  int read_threads = 16;
  int io_threads = 0;           // 0: one for each processor
  std::string tls_certificate;  // PEM files; all empty: plain text
  std::string tls_key;
  std::string tls_client_ca;
  std::string log_level = "info";  // trace, debug, info, warn or error
};

// Whether files of segments, or exports, are in S3.
bool UsesS3(const Config& config);

// What a command line asks for: to run a server, or only to print `answer` (the help, the version) and leave.
struct CommandLine {
  Config config;
  std::string answer;
};

// Reads the flags and, if --config names one, the TOML file, whose keys are the flags without their dashes;
// flags win. INVALID_ARGUMENT with one line that names the flag or key, its value and what is allowed.
absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv);

// "host:port", with brackets around an IPv6 address.
std::string HostPort(std::string_view host, int port);

// Reads "64MiB", "100 MB", "4096": a whole number and a unit (B, KiB, MiB, GiB, TiB in powers of 1024; KB,
// MB, GB, TB in powers of 1000; none: bytes; upper and lower case alike). nullopt if it is not one or exceeds
// 64 bits.
std::optional<uint64_t> ParseSize(std::string_view text);

// "64 MiB", "1.5 GiB", "100 B".
std::string FormatSize(uint64_t bytes);

// Reads "100ms", "2s", "1m", "12h". nullopt if it is not one or exceeds 64 bits of milliseconds.
std::optional<std::chrono::milliseconds> ParseDuration(std::string_view text);

}  // namespace thermocline::server
