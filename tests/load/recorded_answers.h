#pragma once

#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tests/load/protocol.h"

namespace thermocline::load {

// Keeps what it hears, for tests: "value 3/0 abc", "miss 3/1", "end 3", "end 3: error".
class RecordedAnswers final : public Answers {
 public:
  void OnValue(uint32_t ticket, uint32_t index, std::optional<std::string_view> value) override {
    heard.push_back(value ? fmt::format("value {}/{} {}", ticket, index, *value)
                          : fmt::format("miss {}/{}", ticket, index));
  }
  void OnEnd(uint32_t ticket, std::string_view error) override {
    heard.push_back(error.empty() ? fmt::format("end {}", ticket) : fmt::format("end {}: {}", ticket, error));
  }
  std::vector<std::string> Take() { return std::exchange(heard, {}); }

  std::vector<std::string> heard;
};

// Feeds `bytes` to `protocol` as if `first` of them had arrived before the others.
inline absl::Status FeedInTwo(Protocol& protocol, std::string_view bytes, size_t first, Answers& answers,
                              std::string& out) {
  const auto one = protocol.Receive(bytes.substr(0, first), answers, out);
  if (!one.ok()) return one.status();
  const auto two = protocol.Receive(bytes.substr(*one), answers, out);
  if (!two.ok()) return two.status();
  if (*one + *two != bytes.size()) return absl::InternalError("bytes are left over");
  return absl::OkStatus();
}

}  // namespace thermocline::load
