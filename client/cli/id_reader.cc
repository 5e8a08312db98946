#include "client/cli/id_reader.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "client/cli/csv.h"
#include "client/cli/entry_json.h"
#include "client/cli/splitter.h"
#include "client/cli/text.h"
#include "storage/id_source.h"

namespace thermocline::cli {
namespace {

constexpr size_t kIdsPerBatch = 32 << 10;
constexpr size_t kMaxLineBytes = 4 << 10;
constexpr size_t kShownBytes = 60;
constexpr std::string_view kSpace = " \t\r";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

std::string NotAnId(std::string_view text) {
  return fmt::format("\"{}\" is not an id: that is a whole number from 0 to 18446744073709551615",
                     FormatText(text, kShownBytes));
}

absl::StatusOr<uint64_t> ToId(std::string_view text) {
  const std::optional<uint64_t> id = storage::ReadId(text);
  if (id.has_value()) return *id;
  return Invalid(NotAnId(text));
}

// What JSON and CSV have in common: a splitter, and one id a record.
class ParsingIdReader : public IdReader {
 public:
  ParsingIdReader(std::unique_ptr<Splitter> splitter, std::string field)
      : field_(std::move(field)), splitter_(std::move(splitter)) {}

  bool Next(std::vector<uint64_t>& ids, Reject reject) final {
    ids.clear();
    while (ids.size() < kIdsPerBatch) {
      if (!splitter_->Next(raw_)) return !ids.empty();
      const absl::StatusOr<uint64_t> id =
          raw_.problem.empty() ? Parse(raw_.text) : absl::StatusOr<uint64_t>(Invalid(raw_.problem));
      if (id.ok()) {
        ids.push_back(*id);
      } else if (!reject(raw_.line, std::string(id.status().message()))) {
        return false;
      }
    }
    return true;
  }

 protected:
  virtual absl::StatusOr<uint64_t> Parse(const std::string& text) = 0;

  const std::string field_;

 private:
  const std::unique_ptr<Splitter> splitter_;
  RawRecord raw_;
};

class JsonIdReader final : public ParsingIdReader {
 public:
  using ParsingIdReader::ParsingIdReader;

 private:
  absl::StatusOr<uint64_t> Parse(const std::string& text) override {
    const absl::StatusOr<nlohmann::json> object = ParseJson(text);
    if (!object.ok()) return object.status();
    if (!object->is_object()) return Invalid("is not a JSON object");
    const auto field = object->find(field_);
    if (field == object->end()) return Invalid(fmt::format("has no field \"{}\"", field_));
    if (field->is_number_unsigned()) return field->get<uint64_t>();
    return ToId(field->is_string() ? field->get_ref<const std::string&>() : field->dump());
  }
};

class CsvIdReader final : public ParsingIdReader {
 public:
  static absl::StatusOr<std::unique_ptr<IdReader>> Open(ByteSource& source, const std::string& field) {
    std::unique_ptr<Splitter> splitter = SplitCsv(source);
    RawRecord header;
    if (!splitter->Next(header)) {
      if (!source.status().ok()) return source.status();
      return Invalid("the CSV is empty: its first line must name the columns");
    }
    if (!header.problem.empty()) return Invalid("the first line, which names the columns, " + header.problem);
    const absl::StatusOr<std::vector<std::string>> columns = ParseCsvRecord(header.text);
    if (!columns.ok()) return columns.status();
    const auto column = std::find(columns->begin(), columns->end(), field);
    if (column == columns->end()) {
      return Invalid(
          fmt::format("the first line, which names the columns, has no \"{}\": give --field", field));
    }
    return std::unique_ptr<IdReader>(
        new CsvIdReader(std::move(splitter), field, static_cast<size_t>(column - columns->begin())));
  }

 private:
  CsvIdReader(std::unique_ptr<Splitter> splitter, const std::string& field, size_t column)
      : ParsingIdReader(std::move(splitter), field), column_(column) {}

  absl::StatusOr<uint64_t> Parse(const std::string& text) override {
    const absl::StatusOr<std::vector<std::string>> fields = ParseCsvRecord(text);
    if (!fields.ok()) return fields.status();
    if (column_ >= fields->size()) return Invalid(fmt::format("has no column \"{}\"", field_));
    return ToId((*fields)[column_]);
  }

  const size_t column_;
};

// One id a line, read as fast as the input comes.
class LineIdReader final : public IdReader {
 public:
  explicit LineIdReader(ByteSource& source) : source_(source) {}

  bool Next(std::vector<uint64_t>& ids, Reject reject) override {
    ids.clear();
    while (ids.size() < kIdsPerBatch) {
      std::string_view text = source_.Peek();
      if (text.empty()) {
        const bool go_on = !source_.status().ok() || TakeLine(std::exchange(carried_, ""), ids, reject);
        return go_on && !ids.empty();
      }
      const size_t bytes = text.size();
      const bool go_on = Take(text, ids, reject);
      source_.Consume(bytes - text.size());
      if (!go_on) return false;
    }
    return true;
  }

 private:
  // Takes lines off the front of `text` until the batch is full; a line that goes on behind `text` is
  // carried.
  bool Take(std::string_view& text, std::vector<uint64_t>& ids, Reject reject) {
    while (ids.size() < kIdsPerBatch && !text.empty()) {
      if (carried_.empty() && TakePlainLines(text, ids)) continue;
      const size_t end = text.find('\n');
      const std::string_view piece = text.substr(0, end);
      // Of a line that is too long anyway, no more is held than shows it.
      if (carried_.size() <= kMaxLineBytes) carried_ += piece;
      if (end == std::string_view::npos) {
        text = {};
        return true;
      }
      text.remove_prefix(end + 1);
      if (!TakeLine(std::exchange(carried_, ""), ids, reject)) return false;
    }
    return true;
  }

  // The fast path: lines that are whole and have nothing but few enough digits not to overflow. True if the
  // batch is full or `text` at its end.
  bool TakePlainLines(std::string_view& text, std::vector<uint64_t>& ids) {
    constexpr ptrdiff_t kSafeDigits = 19;
    const char* line = text.data();
    const char* const end = line + text.size();
    const size_t before = ids.size();
    while (line < end && ids.size() < kIdsPerBatch) {
      const char* at = line;
      uint64_t id = 0;
      for (unsigned digit; at < end && (digit = static_cast<unsigned char>(*at) - unsigned{'0'}) <= 9; ++at)
        id = id * 10 + digit;
      const ptrdiff_t digits = at - line;
      if (at < end && *at == '\r') ++at;
      if (at == end || *at != '\n' || digits == 0 || digits > kSafeDigits) break;
      ids.push_back(id);
      line = at + 1;
    }
    line_ += ids.size() - before;
    text.remove_prefix(static_cast<size_t>(line - text.data()));
    return text.empty() || ids.size() == kIdsPerBatch;
  }

  bool TakeLine(std::string_view line, std::vector<uint64_t>& ids, Reject reject) {
    const uint64_t number = ++line_;
    if (number == 1 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    if (line.size() > kMaxLineBytes)
      return reject(number, fmt::format("is longer than {}", FormatBytes(kMaxLineBytes)));
    const size_t first = line.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return true;
    line = line.substr(first, line.find_last_not_of(kSpace) + 1 - first);
    const absl::StatusOr<uint64_t> id = ToId(line);
    if (!id.ok()) return reject(number, std::string(id.status().message()));
    ids.push_back(*id);
    return true;
  }

  ByteSource& source_;
  std::string carried_;  // the beginning of a line whose end was not in the last piece of the input
  uint64_t line_ = 0;    // how many were taken
};

}  // namespace

IdFormat IdFormatOf(std::string_view path) {
  if (path.ends_with(".ndjson") || path.ends_with(".jsonl")) return IdFormat::kNdjson;
  if (path.ends_with(".json")) return IdFormat::kJson;
  if (path.ends_with(".csv")) return IdFormat::kCsv;
  return IdFormat::kLines;
}

absl::StatusOr<std::unique_ptr<IdReader>> IdReader::Open(ByteSource& source, const IdShape& shape) {
  switch (shape.format) {
    case IdFormat::kNdjson:
      return std::unique_ptr<IdReader>(std::make_unique<JsonIdReader>(SplitLines(source), shape.field));
    case IdFormat::kJson:
      return std::unique_ptr<IdReader>(std::make_unique<JsonIdReader>(SplitJsonArray(source), shape.field));
    case IdFormat::kCsv:
      return CsvIdReader::Open(source, shape.field);
    case IdFormat::kLines:
      break;
  }
  return std::unique_ptr<IdReader>(std::make_unique<LineIdReader>(source));
}

}  // namespace thermocline::cli
