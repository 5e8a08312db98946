#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/s3_client.h"

namespace thermocline::storage::s3 {

using Fields = std::vector<std::pair<std::string, std::string>>;  // names and values, as they are

std::string Sha256Hex(std::string_view bytes);
std::string Md5Base64(std::string_view bytes);

// Every byte but A-Z a-z 0-9 - . _ ~ as %XX; of a path, also not '/'.
std::string PercentEncode(std::string_view text, bool is_path = false);
// Nothing is assumed of `text`: a % that is none stays.
std::string PercentDecode(std::string_view text);

// Sorted and encoded: as it is signed, and as it must be sent.
std::string QueryText(const Fields& query);

struct ToSign {
  std::string_view method;
  std::string_view path;   // encoded, begins with '/'
  std::string_view query;  // QueryText
  const Fields& headers;   // names in lower case; all are signed, "host" and "x-amz-date" must be there
  std::string_view payload_hash;
};

// The value of the header Authorization, by AWS Signature Version 4. `time` is that of x-amz-date,
// "20130524T000000Z". S3's rules: the path is encoded once and not normalised.
std::string Authorization(const ToSign& request, const S3Credentials& credentials, std::string_view region,
                          std::string_view service, std::string_view time);

}  // namespace thermocline::storage::s3
