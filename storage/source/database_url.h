#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace thermocline::storage::source {

// scheme://user:password@host:port/database?name=value&..., with what was written as %XX decoded. What is not
// there is empty.
struct DatabaseUrl {
  std::string scheme;
  std::string user;
  std::optional<std::string> password;
  std::string host;  // without the brackets of an IPv6 address
  int port = 0;      // 0: not given
  std::string database;
  std::vector<std::pair<std::string, std::string>> settings;
};

// INVALID_ARGUMENT says which part is wrong, and never shows the password.
absl::StatusOr<DatabaseUrl> ParseDatabaseUrl(std::string_view url);

// What stands between the scheme and the first of '/', '?' and '#' is who and where. A password may contain
// any of them by mistake, so a '@' behind one of them still ends it.
struct UrlParts {
  std::string_view scheme;    // without "://"
  std::string_view user;      // still encoded
  bool has_password = false;  // what it is, is `password`
  std::string_view password;
  std::string_view place;     // host, port and database
  std::string_view settings;  // behind the '?'
};
UrlParts SplitUrl(std::string_view url);

}  // namespace thermocline::storage::source
