#pragma once

#include <string>
#include <variant>

#include "tests/load/load_run.h"

namespace thermocline::load {

struct CommandLine {
  LoadOptions load;
  std::string json;  // files; empty: none
  std::string svg;
};

// What was asked for, or the exit code if that was --help or a mistake: the text has been printed then.
std::variant<CommandLine, int> ParseCommandLine(int argc, const char* const* argv);

}  // namespace thermocline::load
