#include "storage/posix_status.h"

#include <errno.h>
#include <system_error>

#include <fmt/format.h>

namespace thermocline::storage {
namespace {

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::StatusCode::kResourceExhausted;
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    default:  // EIO, and what no caller would treat differently
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

absl::Status PosixFailure(int error, std::string_view operation, std::string_view path) {
  return absl::Status(CodeOf(error), fmt::format("cannot {} {}: {}", operation, path,
                                                 std::generic_category().message(error)));
}

absl::Status ReadFailure(int error, size_t bytes, uint64_t offset, std::string_view path) {
  return PosixFailure(error, fmt::format("read {} bytes at offset {} of", bytes, offset), path);
}

absl::Status ReadBeyondEnd(size_t bytes, uint64_t offset, std::string_view path) {
  return absl::OutOfRangeError(
      fmt::format("cannot read {} bytes at offset {} of {}: the file ends before", bytes, offset, path));
}

}  // namespace thermocline::storage
