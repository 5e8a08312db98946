#include "storage/sort/csv_fields.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "storage/sort/record_text.h"

namespace thermocline::storage::sort {
namespace {

constexpr size_t kNone = std::string_view::npos;
constexpr size_t kShownColumns = 40;

// The fields of a record one after the other.
class Columns {
 public:
  explicit Columns(std::string_view record) : rest_(record) {}

  // False after the last one, or if it cannot be told where the next one ends.
  bool Next() {
    if (ended_ || !status_.ok()) return false;
    ++number_;
    quoted_ = rest_.starts_with('"');
    escaped_ = false;
    if (quoted_ ? !TakeQuoted() : !TakePlain()) return false;
    ended_ = rest_.empty();
    if (!ended_) rest_.remove_prefix(1);
    return true;
  }

  const absl::Status& status() const { return status_; }

  // The field; where a quote stands twice, it is copied to `copy`.
  std::string_view Text(std::string& copy) const {
    if (!escaped_) return text_;
    copy.clear();
    for (size_t i = 0; i < text_.size(); ++i) {
      copy += text_[i];
      if (text_[i] == '"') ++i;
    }
    return copy;
  }

 private:
  bool TakePlain() {
    text_ = rest_.substr(0, rest_.find(','));
    rest_.remove_prefix(text_.size());
    return true;
  }

  bool TakeQuoted() {
    size_t at = 1;
    for (;; at += 2) {
      at = rest_.find('"', at);
      if (at == kNone) return Fail("has a quote that is never closed");
      if (at + 1 >= rest_.size() || rest_[at + 1] != '"') break;
      escaped_ = true;
    }
    text_ = rest_.substr(1, at - 1);
    rest_.remove_prefix(at + 1);
    if (rest_.empty() || rest_.starts_with(',')) return true;
    return Fail("goes on after its closing quote");
  }

  bool Fail(std::string_view what) {
    status_ = absl::InvalidArgumentError(fmt::format("column {} {}", number_, what));
    return false;
  }

  std::string_view rest_;
  std::string_view text_;
  size_t number_ = 0;
  bool quoted_ = false;
  bool escaped_ = false;
  bool ended_ = false;
  absl::Status status_;
};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

size_t SkipDigits(std::string_view text, size_t at) {
  while (at < text.size() && IsDigit(text[at])) ++at;
  return at;
}

// JSON's grammar; from_chars takes more.
bool IsNumber(std::string_view text, bool& whole) {
  size_t at = text.starts_with('-') ? 1 : 0;
  const size_t digits = at;
  at = SkipDigits(text, at);
  if (at == digits || (text[digits] == '0' && at > digits + 1)) return false;
  whole = at == text.size();
  if (at < text.size() && text[at] == '.') {
    const size_t fraction = ++at;
    at = SkipDigits(text, at);
    if (at == fraction) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    const size_t exponent = at;
    at = SkipDigits(text, at);
    if (at == exponent) return false;
  }
  return at == text.size();
}

template <class Number>
bool Parse(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

class CsvFields : public FieldReader {
 public:
  // `places`: for each field the number of its column, the first is 0.
  CsvFields(std::vector<size_t> places, size_t header_columns, bool text)
      : places_(std::move(places)),
        needed_(*std::max_element(places_.begin(), places_.end()) + 1),
        header_columns_(header_columns),
        text_(text),
        copies_(places_.size()) {}

  absl::Status Read(std::string_view record, std::span<Field> fields) override {
    Columns columns(record);
    size_t column = 0;
    for (; columns.Next(); ++column) {
      for (size_t i = 0; i < places_.size(); ++i) {
        if (places_[i] == column) fields[i] = ToField(columns.Text(copies_[i]));
      }
    }
    if (!columns.status().ok()) return columns.status();
    if (column >= needed_) return absl::OkStatus();
    return absl::InvalidArgumentError(
        fmt::format("has {} columns, where the header has {}", column, header_columns_));
  }

 private:
  Field ToField(std::string_view text) const {
    if (text.empty()) return {};
    if (!text_) {
      const Field number = NumberOf(text);
      if (number.is_number()) return number;
    }
    return {.kind = Field::Kind::kString, .text = text};
  }

  const std::vector<size_t> places_;
  const size_t needed_;
  const size_t header_columns_;
  const bool text_;
  std::vector<std::string> copies_;
};

}  // namespace

Field NumberOf(std::string_view text) {
  bool whole = false;
  if (text.empty() || !(IsDigit(text[0]) || text[0] == '-') || !IsNumber(text, whole)) return {};
  Field field;
  if (whole && Parse(text, field.number)) {
    field.kind = Field::Kind::kSigned;
  } else if (whole && Parse(text, field.natural)) {
    field.kind = Field::Kind::kUnsigned;
  } else if (!whole && Parse(text, field.real)) {
    field.kind = Field::Kind::kDouble;
  }
  return field;
}

absl::StatusOr<std::unique_ptr<FieldReader>> NewCsvFields(const FieldShape& shape, std::string_view header) {
  std::vector<std::string> names;
  header = WithoutBreak(header);
  if (header.starts_with(kByteOrderMark)) header.remove_prefix(kByteOrderMark.size());
  Columns columns(header);
  std::string copy;
  while (columns.Next()) names.emplace_back(columns.Text(copy));
  if (!columns.status().ok()) {
    return absl::InvalidArgumentError(
        fmt::format("line 1, the header: {}", std::string(columns.status().message())));
  }
  std::vector<size_t> places;
  for (const std::string& name : shape.names) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      const size_t header_columns = names.size();
      names.resize(std::min(names.size(), kShownColumns));
      return absl::InvalidArgumentError(fmt::format("there is no column \"{}\"; line 1 names these {}: {}",
                                                    name, header_columns, fmt::join(names, ", ")));
    }
    places.push_back(static_cast<size_t>(found - names.begin()));
  }
  return std::make_unique<CsvFields>(std::move(places), names.size(), shape.text);
}

}  // namespace thermocline::storage::sort
