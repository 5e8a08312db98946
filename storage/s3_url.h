#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace thermocline::storage {

// s3://bucket/key; the key may be empty.
struct S3Url {
  std::string bucket;
  std::string key;
};

inline bool IsS3Url(std::string_view text) { return text.starts_with("s3://"); }

// nullopt: it is none, or names no bucket. Nothing is decoded: a key is what stands there.
inline std::optional<S3Url> ParseS3Url(std::string_view text) {
  if (!IsS3Url(text)) return std::nullopt;
  text.remove_prefix(5);
  const size_t slash = text.find('/');
  if (slash == 0 || text.empty()) return std::nullopt;
  S3Url url;
  url.bucket = text.substr(0, slash);
  if (slash != std::string_view::npos) url.key = text.substr(slash + 1);
  return url;
}

}  // namespace thermocline::storage
