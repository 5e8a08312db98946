#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "client/cli/byte_source.h"

namespace thermocline::cli {

// The text of one record, as it is in the input.
struct RawRecord {
  uint64_t line = 0;  // where it begins; the first is 1
  std::string text;
  std::string problem;  // why the input holds no record here ("is longer than ..."); empty: it does
};

// Cuts an input into its records without understanding them, so that an input of any size takes memory only
// for one of its records. For one thread at a time.
class Splitter {
 public:
  virtual ~Splitter() = default;

  // The next record, or false at the end of the input or when it cannot be read (see ByteSource::status()).
  virtual bool Next(RawRecord& record) = 0;
};

// No record of a Splitter is longer.
inline constexpr size_t kMaxRecordBytes = 128 << 20;

// One record a line; empty lines are skipped, a byte order mark and the CR of a CRLF are dropped.
std::unique_ptr<Splitter> SplitLines(ByteSource& source, size_t max_record_bytes = kMaxRecordBytes);

// One record a line as RFC 4180 has it: a line break within quotes does not end it. Empty lines are skipped.
std::unique_ptr<Splitter> SplitCsv(ByteSource& source, size_t max_record_bytes = kMaxRecordBytes);

// The elements of a JSON array at the top level. After a problem with the array itself the input has ended.
std::unique_ptr<Splitter> SplitJsonArray(ByteSource& source, size_t max_record_bytes = kMaxRecordBytes);

}  // namespace thermocline::cli
