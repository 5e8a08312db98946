#include "client/cli/id_output.h"

#include <array>
#include <charconv>
#include <cstring>

namespace thermocline::cli {
namespace {

constexpr size_t kLongestLine = 64;  // and what Append writes beyond it
constexpr uint64_t kTail = 10'000;

constexpr std::array<char, 200> MakePairs() {
  std::array<char, 200> pairs{};
  for (size_t i = 0; i < 100; ++i) {
    pairs[2 * i] = static_cast<char>('0' + i / 10);
    pairs[2 * i + 1] = static_cast<char>('0' + i % 10);
  }
  return pairs;
}

// "00", "01", ... "99".
constexpr std::array<char, 200> kPairs = MakePairs();

}  // namespace

IdOutput::IdOutput(std::ostream& out, bool json)
    : out_(out),
      before_(json ? R"({"id":)" : ""),
      after_(json ? "}\n" : "\n"),
      buffer_(std::make_unique<char[]>(kBufferBytes)) {
  std::memcpy(head_text_, before_.data(), before_.size());
}

void IdOutput::Write(std::span<const uint64_t> ids) {
  char* const full = buffer_.get() + kBufferBytes - kLongestLine;
  while (!ids.empty() && out_) {
    char* to = buffer_.get();
    size_t done = 0;
    while (done < ids.size() && to < full) to = Append(ids[done++], to);
    out_.write(buffer_.get(), to - buffer_.get());
    ids = ids.subspan(done);
  }
}

// Ids that follow each other mostly have the same head, so that only the tail is computed.
char* IdOutput::Append(uint64_t id, char* to) {
  const uint64_t head = id / kTail;
  const auto tail = static_cast<size_t>(id % kTail);
  if (head != head_) {
    head_ = head;
    char* const digits = head_text_ + before_.size();
    head_bytes_ = static_cast<size_t>(std::to_chars(digits, head_text_ + kHeadRoom, head).ptr - head_text_);
  }
  if (head == 0) {
    std::memcpy(to, before_.data(), before_.size());
    to += before_.size();
    to = std::to_chars(to, to + 4, tail).ptr;
  } else {
    std::memcpy(to, head_text_, kHeadRoom);
    to += head_bytes_;
    std::memcpy(to, &kPairs[tail / 100 * 2], 2);
    std::memcpy(to + 2, &kPairs[tail % 100 * 2], 2);
    to += 4;
  }
  to[0] = after_[0];
  if (after_.size() > 1) to[1] = after_[1];
  return to + after_.size();
}

}  // namespace thermocline::cli
