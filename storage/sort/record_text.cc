#include "storage/sort/record_text.h"

#include <cstring>

#include <fmt/format.h>

namespace thermocline::storage::sort {
namespace {

constexpr size_t kNone = std::string_view::npos;

// From a quote that begins a field to behind the one that ends it.
size_t SkipQuoted(std::string_view text, size_t at) {
  for (++at;; ++at) {
    at = text.find('"', at);
    if (at == kNone) return kNone;
    if (at + 1 == text.size() || text[at + 1] != '"') return at + 1;
    ++at;
  }
}

// A quote means something only where a field begins.
size_t CsvRecordLength(std::string_view text) {
  size_t field = 0;
  for (;;) {
    if (field < text.size() && text[field] == '"') {
      field = SkipQuoted(text, field);
      if (field == kNone) return kNone;
    }
    const size_t end = text.find_first_of(",\n", field);
    if (end == kNone) return kNone;
    if (text[end] == '\n') return end + 1;
    field = end + 1;
  }
}

}  // namespace

size_t RecordLength(RecordFormat format, std::string_view text) {
  const size_t end = text.find('\n');
  if (format != RecordFormat::kCsv) return end == kNone ? kNone : end + 1;
  if (end != kNone && std::memchr(text.data(), '"', end) == nullptr) return end + 1;
  return CsvRecordLength(text);
}

std::string_view WithoutBreak(std::string_view record) {
  if (record.ends_with('\n')) record.remove_suffix(1);
  if (record.ends_with('\r')) record.remove_suffix(1);
  return record;
}

bool IsBlank(RecordFormat format, std::string_view record) {
  if (format == RecordFormat::kLines) return false;
  if (format == RecordFormat::kCsv) return record.empty();
  return record.find_first_not_of(" \t\r") == std::string_view::npos;
}

std::string TooLong(RecordFormat format, size_t max_record_bytes) {
  return fmt::format(
      "a record is longer than {} bytes, which is what this memory allows for; give more memory{}",
      max_record_bytes, format == RecordFormat::kCsv ? ", or look for a quote that is never closed" : "");
}

}  // namespace thermocline::storage::sort
