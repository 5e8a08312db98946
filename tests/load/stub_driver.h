#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "tests/load/driver.h"

namespace thermocline::load {

// Over the stubs that grpc++ generates, as a stock client would use them: asynchronous unary calls with a
// deadline, a channel for each connection. UNAVAILABLE if the server is not there.
absl::StatusOr<std::unique_ptr<Driver>> MakeStubDriver(const DriverOptions& options);

}  // namespace thermocline::load
