#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/engine.h"
#include "thermocline/v1/key_value.pb.h"

namespace thermocline::server {

// What requests mean: messages checked against the API's limits and turned into the engine's terms. Every
// refusal is INVALID_ARGUMENT and names the field, what it holds and what is allowed.

absl::Status CheckKey(std::string_view key);

// The returned write refers to the bytes of `request`.
absl::StatusOr<storage::Write> ToWrite(const v1::SetRequest& request, const storage::Engine& engine,
                                       uint64_t now_ms);
absl::StatusOr<storage::Write> ToWrite(const v1::DeleteRequest& request);
absl::StatusOr<storage::Write> ToWrite(const v1::BatchWriteRequest::Write& write,
                                       const storage::Engine& engine, uint64_t now_ms);

// Milliseconds that are left, at least 1: a value that was found is alive. nullopt: it never expires.
std::optional<uint64_t> RemainingMs(uint64_t expires_at_ms, uint64_t now_ms);

}  // namespace thermocline::server
