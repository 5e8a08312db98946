#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "tests/load/driver.h"

namespace thermocline::load {

// Over our client library: a Client for each connection, and its asynchronous methods. UNAVAILABLE if the
// server is not there.
absl::StatusOr<std::unique_ptr<Driver>> MakeClientDriver(const DriverOptions& options);

}  // namespace thermocline::load
