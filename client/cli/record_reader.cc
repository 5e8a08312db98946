#include "client/cli/record_reader.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "client/cli/csv.h"
#include "client/cli/entry_json.h"
#include "client/cli/splitter.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

std::unique_ptr<Splitter> SplitterFor(ByteSource& source, Format format) {
  switch (format) {
    case Format::kCsv:
      return SplitCsv(source);
    case Format::kJson:
      return SplitJsonArray(source);
    default:
      return SplitLines(source);
  }
}

// What JSON and CSV records have in common: a splitter, and the number of each record.
class ParsingReader : public RecordReader {
 public:
  ParsingReader(std::unique_ptr<Splitter> splitter, RecordShape shape)
      : shape_(std::move(shape)), splitter_(std::move(splitter)) {}

  std::optional<Item> Next() final {
    RawRecord raw;
    if (!splitter_->Next(raw)) return std::nullopt;
    ++number_;
    if (!raw.problem.empty()) return Item{raw.line, Invalid(raw.problem)};
    absl::StatusOr<Record> record = Parse(raw.text, number_);
    if (record.ok()) {
      record->line = raw.line;
      if (shape_.ttl.has_value()) record->ttl = shape_.ttl;
    }
    return Item{raw.line, std::move(record)};
  }

 protected:
  virtual absl::StatusOr<Record> Parse(const std::string& text, uint64_t number) = 0;

  const RecordShape shape_;

 private:
  const std::unique_ptr<Splitter> splitter_;
  uint64_t number_ = 0;
};

class ExportReader final : public ParsingReader {
 public:
  using ParsingReader::ParsingReader;

 private:
  absl::StatusOr<Record> Parse(const std::string& text, uint64_t) override { return ParseEntryJson(text); }
};

absl::StatusOr<std::string> JsonField(const nlohmann::json& object, const std::string& name) {
  const auto field = object.find(name);
  if (field == object.end()) return Invalid(fmt::format("has no field \"{}\"", name));
  if (field->is_string()) return field->get<std::string>();
  return field->dump();
}

// A number with a fraction or beyond 64 bits would not be written as it was read, so two records could get
// the same key.
absl::StatusOr<std::string> JsonKeyField(const nlohmann::json& object, const std::string& name) {
  const auto field = object.find(name);
  if (field != object.end() && !field->is_string() && !field->is_number_integer() && !field->is_boolean()) {
    return Invalid(fmt::format(
        "its field \"{}\" cannot be part of a key: that takes a string, a 64-bit integer or a boolean",
        name));
  }
  return JsonField(object, name);
}

class JsonReader final : public ParsingReader {
 public:
  using ParsingReader::ParsingReader;

 private:
  absl::StatusOr<Record> Parse(const std::string& text, uint64_t number) override {
    absl::StatusOr<nlohmann::json> object = ParseJson(text);
    if (!object.ok()) return object.status();
    if (!object->is_object()) return Invalid("is not a JSON object");
    auto key = shape_.key->Key(number, [&](const std::string& name) { return JsonKeyField(*object, name); });
    if (!key.ok()) return key.status();
    if (!shape_.value_field.has_value()) return Record{.key = *std::move(key), .value = CompactJson(text)};
    absl::StatusOr<std::string> value = JsonField(*object, *shape_.value_field);
    if (!value.ok()) return value.status();
    return Record{.key = *std::move(key), .value = *std::move(value)};
  }
};

class CsvReader final : public ParsingReader {
 public:
  static absl::StatusOr<std::unique_ptr<RecordReader>> Open(ByteSource& source, RecordShape shape) {
    std::unique_ptr<Splitter> splitter = SplitterFor(source, shape.format);
    RawRecord header;
    if (!splitter->Next(header)) {
      if (!source.status().ok()) return source.status();
      return Invalid("the CSV is empty: its first line must name the columns");
    }
    if (!header.problem.empty()) return Invalid("the first line, which names the columns, " + header.problem);
    absl::StatusOr<std::vector<std::string>> columns = ParseCsvRecord(header.text);
    if (!columns.ok()) return columns.status();
    std::set<std::string_view> seen;
    for (const std::string& column : *columns) {
      if (!IsUtf8(column)) return Invalid("the first line, which names the columns, is not UTF-8");
      if (!seen.insert(column).second)
        return Invalid(fmt::format("the column \"{}\" comes twice in the first line", column));
    }
    return std::unique_ptr<RecordReader>(
        new CsvReader(std::move(splitter), std::move(shape), *std::move(columns)));
  }

 private:
  CsvReader(std::unique_ptr<Splitter> splitter, RecordShape shape, std::vector<std::string> columns)
      : ParsingReader(std::move(splitter), std::move(shape)), columns_(std::move(columns)) {}

  absl::StatusOr<Record> Parse(const std::string& text, uint64_t number) override {
    absl::StatusOr<std::vector<std::string>> fields = ParseCsvRecord(text);
    if (!fields.ok()) return fields.status();
    if (fields->size() != columns_.size()) {
      return Invalid(fmt::format("has {} columns, the first line names {}", fields->size(), columns_.size()));
    }
    const auto field = [&](const std::string& name) -> absl::StatusOr<std::string> {
      const auto column = std::find(columns_.begin(), columns_.end(), name);
      if (column == columns_.end()) return Invalid(fmt::format("has no column \"{}\"", name));
      return (*fields)[static_cast<size_t>(column - columns_.begin())];
    };
    absl::StatusOr<std::string> key = shape_.key->Key(number, field);
    if (!key.ok()) return key.status();
    absl::StatusOr<std::string> value =
        shape_.value_field.has_value() ? field(*shape_.value_field) : ToJson(*fields);
    if (!value.ok()) return value.status();
    return Record{.key = *std::move(key), .value = *std::move(value)};
  }

  absl::StatusOr<std::string> ToJson(const std::vector<std::string>& fields) const {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (size_t i = 0; i < fields.size(); ++i) {
      if (!IsUtf8(fields[i])) {
        return Invalid(fmt::format(
            "column \"{}\" is not UTF-8, so it cannot be stored as JSON (--value stores it as it is)",
            columns_[i]));
      }
      object[columns_[i]] = fields[i];
    }
    return object.dump();
  }

  const std::vector<std::string> columns_;
};

}  // namespace

absl::StatusOr<Format> FormatOf(const std::string& path) {
  const size_t dot = path.rfind('.');
  const std::string extension = dot == std::string::npos ? "" : path.substr(dot);
  if (extension == ".ndjson" || extension == ".jsonl") return Format::kNdjson;
  if (extension == ".json") return Format::kJson;
  if (extension == ".csv") return Format::kCsv;
  return Invalid(fmt::format(
      "the name \"{}\" does not tell its format: give --format ndjson, json, csv or export", path));
}

absl::StatusOr<std::unique_ptr<RecordReader>> RecordReader::Open(ByteSource& source, RecordShape shape) {
  if (shape.format == Format::kCsv) return CsvReader::Open(source, std::move(shape));
  std::unique_ptr<Splitter> splitter = SplitterFor(source, shape.format);
  if (shape.format == Format::kExport) {
    return std::unique_ptr<RecordReader>(
        std::make_unique<ExportReader>(std::move(splitter), std::move(shape)));
  }
  return std::unique_ptr<RecordReader>(std::make_unique<JsonReader>(std::move(splitter), std::move(shape)));
}

}  // namespace thermocline::cli
