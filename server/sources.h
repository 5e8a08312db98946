#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "storage/segments.h"

namespace thermocline::server {

// Reads the sources that expressions may name, from a JSON file:
//
//   {"orders": {"url": "postgresql://shop@db/shop",
//               "query": "select user_id from orders where day >= $1::date",
//               "connect_timeout": "10s", "idle_timeout": "10m"}}
//
// so that source:orders("2025-01-01") stands for the ids that this query yields. The timeouts may be left
// out. The file may hold passwords. Nothing is connected to yet.
//   INVALID_ARGUMENT  it cannot be read, or says what is not possible: the message names file and source
absl::StatusOr<storage::SegmentSource> ReadSources(const std::string& path);

}  // namespace thermocline::server
