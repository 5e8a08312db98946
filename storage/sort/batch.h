#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "storage/sort/field_reader.h"
#include "storage/sort/merge.h"
#include "storage/sort/pages.h"
#include "storage/sort/sort_key.h"

namespace thermocline::storage::sort {

// How the records of a sort are compared, and what becomes of those that cannot be.
struct Order {
  RecordFormat format = RecordFormat::kNdjson;
  size_t keys = 0;  // 0: the whole record
  bool descending = false;
  bool unique = false;
  bool skip_invalid = false;
  size_t max_record_bytes = 0;
};

// Records in memory, and the order they sort in. The text grows from the front of the memory, keys from its
// end, and one entry for each record stands between them:
//
//   | text ..... | entries ..... >     free     < ..... keys |
//
// For one thread at a time.
class Batch {
 public:
  // Takes `bytes` of memory, up to kMaxBytes.
  explicit Batch(size_t bytes) : memory_(bytes) {}

  static constexpr uint64_t kMaxBytes = uint64_t{2} << 30;

  // Where the text of new records goes: FieldReader::kPaddingBytes less than there is.
  std::span<char> space() const { return memory_.span().first(memory_.size() - FieldReader::kPaddingBytes); }

  // The records of the front of space() come next. `number`: of this batch within the input.
  void Begin(size_t text_bytes, uint64_t number, uint64_t first_line);
  uint64_t number() const { return number_; }

  struct Outcome {
    uint64_t invalid = 0;
    std::string first_invalid;
  };
  // Reads the keys of records from where it has come to, until the text ends or there is no memory for more,
  // and sorts them; what it had sorted before is gone. `fields` is null if there are no keys.
  // INVALID_ARGUMENT names the line.
  absl::Status SortSome(const Order& order, FieldReader* fields, Outcome& outcome);
  // True if the records of the whole text have been sorted.
  bool ended() const { return next_ == text_bytes_; }

  size_t count() const { return count_; }
  // What all records and keys took beside their text, for each of its bytes.
  double overhead() const;

  // The sorted records. The batch must outlive it.
  std::unique_ptr<SortedRecords> Records(const Order& order) const;

 private:
  struct Entry;
  class Sorted;

  Entry* entries() const;
  absl::Status Take(std::string_view record, const Order& order, FieldReader* fields, bool& fits);
  void SortEntries(const Order& order);

  Pages memory_;
  size_t text_bytes_ = 0;
  uint64_t number_ = 0;
  size_t next_ = 0;  // of the text: where the first record begins that is not sorted
  uint64_t line_ = 1;
  size_t count_ = 0;
  size_t keys_begin_ = 0;
  size_t sorted_bytes_ = 0;  // of the text
  std::string key_;
};

}  // namespace thermocline::storage::sort
