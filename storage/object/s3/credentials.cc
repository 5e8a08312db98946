#include "storage/object/s3/credentials.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace thermocline::storage::s3 {
namespace {

using std::chrono::milliseconds;
using SystemTime = std::chrono::system_clock::time_point;

constexpr std::string_view kInstanceEndpoint = "http://169.254.169.254";
constexpr std::string_view kContainerEndpoint = "http://169.254.170.2";
constexpr size_t kMaxFileBytes = 1 << 20;

// The nothing of a place that has none; an error is a place that has some, and cannot tell them.
using Looked = absl::StatusOr<std::optional<FoundCredentials>>;

std::string_view Stripped(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

bool IsUsable(const S3Credentials& credentials) {
  const auto plain = [](std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  };
  return !credentials.access_key.empty() && !credentials.secret.empty() && plain(credentials.access_key) &&
         plain(credentials.secret) && plain(credentials.session_token);
}

Looked FromEnvironment(const CredentialPlaces& places) {
  const auto key = places.variable("AWS_ACCESS_KEY_ID");
  const auto secret = places.variable("AWS_SECRET_ACCESS_KEY");
  if (!key && !secret) return std::nullopt;
  FoundCredentials found;
  found.credentials = {key.value_or(""), secret.value_or(""),
                       places.variable("AWS_SESSION_TOKEN").value_or("")};
  if (!IsUsable(found.credentials)) {
    return absl::PermissionDeniedError(
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must both be set, without blanks");
  }
  return found;
}

// The values of [profile] of an INI file.
S3Credentials ReadProfile(std::string_view text, std::string_view profile) {
  S3Credentials credentials;
  bool is_ours = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Stripped(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      is_ours = Stripped(line.substr(1, line.find(']') == std::string_view::npos ? 0 : line.find(']') - 1)) ==
                profile;
      continue;
    }
    const size_t equals = line.find('=');
    if (!is_ours || equals == std::string_view::npos) continue;
    const std::string_view name = Stripped(line.substr(0, equals));
    const std::string value(Stripped(line.substr(equals + 1)));
    if (name == "aws_access_key_id") credentials.access_key = value;
    if (name == "aws_secret_access_key") credentials.secret = value;
    if (name == "aws_session_token") credentials.session_token = value;
  }
  return credentials;
}

Looked FromFile(const CredentialPlaces& places) {
  std::optional<std::string> path = places.variable("AWS_SHARED_CREDENTIALS_FILE");
  const bool named = path.has_value();
  if (!path) {
    const auto home = places.variable("HOME");
    if (!home) return std::nullopt;
    path = *home + "/.aws/credentials";
  }
  const std::optional<std::string> text = places.file(*path);
  if (!text && !named) return std::nullopt;
  if (!text)
    return absl::PermissionDeniedError(fmt::format("AWS_SHARED_CREDENTIALS_FILE {} cannot be read", *path));
  const std::string profile =
      !places.profile.empty() ? places.profile : places.variable("AWS_PROFILE").value_or("default");
  FoundCredentials found;
  found.credentials = ReadProfile(*text, profile);
  found.may_change = true;
  if (IsUsable(found.credentials)) return found;
  if (profile == "default" && found.credentials.access_key.empty()) return std::nullopt;
  return absl::PermissionDeniedError(fmt::format(
      "{} has no aws_access_key_id and aws_secret_access_key for the profile {}", *path, profile));
}

// What both endpoints answer. A container's URL is as good as a password, so messages have none.
Looked ReadEndpointAnswer(std::string_view name, const HttpAnswer& answer) {
  if (answer.outcome != HttpAnswer::Outcome::kAnswered) {
    return absl::UnavailableError(fmt::format("{}: {}", name, answer.error));
  }
  if (answer.status != 200) return absl::UnavailableError(fmt::format("{} answered {}", name, answer.status));
  const nlohmann::json json = nlohmann::json::parse(answer.body, nullptr, false);
  if (!json.is_object())
    return absl::UnavailableError(fmt::format("{} answered something that is no JSON", name));
  const auto text = [&](const char* key) {
    const auto member = json.find(key);
    return member != json.end() && member->is_string() ? member->get<std::string>() : std::string();
  };
  FoundCredentials found;
  found.credentials = {text("AccessKeyId"), text("SecretAccessKey"), text("Token")};
  found.expires = ParseUtcTime(text("Expiration"));
  found.may_change = true;
  if (IsUsable(found.credentials)) return found;
  return absl::UnavailableError(fmt::format("{} answered without credentials", name));
}

HttpRequest MetadataRequest(std::string method, std::string url) {
  HttpRequest request;
  request.method = std::move(method);
  request.url = std::move(url);
  request.connect_deadline = milliseconds(1000);
  request.deadline = milliseconds(3000);
  return request;
}

// Over plain HTTP only to the machine itself and the addresses that clouds reserve for this.
bool IsTrustedPlainHost(std::string_view host) {
  return (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos) ||
         host == "localhost" || host == "[::1]" || host == "169.254.170.2" || host == "169.254.170.23" ||
         host == "[fd00:ec2::23]";
}

absl::StatusOr<std::string> ContainerUrl(const CredentialPlaces& places) {
  if (const auto relative = places.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")) {
    if ((*relative)[0] != '/') {
      return absl::PermissionDeniedError("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must begin with a slash");
    }
    return fmt::format("{}{}", kContainerEndpoint, *relative);
  }
  const auto full = places.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (!full) return std::string();
  if (full->starts_with("https://")) return *full;
  constexpr std::string_view kPlain = "http://";
  if (full->starts_with(kPlain)) {
    std::string_view host = std::string_view(*full).substr(kPlain.size());
    host = host.substr(0, host.find_first_of("/?"));
    if (host.find('@') == std::string_view::npos) {
      const size_t colon =
          host[0] == '[' ? host.find(':', std::min(host.find(']'), host.size())) : host.find(':');
      if (IsTrustedPlainHost(host.substr(0, colon))) return *full;
    }
  }
  return absl::PermissionDeniedError(
      "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or http to this machine or to the address of a "
      "container service");
}

Looked FromContainer(const CredentialPlaces& places) {
  const absl::StatusOr<std::string> url = ContainerUrl(places);
  if (!url.ok()) return url.status();
  if (url->empty()) return std::nullopt;
  HttpRequest request = MetadataRequest("GET", *url);
  std::optional<std::string> token = places.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  if (const auto path = places.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")) {
    token = places.file(*path);
    if (!token) {
      return absl::PermissionDeniedError(
          fmt::format("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE {} cannot be read", *path));
    }
  }
  if (token) {
    const std::string_view text = Stripped(*token);
    if (text.find_first_of("\r\n") != std::string_view::npos) {
      return absl::PermissionDeniedError("the container's authorization token has several lines");
    }
    request.headers.push_back(fmt::format("Authorization: {}", text));
  }
  return ReadEndpointAnswer("the container's endpoint for credentials", places.fetch(std::move(request)));
}

Looked FromInstance(const CredentialPlaces& places) {
  const std::string disabled = places.variable("AWS_EC2_METADATA_DISABLED").value_or("");
  if (disabled == "true" || disabled == "True" || disabled == "TRUE") return std::nullopt;
  const auto named = places.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  std::string endpoint = named.value_or(std::string(kInstanceEndpoint));
  while (!endpoint.empty() && endpoint.back() == '/') endpoint.pop_back();

  HttpRequest ask = MetadataRequest("PUT", endpoint + "/latest/api/token");
  ask.headers.push_back("X-aws-ec2-metadata-token-ttl-seconds: 300");
  const HttpAnswer token = places.fetch(std::move(ask));
  // Who has no such endpoint is on no instance.
  if (token.outcome != HttpAnswer::Outcome::kAnswered || token.status != 200) {
    if (!named) return std::nullopt;
    return absl::UnavailableError(fmt::format(
        "{}: {}", endpoint, token.error.empty() ? fmt::format("answered {}", token.status) : token.error));
  }
  const std::string header = fmt::format("X-aws-ec2-metadata-token: {}", Stripped(token.body));
  const std::string roles = endpoint + "/latest/meta-data/iam/security-credentials/";
  ask = MetadataRequest("GET", roles);
  ask.headers.push_back(header);
  const HttpAnswer role = places.fetch(std::move(ask));
  if (role.status == 404) return std::nullopt;  // an instance without a role
  const std::string name(Stripped(std::string_view(role.body).substr(0, role.body.find('\n'))));
  if (role.outcome != HttpAnswer::Outcome::kAnswered || role.status != 200 || name.empty()) {
    return absl::UnavailableError(fmt::format("{} does not tell the instance's role", roles));
  }
  ask = MetadataRequest("GET", roles + name);
  ask.headers.push_back(header);
  return ReadEndpointAnswer("the instance's endpoint for credentials", places.fetch(std::move(ask)));
}

}  // namespace

CredentialPlaces PlacesOfProcess(std::function<HttpAnswer(HttpRequest)> fetch) {
  CredentialPlaces places;
  places.variable = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr || *value == 0 ? std::nullopt : std::optional<std::string>(value);
  };
  places.file = [](const std::string& path) -> std::optional<std::string> {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) return std::nullopt;
    std::string text(kMaxFileBytes + 1, 0);
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(stream.gcount()));
    if (stream.bad() || text.size() > kMaxFileBytes) return std::nullopt;
    return text;
  };
  places.fetch = std::move(fetch);
  return places;
}

absl::StatusOr<FoundCredentials> FindCredentials(const CredentialPlaces& places) {
  if (places.given) {
    FoundCredentials found;
    found.credentials = *places.given;
    if (IsUsable(found.credentials)) return found;
    return absl::PermissionDeniedError("the S3 credentials need an access key and a secret, without blanks");
  }
  for (const auto look : {FromEnvironment, FromFile, FromContainer, FromInstance}) {
    Looked looked = look(places);
    if (!looked.ok()) {
      return absl::PermissionDeniedError(
          fmt::format("no credentials for S3: {}", std::string(looked.status().message())));
    }
    if (looked->has_value()) return **std::move(looked);
  }
  return absl::PermissionDeniedError(
      "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials "
      "(or "
      "AWS_SHARED_CREDENTIALS_FILE), or run in a container or on an instance with a role");
}

std::optional<SystemTime> ParseUtcTime(std::string_view text) {
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  int length = 0;
  const std::string copy(text.substr(0, 40));
  if (std::sscanf(copy.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second,
                  &length) != 6) {
    return std::nullopt;
  }
  std::string_view rest = std::string_view(copy).substr(static_cast<size_t>(length));
  if (rest.starts_with('.'))
    rest.remove_prefix(std::min(rest.find_first_not_of("0123456789", 1), rest.size()));
  // Some say 9999 for never, which is beyond what a clock of nanoseconds can tell.
  const std::chrono::year_month_day date{std::chrono::year(std::min(year, 2200)),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (rest != "Z" || !date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         std::chrono::seconds(second);
}

}  // namespace thermocline::storage::s3
