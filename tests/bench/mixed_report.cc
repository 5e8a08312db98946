#include "tests/bench/mixed_report.h"

#include <cmath>
#include <functional>
#include <utility>

#include <fmt/format.h>

namespace thermocline::bench {
namespace {

using Getter = std::function<double(const MixedRow&)>;

Series SeriesOf(const MixedRun& run, const std::string& name, size_t colour, bool dashed,
                const Getter& value) {
  Series series = {.name = name, .points = {}, .colour = static_cast<int>(colour), .dashed = dashed};
  for (const MixedRow& row : run.rows) {
    if (std::isfinite(row.second)) series.points.emplace_back(row.second, value(row));
  }
  return series;
}

}  // namespace

std::vector<Field<MixedRow>> MixedFields() {
  constexpr double kMillis = 1e3;
  constexpr double kMicros = 1e6;
  std::vector<Field<MixedRow>> fields = {
      {{"ratio", "data", "/memory", 1, 1}, &MixedRow::ratio},
      {{"second", "second", "", 1, 0}, &MixedRow::second},
      {{"operations_per_second", "ops", "k/s", 1e-3, 1}, &MixedRow::operations_per_second},
      {{"operation_cpu_seconds", "CPU/op", "us", kMicros, 2}, &MixedRow::cpu},
      {{"gets_from_memory_share", "memory", "%", 100, 1}, &MixedRow::memory_share},
      {{"gets_from_ideal_lru_share", "LRU", "%", 100, 1}, &MixedRow::lru_share},
      {{"memory_to_lru", "/LRU", "", 1, 3}, &MixedRow::hit_ratio},
      {{"get_p50_seconds", "get p50", "us", kMicros, 1}, &MixedRow::get_p50},
      {{"get_p99_seconds", "p99", "us", kMicros, 0}, &MixedRow::get_p99},
      {{"get_p999_seconds", "p99.9", "us", kMicros, 0}, &MixedRow::get_p999},
      {{"longest_get_seconds", "max", "ms", kMillis, 1}, &MixedRow::longest_get},
      {{"set_p99_seconds", "set p99", "us", kMicros, 1}, &MixedRow::set_p99},
      {{"longest_set_seconds", "max", "ms", kMillis, 1}, &MixedRow::longest_set},
      {{"write_amplification", "written", "/data", 1, 3}, &MixedRow::write_amplification},
      {{"disk_bytes", "disk", "GiB", 0x1p-30, 2}, &MixedRow::disk_bytes},
      {{"disk_to_live_bytes", "/live", "", 1, 3}, &MixedRow::disk_per_live}};
  for (size_t share = 0; share < kShares; ++share) {
    fields.push_back({{fmt::format("memory_{}_bytes", kShareNames[share]), "", ""},
                      [share](const MixedRow& row) { return row.memory[share]; }});
  }
  return fields;
}

Chart MixedChart(const std::vector<MixedRun>& runs, const std::string& subtitle) {
  Panel operations = {.title = "Operations", .unit = "operations/s"};
  Panel hits = {.title = "Gets served from memory, and by an ideal LRU of the same bytes (dashed)",
                .unit = "%"};
  Panel ratio = {.title = "Hit rate, compared with the ideal LRU's", .unit = "times"};
  Panel pauses = {.title = "Longest get, and longest set (dashed) of each second",
                  .unit = "ms",
                  .kind = Panel::Kind::kLogarithmic};
  Panel written = {.title = "Written to the disk", .unit = "times what was set"};
  Panel disk = {.title = "Space on the disk", .unit = "times what lives"};
  std::vector<Panel> memory;
  for (size_t i = 0; i < runs.size(); ++i) {
    const MixedRun& run = runs[i];
    const auto add = [&](Panel& panel, bool dashed, const Getter& value) {
      panel.series.push_back(SeriesOf(run, run.name, i, dashed, value));
    };
    add(operations, false, &MixedRow::operations_per_second);
    add(hits, false, [](const MixedRow& row) { return row.memory_share * 100; });
    add(hits, true, [](const MixedRow& row) { return row.lru_share * 100; });
    add(ratio, false, &MixedRow::hit_ratio);
    add(pauses, false, [](const MixedRow& row) { return row.longest_get * 1e3; });
    add(pauses, true, [](const MixedRow& row) { return row.longest_set * 1e3; });
    add(written, false, &MixedRow::write_amplification);
    add(disk, false, &MixedRow::disk_per_live);
    Panel shares = {
        .title = fmt::format("Memory: {}", run.name), .unit = "MiB", .kind = Panel::Kind::kStacked};
    for (size_t share = 0; share < kShares; ++share) {
      shares.series.push_back(SeriesOf(run, std::string(kShareNames[share]), share, false,
                                       [share](const MixedRow& row) { return row.memory[share] * 0x1p-20; }));
    }
    memory.push_back(std::move(shares));
  }
  Chart chart = {.title = "Reads and overwrites", .subtitle = subtitle, .x_label = "seconds"};
  chart.panels = {std::move(operations), std::move(hits),    std::move(ratio),
                  std::move(pauses),     std::move(written), std::move(disk)};
  chart.panels.insert(chart.panels.end(), memory.begin(), memory.end());
  return chart;
}

}  // namespace thermocline::bench
