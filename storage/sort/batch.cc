#include "storage/sort/batch.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "storage/sort/record_text.h"

namespace thermocline::storage::sort {
namespace {

constexpr size_t kAhead = 8;  // records that are fetched while others are copied

}  // namespace

struct Batch::Entry {
  KeyPrefix prefix;
  uint32_t offset;  // of the record in the text
  uint32_t length;
  uint32_t key_offset;  // in the memory
  uint32_t key_length;
};

class Batch::Sorted : public SortedRecords {
 public:
  Sorted(const char* memory, std::span<const Entry> entries) : memory_(memory), entries_(entries) {}

  absl::StatusOr<bool> Next(SortedRecord& record) override {
    if (at_ == entries_.size()) return false;
    if (at_ + kAhead < entries_.size()) {
      const char* const ahead = memory_ + entries_[at_ + kAhead].offset;
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + 64);
      __builtin_prefetch(ahead + 128);
    }
    const Entry& entry = entries_[at_++];
    record.prefix = entry.prefix;
    record.key = {memory_ + entry.key_offset, entry.key_length};
    record.text = {memory_ + entry.offset, entry.length};
    return true;
  }

 private:
  const char* const memory_;
  const std::span<const Entry> entries_;
  size_t at_ = 0;
};

void Batch::Begin(size_t text_bytes, uint64_t number, uint64_t first_line) {
  text_bytes_ = text_bytes;
  number_ = number;
  next_ = 0;
  line_ = first_line;
  count_ = 0;
}

Batch::Entry* Batch::entries() const {
  const size_t begin = text_bytes_ + FieldReader::kPaddingBytes;
  constexpr size_t kAlignment = alignof(Entry);
  return reinterpret_cast<Entry*>(memory_.data() + (begin + kAlignment - 1) / kAlignment * kAlignment);
}

double Batch::overhead() const {
  if (sorted_bytes_ == 0) return 0;
  const size_t bytes = count_ * sizeof(Entry) + (memory_.size() - keys_begin_);
  return static_cast<double>(bytes) / static_cast<double>(sorted_bytes_);
}

absl::Status Batch::SortSome(const Order& order, FieldReader* fields, Outcome& outcome) {
  count_ = 0;
  keys_begin_ = memory_.size();
  const size_t begin = next_;
  bool fits = true;
  while (next_ < text_bytes_) {
    const size_t length = RecordLength(order.format, {memory_.data() + next_, text_bytes_ - next_});
    const std::string_view record(memory_.data() + next_, length);
    if (absl::Status status = Take(record, order, fields, fits); !status.ok()) {
      std::string message = fmt::format("line {}: {}", line_, std::string(status.message()));
      if (!order.skip_invalid) return absl::InvalidArgumentError(message);
      if (outcome.invalid++ == 0) outcome.first_invalid = std::move(message);
    }
    if (!fits) break;
    next_ += length;
    line_ += order.format == RecordFormat::kCsv
                 ? static_cast<uint64_t>(std::count(record.begin(), record.end(), '\n'))
                 : 1;
  }
  sorted_bytes_ = next_ - begin;
  SortEntries(order);
  if (next_ == begin && !ended()) {
    return absl::InvalidArgumentError(
        fmt::format("line {}: its key does not fit this memory; give more", line_));
  }
  return absl::OkStatus();
}

absl::Status Batch::Take(std::string_view record, const Order& order, FieldReader* fields, bool& fits) {
  const std::string_view text = WithoutBreak(record);
  if (IsBlank(order.format, text)) return absl::OkStatus();
  if (record.size() > order.max_record_bytes)
    return absl::InvalidArgumentError(TooLong(order.format, order.max_record_bytes));
  std::string_view key = text;
  auto key_offset = static_cast<size_t>(text.data() - memory_.data());
  size_t keys_begin = keys_begin_;
  if (fields != nullptr) {
    std::array<Field, kMaxKeys> found;
    if (absl::Status status = fields->Read(text, std::span(found).first(order.keys)); !status.ok())
      return status;
    key_.clear();
    AppendKey(std::span(found).first(order.keys), key_);
    key = key_;
    if (key_.size() > keys_begin) {
      fits = false;
      return absl::OkStatus();
    }
    key_offset = keys_begin -= key_.size();
  }
  const auto entries_end =
      static_cast<size_t>(reinterpret_cast<char*>(entries() + count_ + 1) - memory_.data());
  fits = entries_end <= keys_begin;
  if (!fits) return absl::OkStatus();
  if (fields != nullptr) std::memcpy(memory_.data() + key_offset, key.data(), key.size());
  keys_begin_ = keys_begin;
  entries()[count_++] = {PrefixOf(key, order.descending),
                         static_cast<uint32_t>(record.data() - memory_.data()),
                         static_cast<uint32_t>(record.size()), static_cast<uint32_t>(key_offset),
                         static_cast<uint32_t>(key.size())};
  return absl::OkStatus();
}

void Batch::SortEntries(const Order& order) {
  const char* const memory = memory_.data();
  const bool descending = order.descending;
  std::sort(entries(), entries() + count_, [memory, descending](const Entry& a, const Entry& b) {
    if (a.prefix != b.prefix) return a.prefix < b.prefix;
    const int rest =
        CompareRest({memory + a.key_offset, a.key_length}, {memory + b.key_offset, b.key_length}, descending);
    return rest != 0 ? rest < 0 : a.offset < b.offset;
  });
}

std::unique_ptr<SortedRecords> Batch::Records(const Order&) const {
  return std::make_unique<Sorted>(memory_.data(), std::span<const Entry>(entries(), count_));
}

}  // namespace thermocline::storage::sort
