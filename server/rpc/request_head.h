#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "server/rpc/header_list.h"

namespace thermocline::server::rpc {

// What a client says at the beginning of a call (gRPC's "PROTOCOL-HTTP2", Requests), read from its header
// fields.
struct RequestHead {
  // Why it is no call of gRPC at all: a status of HTTP to answer with, such as 415. 0: it is one.
  int http_status = 0;
  // What is wrong with the call; OK if nothing is.
  absl::Status status;

  std::string path;  // "/package.Service/Method"
  std::optional<std::chrono::nanoseconds> timeout;
  bool gzip = false;              // its compressed messages are gzip; if not, it has none
  bool accepts_gzip = false;      // so may be ours
  bool unknown_encoding = false;  // that is what is wrong: the answer must say what is understood
  // What is the application's: lower-case names; values of "-bin" fields are decoded.
  std::vector<std::pair<std::string, std::string>> metadata;
};

RequestHead ReadRequestHead(const HeaderList& fields);

// A field of grpc-timeout: up to eight digits and a unit, H M S m u n. nullopt: it is none.
std::optional<std::chrono::nanoseconds> ParseTimeout(std::string_view text);

// What a client said, for a message to it: cut at 128 bytes. A few octets of HPACK may stand for a long text,
// and an answer must not be much longer than its question.
std::string_view Quote(std::string_view text);

// How grpc-message travels: what is not printable ASCII, '%', and a space at the beginning or at the end, as
// %XX.
std::string PercentEncode(std::string_view text);

// How "-bin" fields travel; reads with and without padding, writes without.
std::string Base64Encode(std::string_view bytes);
std::optional<std::string> Base64Decode(std::string_view text);

// The header fields, as HPACK literals, that tell `status`, whose code on the wire is `code`: grpc-status,
// grpc-message (cut at 4 KiB, as it travels) and, if the status has payloads, grpc-status-details-bin: a
// google.rpc.Status with each payload as an Any. Never empty.
std::string StatusFields(const absl::Status& status, int code);

}  // namespace thermocline::server::rpc
