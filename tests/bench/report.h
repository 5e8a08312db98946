#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace thermocline::bench {

// How one number of every row is shown.
struct Column {
  std::string name;   // in the CSV file, where numbers are in basic units: bytes, seconds, 1
  std::string title;  // in the table; empty: only in the file
  std::string unit;   // of the table
  double factor = 1;  // from the basic unit to that of the table
  int decimals = 0;   // in the table
};

// A column and where its number comes from. A bench lists its fields once; table, file and ratios follow.
template <typename Row>
struct Field {
  Column column;
  std::function<double(const Row&)> value;
};

template <typename Row>
std::vector<Column> ColumnsOf(const std::vector<Field<Row>>& fields) {
  std::vector<Column> columns;
  columns.reserve(fields.size());
  for (const auto& field : fields) columns.push_back(field.column);
  return columns;
}

template <typename Row>
std::vector<double> ValuesOf(const std::vector<Field<Row>>& fields, const Row& row) {
  std::vector<double> values;
  values.reserve(fields.size());
  for (const auto& field : fields) values.push_back(field.value(row));
  return values;
}

// Rows as they come: an aligned table on stdout, and a CSV file that is complete up to the last row. What is
// not a number is shown as "-", and empty in the file. Not thread-safe.
class Report {
 public:
  // `csv_path` may be empty: no file.
  static absl::StatusOr<std::unique_ptr<Report>> Create(std::vector<Column> columns,
                                                        const std::string& csv_path);

  // One value for each column. `label` stands before them.
  absl::Status Add(std::string_view label, const std::vector<double>& values);
  // Only in the table, under the rows they compare: a / b for each column.
  void AddRatio(std::string_view label, const std::vector<double>& a, const std::vector<double>& b);
  // The median of each column over all rows with this label.
  std::vector<double> Medians(std::string_view label) const;
  // Only in the table, with a "~" before the label.
  void AddMedians(std::string_view label);

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  struct Row {
    std::string label;
    std::vector<double> values;
  };

  explicit Report(std::vector<Column> columns);

  std::vector<std::string> Cells(const std::vector<double>& values) const;
  void PrintHeader() const;
  void PrintRow(std::string_view label, const std::vector<std::string>& cells);

  std::vector<Column> columns_;
  std::vector<size_t> widths_;
  std::vector<Row> rows_;
  int printed_ = 0;
  std::unique_ptr<std::FILE, CloseFile> csv_;
  std::string csv_path_;
};

// Of `values` that are numbers; not a number if there are none.
double MedianOf(std::vector<double> values);

absl::Status WriteTextFile(const std::string& path, std::string_view text);

}  // namespace thermocline::bench
