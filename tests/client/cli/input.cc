#include "tests/client/cli/input.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <string>
#include <unistd.h>
#include <utility>

namespace thermocline::cli {

Input::Input(std::string text, size_t piece_bytes) {
  // A reader that stops early closes the pipe under the writer.
  std::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  read_end_ = ends[0];
  writer_ = std::thread([text = std::move(text), piece_bytes, write_end = ends[1]] {
    std::string_view rest = text;
    while (!rest.empty()) {
      const ssize_t written = write(write_end, rest.data(), std::min(piece_bytes, rest.size()));
      if (written <= 0) break;
      rest.remove_prefix(static_cast<size_t>(written));
    }
    close(write_end);
  });
  source_ = *ByteSource::Open("-", read_end_);
}

Input::~Input() {
  close(read_end_);
  writer_.join();
}

}  // namespace thermocline::cli
