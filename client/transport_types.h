#pragma once

#include <chrono>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

namespace thermocline::transport {

// Wall-clock time, for that is what gRPC takes.
using Deadline = std::chrono::system_clock::time_point;

// What a call ends with.
template <class Response>
using Done = absl::AnyInvocable<void(absl::StatusOr<Response>)>;

}  // namespace thermocline::transport
