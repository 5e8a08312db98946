#include "tests/bench/blocks_report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include <fmt/format.h>

namespace thermocline::bench {
namespace {

using Getter = std::function<double(const BlocksRow&)>;

std::vector<double> Each(const BlocksRun& run, const Getter& value) {
  std::vector<double> values;
  for (const BlocksRow& row : run.rows) values.push_back(value(row));
  std::erase_if(values, [](double number) { return !std::isfinite(number); });
  return values;
}

Series SeriesOf(const BlocksRun& run, const std::string& name, int colour, bool dashed, const Getter& value) {
  Series series = {.name = name, .points = {}, .colour = colour, .dashed = dashed};
  for (const BlocksRow& row : run.rows) series.points.emplace_back(row.keys, value(row));
  return series;
}

}  // namespace

std::vector<Field<BlocksRow>> BlocksFields() {
  constexpr double kMillion = 1e-6;
  constexpr double kMillis = 1e3;
  constexpr double kMicros = 1e6;
  constexpr double kMiB = 0x1p-20;
  constexpr double kGiB = 0x1p-30;
  std::vector<Field<BlocksRow>> fields = {
      {{"keys", "keys", "M", kMillion, 1}, &BlocksRow::keys},
      {{"distinct_keys", "", ""}, &BlocksRow::distinct_keys},
      {{"inserts_per_second", "inserts", "M/s", kMillion, 3}, &BlocksRow::inserts_per_second},
      {{"slowest_second", "slowest", "M/s", kMillion, 3}, &BlocksRow::slowest_window},
      {{"slowest_to_median_second", "/median", "", 1, 2}, &BlocksRow::window_ratio},
      {{"longest_pause_seconds", "pause", "ms", kMillis, 1}, &BlocksRow::longest_pause},
      {{"slowest_acknowledgement_seconds", "ack", "ms", kMillis, 0}, &BlocksRow::slowest_acknowledgement},
      {{"insert_cpu_seconds", "CPU/ins", "us", kMicros, 2}, &BlocksRow::insert_cpu},
      {{"reads_per_second", "reads", "k/s", 1e-3, 1}, &BlocksRow::reads_per_second},
      {{"read_p50_seconds", "p50", "us", kMicros, 0}, &BlocksRow::read_p50},
      {{"read_p99_seconds", "p99", "us", kMicros, 0}, &BlocksRow::read_p99},
      {{"read_p999_seconds", "p99.9", "us", kMicros, 0}, &BlocksRow::read_p999},
      {{"read_cpu_seconds", "CPU/rd", "us", kMicros, 2}, &BlocksRow::read_cpu},
      {{"reads_from_memory_share", "memory", "%", 100, 1}, &BlocksRow::memory_share},
      {{"disk_reads_per_cold_read", "rd/cold", "", 1, 3}, &BlocksRow::disk_reads_per_cold},
      {{"index_bytes_per_key", "index", "B/key", 1, 2}, &BlocksRow::index_bytes_per_key}};
  for (size_t share = 0; share < kShares; ++share) {
    fields.push_back({{fmt::format("memory_{}_bytes", kShareNames[share]), "", ""},
                      [share](const BlocksRow& row) { return row.memory[share]; }});
  }
  const std::vector<Field<BlocksRow>> space = {
      {{"memory_other_bytes", "", ""}, &BlocksRow::other_memory},
      {{"resident_bytes", "RSS", "MiB", kMiB, 0}, &BlocksRow::resident_bytes},
      {{"peak_resident_bytes", "peak", "MiB", kMiB, 0}, &BlocksRow::peak_resident_bytes},
      {{"disk_bytes", "disk", "GiB", kGiB, 2}, &BlocksRow::disk_bytes},
      {{"disk_to_live_bytes", "/live", "", 1, 3}, &BlocksRow::disk_per_live},
      {{"write_amplification", "written", "/data", 1, 3}, &BlocksRow::write_amplification}};
  fields.insert(fields.end(), space.begin(), space.end());
  return fields;
}

std::string BlocksSummary(const BlocksRun& run) {
  const auto median = [&](const Getter& value) { return MedianOf(Each(run, value)); };
  const std::vector<double> slowest = Each(run, &BlocksRow::slowest_window);
  const std::vector<double> index = Each(run, &BlocksRow::index_bytes_per_key);
  const std::vector<double> pauses = Each(run, &BlocksRow::longest_pause);
  const double inserts = median(&BlocksRow::inserts_per_second);
  std::string summary = fmt::format("{}: inserts {:.3f} M/s (median of batches)", run.name, inserts / 1e6);
  if (!slowest.empty()) {
    const double worst = *std::min_element(slowest.begin(), slowest.end());
    summary += fmt::format(", worst second {:.3f} M/s = {:.2f} of it", worst / 1e6, worst / inserts);
  }
  double index_sum = 0;
  for (const double bytes : index) index_sum += bytes;
  return summary + fmt::format(
                       ", longest pause {:.1f} ms\n  reads {:.1f} k/s, p50 {:.0f} us, p99 {:.0f} us "
                       "(medians), {:.3f} disk "
                       "reads each cold one\n  index {:.2f} bytes a key (mean), {:.2f} (max); written {:.3f} "
                       "times the data\n",
                       *std::max_element(pauses.begin(), pauses.end()) * 1e3,
                       median(&BlocksRow::reads_per_second) / 1e3, median(&BlocksRow::read_p50) * 1e6,
                       median(&BlocksRow::read_p99) * 1e6, median(&BlocksRow::disk_reads_per_cold),
                       index_sum / static_cast<double>(index.size()),
                       *std::max_element(index.begin(), index.end()), run.rows.back().write_amplification);
}

Chart BlocksChart(const std::vector<BlocksRun>& runs, const std::string& subtitle) {
  Panel inserts = {.title = "Inserts: mean of the batch, and its slowest second", .unit = "inserts/s"};
  Panel reads = {.title = "Reads of random keys", .unit = "reads/s"};
  Panel latency = {.title = "Latency of reads", .unit = "us", .kind = Panel::Kind::kLogarithmic};
  Panel index = {.title = "Index in memory", .unit = "bytes/key"};
  Panel disk = {.title = "Disk, and what was written to it", .unit = "times the data"};
  std::vector<Panel> memory;
  for (size_t i = 0; i < runs.size(); ++i) {
    const BlocksRun& run = runs[i];
    const int colour = static_cast<int>(i);
    const auto add = [&](Panel& panel, const std::string& what, bool dashed, const Getter& value) {
      const int shade = &panel == &latency ? static_cast<int>(panel.series.size()) : colour;
      panel.series.push_back(SeriesOf(run, run.name + what, shade, dashed, value));
    };
    add(inserts, "", false, &BlocksRow::inserts_per_second);
    add(inserts, ", slowest second", true, &BlocksRow::slowest_window);
    add(reads, "", false, &BlocksRow::reads_per_second);
    const bool second = i > 0;
    add(latency, " p50", second, [](const BlocksRow& row) { return row.read_p50 * 1e6; });
    add(latency, " p99", second, [](const BlocksRow& row) { return row.read_p99 * 1e6; });
    add(latency, " p99.9", second, [](const BlocksRow& row) { return row.read_p999 * 1e6; });
    add(index, "", false, &BlocksRow::index_bytes_per_key);
    add(disk, ", disk", false, &BlocksRow::disk_per_live);
    add(disk, ", written", true, &BlocksRow::write_amplification);

    Panel shares = {
        .title = fmt::format("Memory of {}", run.name), .unit = "GiB", .kind = Panel::Kind::kStacked};
    for (size_t share = 0; share <= kShares; ++share) {
      const std::string name = share < kShares ? std::string(kShareNames[share]) : "other";
      shares.series.push_back(
          SeriesOf(run, name, static_cast<int>(share), false, [share](const BlocksRow& row) {
            return (share < kShares ? row.memory[share] : row.other_memory) * 0x1p-30;
          }));
    }
    memory.push_back(std::move(shares));
  }
  Chart chart = {
      .title = "Inserts in batches, reads in between", .subtitle = subtitle, .x_label = "keys inserted"};
  chart.panels = {std::move(inserts), std::move(reads), std::move(latency)};
  chart.panels.insert(chart.panels.end(), memory.begin(), memory.end());
  chart.panels.push_back(std::move(index));
  chart.panels.push_back(std::move(disk));
  return chart;
}

}  // namespace thermocline::bench
