#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace thermocline::load {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

// A key, and what a set writes under it. Views of whoever made the call.
struct Item {
  std::string_view key;
  std::string_view value;
};

// One request to the server, whatever the protocol. `items` may lie in memory that is used again for the next
// call.
struct Call {
  enum class Verb : uint8_t { kGet, kSet, kDelete };

  Verb verb = Verb::kGet;
  bool batch = false;  // asked in one message for all items; otherwise there is exactly one
  bool sync = true;    // a write is acknowledged when it is on the disk (where the protocol can say so)
  std::span<const Item> items;
};

// Who hears of the answers. A call is known by its ticket, which its sender chose.
class Answers {
 public:
  virtual ~Answers() = default;

  // The answer to item `index` of a get: its value, or nullopt if there is none. Before OnEnd, in any order,
  // and not for items that failed.
  virtual void OnValue(uint32_t ticket, uint32_t index, std::optional<std::string_view> value) = 0;
  // The call is over, and its ticket free. Empty `error`: all of its items succeeded.
  virtual void OnEnd(uint32_t ticket, std::string_view error) = 0;
};

}  // namespace thermocline::load
