#include "server/service/requests.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "storage/types.h"

namespace thermocline::server {
namespace {

constexpr int64_t kMaxTtlMs = int64_t{100} * 365 * 24 * 3600 * 1000;

absl::StatusOr<storage::Condition> ToCondition(const v1::Condition& condition) {
  using Kind = storage::Condition::Kind;
  switch (condition.kind_case()) {
    case v1::Condition::kIfAbsent:
      if (condition.if_absent()) return storage::Condition{Kind::kIfAbsent};
      return absl::InvalidArgumentError(
          "condition if_absent is false: set it to true, or leave the condition out");
    case v1::Condition::kIfPresent:
      if (condition.if_present()) return storage::Condition{Kind::kIfPresent};
      return absl::InvalidArgumentError(
          "condition if_present is false: set it to true, or leave the condition out");
    case v1::Condition::kIfVersion:
      if (condition.if_version() != 0) return storage::Condition{Kind::kIfVersion, condition.if_version()};
      return absl::InvalidArgumentError("condition if_version is 0, which no value has: use if_absent");
    case v1::Condition::KIND_NOT_SET:
      break;
  }
  // Perhaps of a newer client: to write without heeding it could destroy data.
  return absl::InvalidArgumentError(
      "condition is of no kind that this server knows: set if_absent, if_present or if_version, or leave it "
      "out");
}

absl::StatusOr<storage::Durability> ToDurability(int durability) {
  switch (durability) {
    case v1::DURABILITY_UNSPECIFIED:
    case v1::SYNC:
      return storage::Durability::kSync;
    case v1::MEMORY:
      return storage::Durability::kMemory;
    default:
      return absl::InvalidArgumentError(fmt::format(
          "durability is {}; allowed are 0 (default: SYNC), 1 (SYNC) and 2 (MEMORY)", durability));
  }
}

absl::Status CheckValue(const v1::SetRequest& request, const storage::Engine& engine) {
  const uint64_t limit =
      std::min<uint64_t>(storage::kMaxValueBytes, engine.max_value_bytes(request.key().size()));
  if (request.value().size() <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("value has {} bytes; the limit is {}", request.value().size(), limit));
}

absl::StatusOr<uint64_t> ToExpiry(const v1::SetRequest& request, uint64_t now_ms) {
  if (!request.has_ttl_ms()) return 0;
  if (request.ttl_ms() < 1 || request.ttl_ms() > kMaxTtlMs) {
    return absl::InvalidArgumentError(fmt::format(
        "ttl_ms is {}; allowed are 1 to {} (a hundred years), or leave it out for a value that never expires",
        request.ttl_ms(), kMaxTtlMs));
  }
  return now_ms + static_cast<uint64_t>(request.ttl_ms());
}

// What sets and deletes have in common.
template <typename Request>
absl::StatusOr<storage::Write> CommonPart(const Request& request) {
  if (absl::Status status = CheckKey(request.key()); !status.ok()) return status;
  absl::StatusOr<storage::Durability> durability = ToDurability(request.durability());
  if (!durability.ok()) return durability.status();
  storage::Write write{.key = request.key(), .durability = *durability};
  if (request.has_condition()) {
    absl::StatusOr<storage::Condition> condition = ToCondition(request.condition());
    if (!condition.ok()) return condition.status();
    write.condition = *condition;
  }
  return write;
}

}  // namespace

absl::Status CheckKey(std::string_view key) {
  if (!key.empty() && key.size() <= storage::kMaxKeyBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      key.empty() ? fmt::format("key is empty; a key has 1 to {} bytes", storage::kMaxKeyBytes)
                  : fmt::format("key has {} bytes; the limit is {}", key.size(), storage::kMaxKeyBytes));
}

absl::StatusOr<storage::Write> ToWrite(const v1::SetRequest& request, const storage::Engine& engine,
                                       uint64_t now_ms) {
  absl::StatusOr<storage::Write> write = CommonPart(request);
  if (!write.ok()) return write;
  if (absl::Status status = CheckValue(request, engine); !status.ok()) return status;
  absl::StatusOr<uint64_t> expiry = ToExpiry(request, now_ms);
  if (!expiry.ok()) return expiry.status();
  write->value = request.value();
  write->expires_at_ms = *expiry;
  return write;
}

absl::StatusOr<storage::Write> ToWrite(const v1::DeleteRequest& request) { return CommonPart(request); }

absl::StatusOr<storage::Write> ToWrite(const v1::BatchWriteRequest::Write& write,
                                       const storage::Engine& engine, uint64_t now_ms) {
  switch (write.kind_case()) {
    case v1::BatchWriteRequest::Write::kSet:
      return ToWrite(write.set(), engine, now_ms);
    case v1::BatchWriteRequest::Write::kDelete:
      return ToWrite(write.delete_());
    case v1::BatchWriteRequest::Write::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("write is neither set nor delete");
}

std::optional<uint64_t> RemainingMs(uint64_t expires_at_ms, uint64_t now_ms) {
  if (expires_at_ms == 0) return std::nullopt;
  return expires_at_ms > now_ms ? expires_at_ms - now_ms : 1;
}

}  // namespace thermocline::server
