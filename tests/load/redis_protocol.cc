#include "tests/load/redis_protocol.h"

#include <charconv>
#include <optional>

#include "absl/status/status.h"
#include <fmt/format.h>

namespace thermocline::load {
namespace {

constexpr std::string_view kLineEnd = "\r\n";

void AppendNumber(char mark, uint64_t number, std::string& out) {
  char digits[24] = {mark};
  char* const end = std::to_chars(digits + 1, digits + sizeof(digits), number).ptr;
  out.append(digits, end).append(kLineEnd);
}

void AppendBulk(std::string_view bytes, std::string& out) {
  AppendNumber('$', bytes.size(), out);
  out.append(bytes).append(kLineEnd);
}

std::string_view CommandOf(const Call& call) {
  switch (call.verb) {
    case Call::Verb::kGet:
      return call.batch ? "MGET" : "GET";
    case Call::Verb::kSet:
      return call.batch ? "MSET" : "SET";
    case Call::Verb::kDelete:
      break;
  }
  return "DEL";
}

// A reply that has arrived whole, or the head of an array.
struct Reply {
  char type = 0;
  int64_t number = 0;     // of ':' and '*', and the length of '$'
  std::string_view text;  // of '+', '-' and '$'
  size_t bytes = 0;       // that it takes
};

absl::Status Malformed(std::string_view line) {
  return absl::InternalError(fmt::format("not RESP: '{}'", line.substr(0, 40)));
}

// nullopt: more bytes are needed.
absl::StatusOr<std::optional<Reply>> ParseReply(std::string_view in) {
  constexpr size_t kLongestLine = 64 << 10;
  const size_t end = in.find(kLineEnd);
  if (end == std::string_view::npos) {
    if (in.size() > kLongestLine) return Malformed(in);
    return std::nullopt;
  }
  if (end == 0) return Malformed(in.substr(0, end));
  Reply reply{.type = in[0], .text = in.substr(1, end - 1), .bytes = end + kLineEnd.size()};
  if (reply.type == '+' || reply.type == '-') return reply;
  if (reply.type != ':' && reply.type != '$' && reply.type != '*') return Malformed(in.substr(0, end));
  const auto [last, error] = std::from_chars(in.data() + 1, in.data() + end, reply.number);
  if (error != std::errc() || last != in.data() + end ||
      reply.number < (reply.type == ':' ? INT64_MIN : -1)) {
    return Malformed(in.substr(0, end));
  }
  if (reply.type != '$' || reply.number < 0) return reply;
  const auto length = static_cast<size_t>(reply.number);
  if (in.size() < reply.bytes + length + kLineEnd.size()) return std::nullopt;
  reply.text = in.substr(reply.bytes, length);
  reply.bytes += length + kLineEnd.size();
  if (in.substr(reply.bytes - kLineEnd.size(), kLineEnd.size()) != kLineEnd)
    return Malformed("a bulk without its end");
  return reply;
}

std::optional<std::string_view> ValueOf(const Reply& reply) {
  if (reply.number < 0) return std::nullopt;
  return reply.text;
}

// The bytes of an array with `count` bulks whose head takes `head` bytes; 0: more are needed. Values are
// handed out only when all are there, so that no prefix is parsed twice with an effect.
absl::StatusOr<size_t> ParseArray(std::string_view in, size_t head, uint32_t count, uint32_t ticket,
                                  Answers* answers) {
  size_t at = head;
  for (uint32_t i = 0; i < count; ++i) {
    const auto element = ParseReply(in.substr(at));
    if (!element.ok()) return element.status();
    if (!*element) return 0;
    if ((*element)->type != '$') return Malformed(in.substr(at, 20));
    if (answers != nullptr) answers->OnValue(ticket, i, ValueOf(**element));
    at += (*element)->bytes;
  }
  return at;
}

}  // namespace

void RedisProtocol::Send(uint32_t ticket, const Call& call, std::string& out) {
  const size_t arguments = call.items.size() * (call.verb == Call::Verb::kSet ? 2 : 1);
  AppendNumber('*', 1 + arguments, out);
  AppendBulk(CommandOf(call), out);
  for (const Item& item : call.items) {
    AppendBulk(item.key, out);
    if (call.verb == Call::Verb::kSet) AppendBulk(item.value, out);
  }
  pending_.Add(ticket, call.verb, static_cast<uint32_t>(call.items.size()));
}

absl::StatusOr<size_t> RedisProtocol::Receive(std::string_view in, Answers& answers, std::string& /*out*/) {
  size_t at = 0;
  while (at < in.size()) {
    const auto parsed = ParseReply(in.substr(at));
    if (!parsed.ok()) return parsed.status();
    if (!*parsed) break;
    const Reply& reply = **parsed;
    if (pending_.empty()) return absl::InternalError("an answer that nobody has asked for");
    const PendingCalls::Next next = pending_.next();
    size_t bytes = reply.bytes;
    if (reply.type == '*') {
      if (reply.number != pending_.items())
        return absl::InternalError("an array of another length than was asked for");
      const auto array = ParseArray(in.substr(at), reply.bytes, pending_.items(), next.ticket, nullptr);
      if (!array.ok()) return array.status();
      if (*array == 0) break;
      bytes = *ParseArray(in.substr(at), reply.bytes, pending_.items(), next.ticket, &answers);
    } else if (reply.type == '$') {
      answers.OnValue(next.ticket, 0, ValueOf(reply));
    }
    at += bytes;
    pending_.AnswerAll(reply.type == '-' ? reply.text : "", answers);
  }
  return at;
}

}  // namespace thermocline::load
