#pragma once

#include <chrono>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "client/client.h"
#include "thermocline/v1/admin.pb.h"
#include "thermocline/v1/key_value.pb.h"

// Between the client's types and those of the wire. Private to the client.
namespace thermocline::conversion {

// OK if `key` and `value` are within the limits of any server; else INVALID_ARGUMENT naming the limit.
absl::Status CheckKey(std::string_view key);
absl::Status CheckValue(std::string_view key, std::string_view value);

v1::SetRequest ToSet(std::string key, std::string value, const Condition& condition,
                     std::optional<std::chrono::milliseconds> ttl, Durability durability);
v1::DeleteRequest ToDelete(std::string key, const Condition& condition, Durability durability);
v1::BatchWriteRequest::Write ToWrite(Write write, Durability durability);

WriteResult ToResult(const v1::WriteResponse& response);
absl::StatusOr<WriteResult> ToResult(const v1::BatchWriteResponse::Result& result);
absl::Status ToStatus(const v1::Error& error);
ServerStats ToStats(const v1::StatsResponse& response);
CompactionReport ToReport(const v1::CompactResponse& response);

// Any message with the fields of a found value, which are moved from.
template <class Message>
Entry ToEntry(Message& message) {
  Entry entry{.value = std::move(*message.mutable_value()), .version = message.version()};
  if (message.has_ttl_ms()) entry.ttl = std::chrono::milliseconds(message.ttl_ms());
  return entry;
}

}  // namespace thermocline::conversion
