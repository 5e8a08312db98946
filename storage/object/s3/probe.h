#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "storage/object/s3/requests.h"
#include "storage/s3_client.h"

namespace thermocline::storage::s3 {

// See S3Client::Probe.
absl::StatusOr<S3Abilities> ProbeStore(Requests& requests, const std::string& bucket,
                                       const std::string& prefix);

}  // namespace thermocline::storage::s3
