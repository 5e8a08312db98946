#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/record_sort.h"

namespace CLI {
class App;
}

// What the words after `thermocline sort` ask for.
namespace thermocline::cli {

struct SortCommand {
  std::string input;   // "-": standard input
  std::string output;  // "-": standard output
  // Without memory_bytes, which is of the process.
  storage::SortOptions options;
  uint64_t memory_bytes = uint64_t{1} << 30;
  std::string temporary;  // a directory; empty: the output's, or the system's
};

void AddSortCommand(CLI::App& app, SortCommand& command);

// What the process takes besides the memory that a sort or a timeline is given: code, stacks, streams.
inline constexpr uint64_t kProcessBytes = 40 << 20;

}  // namespace thermocline::cli
