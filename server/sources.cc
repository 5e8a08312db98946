#include "server/sources.h"

#include <chrono>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "server/config.h"
#include "storage/id_source.h"
#include "storage/row_source.h"

namespace thermocline::server {
namespace {

using Locations = std::map<std::string, storage::SourceLocation>;

constexpr std::string_view kExample =
    R"({"orders": {"url": "postgresql://shop@db/shop", "query": "select user_id from orders where day >= $1"}})";

bool IsSourceName(std::string_view name) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return !name.empty() && name.size() <= 100 && name.find_first_not_of(kAllowed) == std::string_view::npos;
}

absl::Status ReadText(const nlohmann::json& entry, const char* key, std::string& out) {
  if (!entry.contains(key) || !entry[key].is_string() || entry[key].get_ref<const std::string&>().empty())
    return absl::InvalidArgumentError(fmt::format("has no \"{}\", a text", key));
  out = entry[key];
  return absl::OkStatus();
}

absl::Status ReadTimeout(const nlohmann::json& entry, const char* key, std::chrono::milliseconds& out) {
  if (!entry.contains(key)) return absl::OkStatus();
  std::optional<std::chrono::milliseconds> time;
  if (entry[key].is_string()) time = ParseDuration(entry[key].get_ref<const std::string&>());
  if (!time || *time < std::chrono::milliseconds(1) || *time > std::chrono::hours(24)) {
    return absl::InvalidArgumentError(
        fmt::format("has a \"{}\" that is no time from 1ms to 24h, such as \"30s\"", key));
  }
  out = *time;
  return absl::OkStatus();
}

absl::StatusOr<storage::SourceLocation> ReadSource(const nlohmann::json& entry) {
  if (!entry.is_object()) return absl::InvalidArgumentError("is not an object with \"url\" and \"query\"");
  static const auto& known = *new std::set<std::string>{"url", "query", "connect_timeout", "idle_timeout"};
  for (const auto& [key, value] : entry.items()) {
    if (!known.contains(key)) {
      return absl::InvalidArgumentError(fmt::format(
          "has \"{}\", which is not known: there are url, query, connect_timeout and idle_timeout", key));
    }
  }
  storage::SourceLocation location;
  absl::Status status = ReadText(entry, "url", location.url);
  status.Update(ReadText(entry, "query", location.query));
  status.Update(ReadTimeout(entry, "connect_timeout", location.connect_timeout));
  status.Update(ReadTimeout(entry, "idle_timeout", location.idle_timeout));
  if (status.ok()) status = storage::OpenRowSource(location).status();
  if (!status.ok()) return status;
  return location;
}

absl::StatusOr<Locations> ReadLocations(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream text;
  if (!stream || !(text << stream.rdbuf())) {
    return absl::InvalidArgumentError(
        fmt::format("--sources {} cannot be read: give a file such as {}", path, kExample));
  }
  // Its messages would show what is secret.
  const nlohmann::json file = nlohmann::json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  if (!file.is_object()) {
    return absl::InvalidArgumentError(fmt::format("--sources {} is not JSON such as {}", path, kExample));
  }
  Locations locations;
  for (const auto& [name, entry] : file.items()) {
    absl::StatusOr<storage::SourceLocation> location =
        IsSourceName(name) ? ReadSource(entry)
                           : absl::InvalidArgumentError(
                                 "has a name that is not 1 to 100 of the characters a-z, A-Z, 0-9, _ and -");
    if (!location.ok()) {
      return absl::InvalidArgumentError(fmt::format("--sources {}: the source {} {}", path, name,
                                                    std::string(location.status().message())));
    }
    locations.emplace(name, *std::move(location));
  }
  return locations;
}

std::string NamesOf(const Locations& locations) {
  std::string names;
  for (const auto& [name, location] : locations) names.append(names.empty() ? "" : ", ").append(name);
  return names.empty() ? "none" : names;
}

}  // namespace

absl::StatusOr<storage::SegmentSource> ReadSources(const std::string& path) {
  absl::StatusOr<Locations> read = ReadLocations(path);
  if (!read.ok()) return read.status();
  return [locations = std::make_shared<const Locations>(*std::move(read))](
             const std::string& name,
             const std::vector<std::string>& parameters) -> absl::StatusOr<storage::OpenedSource> {
    const auto found = locations->find(name);
    if (found == locations->end()) {
      return absl::NotFoundError(
          fmt::format("there is no source with the name {}; there are {}", name, NamesOf(*locations)));
    }
    storage::SourceLocation location = found->second;
    location.parameters.assign(parameters.begin(), parameters.end());
    absl::StatusOr<std::unique_ptr<storage::RowSource>> rows = storage::OpenRowSource(location);
    if (!rows.ok()) return rows.status();
    return storage::OpenedSource{storage::MakeIdSource(*std::move(rows)),
                                 location.url + "\n" + location.query};
  };
}

}  // namespace thermocline::server
