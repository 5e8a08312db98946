#pragma once

#include <string>
#include <vector>

#include "client/cli/exit_code.h"
#include "client/cli/io.h"

namespace thermocline::cli {

// The whole program but for its process: does what `arguments` (without the program's name) ask for.
ExitCode Run(const std::vector<std::string>& arguments, Io& io);

}  // namespace thermocline::cli
