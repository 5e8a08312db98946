#pragma once

#include <memory>
#include <string_view>
#include <thread>

#include "client/cli/byte_source.h"

namespace thermocline::cli {

// A pipe through which a text arrives, in pieces as a pipe has them.
class Input {
 public:
  explicit Input(std::string text, size_t piece_bytes = 4096);
  ~Input();

  int descriptor() const { return read_end_; }
  ByteSource& source() { return *source_; }

 private:
  int read_end_ = -1;
  std::thread writer_;
  std::unique_ptr<ByteSource> source_;
};

}  // namespace thermocline::cli
