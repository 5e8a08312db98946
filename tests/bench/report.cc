#include "tests/bench/report.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace thermocline::bench {
namespace {

constexpr size_t kLabelWidth = 14;
constexpr size_t kMinWidth = 6;
constexpr int kRowsPerHeader = 25;

std::string Cell(double value, int decimals) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, decimals) : "-";
}

}  // namespace

Report::Report(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (const Column& column : columns_) {
    widths_.push_back(std::max({column.title.size(), column.unit.size(), kMinWidth}));
  }
}

absl::StatusOr<std::unique_ptr<Report>> Report::Create(std::vector<Column> columns,
                                                       const std::string& csv_path) {
  std::unique_ptr<Report> report(new Report(std::move(columns)));
  if (csv_path.empty()) return report;
  report->csv_path_ = csv_path;
  report->csv_.reset(std::fopen(csv_path.c_str(), "w"));
  if (report->csv_ == nullptr) return absl::ErrnoToStatus(errno, fmt::format("cannot write {}", csv_path));
  fmt::print(report->csv_.get(), "run");
  for (const Column& column : report->columns_) fmt::print(report->csv_.get(), ",{}", column.name);
  fmt::print(report->csv_.get(), "\n");
  return report;
}

std::vector<std::string> Report::Cells(const std::vector<double>& values) const {
  std::vector<std::string> cells;
  for (size_t i = 0; i < columns_.size(); ++i) {
    cells.push_back(Cell(values[i] * columns_[i].factor, columns_[i].decimals));
  }
  return cells;
}

absl::Status Report::Add(std::string_view label, const std::vector<double>& values) {
  PrintRow(label, Cells(values));
  rows_.push_back({std::string(label), values});
  if (csv_ == nullptr) return absl::OkStatus();
  std::string line(label);
  for (const double value : values) line += std::isfinite(value) ? fmt::format(",{}", value) : ",";
  fmt::print(csv_.get(), "{}\n", line);
  if (std::fflush(csv_.get()) != 0)
    return absl::ErrnoToStatus(errno, fmt::format("cannot write {}", csv_path_));
  return absl::OkStatus();
}

void Report::AddRatio(std::string_view label, const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<std::string> cells;
  for (size_t i = 0; i < columns_.size(); ++i) cells.push_back(Cell(a[i] / b[i], 2));
  PrintRow(label, cells);
}

std::vector<double> Report::Medians(std::string_view label) const {
  std::vector<double> medians;
  for (size_t i = 0; i < columns_.size(); ++i) {
    std::vector<double> values;
    for (const Row& row : rows_) {
      if (row.label == label) values.push_back(row.values[i]);
    }
    medians.push_back(MedianOf(std::move(values)));
  }
  return medians;
}

void Report::AddMedians(std::string_view label) {
  PrintRow(fmt::format("~ {}", label), Cells(Medians(label)));
}

void Report::PrintHeader() const {
  for (const auto text : {&Column::title, &Column::unit}) {
    std::string line(kLabelWidth, ' ');
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (!columns_[i].title.empty()) line += fmt::format("  {:>{}}", columns_[i].*text, widths_[i]);
    }
    fmt::print("{}\n", line);
  }
}

void Report::PrintRow(std::string_view label, const std::vector<std::string>& cells) {
  if (printed_++ % kRowsPerHeader == 0) PrintHeader();
  std::string line = fmt::format("{:<{}}", std::string(label.substr(0, kLabelWidth)), kLabelWidth);
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (!columns_[i].title.empty()) line += fmt::format("  {:>{}}", cells[i], widths_[i]);
  }
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

double MedianOf(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

absl::Status WriteTextFile(const std::string& path, std::string_view text) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return absl::ErrnoToStatus(errno, fmt::format("cannot write {}", path));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (std::fclose(file) == 0 && written) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, fmt::format("cannot write {}", path));
}

}  // namespace thermocline::bench
