#pragma once

#include <cstdint>
#include <memory>
#include <ostream>
#include <span>
#include <string_view>

namespace thermocline::cli {

// Writes ids one a line, in decimal digits or as {"id":...}, as fast as a disk or pipe takes them. For one
// thread at a time.
class IdOutput {
 public:
  IdOutput(std::ostream& out, bool json);

  // All of it has been handed to the stream when this returns. Fastest where ids are close together.
  void Write(std::span<const uint64_t> ids);

 private:
  char* Append(uint64_t id, char* to);

  static constexpr size_t kBufferBytes = 256 << 10;
  static constexpr size_t kHeadRoom = 32;  // holds {"id": and the 16 digits that an id's head can have

  std::ostream& out_;
  const std::string_view before_;
  const std::string_view after_;
  const std::unique_ptr<char[]> buffer_;
  // Of the last id: all but its last four digits, as a number and as text.
  uint64_t head_ = 0;
  size_t head_bytes_ = 0;
  char head_text_[kHeadRoom] = {};
};

}  // namespace thermocline::cli
