#include "storage/source/database_url.h"

#include <charconv>

#include "fmt/format.h"

#include "storage/row_source.h"

namespace thermocline::storage {
namespace source {
namespace {

constexpr int kMaxPort = 65535;
constexpr const char* kShape = "it looks like mysql://user:password@host:3306/database";

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// `what` is the part of the URL.
absl::StatusOr<std::string> Decode(std::string_view text, std::string_view what) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(text[i + 2]) : -1;
    if (low < 0 || high + low == 0) {
      return absl::InvalidArgumentError(fmt::format(
          "the {} in the URL has a % without two hexadecimal digits other than 00 behind it; a % itself is "
          "written %25",
          what));
    }
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

absl::StatusOr<int> ParsePort(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port < 1 || port > kMaxPort) {
    return absl::InvalidArgumentError(
        fmt::format("the port in the URL is no number from 1 to {}; {}", kMaxPort, kShape));
  }
  return port;
}

absl::Status ParsePlace(std::string_view place, DatabaseUrl& url) {
  const size_t slash = place.find('/');
  std::string_view server = place.substr(0, slash);
  if (slash != std::string_view::npos) {
    absl::StatusOr<std::string> database = Decode(place.substr(slash + 1), "database");
    if (!database.ok()) return database.status();
    url.database = *std::move(database);
  }
  const size_t bracket = server.starts_with('[') ? server.find(']') : 0;
  if (bracket == std::string_view::npos) {
    return absl::InvalidArgumentError("the URL has no ] behind the address that a [ begins");
  }
  const size_t colon = server.find(':', bracket);
  if (colon != std::string_view::npos) {
    const absl::StatusOr<int> port = ParsePort(server.substr(colon + 1));
    if (!port.ok()) return port.status();
    url.port = *port;
    server = server.substr(0, colon);
  }
  if (bracket > 0) server = server.substr(1, bracket - 1);
  absl::StatusOr<std::string> host = Decode(server, "host");
  if (!host.ok()) return host.status();
  url.host = *std::move(host);
  return absl::OkStatus();
}

absl::Status ParseSettings(std::string_view text, DatabaseUrl& url) {
  while (!text.empty()) {
    const size_t end = text.find('&');
    const std::string_view setting = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    const size_t equals = setting.find('=');
    if (equals == std::string_view::npos) {
      return absl::InvalidArgumentError("behind the ? of the URL stands something that is not name=value");
    }
    absl::StatusOr<std::string> name = Decode(setting.substr(0, equals), "name of a setting");
    if (!name.ok()) return name.status();
    absl::StatusOr<std::string> value = Decode(setting.substr(equals + 1), "value of a setting");
    if (!value.ok()) return value.status();
    url.settings.emplace_back(*std::move(name), *std::move(value));
  }
  return absl::OkStatus();
}

}  // namespace

UrlParts SplitUrl(std::string_view url) {
  UrlParts parts;
  if (const size_t colon = url.find("://"); colon != std::string_view::npos) {
    parts.scheme = url.substr(0, colon);
    url.remove_prefix(colon + 3);
  }
  // The last '@' before the settings; but where those were meant to be a password's, any later one too.
  size_t question = url.find('?');
  size_t at = url.substr(0, question).rfind('@');
  if (at == std::string_view::npos && question != std::string_view::npos &&
      url.substr(0, question).find('/') == std::string_view::npos) {
    at = url.rfind('@');
    if (at != std::string_view::npos) question = url.find('?', at);
  }
  if (at != std::string_view::npos) {
    const std::string_view who = url.substr(0, at);
    const size_t colon = who.find(':');
    parts.user = who.substr(0, colon);
    parts.has_password = colon != std::string_view::npos;
    if (parts.has_password) parts.password = who.substr(colon + 1);
  }
  const size_t place = at == std::string_view::npos ? 0 : at + 1;
  if (question != std::string_view::npos) parts.settings = url.substr(question + 1);
  parts.place = url.substr(place, question == std::string_view::npos ? question : question - place);
  return parts;
}

absl::StatusOr<DatabaseUrl> ParseDatabaseUrl(std::string_view text) {
  const UrlParts parts = SplitUrl(text);
  DatabaseUrl url;
  url.scheme = std::string(parts.scheme);
  absl::StatusOr<std::string> user = Decode(parts.user, "user");
  if (!user.ok()) return user.status();
  url.user = *std::move(user);
  if (parts.has_password) {
    absl::StatusOr<std::string> password = Decode(parts.password, "password");
    if (!password.ok()) return password.status();
    url.password = *std::move(password);
  }
  if (absl::Status placed = ParsePlace(parts.place, url); !placed.ok()) return placed;
  if (absl::Status set = ParseSettings(parts.settings, url); !set.ok()) return set;
  return url;
}

}  // namespace source

bool IsDatabaseUrl(std::string_view text) {
  for (const std::string_view scheme : {"postgresql://", "postgres://", "mysql://", "mariadb://"}) {
    if (text.starts_with(scheme)) return true;
  }
  return false;
}

std::string ShownUrl(std::string_view url) {
  const source::UrlParts parts = source::SplitUrl(url);
  // Something of the settings may stand where it does not belong, and be secret.
  if (parts.user.find_first_of("?=&/") != std::string_view::npos)
    return fmt::format("{}://...", parts.scheme);
  return fmt::format("{}://{}{}{}", parts.scheme, parts.user, parts.user.empty() ? "" : "@", parts.place);
}

}  // namespace thermocline::storage
