#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"

#include "storage/s3_client.h"

namespace thermocline::server {

// Where the objects of segments live, and how an S3 store is reached.
struct ObjectsConfig {
  std::string url;                            // s3://bucket/prefix; empty: in the data directory
  uint64_t cache_bytes = uint64_t{10} << 30;  // of the disk, for what lives in S3; 0: no cache
  storage::S3Options s3;                      // but for its memory
};

// What a client of S3 and the cache need at least; it is a part of the memory of segments.
inline constexpr uint64_t kMinObjectsMemory = uint64_t{64} << 20;

// The flags about it, as they were written.
struct ObjectsTexts {
  std::string segment_store;
  std::string segment_cache = "10GiB";
  std::string endpoint;
  std::string region;
  std::string addressing = "auto";
  std::string profile;
  std::string access_key;
  std::string secret_key;
  std::string ca_file;
};

// Adds a flag: "--name", where its text goes, what kind of text it is, and what it does.
using AddFlag = std::function<void(const std::string& flag, std::string& text, const std::string& kind,
                                   const std::string& description)>;
void DescribeObjects(const AddFlag& add, ObjectsTexts& texts);

// INVALID_ARGUMENT, which names the flag.
absl::Status ReadObjects(const ObjectsTexts& texts, ObjectsConfig& config);

}  // namespace thermocline::server
