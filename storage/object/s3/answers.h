#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

// What S3 says in XML. Nothing in it is trusted: what is too large, too deep or not what it should be is
// INVALID_ARGUMENT. Pure functions.
namespace thermocline::storage::s3 {

// Longest answer that is read as a whole, and most elements and attributes of one.
inline constexpr size_t kMaxAnswerBytes = 4 << 20;
inline constexpr size_t kMaxAnswerElements = 64 << 10;

struct ErrorAnswer {
  std::string code;     // such as "NoSuchKey"
  std::string message;  // printable, shortened
  std::string region;   // of the bucket, if it is another one
};
// Empty strings where it says nothing.
ErrorAnswer ParseError(std::string_view xml);
// Whether the root is an error, which may come with status 200.
bool IsErrorAnswer(std::string_view xml);

struct ListAnswer {
  struct Entry {
    std::string key;
    uint64_t bytes = 0;
  };
  std::vector<Entry> entries;
  std::string next_token;  // empty: the end
};
// Of ListObjectsV2 with encoding-type=url.
absl::StatusOr<ListAnswer> ParseList(std::string_view xml);

absl::StatusOr<std::string> ParseUploadId(std::string_view xml);

struct UploadsAnswer {
  struct Entry {
    std::string key;
    std::string upload_id;
  };
  std::vector<Entry> entries;
  std::string next_key;  // empty: the end
  std::string next_upload_id;
};
// Of ListMultipartUploads with encoding-type=url.
absl::StatusOr<UploadsAnswer> ParseUploads(std::string_view xml);

// Of CompleteMultipartUpload: the ETag.
absl::StatusOr<std::string> ParseCompleted(std::string_view xml);

struct DeleteFailure {
  std::string key;
  std::string code;
};
// Of DeleteObjects in quiet mode: what was not deleted.
absl::StatusOr<std::vector<DeleteFailure>> ParseDeleted(std::string_view xml);

// Text as it stands in XML.
std::string XmlEscape(std::string_view text);

}  // namespace thermocline::storage::s3
