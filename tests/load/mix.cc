#include "tests/load/mix.h"

#include <charconv>

#include <fmt/format.h>

namespace thermocline::load {
namespace {

constexpr std::string_view kMixed = "mixed:";
constexpr uint32_t kYcsbValueBytes = 1000;  // ten fields of 100 bytes, kept as one value

Mix Ycsb(Mix mix) {
  mix.min_value_bytes = mix.max_value_bytes = kYcsbValueBytes;
  return mix;
}

}  // namespace

const std::vector<NamedMix>& KnownMixes() {
  static const auto& mixes = *new std::vector<NamedMix>{
      {"ycsb-a", "50 % reads, 50 % updates, zipfian, 1000 bytes", Ycsb({.reads = 0.5, .updates = 0.5})},
      {"ycsb-b", "95 % reads, 5 % updates, zipfian, 1000 bytes", Ycsb({.reads = 0.95, .updates = 0.05})},
      {"ycsb-c", "reads only, zipfian, 1000 bytes", Ycsb({.reads = 1})},
      {"ycsb-d", "95 % reads of what is newest, 5 % inserts, 1000 bytes",
       Ycsb({.reads = 0.95, .inserts = 0.05, .popularity = Popularity::kLatest})},
      {"ycsb-e",
       "95 % batch reads of 1..100 keys with consecutive numbers, 5 % inserts, zipfian, 1000 bytes "
       "(YCSB scans a range here; keys have no order in this server, so the keys are named)",
       Ycsb({.inserts = 0.05, .range_reads = 0.95})},
      {"ycsb-f", "50 % reads, 50 % read-modify-writes, zipfian, 1000 bytes",
       Ycsb({.reads = 0.5, .read_modify_writes = 0.5})},
      {"blocks",
       "inserts of new random 8-byte keys with 32..75 random bytes",
       {.inserts = 1,
        .min_value_bytes = 32,
        .max_value_bytes = 75,
        .random_keys = true,
        .starts_empty = true}},
      {"get", "reads only, zipfian, 100 bytes", {.reads = 1}},
      {"set", "updates only, zipfian, 100 bytes", {.updates = 1}},
      {"churn",
       "50 % reads, 25 % updates, 25 % deletes, zipfian, 100 bytes: a miss is no error here",
       {.reads = 0.5, .updates = 0.25, .deletes = 0.25}}};
  return mixes;
}

absl::StatusOr<NamedMix> FindMix(std::string_view name) {
  for (const NamedMix& known : KnownMixes()) {
    if (known.name == name) return known;
  }
  if (name.starts_with(kMixed)) {
    const std::string_view percent = name.substr(kMixed.size());
    int reads = 0;
    const auto [end, error] = std::from_chars(percent.data(), percent.data() + percent.size(), reads);
    if (error == std::errc() && end == percent.data() + percent.size() && reads >= 0 && reads <= 100) {
      return NamedMix{std::string(name),
                      fmt::format("{} % reads, {} % updates, zipfian, 100 bytes", reads, 100 - reads),
                      {.reads = reads / 100.0, .updates = 1 - reads / 100.0}};
    }
  }
  std::string names;
  for (const NamedMix& known : KnownMixes()) names += known.name + ", ";
  return absl::InvalidArgumentError(
      fmt::format("there is no workload '{}': choose one of {}or mixed:<percent of reads>, such as mixed:95",
                  name, names));
}

}  // namespace thermocline::load
