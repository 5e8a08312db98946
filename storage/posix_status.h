#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"

namespace thermocline::storage {

// What a system call that failed with `error` (an errno) means to the callers of file_system.h, with the
// message "cannot <operation> <path>: <what the system says>".
absl::Status PosixFailure(int error, std::string_view operation, std::string_view path);

// The same of a read.
absl::Status ReadFailure(int error, size_t bytes, uint64_t offset, std::string_view path);

// OUT_OF_RANGE: a read met the end of the file.
absl::Status ReadBeyondEnd(size_t bytes, uint64_t offset, std::string_view path);

}  // namespace thermocline::storage
