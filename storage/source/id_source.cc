#include "storage/id_source.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "fmt/format.h"

namespace thermocline::storage {
namespace {

constexpr size_t kShownBytes = 60;

// A value in a message.
std::string Shown(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, kShownBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return fmt::format("\"{}\"{}", shown, text.size() > kShownBytes ? "..." : "");
}

std::string Problem(std::optional<std::string_view> text) {
  return text.has_value()
             ? fmt::format("{} is not an id: that is a whole number from 0 to 18446744073709551615",
                           Shown(*text))
             : "NULL is not an id; leave such rows out with \"where ... is not null\"";
}

class RowIds final : public IdSource {
 public:
  RowIds(std::unique_ptr<RowSource> rows, std::string column)
      : rows_(std::move(rows)), column_name_(std::move(column)) {}

  absl::StatusOr<std::span<const uint64_t>> Next(Reject skip) override {
    ids_.clear();
    // A batch may have nothing but rows that are skipped.
    while (failure_.ok() && ids_.empty()) {
      if (failure_ = rows_->Next(batch_); !failure_.ok()) break;
      if (!column_.has_value()) failure_ = FindColumn();
      if (batch_.empty()) break;
      if (failure_.ok()) failure_ = ReadBatch(skip);
    }
    if (!failure_.ok()) return failure_;
    return ids_;
  }

  void Cancel() override { rows_->Cancel(); }
  uint64_t rows() const override { return rows_->rows(); }
  const std::string& name() const override { return rows_->name(); }

 private:
  absl::Status FindColumn() {
    const std::vector<std::string>& columns = rows_->columns();
    const auto found = std::find(columns.begin(), columns.end(), column_name_);
    if (columns.size() == 1) {
      column_ = 0;
    } else if (std::count(columns.begin(), columns.end(), column_name_) == 1) {
      column_ = static_cast<size_t>(found - columns.begin());
    } else {
      return absl::InvalidArgumentError(fmt::format(
          "{}: the query has {} columns and {} of them is named {}; select one column, or give "
          "one that name",
          name(), columns.size(), found == columns.end() ? "none" : "more than one", Shown(column_name_)));
    }
    return absl::OkStatus();
  }

  absl::Status ReadBatch(Reject skip) {
    for (size_t row = 0; row < batch_.rows(); ++row) {
      const std::optional<std::string_view> text = batch_.at(row, *column_);
      const std::optional<uint64_t> id = text.has_value() ? ReadId(*text) : std::nullopt;
      if (id.has_value()) {
        ids_.push_back(*id);
        continue;
      }
      const uint64_t number = rows_->rows() - batch_.rows() + row + 1;
      const std::string problem = Problem(text);
      if (!skip(number, problem))
        return absl::InvalidArgumentError(fmt::format("{}: row {}: {}", name(), number, problem));
    }
    return absl::OkStatus();
  }

  const std::unique_ptr<RowSource> rows_;
  const std::string column_name_;
  std::optional<size_t> column_;
  RowBatch batch_;
  std::vector<uint64_t> ids_;
  absl::Status failure_;
};

}  // namespace

std::optional<uint64_t> ReadId(std::string_view text) {
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return id;
}

std::unique_ptr<IdSource> MakeIdSource(std::unique_ptr<RowSource> rows, std::string column) {
  return std::make_unique<RowIds>(std::move(rows), std::move(column));
}

}  // namespace thermocline::storage
