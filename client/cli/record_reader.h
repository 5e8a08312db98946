#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "client/cli/byte_source.h"
#include "client/cli/key_template.h"
#include "client/cli/record.h"

namespace thermocline::cli {

enum class Format {
  kNdjson,  // one JSON object a line
  kJson,    // an array of JSON objects
  kCsv,     // RFC 4180, the first line names the columns
  kExport,  // what `thermocline export` writes
};

// The format that a file's name tells. INVALID_ARGUMENT if it tells none.
absl::StatusOr<Format> FormatOf(const std::string& path);

// What a record's key and value are made of. Of kExport only the format counts: its records name theirs.
struct RecordShape {
  Format format = Format::kNdjson;
  std::optional<KeyTemplate> key;
  std::optional<std::string> value_field;  // nullopt: the whole object, compact
  std::optional<std::chrono::milliseconds> ttl;
};

// Reads the records of an input one after the other. For one thread at a time.
class RecordReader {
 public:
  // INVALID_ARGUMENT: the first line of a CSV is not a list of names. `source` must outlive the reader.
  static absl::StatusOr<std::unique_ptr<RecordReader>> Open(ByteSource& source, RecordShape shape);

  virtual ~RecordReader() = default;

  struct Item {
    uint64_t line = 0;
    absl::StatusOr<Record> record;  // or why there is none on that line
  };
  // nullopt at the end, or when the source cannot be read (see its status()).
  virtual std::optional<Item> Next() = 0;
};

}  // namespace thermocline::cli
