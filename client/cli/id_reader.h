#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

#include "client/cli/byte_source.h"

namespace thermocline::cli {

enum class IdFormat {
  kLines,   // one id a line
  kNdjson,  // one JSON object a line
  kJson,    // an array of JSON objects
  kCsv,     // RFC 4180, the first line names the columns
};

// Where the ids of an input are.
struct IdShape {
  IdFormat format = IdFormat::kLines;
  std::string field = "id";  // of the objects, or the column; lines have none
};

// The format that a file's name tells: .ndjson, .jsonl, .json and .csv; anything else has an id a line.
IdFormat IdFormatOf(std::string_view path);

// Reads the ids of an input of any size. For one thread at a time.
class IdReader {
 public:
  // INVALID_ARGUMENT: the first line of a CSV names no such column. `source` must outlive the reader.
  static absl::StatusOr<std::unique_ptr<IdReader>> Open(ByteSource& source, const IdShape& shape);

  virtual ~IdReader() = default;

  // What is wrong with a record, and the line where it begins (the first is 1). False: read no further.
  using Reject = absl::FunctionRef<bool(uint64_t line, std::string_view problem)>;

  // Replaces `ids` by those that come next, some ten thousand. False at the end, when the source cannot be
  // read (see its status()), or when `reject` has said so; `ids` then holds those before it.
  virtual bool Next(std::vector<uint64_t>& ids, Reject reject) = 0;
};

}  // namespace thermocline::cli
