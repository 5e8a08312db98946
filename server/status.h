#pragma once

#include "absl/status/status.h"

namespace thermocline::server {

// The google.rpc.Code that clients see for `status`: the one place where failures become codes of the wire.
// Codes that the API does not promise (see key_value.proto) become INTERNAL, so that no client takes, say, a
// block file that the system does not find for a key that does not exist.
int WireCode(const absl::Status& status);

// The same for segments.proto, which promises NOT_FOUND as well.
int SegmentsWireCode(const absl::Status& status);

// The same for exports and their jobs, which promise some more.
int ExportWireCode(const absl::Status& status);

}  // namespace thermocline::server
