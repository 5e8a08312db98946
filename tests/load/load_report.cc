#include "tests/load/load_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tests/bench/svg.h"
#include "tests/load/vias.h"

namespace thermocline::load {
namespace {

constexpr std::array<std::pair<const char*, double>, 5> kQuantiles = {
    {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}}};
constexpr size_t kWindowsASecond = 10;

// Not a number if nothing was counted.
double QuantileOf(const SegmentLine& line, double quantile) {
  if (line.latencies.total() == 0) return std::nan("");
  return std::chrono::duration<double>(line.latencies.Quantile(quantile)).count();
}

double QuantileOf(const LoadResult& result, double quantile) {
  return std::chrono::duration<double>(result.latencies.Quantile(quantile)).count();
}

double PerOperation(const LoadResult& result, double seconds) {
  return result.operations == 0 ? std::nan("") : seconds / static_cast<double>(result.operations);
}

std::string Row(std::string_view name, std::string_view value) {
  return fmt::format("  {:<22}{:>16}\n", name, value);
}

std::string SegmentTable(const SegmentResult& segments) {
  if (segments.empty()) return "";
  std::string table = fmt::format("  {:<14}{:>12}{:>14}{:>11}{:>11}{:>11}{:>8}{:>8}\n", "", "calls/s",
                                  "ids/s", "p50", "p99", "p99.9", "errors", "wrong");
  for (const SegmentLine& line : segments) {
    const auto quantile = [&](double share) { return ShortTime(QuantileOf(line, share)); };
    table += fmt::format("  {:<14}{:>12.1f}{:>14}{:>11}{:>11}{:>11}{:>8}{:>8}\n", line.name,
                         line.calls_per_second(), GroupedCount(static_cast<uint64_t>(line.ids_per_second())),
                         quantile(0.5), quantile(0.99), quantile(0.999), line.errors, line.wrong);
  }
  for (const SegmentLine& line : segments) {
    if (!line.first_fault.empty()) table += fmt::format("  first fault: {}\n", line.first_fault);
  }
  return table;
}

// Null where JSON has no number for it.
nlohmann::json Number(double number) {
  return std::isfinite(number) ? nlohmann::json(number) : nlohmann::json();
}

bench::Panel DistributionPanel(const LoadResult& result) {
  bench::Panel panel{.title = "Latency of the calls of the whole run",
                     .unit = "ms",
                     .kind = bench::Panel::Kind::kLogarithmic,
                     .series = {{.name = "latency", .points = {}}},
                     .x_label = "nines: 1 is p90, 2 is p99, 3 is p99.9"};
  const auto calls = static_cast<double>(result.latencies.total());
  for (double nines = 0; nines <= std::log10(std::max(calls, 1.0)) && nines < 7; nines += 0.05) {
    panel.series[0].points.emplace_back(nines, QuantileOf(result, 1 - std::pow(10, -nines)) * 1e3);
  }
  return panel;
}

}  // namespace

std::string GroupedCount(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, " ");
  return text;
}

std::string ShortTime(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  if (seconds < 1e-3) return fmt::format("{:.1f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.2f} ms", seconds * 1e3);
  return fmt::format("{:.2f} s", seconds);
}

std::string DescribeRun(const LoadOptions& options) {
  const Mix& mix = options.workload.mix;
  const std::string values = mix.min_value_bytes == mix.max_value_bytes
                                 ? fmt::format("{}", mix.min_value_bytes)
                                 : fmt::format("{}..{}", mix.min_value_bytes, mix.max_value_bytes);
  const std::string loop =
      options.rate > 0 ? fmt::format("{} operations/s", GroupedCount(static_cast<uint64_t>(options.rate)))
                       : "as fast as it answers";
  const std::string keys = mix.starts_empty ? "new keys"
                                            : fmt::format("{} keys, {}", GroupedCount(options.keys),
                                                          std::string(NameOf(mix.popularity)));
  const Via* const via = FindVia(options.via);
  const bool durability = via != nullptr && via->takes_durability;
  const SegmentOptions& beside = options.segments;
  const std::string segments =
      beside.segments == 0
          ? ""
          : fmt::format("; beside it {} segments of {} ids, as many of a hundredth, {} adds/s, {} asking",
                        GroupedCount(beside.segments), GroupedCount(beside.ids), beside.adds, beside.queries);
  return fmt::format("{} via {} to {}:{}: {}, values of {} bytes, {} x {} in flight{}, {}{}{}",
                     options.workload.name, options.via, options.host, options.port, keys, values,
                     options.connections, options.in_flight,
                     options.batch > 1 ? fmt::format(" of batches of {}", options.batch) : "", loop,
                     !durability    ? ""
                     : options.sync ? ", SYNC"
                                    : ", MEMORY",
                     segments);
}

std::string LiveLine(const LoadResult& so_far) {
  const size_t count = std::min(so_far.windows.size(), kWindowsASecond);
  double operations = 0;
  double p99 = 0;
  for (size_t i = so_far.windows.size() - count; i < so_far.windows.size(); ++i) {
    operations += so_far.windows[i].operations_per_second / static_cast<double>(count);
    if (std::isfinite(so_far.windows[i].p99)) p99 = std::max(p99, so_far.windows[i].p99);
  }
  return fmt::format("{:5.0f} s {:>12} ops/s   p99 {:>9}   errors {}   wrong {}", so_far.seconds,
                     GroupedCount(static_cast<uint64_t>(operations)), ShortTime(p99 > 0 ? p99 : std::nan("")),
                     so_far.errors, so_far.wrong);
}

std::string FinalTable(const LoadResult& result) {
  std::string table;
  table += Row("operations", GroupedCount(result.operations));
  table += Row("seconds", fmt::format("{:.2f}", result.seconds));
  table += Row("operations/s", GroupedCount(static_cast<uint64_t>(result.operations_per_second())));
  for (const auto& [name, quantile] : kQuantiles) {
    table +=
        Row(name, ShortTime(result.latencies.total() == 0 ? std::nan("") : QuantileOf(result, quantile)));
  }
  table += Row("errors", GroupedCount(result.errors));
  table += Row("wrong values", GroupedCount(result.wrong));
  if (result.server_cpu_seconds) {
    table += Row("server CPU/operation",
                 fmt::format("{:.2f} us", PerOperation(result, *result.server_cpu_seconds) * 1e6));
    table += Row("server CPUs used", fmt::format("{:.2f}", *result.server_cpu_seconds / result.seconds));
    table += Row("server memory (RSS)",
                 fmt::format("{:.1f} MiB", static_cast<double>(*result.server_resident_bytes) * 0x1p-20));
  }
  table += Row("own CPU/operation",
               fmt::format("{:.2f} us", PerOperation(result, result.client_cpu_seconds) * 1e6));
  if (!result.first_fault.empty()) table += fmt::format("  first fault: {}\n", result.first_fault);
  table += SegmentTable(result.segments);
  table += fmt::format("{} operations/s, p99 {}\n",
                       GroupedCount(static_cast<uint64_t>(result.operations_per_second())),
                       ShortTime(result.latencies.total() == 0 ? std::nan("") : QuantileOf(result, 0.99)));
  return table;
}

std::string ContrastTable(const LoadResult& before, const LoadResult& beside, const LoadResult& after) {
  std::string table = fmt::format("  {:<18}{:>14}{:>12}\n", "gets and sets", "operations/s", "p99");
  const auto row = [&](const char* name, const LoadResult& result) {
    const double p99 = result.latencies.total() == 0 ? std::nan("") : QuantileOf(result, 0.99);
    table += fmt::format("  {:<18}{:>14}{:>12}\n", name,
                         GroupedCount(static_cast<uint64_t>(result.operations_per_second())), ShortTime(p99));
  };
  row("alone", before);
  row("beside segments", beside);
  row("alone again", after);
  LoadResult alone;
  alone.seconds = before.seconds + after.seconds;
  alone.operations = before.operations + after.operations;
  alone.latencies = before.latencies + after.latencies;
  const auto ratios = [](const LoadResult& of, const LoadResult& to) {
    const double p99 = to.latencies.total() == 0 ? std::nan("") : QuantileOf(of, 0.99) / QuantileOf(to, 0.99);
    return fmt::format("throughput x {:.2f}, p99 x {:.2f}",
                       of.operations_per_second() / to.operations_per_second(), p99);
  };
  table += fmt::format("alone again / alone: {}\n", ratios(after, before));
  table += fmt::format("beside segments / alone: {}\n", ratios(beside, alone));
  return table;
}

std::string ResultJson(const LoadOptions& options, const LoadResult& result) {
  nlohmann::json json;
  json["workload"] = options.workload.name;
  json["via"] = options.via;
  json["server"] = fmt::format("{}:{}", options.host, options.port);
  json["distribution"] = NameOf(options.workload.mix.popularity);
  json["keys"] = options.keys;
  json["min_value_bytes"] = options.workload.mix.min_value_bytes;
  json["max_value_bytes"] = options.workload.mix.max_value_bytes;
  json["connections"] = options.connections;
  json["in_flight"] = options.in_flight;
  json["threads"] = options.threads;
  json["batch"] = options.batch;
  json["durability"] = options.sync ? "sync" : "memory";
  json["rate"] = options.rate > 0 ? nlohmann::json(options.rate) : nlohmann::json();
  json["operations"] = result.operations;
  json["seconds"] = result.seconds;
  json["operations_per_second"] = Number(result.operations_per_second());
  for (const auto& [name, quantile] : kQuantiles)
    json["latency_seconds"][name] = QuantileOf(result, quantile);
  json["errors"] = result.errors;
  json["wrong_values"] = result.wrong;
  json["first_fault"] = result.first_fault;
  json["own_cpu_seconds_per_operation"] = Number(PerOperation(result, result.client_cpu_seconds));
  if (result.server_cpu_seconds) {
    json["server_cpu_seconds_per_operation"] = Number(PerOperation(result, *result.server_cpu_seconds));
    json["server_cpus"] = Number(*result.server_cpu_seconds / result.seconds);
    json["server_resident_bytes"] = *result.server_resident_bytes;
  }
  for (const SegmentLine& line : result.segments) {
    json["segments"][line.name] = {{"calls_per_second", line.calls_per_second()},
                                   {"ids_per_second", line.ids_per_second()},
                                   {"p50", Number(QuantileOf(line, 0.5))},
                                   {"p99", Number(QuantileOf(line, 0.99))},
                                   {"p99.9", Number(QuantileOf(line, 0.999))},
                                   {"errors", line.errors},
                                   {"wrong_answers", line.wrong},
                                   {"first_fault", line.first_fault}};
  }
  json["windows"] = nlohmann::json::array();
  for (const Window& window : result.windows) {
    json["windows"].push_back({{"at", window.at},
                               {"operations_per_second", Number(window.operations_per_second)},
                               {"p50", Number(window.p50)},
                               {"p99", Number(window.p99)},
                               {"max", Number(window.longest)},
                               {"errors", window.errors}});
  }
  return json.dump(1) + "\n";
}

std::string ResultSvg(const LoadOptions& options, const LoadResult& result) {
  bench::Panel throughput{.title = "Operations, in each tenth of a second", .unit = "operations/s"};
  throughput.series = {{.name = "operations/s", .points = {}}};
  bench::Panel latency{.title = "Latency of the calls that were answered in it",
                       .unit = "ms",
                       .kind = bench::Panel::Kind::kLogarithmic};
  latency.series = {{.name = "max", .points = {}, .colour = 1},
                    {.name = "p99", .points = {}, .colour = 0},
                    {.name = "p50", .points = {}, .colour = 2}};
  for (const Window& window : result.windows) {
    throughput.series[0].points.emplace_back(window.at, window.operations_per_second);
    latency.series[0].points.emplace_back(window.at, window.longest * 1e3);
    latency.series[1].points.emplace_back(window.at, window.p99 * 1e3);
    latency.series[2].points.emplace_back(window.at, window.p50 * 1e3);
  }
  bench::Chart chart{.title = fmt::format("{} operations/s, p99 {}",
                                          GroupedCount(static_cast<uint64_t>(result.operations_per_second())),
                                          ShortTime(QuantileOf(result, 0.99))),
                     .subtitle = DescribeRun(options),
                     .x_label = ""};
  throughput.x_label = latency.x_label = "seconds";
  chart.panels = {std::move(throughput), std::move(latency), DistributionPanel(result)};
  return bench::RenderSvg(chart);
}

}  // namespace thermocline::load
