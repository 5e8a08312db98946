#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "storage/record_sort.h"

// Where records begin and end in a text.
namespace thermocline::storage::sort {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// The length of the record that `text` begins with, its line break included; npos if the text ends before the
// break. In a CSV, a break within quotes ends no record.
size_t RecordLength(RecordFormat format, std::string_view text);

// A record without its line break.
std::string_view WithoutBreak(std::string_view record);

// True for what is dropped without a word: an empty line, or one of white space in NDJSON.
bool IsBlank(RecordFormat format, std::string_view record);

// Why a record is refused that is longer than that.
std::string TooLong(RecordFormat format, size_t max_record_bytes);

}  // namespace thermocline::storage::sort
