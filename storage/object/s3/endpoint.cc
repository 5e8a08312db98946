#include <cstdlib>

#include <fmt/format.h>

#include "storage/object/s3/requests.h"

namespace thermocline::storage::s3 {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsHost(std::string_view host) {
  if (host.empty()) return false;
  return host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") ==
         std::string_view::npos;
}

}  // namespace

absl::StatusOr<Endpoint> Endpoint::Of(const S3Options& options) {
  Endpoint endpoint;
  endpoint.region = options.region;
  for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (endpoint.region.empty()) endpoint.region = Variable(name);
  }
  if (endpoint.region.empty()) endpoint.region = "us-east-1";
  endpoint.is_aws = options.endpoint.empty();
  const std::string url =
      endpoint.is_aws ? fmt::format("https://s3.{}.amazonaws.com", endpoint.region) : options.endpoint;
  std::string_view host = url;
  std::string_view default_port;
  for (const auto& [scheme, port] : {std::pair("http://", ":80"), std::pair("https://", ":443")}) {
    if (!host.starts_with(scheme)) continue;
    host.remove_prefix(std::string_view(scheme).size());
    endpoint.scheme_and_slashes = scheme;
    default_port = port;
    break;
  }
  if (host.ends_with('/')) host.remove_suffix(1);
  if (endpoint.scheme_and_slashes.empty() || !IsHost(host)) {
    return absl::InvalidArgumentError(fmt::format(
        "the S3 endpoint \"{}\" should be http://host[:port] or https://host[:port], without a path", url));
  }
  if (host.ends_with(default_port)) host.remove_suffix(default_port.size());
  endpoint.host = host;
  endpoint.addressing = options.addressing;
  if (endpoint.addressing == S3Options::Addressing::kAuto && !endpoint.is_aws) {
    endpoint.addressing = S3Options::Addressing::kPath;
  }
  return endpoint;
}

bool Endpoint::IsPathStyle(const std::string& bucket) const {
  if (addressing != S3Options::Addressing::kAuto) return addressing == S3Options::Addressing::kPath;
  return bucket.find('.') != std::string::npos;  // no certificate is for a.b.s3.amazonaws.com
}

std::string Endpoint::HostOf(const std::string& bucket) const {
  return IsPathStyle(bucket) ? host : fmt::format("{}.{}", bucket, host);
}

std::string Endpoint::PathOf(const std::string& bucket, const std::string& key) const {
  std::string path = IsPathStyle(bucket) ? "/" + PercentEncode(bucket) : std::string();
  if (!key.empty() || path.empty()) path += "/" + PercentEncode(key, true);
  return path;
}

}  // namespace thermocline::storage::s3
