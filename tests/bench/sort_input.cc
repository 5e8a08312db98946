// sort_input BYTES [keyed|intervals]: writes about so many bytes of NDJSON to standard output, for
// tests/bench/sort_peers.sh: records of about 200 bytes with a random number "id"; the same with that number
// and a tab before each (not counted among the bytes); or intervals with "start_at" and "end_at" in
// milliseconds. The same every time.

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

void AddRecord(std::mt19937_64& random, bool keyed, std::string& out, uint64_t& bytes) {
  const uint64_t bits = random();
  const uint64_t id = random() >> 24;
  if (keyed) fmt::format_to(std::back_inserter(out), "{}\t", id);
  const size_t begin = out.size();
  fmt::format_to(std::back_inserter(out),
                 "{{\"user\":\"u{:08x}\",\"created_at\":\"2025-{:02}-{:02}T{:02}:{:02}:00Z\",\"id\":{},"
                 "\"amount\":{}.{:02},\"note\":\"",
                 static_cast<uint32_t>(bits), 1 + (bits >> 32) % 12, 1 + (bits >> 36) % 28, (bits >> 41) % 24,
                 (bits >> 46) % 60, id, (bits >> 50) % 1000, (bits >> 40) % 100);
  for (uint64_t words = random(), i = 0; i < 6; ++i, words >>= 4) {
    if (i > 0) out += ' ';
    out += kWords[words % 16];
  }
  const uint64_t high = random();
  fmt::format_to(std::back_inserter(out), "\",\"session\":\"{:016x}{:016x}\"}}\n", high, random());
  bytes += out.size() - begin;
}

void AddInterval(std::mt19937_64& random, std::string& out, uint64_t& bytes) {
  const size_t begin = out.size();
  const uint64_t start = 1'735'689'600'000 + random() % kYear;
  fmt::format_to(std::back_inserter(out), "{{\"start_at\":{},\"end_at\":", start);
  if (random() % 1000 == 0) {
    out += "null}\n";
  } else {
    fmt::format_to(std::back_inserter(out), "{}}}\n", start + random() % 7'200'000);
  }
  bytes += out.size() - begin;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t bytes = 0;
  if (argc < 2 || std::from_chars(argv[1], argv[1] + std::strlen(argv[1]), bytes).ec != std::errc()) {
    fmt::print(stderr, "usage: sort_input BYTES [keyed|intervals]\n");
    return 2;
  }
  const std::string_view kind = argc > 2 ? argv[2] : "";
  std::mt19937_64 random(1);
  std::string out;
  for (uint64_t written = 0; written < bytes;) {
    out.clear();
    while (out.size() < kFlushBytes && written < bytes)
      kind == "intervals" ? AddInterval(random, out, written)
                          : AddRecord(random, kind == "keyed", out, written);
    if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size()) return 1;
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}
