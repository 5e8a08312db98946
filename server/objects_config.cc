#include "server/objects_config.h"

#include <optional>
#include <string_view>
#include <utility>

#include "fmt/format.h"

#include "server/config.h"
#include "storage/s3_url.h"

namespace thermocline::server {
namespace {

constexpr uint64_t kMinCacheBytes = uint64_t{16} << 20;

absl::Status Refuse(std::string_view flag, std::string_view value, std::string_view allowed) {
  return absl::InvalidArgumentError(fmt::format("--{} '{}' is not allowed: {}", flag, value, allowed));
}

absl::Status ReadAddressing(const std::string& text, storage::S3Options& s3) {
  using Addressing = storage::S3Options::Addressing;
  if (text == "auto") {
    s3.addressing = Addressing::kAuto;
  } else if (text == "path") {
    s3.addressing = Addressing::kPath;
  } else if (text == "virtual-host") {
    s3.addressing = Addressing::kVirtualHost;
  } else {
    return Refuse("s3-addressing", text, "give auto, path or virtual-host");
  }
  return absl::OkStatus();
}

absl::Status ReadCredentials(const ObjectsTexts& texts, storage::S3Options& s3) {
  s3.profile = texts.profile;
  if (texts.access_key.empty() && texts.secret_key.empty()) return absl::OkStatus();
  if (texts.access_key.empty() || texts.secret_key.empty()) {
    return absl::InvalidArgumentError(
        "--s3-access-key and --s3-secret-key belong together: give both, or none of them to use those of the "
        "environment");
  }
  s3.credentials = storage::S3Credentials{texts.access_key, texts.secret_key, ""};
  return absl::OkStatus();
}

}  // namespace

void DescribeObjects(const AddFlag& add, ObjectsTexts& texts) {
  add("--segment-store", texts.segment_store, "URL",
      "Where the files of segments live: s3://BUCKET/PREFIX; empty:\n"
      "in the data directory. One server at a time; a data directory\n"
      "stays with the store it began with.");
  add("--segment-cache", texts.segment_cache, "SIZE",
      "How much of the data directory's disk blocks of files in S3\n"
      "may take, to be read from there next time; 0: none.");
  add("--s3-endpoint", texts.endpoint, "URL",
      "The S3 store, such as http://127.0.0.1:9000; empty: AWS's of\n"
      "the region.");
  add("--s3-region", texts.region, "NAME", "Its region; empty: AWS_REGION of the environment, or us-east-1.");
  add("--s3-addressing", texts.addressing, "HOW",
      "How buckets are named: path (https://host/bucket), virtual-host\n"
      "(https://bucket.host), or auto: path for an endpoint of your own.");
  add("--s3-profile", texts.profile, "NAME",
      "Of the shared credentials file; empty: AWS_PROFILE, or default.");
  add("--s3-access-key", texts.access_key, "KEY",
      "Credentials. Without them: AWS_ACCESS_KEY_ID and\n"
      "AWS_SECRET_ACCESS_KEY of the environment, the shared credentials\n"
      "file, or those of the container or machine.");
  add("--s3-secret-key", texts.secret_key, "SECRET",
      "Goes with it. All users of the machine see flags: rather put it\n"
      "into the config file.");
  add("--s3-ca-file", texts.ca_file, "FILE",
      "Trust a store's certificate that one of these has signed (PEM),\n"
      "instead of the system's.");
}

absl::Status ReadObjects(const ObjectsTexts& texts, ObjectsConfig& config) {
  if (!texts.segment_store.empty() && !storage::ParseS3Url(texts.segment_store)) {
    return Refuse("segment-store", texts.segment_store,
                  "give s3://BUCKET/PREFIX, or nothing to keep the files in the data directory");
  }
  config.url = texts.segment_store;
  const std::optional<uint64_t> cache = ParseSize(texts.segment_cache);
  if (!cache || (*cache > 0 && *cache < kMinCacheBytes)) {
    return Refuse("segment-cache", texts.segment_cache,
                  fmt::format("give a size of {} or more, such as 10GiB, or 0 to have no cache",
                              FormatSize(kMinCacheBytes)));
  }
  config.cache_bytes = *cache;
  config.s3.endpoint = texts.endpoint;
  config.s3.region = texts.region;
  config.s3.ca_file = texts.ca_file;
  absl::Status status = ReadAddressing(texts.addressing, config.s3);
  status.Update(ReadCredentials(texts, config.s3));
  return status;
}

}  // namespace thermocline::server
