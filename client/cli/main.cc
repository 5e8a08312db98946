#include <csignal>
#include <iostream>
#include <string>
#include <unistd.h>
#include <vector>

#include "client/cli/run.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  // When nobody reads the output any more, a command ends like any other, and so do its calls.
  std::signal(SIGPIPE, SIG_IGN);
  thermocline::cli::Io io{
      .in = STDIN_FILENO,
      .out = std::cout,
      .err = std::cerr,
      .out_is_terminal = isatty(STDOUT_FILENO) == 1,
      .err_is_terminal = isatty(STDERR_FILENO) == 1,
      .out_descriptor = STDOUT_FILENO,
  };
  return thermocline::cli::Run(std::vector<std::string>(argv + 1, argv + argc), io);
}
