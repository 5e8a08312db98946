#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

#include "tests/load/traffic.h"

namespace thermocline::load {

struct DriverOptions {
  std::string host;
  uint16_t port = 0;
  uint32_t connections = 1;
  uint32_t in_flight = 1;  // calls of each connection: together they are the tickets
};

// Some connections to a server. For one thread at a time; it may carry out several traffics, one after the
// other.
class Driver {
 public:
  virtual ~Driver() = default;

  // Carries out `traffic` until it is finished; its tickets are as many as this driver's. Calls that fail are
  // the traffic's affair; an error means that the server has not been there for so long that it makes no
  // sense to go on, or that answers stayed out for good: they have been counted.
  virtual absl::Status Run(Traffic& traffic) = 0;
};

}  // namespace thermocline::load
