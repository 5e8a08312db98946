#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace thermocline::cli {

// The fields of one CSV record (RFC 4180) without its line break. A quote in an unquoted field stands for
// itself. INVALID_ARGUMENT: a quote that is not closed, or text after a closing quote.
absl::StatusOr<std::vector<std::string>> ParseCsvRecord(std::string_view text);

}  // namespace thermocline::cli
