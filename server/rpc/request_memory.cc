#include <algorithm>

#include "absl/status/status.h"
#include "fmt/format.h"

#include "server/rpc/unary.h"
#include "server/wire_format.h"

namespace thermocline::server::rpc {
namespace {

// Shorter messages are not counted: they are part of what a call costs.
constexpr size_t kShortBytes = 512;
constexpr int64_t kUncounted = 16 << 10;
// Batches have at most 65 536 items; nothing else has as many parts.
constexpr int64_t kMaxParts = 65'536 + 64;
// Of a part, beside its bytes: an object of protobuf.
constexpr int64_t kPartBytes = 100;

}  // namespace

absl::Status HoldParsed(std::string_view message, Loop& loop, Loop::Hold& hold) {
  if (message.size() <= kShortBytes) return absl::OkStatus();
  int64_t parts = 0;
  for (wire::Reader fields(message); fields.Next();) ++parts;
  if (parts > kMaxParts) {
    return absl::InvalidArgumentError(
        fmt::format("the message has {} parts; no request has more than {}", parts, kMaxParts));
  }
  const int64_t bytes = static_cast<int64_t>(message.size()) + parts * kPartBytes;
  // The message as it came is given up at once.
  if (bytes <= kUncounted || hold.Resize(loop, std::max(hold.bytes(), bytes))) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "the server holds as many bytes of requests and answers as it may: ask again, with fewer at a time");
}

}  // namespace thermocline::server::rpc
