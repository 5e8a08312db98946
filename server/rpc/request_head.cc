#include "server/rpc/request_head.h"

#include <array>
#include <cstdint>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "fmt/format.h"

#include "server/rpc/hpack.h"

namespace thermocline::server::rpc {
namespace {

// Encoded: clients refuse answers with more than 8 KiB of fields.
constexpr size_t kMaxMessageBytes = 4096;
constexpr size_t kMaxQuotedBytes = 128;

bool IsReserved(std::string_view name) {
  static constexpr std::array<std::string_view, 6> kNames = {"content-type",    "te",   "user-agent",
                                                             "accept-encoding", "host", "content-length"};
  for (const std::string_view reserved : kNames) {
    if (name == reserved) return true;
  }
  return name.substr(0, 5) == "grpc-";
}

// Whether a field makes the whole request malformed (RFC 9113, section 8.2).
bool IsMalformed(std::string_view name) {
  for (const char c : name) {
    if ((c >= 'A' && c <= 'Z') || c <= ' ' || c == 0x7f) return true;
  }
  return name.empty() || name == "connection" || name == "transfer-encoding" || name == "keep-alive" ||
         name == "proxy-connection" || name == "upgrade";
}

bool IsGrpc(std::string_view content_type) {
  constexpr std::string_view kGrpc = "application/grpc";
  if (content_type.substr(0, kGrpc.size()) != kGrpc) return false;
  const std::string_view rest = content_type.substr(kGrpc.size());
  return rest.empty() || rest == "+proto" || rest[0] == ';';
}

bool Lists(std::string_view list, std::string_view what) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    std::string_view item = list.substr(0, comma);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    if (item == what) return true;
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  }
  return false;
}

void Refuse(RequestHead& head, absl::Status status) {
  if (head.status.ok()) head.status = std::move(status);
}

void ReadReserved(std::string_view name, std::string_view value, RequestHead& head) {
  if (name == "grpc-timeout") {
    head.timeout = ParseTimeout(value);
    if (!head.timeout) {
      Refuse(head,
             absl::InvalidArgumentError(fmt::format(
                 "grpc-timeout is '{}'; it has up to eight digits and one of H M S m u n", Quote(value))));
    }
  } else if (name == "grpc-encoding") {
    head.gzip = value == "gzip";
    if (!head.gzip && value != "identity") {
      head.unknown_encoding = true;
      Refuse(head, absl::UnimplementedError(fmt::format(
                       "grpc-encoding is '{}'; this server reads identity and gzip", Quote(value))));
    }
  } else if (name == "grpc-accept-encoding") {
    head.accepts_gzip = Lists(value, "gzip");
  }
}

void ReadMetadata(std::string_view name, std::string_view value, RequestHead& head) {
  constexpr std::string_view kBinary = "-bin";
  if (name.size() < kBinary.size() || name.substr(name.size() - kBinary.size()) != kBinary) {
    head.metadata.emplace_back(name, value);
    return;
  }
  // Several values may travel in one field.
  for (size_t begin = 0; begin <= value.size();) {
    const size_t end = std::min(value.find(',', begin), value.size());
    if (std::optional<std::string> bytes = Base64Decode(value.substr(begin, end - begin)); bytes) {
      head.metadata.emplace_back(name, *std::move(bytes));
    } else {
      Refuse(head, absl::InvalidArgumentError(fmt::format("metadata {} is not base64", Quote(name))));
    }
    begin = end + 1;
  }
}

void AppendVarint(uint64_t value, std::string& to) {
  for (; value >= 0x80; value >>= 7) to.push_back(static_cast<char>(0x80 | (value & 0x7f)));
  to.push_back(static_cast<char>(value));
}

// A field of a protobuf message that holds bytes.
void AppendBytesField(int number, std::string_view bytes, std::string& to) {
  AppendVarint(static_cast<uint64_t>(number) << 3 | 2, to);
  AppendVarint(bytes.size(), to);
  to.append(bytes);
}

// google.rpc.Status: code = 1, message = 2, details = 3 of google.protobuf.Any (type_url = 1, value = 2).
std::string StatusDetails(const absl::Status& status, int code) {
  std::string details;
  AppendVarint(1 << 3, details);
  AppendVarint(static_cast<uint64_t>(code), details);
  AppendBytesField(2, std::string_view(status.message().data(), status.message().size()), details);
  status.ForEachPayload([&details](absl::string_view type, const absl::Cord& payload) {
    std::string any;
    AppendBytesField(1, std::string_view(type.data(), type.size()), any);
    AppendBytesField(2, std::string(payload), any);
    AppendBytesField(3, any, details);
  });
  return details;
}

bool IsPlain(char c) { return c >= ' ' && c <= '~' && c != '%'; }

// As much of a message as may travel, in whole characters.
std::string_view Cut(std::string_view message) {
  size_t size = 0;
  for (size_t encoded = 0; size < message.size(); ++size) {
    encoded += IsPlain(message[size]) ? 1 : 3;
    if (encoded > kMaxMessageBytes) break;
  }
  if (size == message.size()) return message;
  constexpr int kMaxContinuation = 3;
  for (int i = 0; i < kMaxContinuation && size > 0 && (message[size] & 0xc0) == 0x80; ++i) --size;
  return message.substr(0, size);
}

bool HasPayloads(const absl::Status& status) {
  bool has = false;
  status.ForEachPayload([&has](absl::string_view, const absl::Cord&) { has = true; });
  return has;
}

}  // namespace

RequestHead ReadRequestHead(const HeaderList& fields) {
  RequestHead head;
  std::string_view method, content_type;
  bool has_path = false, fields_began = false;
  for (size_t i = 0; i < fields.size(); ++i) {
    const std::string_view name = fields.name(i);
    const std::string_view value = fields.value(i);
    if (!name.empty() && name[0] == ':') {
      if (fields_began) head.http_status = 400;
      if (name == ":method") method = value;
      if (name == ":path") {
        if (has_path) head.http_status = 400;
        has_path = true;
        head.path = value;
      }
      continue;
    }
    fields_began = true;
    if (IsMalformed(name)) head.http_status = 400;
    if (name == "content-type") content_type = value;
    if (IsReserved(name)) {
      ReadReserved(name, value, head);
    } else {
      ReadMetadata(name, value, head);
    }
  }
  if (!has_path || method.empty()) head.http_status = 400;
  if (head.http_status == 0 && method != "POST") head.http_status = 405;
  if (head.http_status == 0 && !IsGrpc(content_type)) head.http_status = 415;
  return head;
}

std::optional<std::chrono::nanoseconds> ParseTimeout(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  int64_t number = 0;
  for (const char c : text.substr(0, text.size() - 1)) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + (c - '0');
  }
  switch (text.back()) {
    case 'H':
      // More than nanoseconds can count: as good as for ever.
      return std::chrono::hours(std::min<int64_t>(number, 1'000'000));
    case 'M':
      return std::chrono::minutes(number);
    case 'S':
      return std::chrono::seconds(number);
    case 'm':
      return std::chrono::milliseconds(number);
    case 'u':
      return std::chrono::microseconds(number);
    case 'n':
      return std::chrono::nanoseconds(number);
    default:
      return std::nullopt;
  }
}

std::string_view Quote(std::string_view text) { return text.substr(0, kMaxQuotedBytes); }

std::string PercentEncode(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    // HTTP/2 forbids spaces around a value (RFC 9113, section 8.2.1), and some clients drop the field then.
    const bool around = c == ' ' && (i == 0 || i + 1 == text.size());
    if (IsPlain(c) && !around) {
      encoded.push_back(c);
    } else {
      const auto byte = static_cast<uint8_t>(c);
      encoded.push_back('%');
      encoded.push_back(kDigits[byte >> 4]);
      encoded.push_back(kDigits[byte & 15]);
    }
  }
  return encoded;
}

std::string Base64Encode(std::string_view bytes) {
  std::string text;
  absl::Base64Escape({bytes.data(), bytes.size()}, &text);
  while (!text.empty() && text.back() == '=') text.pop_back();
  return text;
}

std::optional<std::string> Base64Decode(std::string_view text) {
  std::string bytes;
  if (!absl::Base64Unescape({text.data(), text.size()}, &bytes)) return std::nullopt;
  return bytes;
}

std::string StatusFields(const absl::Status& status, int code) {
  std::string fields;
  AppendHeader("grpc-status", std::to_string(code), fields);
  const std::string_view message = Cut({status.message().data(), status.message().size()});
  if (!message.empty()) AppendHeader("grpc-message", PercentEncode(message), fields);
  if (HasPayloads(status)) {
    AppendHeader("grpc-status-details-bin", Base64Encode(StatusDetails(status, code)), fields);
  }
  return fields;
}

}  // namespace thermocline::server::rpc
