#include <algorithm>
#include <chrono>
#include <vector>

#include "fmt/format.h"

#include "client/cli/commands.h"
#include "client/cli/entry_json.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

using nlohmann::ordered_json;
using Microseconds = std::chrono::duration<double, std::micro>;

ExitCode GetOne(const std::string& key, Context& context) {
  const Client::GetResult result = context.client.Get(key);
  if (!result.ok()) return FailCall(result.status(), context.io);
  if (!result->has_value()) return NotFound(key, context);
  const Entry& entry = **result;
  if (context.json) {
    context.io.out << EntryJson(key, entry, true).dump() << "\n";
    return kOk;
  }
  context.io.out << entry.value;
  if (context.io.out_is_terminal) context.io.out << "\n";
  return kOk;
}

// How long reads took.
class Timing {
 public:
  void Add(Microseconds time) { times_.push_back(time.count()); }

  ordered_json Summary() {
    std::sort(times_.begin(), times_.end());
    ordered_json summary;
    summary["reads"] = times_.size();
    summary["p50_us"] = Quantile(0.50);
    summary["p90_us"] = Quantile(0.90);
    summary["p99_us"] = Quantile(0.99);
    summary["max_us"] = Quantile(1);
    return summary;
  }

 private:
  int64_t Quantile(double part) const {
    if (times_.empty()) return 0;
    const auto rank = static_cast<size_t>(part * static_cast<double>(times_.size()));
    return static_cast<int64_t>(times_[std::min(rank, times_.size() - 1)]);
  }

  std::vector<double> times_;
};

void PrintTiming(const ordered_json& summary, Context& context) {
  if (context.json) {
    context.io.out << summary.dump() << "\n";
    return;
  }
  context.io.out << fmt::format("{:<10}{}\n{:<10}{}\n", "reads",
                                FormatCount(summary["reads"].get<uint64_t>()), "missing",
                                FormatCount(summary["missing"].get<uint64_t>()));
  for (const char* name : {"p50", "p90", "p99", "max"}) {
    const auto us = summary[std::string(name) + "_us"].get<int64_t>();
    context.io.out << fmt::format("{:<10}{:.3f} ms\n", name, static_cast<double>(us) / 1000);
  }
}

// Reads the keys one after the other, each when the one before has been answered.
ExitCode GetMany(const GetCommand& command, Context& context) {
  Timing timing;
  uint64_t missing = 0;
  absl::Status failure;
  const absl::Status read = ForEachKey(command.keys_from, context.io.in, [&](const std::string& key) {
    const auto begin = std::chrono::steady_clock::now();
    const Client::GetResult result = context.client.Get(key);
    timing.Add(std::chrono::steady_clock::now() - begin);
    if (!result.ok()) {
      failure = result.status();
      return false;
    }
    if (!result->has_value()) {
      ++missing;
      if (!command.timing) context.io.err << "not found: " << FormatText(key, 200) << "\n";
    } else if (!command.timing) {
      context.io.out << EntryJson(key, **result, true).dump() << "\n";
    }
    return true;
  });
  if (!failure.ok()) return FailCall(failure, context.io);
  if (!read.ok()) return FailFile(read, context.io);
  if (command.timing) {
    ordered_json summary = timing.Summary();
    summary["missing"] = missing;
    PrintTiming(summary, context);
  }
  return missing == 0 ? kOk : kNo;
}

}  // namespace

ExitCode Execute(const GetCommand& command, Context& context) {
  return command.keys_from.empty() ? GetOne(command.key, context) : GetMany(command, context);
}

}  // namespace thermocline::cli
