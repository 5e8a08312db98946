#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace thermocline::server::rpc {

// Messages in gzip's format (RFC 1952).

std::string Gzip(std::string_view bytes);

// INTERNAL if it is not gzip; RESOURCE_EXHAUSTED, and no more memory than that, if it unpacks to more than
// `max_bytes`.
absl::StatusOr<std::string> Gunzip(std::string_view packed, size_t max_bytes);

}  // namespace thermocline::server::rpc
