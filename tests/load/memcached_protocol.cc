#include "tests/load/memcached_protocol.h"

#include <charconv>
#include <optional>

#include "absl/status/status.h"
#include <fmt/format.h>

namespace thermocline::load {
namespace {

constexpr std::string_view kLineEnd = "\r\n";

struct Reply {
  std::string_view line;                  // without its end
  std::optional<std::string_view> value;  // of a "VA"
  size_t bytes = 0;                       // that it takes
};

// nullopt: more bytes are needed.
absl::StatusOr<std::optional<Reply>> ParseReply(std::string_view in) {
  constexpr size_t kLongestLine = 8 << 10;
  const size_t end = in.find(kLineEnd);
  if (end == std::string_view::npos) {
    if (in.size() > kLongestLine) return absl::InternalError("not memcached: no end of the line");
    return std::nullopt;
  }
  Reply reply{.line = in.substr(0, end), .bytes = end + kLineEnd.size()};
  if (!reply.line.starts_with("VA ")) return reply;
  size_t length = 0;
  const auto [last, error] = std::from_chars(in.data() + 3, in.data() + end, length);
  if (error != std::errc() || (last != in.data() + end && *last != ' ')) {
    return absl::InternalError(fmt::format("not memcached: '{}'", reply.line.substr(0, 40)));
  }
  if (in.size() < reply.bytes + length + kLineEnd.size()) return std::nullopt;
  reply.value = in.substr(reply.bytes, length);
  reply.bytes += length + kLineEnd.size();
  return reply;
}

}  // namespace

void MemcachedProtocol::Send(uint32_t ticket, const Call& call, std::string& out) {
  for (const Item& item : call.items) {
    switch (call.verb) {
      case Call::Verb::kGet:
        out.append("mg ").append(item.key).append(" v");
        break;
      case Call::Verb::kSet: {
        char digits[24] = {' '};
        char* const end = std::to_chars(digits + 1, digits + sizeof(digits), item.value.size()).ptr;
        out.append("ms ").append(item.key).append(digits, end).append(kLineEnd).append(item.value);
        break;
      }
      case Call::Verb::kDelete:
        out.append("md ").append(item.key);
        break;
    }
    out.append(kLineEnd);
  }
  pending_.Add(ticket, call.verb, static_cast<uint32_t>(call.items.size()));
}

absl::StatusOr<size_t> MemcachedProtocol::Receive(std::string_view in, Answers& answers,
                                                  std::string& /*out*/) {
  size_t at = 0;
  while (at < in.size()) {
    const auto parsed = ParseReply(in.substr(at));
    if (!parsed.ok()) return parsed.status();
    if (!*parsed) break;
    const Reply& reply = **parsed;
    if (pending_.empty()) return absl::InternalError("an answer that nobody has asked for");
    const PendingCalls::Next next = pending_.next();
    const std::string_view code = reply.line.substr(0, 2);
    const bool get = next.verb == Call::Verb::kGet;
    const bool known = get ? code == "VA" || code == "EN"
                           : code == "HD" || (next.verb == Call::Verb::kDelete && code == "NF");
    if (get && known) answers.OnValue(next.ticket, next.index, reply.value);
    at += reply.bytes;
    pending_.Answer(known ? "" : reply.line, answers);
  }
  return at;
}

}  // namespace thermocline::load
