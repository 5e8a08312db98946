// sort_input BYTES [intervals]: writes about so many bytes of NDJSON to standard output, for
// tests/bench/sort_peers.sh: records of about 200 bytes with a random key "id", or intervals with "start_at"
// and "end_at" in milliseconds. The same every time.

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>

#include <fmt/format.h>

namespace {

constexpr size_t kFlushBytes = 4 << 20;
constexpr const char* kWords[] = {"alpha",  "river",  "stone",  "cloud", "market", "green",
                                  "window", "paper",  "silver", "train", "garden", "winter",
                                  "summer", "coffee", "orange", "bridge"};
constexpr uint64_t kYear = uint64_t{365} * 86'400'000;

void AddRecord(std::mt19937_64& random, std::string& out) {
  const uint64_t bits = random();
  fmt::format_to(std::back_inserter(out),
                 "{{\"user\":\"u{:08x}\",\"created_at\":\"2025-{:02}-{:02}T{:02}:{:02}:00Z\",\"id\":{},"
                 "\"amount\":{}.{:02},\"note\":\"",
                 static_cast<uint32_t>(bits), 1 + (bits >> 32) % 12, 1 + (bits >> 36) % 28, (bits >> 41) % 24,
                 (bits >> 46) % 60, random() >> 24, (bits >> 50) % 1000, (bits >> 40) % 100);
  for (uint64_t words = random(), i = 0; i < 6; ++i, words >>= 4) {
    if (i > 0) out += ' ';
    out += kWords[words % 16];
  }
  fmt::format_to(std::back_inserter(out), "\",\"session\":\"{:016x}{:016x}\"}}\n", random(), random());
}

void AddInterval(std::mt19937_64& random, std::string& out) {
  const uint64_t start = 1'735'689'600'000 + random() % kYear;
  fmt::format_to(std::back_inserter(out), "{{\"start_at\":{},\"end_at\":", start);
  if (random() % 1000 == 0) {
    out += "null}\n";
  } else {
    fmt::format_to(std::back_inserter(out), "{}}}\n", start + random() % 7'200'000);
  }
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t bytes = 0;
  if (argc < 2 || std::from_chars(argv[1], argv[1] + std::strlen(argv[1]), bytes).ec != std::errc()) {
    fmt::print(stderr, "usage: sort_input BYTES [intervals]\n");
    return 2;
  }
  const bool intervals = argc > 2 && std::string_view(argv[2]) == "intervals";
  std::mt19937_64 random(1);
  std::string out;
  for (uint64_t written = 0; written < bytes;) {
    out.clear();
    while (out.size() < kFlushBytes && written + out.size() < bytes)
      intervals ? AddInterval(random, out) : AddRecord(random, out);
    if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size()) return 1;
    written += out.size();
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}
