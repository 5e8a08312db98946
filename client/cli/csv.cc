#include "client/cli/csv.h"

#include <algorithm>

#include "fmt/format.h"

namespace thermocline::cli {
namespace {

// Moves the quoted field that `rest` begins with, quotes and all, to `field`. False if it is not closed.
bool TakeQuoted(std::string_view& rest, std::string& field) {
  rest.remove_prefix(1);
  for (;;) {
    const size_t quote = rest.find('"');
    if (quote == std::string_view::npos) return false;
    field += rest.substr(0, quote);
    rest.remove_prefix(quote + 1);
    if (!rest.starts_with('"')) return true;
    field += '"';
    rest.remove_prefix(1);
  }
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseCsvRecord(std::string_view text) {
  std::vector<std::string> fields;
  std::string_view rest = text;
  for (;;) {
    std::string& field = fields.emplace_back();
    if (rest.starts_with('"')) {
      if (!TakeQuoted(rest, field)) {
        return absl::InvalidArgumentError(
            fmt::format("column {} has a quote that is never closed", fields.size()));
      }
      if (!rest.empty() && !rest.starts_with(',')) {
        return absl::InvalidArgumentError(
            fmt::format("column {} goes on after its closing quote", fields.size()));
      }
    } else {
      const size_t end = std::min(rest.find(','), rest.size());
      field = rest.substr(0, end);
      rest.remove_prefix(end);
    }
    if (rest.empty()) return fields;
    rest.remove_prefix(1);
  }
}

}  // namespace thermocline::cli
