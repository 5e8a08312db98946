#include <algorithm>
#include <chrono>
#include <memory>
#include <unordered_set>
#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "client/cli/byte_source.h"
#include "client/cli/commands.h"
#include "client/cli/import_report.h"
#include "client/cli/lanes.h"
#include "client/cli/progress.h"
#include "client/cli/record_reader.h"
#include "client/cli/s3_access.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

using KeySet = std::unordered_set<std::string>;

std::chrono::milliseconds Since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
}

// An item's error that is about the record, not about the server: the next record may well be taken.
bool IsAboutTheRecord(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInvalidArgument;
}

// Sorts the outcomes of a batch: `judge` says for each record that was answered whether it is done.
template <class Results, class Judge>
void Sort(const std::vector<Record>& batch, const Results& results, ImportReport& report, Judge judge) {
  std::vector<const Record*> done;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (results[i].ok()) {
      if (judge(batch[i], *results[i])) done.push_back(&batch[i]);
    } else if (IsAboutTheRecord(results[i].status())) {
      report.Reject(batch[i].line, std::string(results[i].status().message()));
    } else {
      report.Fail(results[i].status(), 1);
    }
  }
  report.Done(done);
}

Lanes::Send Writer(Client& client, Durability durability, ImportReport& report) {
  return [&client, durability, &report](std::vector<Record> records, absl::AnyInvocable<void()> done) {
    std::vector<Write> writes;
    writes.reserve(records.size());
    for (const Record& record : records) {
      writes.push_back({.key = record.key, .value = record.value, .condition = {}, .ttl = record.ttl});
    }
    auto batch = std::make_shared<const std::vector<Record>>(std::move(records));
    client.BatchWriteAsync(
        std::move(writes),
        [batch, &report, done = std::move(done)](const Client::WriteResults& results) mutable {
          Sort(*batch, results, report, [](const Record&, const WriteResult&) { return true; });
          done();
        },
        {.durability = durability});
  };
}

Lanes::Send Comparer(Client& client, ImportReport& report) {
  return [&client, &report](std::vector<Record> records, absl::AnyInvocable<void()> done) {
    std::vector<std::string> keys;
    keys.reserve(records.size());
    for (const Record& record : records) keys.push_back(record.key);
    auto batch = std::make_shared<const std::vector<Record>>(std::move(records));
    client.BatchGetAsync(std::move(keys), [batch, &report, done = std::move(done)](
                                              const std::vector<Client::GetResult>& results) mutable {
      Sort(*batch, results, report, [&report](const Record& record, const std::optional<Entry>& entry) {
        if (entry.has_value() && entry->value == record.value) return true;
        report.Differ(record, entry.has_value() ? "has another value" : "is not there");
        return false;
      });
      done();
    });
  };
}

// Reads records and sends them until the end, a failure, or, if so told, the first rejected record.
void SendAll(const ImportCommand& command, const KeySet& only_keys, RecordReader& reader, Lanes& lanes,
             ImportReport& report) {
  while (!report.failed() && !(command.stop_on_error && report.rejected_any())) {
    std::optional<RecordReader::Item> item = reader.Next();
    if (!item.has_value()) break;
    if (!item->record.ok()) {
      report.Reject(item->line, std::string(item->record.status().message()));
    } else if (command.only_keys.empty() || only_keys.contains(item->record->key)) {
      lanes.Add(*std::move(item->record));
    }
  }
  // What was read before a rejected record is sent all the same; after a failure nothing is.
  if (!report.failed()) lanes.Drain();
}

void PrintSummary(const ImportCommand& command, const ImportReport::Counts& counts,
                  std::chrono::milliseconds elapsed, Context& context) {
  const uint64_t ms = std::max<uint64_t>(1, static_cast<uint64_t>(elapsed.count()));
  const uint64_t rate = counts.done * 1000 / ms;
  if (context.json) {
    nlohmann::ordered_json summary;
    summary[command.verify ? "equal" : "written"] = counts.done;
    if (command.verify) summary["missing_or_different"] = counts.missing_or_different;
    summary["rejected"] = counts.rejected;
    summary["unacknowledged"] = counts.unacknowledged;
    summary["bytes"] = counts.bytes;
    summary["elapsed_ms"] = elapsed.count();
    summary["records_per_second"] = rate;
    context.io.out << summary.dump() << "\n";
    return;
  }
  std::string line = fmt::format("{} records {} in {} ({}/s, {})", FormatCount(counts.done),
                                 command.verify ? "are equal" : "written", FormatDuration(elapsed),
                                 FormatCount(rate), FormatBytes(counts.bytes));
  if (command.verify)
    line += fmt::format(", {} missing or different", FormatCount(counts.missing_or_different));
  if (counts.rejected > 0) line += fmt::format(", {} rejected", FormatCount(counts.rejected));
  if (counts.unacknowledged > 0)
    line += fmt::format(", {} not acknowledged", FormatCount(counts.unacknowledged));
  context.io.out << line << "\n";
}

ExitCode Judge(const ImportReport& report, const ByteSource& source, Io& io) {
  if (!report.log_status().ok()) return FailFile(report.log_status(), io);
  if (!report.status().ok()) {
    FailCall(report.status(), io);
    return kServer;
  }
  if (!source.status().ok()) return FailFile(source.status(), io);
  const ImportReport::Counts counts = report.counts();
  if (counts.rejected > 0) return kRejected;
  return counts.missing_or_different > 0 ? kNo : kOk;
}

}  // namespace

ExitCode Execute(const ImportCommand& command, Context& context) {
  Io& io = context.io;
  KeySet only_keys;
  if (!command.only_keys.empty()) {
    const absl::Status read = ForEachKey(command.only_keys, io.in, [&](std::string key) {
      only_keys.insert(std::move(key));
      return true;
    });
    if (!read.ok()) return FailFile(read, io);
  }
  S3Access s3(command.s3);
  const auto source = OpenBytes(command.file, io.in, s3);
  if (!source.ok()) return FailFile(source.status(), io);
  const auto reader = RecordReader::Open(**source, command.shape);
  if (!reader.ok()) return FailFile(reader.status(), io);

  const auto begin = std::chrono::steady_clock::now();
  Progress* display = nullptr;
  ImportReport report([&display](std::string_view line) { display->Note(line); });
  if (!command.acked_log.empty()) {
    if (const absl::Status opened = report.LogAckedTo(command.acked_log); !opened.ok())
      return FailFile(opened, io);
  }
  Progress progress(io.err, io.err_is_terminal, [&] {
    return ProgressLine({report.done(), (*source)->consumed(), (*source)->size(), Since(begin)});
  });
  display = &progress;
  {
    Lanes lanes(Lanes::Options(), command.verify ? Comparer(context.client, report)
                                                 : Writer(context.client, command.durability, report));
    SendAll(command, only_keys, **reader, lanes, report);
  }
  progress.Stop();
  PrintSummary(command, report.counts(), Since(begin), context);
  return Judge(report, **source, io);
}

}  // namespace thermocline::cli
