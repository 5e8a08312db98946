#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "storage/object/s3/requests.h"
#include "storage/object_store.h"

namespace thermocline::storage::s3 {

// Asks the store for size and version. `requests` must outlive the object.
absl::StatusOr<std::unique_ptr<Object>> OpenObject(Requests& requests, const std::string& bucket,
                                                   const std::string& key);

// What a HEAD answers. NOT_FOUND and others as Requests.
struct ObjectHead {
  uint64_t bytes = 0;
  std::string etag;
  std::string writer;  // what our uploads write into kWriterHeader
};
inline constexpr char kWriterHeader[] = "x-amz-meta-thermocline-writer";
absl::StatusOr<ObjectHead> HeadObject(Requests& requests, const std::string& bucket, const std::string& key);

}  // namespace thermocline::storage::s3
