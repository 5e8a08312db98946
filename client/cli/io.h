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
  int out_descriptor = -1;  // behind `out`; -1: there is none
};

// True if nobody can read any more what is written to `out`, as after `... | head`: the program has done all
// that was wanted of it.
bool ReaderHasLeft(const Io& io);

}  // namespace thermocline::cli
