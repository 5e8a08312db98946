#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/record_sort.h"

namespace thermocline::storage::sort {

// A field of a record.
struct Field {
  // In the order in which they sort.
  enum class Kind : uint8_t {
    kMissing,
    kNull,
    kFalse,
    kTrue,
    kSigned,
    kUnsigned,
    kDouble,
    kString,
    kArray,
    kObject
  };

  Kind kind = Kind::kMissing;
  int64_t number = 0;     // kSigned
  uint64_t natural = 0;   // kUnsigned: one that int64_t does not hold
  double real = 0;        // kDouble
  std::string_view text;  // kString: without escapes; kArray, kObject: JSON without white space

  bool is_number() const { return kind >= Kind::kSigned && kind <= Kind::kDouble; }
};

// Finds fields in records. For one thread at a time.
class FieldReader {
 public:
  virtual ~FieldReader() = default;

  // Sets one of `fields` for each name, which are valid until the next call. `record` has no line break, and
  // the memory behind it goes on for kPaddingBytes at least. INVALID_ARGUMENT: what is wrong with the record.
  virtual absl::Status Read(std::string_view record, std::span<Field> fields) = 0;

  static constexpr size_t kPaddingBytes = 64;
};

// What JSON readers share: memory to read long records, one at a time.
class JsonMemory;

struct FieldShape {
  RecordFormat format = RecordFormat::kNdjson;  // or kCsv
  std::vector<std::string> names;
  bool text = false;  // see SortOptions
};

// `header` is the first record of a CSV. INVALID_ARGUMENT: a name stands for no field, or the header does not
// have it. What JSON takes for records up to `max_record_bytes` is JsonBytes of that for the shared memory,
// and JsonBytes(kShortJsonBytes) for each reader.
inline constexpr size_t kShortJsonBytes = 64 << 10;
constexpr uint64_t JsonBytes(uint64_t record_bytes) { return 14 * record_bytes; }
std::shared_ptr<JsonMemory> NewJsonMemory();
absl::StatusOr<std::unique_ptr<FieldReader>> NewFieldReader(const FieldShape& shape, std::string_view header,
                                                            std::shared_ptr<JsonMemory> shared);

// The number that JSON would take `text` for; kMissing if it takes it for none.
Field NumberOf(std::string_view text);

}  // namespace thermocline::storage::sort
