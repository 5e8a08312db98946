#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "tests/load/driver.h"

namespace thermocline::load {

// A way to a server: protocol and library.
struct Via {
  std::string name;
  std::string summary;
  uint16_t port = 0;          // where such servers listen by default
  bool takes_any_key = true;  // not only printable ones
  bool takes_durability = true;
  bool has_segments = true;  // such servers
};

const std::vector<Via>& Vias();
// nullptr if there is none of this name.
const Via* FindVia(std::string_view name);

// Connects. UNAVAILABLE if the server is not there.
absl::StatusOr<std::unique_ptr<Driver>> Connect(const Via& via, const DriverOptions& options);

}  // namespace thermocline::load
