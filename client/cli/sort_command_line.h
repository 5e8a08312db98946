#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/s3_access.h"
#include "storage/record_sort.h"
#include "storage/s3_client.h"

namespace CLI {
class App;
}

// What the words after `thermocline sort` ask for.
namespace thermocline::cli {

struct SortCommand {
  std::string input;   // "-": standard input; s3://bucket/key
  std::string output;  // "-": standard output; s3://bucket/key
  // Without memory_bytes, which is of the process.
  storage::SortOptions options;
  uint64_t memory_bytes = uint64_t{1} << 30;
  std::string temporary;  // a directory or s3://bucket/prefix; empty: the output's, or the system's
  storage::S3Options s3;
};

void AddSortCommand(CLI::App& app, SortCommand& command);

// What the process takes besides the memory that a sort or a timeline is given: code, stacks, streams.
inline constexpr uint64_t kProcessBytes = 40 << 20;
// What is left of `memory_bytes`, and what S3 gets of that if it is used: a quarter, within its bounds.
constexpr uint64_t S3BytesOf(uint64_t memory_bytes) {
  return std::clamp((memory_bytes - kProcessBytes) / 4, kMinS3Bytes, kMaxS3Bytes);
}

}  // namespace thermocline::cli
