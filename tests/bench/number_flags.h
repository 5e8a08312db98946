#pragma once

#include <cstdint>
#include <string>

#include "CLI/CLI.hpp"

namespace thermocline::bench {

// Flags of whole numbers: "300M" or "1B" for counts, "6GiB" for bytes. `unset` is the default, as it is
// shown.
CLI::Option* AddCount(CLI::App& app, const std::string& flag, uint64_t& count, const std::string& unset,
                      const std::string& description);
CLI::Option* AddSize(CLI::App& app, const std::string& flag, uint64_t& bytes, const std::string& unset,
                     const std::string& description);

}  // namespace thermocline::bench
