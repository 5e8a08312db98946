#include <iostream>
#include <string>
#include <unistd.h>
#include <vector>

#include "client/cli/run.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  thermocline::cli::Io io{
      .in = STDIN_FILENO,
      .out = std::cout,
      .err = std::cerr,
      .out_is_terminal = isatty(STDOUT_FILENO) == 1,
      .err_is_terminal = isatty(STDERR_FILENO) == 1,
  };
  return thermocline::cli::Run(std::vector<std::string>(argv + 1, argv + argc), io);
}
