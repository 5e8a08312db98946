#include "storage/sort/json_fields.h"

#include <utility>

#include "absl/base/thread_annotations.h"
#include <fmt/format.h>
#include <simdjson.h>

#include "storage/thread_annotations.h"

namespace thermocline::storage::sort {

// A parser keeps the memory of the longest record that it has read, many times its length.
class JsonMemory {
 public:
  Mutex mutex;
  simdjson::dom::parser parser ABSL_GUARDED_BY(mutex);
};

namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;
using Path = std::vector<std::string>;

static_assert(FieldReader::kPaddingBytes >= simdjson::SIMDJSON_PADDING);

absl::StatusOr<Path> ParsePath(std::string_view name) {
  Path path(1);
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '\\' && i + 1 < name.size() && name[i + 1] == '.') {
      path.back() += name[++i];
    } else if (name[i] == '.') {
      path.emplace_back();
    } else {
      path.back() += name[i];
    }
  }
  for (const std::string& part : path) {
    if (!part.empty()) continue;
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" names no field; write NAME, or OUTER.INNER for a field in a field", name));
  }
  return path;
}

absl::Status NotJson(simdjson::error_code error) {
  if (error == simdjson::NUMBER_ERROR) {
    return absl::InvalidArgumentError("has a number that is none, or larger than 64 bits or a double hold");
  }
  return absl::InvalidArgumentError(fmt::format("is not JSON: {}", simdjson::error_message(error)));
}

// The last of the fields of that name: what other readers of JSON make of it.
bool Find(element& at, std::string_view name) {
  simdjson::dom::object object;
  if (at.get(object) != simdjson::SUCCESS) return false;
  bool found = false;
  for (const simdjson::dom::key_value_pair field : object) {
    if (field.key != name) continue;
    at = field.value;
    found = true;
  }
  return found;
}

class JsonFields : public FieldReader {
 public:
  JsonFields(std::vector<Path> paths, std::shared_ptr<JsonMemory> shared)
      : paths_(std::move(paths)), texts_(paths_.size()), shared_(std::move(shared)) {}

  absl::Status Read(std::string_view record, std::span<Field> fields) override {
    if (record.size() <= kShortJsonBytes) return ReadWith(parser_, record, fields);
    MutexLock lock(shared_->mutex);
    absl::Status status = ReadWith(shared_->parser, record, fields);
    // What they point to is the parser's.
    for (size_t i = 0; i < paths_.size() && status.ok(); ++i) {
      if (fields[i].kind != Field::Kind::kString) continue;
      texts_[i] = fields[i].text;
      fields[i].text = texts_[i];
    }
    return status;
  }

 private:
  absl::Status ReadWith(simdjson::dom::parser& parser, std::string_view record, std::span<Field> fields) {
    element root;
    if (const auto error = parser.parse(record.data(), record.size(), false).get(root)) return NotJson(error);
    for (size_t i = 0; i < paths_.size(); ++i) {
      element at = root;
      bool found = true;
      for (const std::string& name : paths_[i]) found = found && Find(at, name);
      fields[i] = found ? ToField(at, texts_[i]) : Field();
    }
    return absl::OkStatus();
  }

  static Field ToField(element at, std::string& text) {
    switch (at.type()) {
      case element_type::NULL_VALUE:
        return {.kind = Field::Kind::kNull};
      case element_type::BOOL:
        return {.kind = at.get_bool().value_unsafe() ? Field::Kind::kTrue : Field::Kind::kFalse};
      case element_type::INT64:
        return {.kind = Field::Kind::kSigned, .number = at.get_int64().value_unsafe()};
      case element_type::UINT64:
        return {.kind = Field::Kind::kUnsigned, .natural = at.get_uint64().value_unsafe()};
      case element_type::DOUBLE:
        return {.kind = Field::Kind::kDouble, .real = at.get_double().value_unsafe()};
      case element_type::STRING:
        return {.kind = Field::Kind::kString, .text = at.get_string().value_unsafe()};
      case element_type::ARRAY:
      case element_type::OBJECT:
        break;
    }
    text = simdjson::to_string(at);
    return {.kind = at.is_array() ? Field::Kind::kArray : Field::Kind::kObject, .text = text};
  }

  const std::vector<Path> paths_;
  std::vector<std::string> texts_;
  const std::shared_ptr<JsonMemory> shared_;
  simdjson::dom::parser parser_;
};

}  // namespace

std::shared_ptr<JsonMemory> NewJsonMemory() { return std::make_shared<JsonMemory>(); }

absl::StatusOr<std::unique_ptr<FieldReader>> NewJsonFields(const std::vector<std::string>& names,
                                                           std::shared_ptr<JsonMemory> shared) {
  std::vector<Path> paths;
  for (const std::string& name : names) {
    absl::StatusOr<Path> path = ParsePath(name);
    if (!path.ok()) return path.status();
    paths.push_back(*std::move(path));
  }
  return std::make_unique<JsonFields>(std::move(paths), std::move(shared));
}

}  // namespace thermocline::storage::sort
