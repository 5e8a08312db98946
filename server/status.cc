#include "server/status.h"

namespace thermocline::server {

int WireCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      // absl numbers its codes as google.rpc.Code does.
      return static_cast<int>(status.code());
    default:
      return static_cast<int>(absl::StatusCode::kInternal);
  }
}

int SegmentsWireCode(const absl::Status& status) {
  return absl::IsNotFound(status) ? static_cast<int>(status.code()) : WireCode(status);
}

int ExportWireCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnimplemented:
      return static_cast<int>(status.code());
    default:
      return SegmentsWireCode(status);
  }
}

}  // namespace thermocline::server
