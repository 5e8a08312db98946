#include "client/cli/import_report.h"

#include <cerrno>

#include "fmt/format.h"

#include "client/cli/entry_json.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

constexpr uint64_t kMaxTold = 20;

}  // namespace

absl::Status ImportReport::LogAckedTo(const std::string& path) {
  std::lock_guard lock(mutex_);
  acked_log_path_ = path;
  acked_log_.open(path, std::ios::binary | std::ios::app);
  if (!acked_log_) return absl::ErrnoToStatus(errno, "cannot open the list of acknowledged keys " + path);
  return absl::OkStatus();
}

void ImportReport::Done(const std::vector<const Record*>& records) {
  std::lock_guard lock(mutex_);
  counts_.done += records.size();
  for (const Record* record : records) {
    counts_.bytes += record->key.size() + record->value.size();
    if (acked_log_.is_open()) acked_log_ << KeyLine(record->key) << '\n';
  }
  done_.store(counts_.done, std::memory_order_relaxed);
  if (acked_log_.is_open() && !acked_log_.flush() && log_status_.ok()) {
    log_status_ = absl::ErrnoToStatus(errno, "cannot write the list of acknowledged keys " + acked_log_path_);
    failed_.store(true, std::memory_order_release);
  }
}

void ImportReport::Reject(uint64_t line, std::string_view problem) {
  Reject(fmt::format("line {}", line), problem);
}

void ImportReport::Reject(std::string_view place, std::string_view problem) {
  std::lock_guard lock(mutex_);
  ++counts_.rejected;
  rejected_any_.store(true, std::memory_order_relaxed);
  Tell(fmt::format("{}: {}", place, problem));
}

void ImportReport::Differ(const Record& record, std::string_view problem) {
  std::lock_guard lock(mutex_);
  ++counts_.missing_or_different;
  Tell(fmt::format("line {}: {}: {}", record.line, FormatText(record.key, 100), problem));
}

void ImportReport::Fail(const absl::Status& status, size_t unacknowledged) {
  std::lock_guard lock(mutex_);
  counts_.unacknowledged += unacknowledged;
  if (status_.ok()) status_ = status;
  failed_.store(true, std::memory_order_release);
}

ImportReport::Counts ImportReport::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

absl::Status ImportReport::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

absl::Status ImportReport::log_status() const {
  std::lock_guard lock(mutex_);
  return log_status_;
}

void ImportReport::Tell(std::string_view line) {
  if (++told_ <= kMaxTold) tell_(line);
  if (told_ == kMaxTold + 1) tell_("(more of these are only counted)");
}

}  // namespace thermocline::cli
