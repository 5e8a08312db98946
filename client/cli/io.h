#pragma once

#include <ostream>

namespace thermocline::cli {

// The program's standard streams.
struct Io {
  int in;  // a descriptor, for values and files are read from it byte for byte
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
};

}  // namespace thermocline::cli
