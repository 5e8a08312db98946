#include "client/cli/entry_json.h"

#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "fmt/format.h"

#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

std::string ToBase64(std::string_view bytes) {
  return absl::Base64Escape(absl::string_view(bytes.data(), bytes.size()));
}

absl::StatusOr<std::string> FromBase64(const std::string& text) {
  std::string bytes;
  if (!absl::Base64Unescape(text, &bytes)) return Invalid("is not base64");
  return bytes;
}

// What PutBytes has put; nullopt if it is not there.
absl::StatusOr<std::optional<std::string>> TakeBytes(nlohmann::json& object, const std::string& name) {
  const std::string base64_name = name + "_base64";
  const bool plain = object.contains(name);
  if (!plain && !object.contains(base64_name)) return std::optional<std::string>();
  nlohmann::json& field = object[plain ? name : base64_name];
  if (!field.is_string()) return Invalid(fmt::format("\"{}\" is not a string", plain ? name : base64_name));
  auto text = std::move(field.get_ref<std::string&>());
  object.erase(plain ? name : base64_name);
  if (plain) return std::optional<std::string>(std::move(text));
  absl::StatusOr<std::string> bytes = FromBase64(text);
  if (!bytes.ok()) return Invalid(fmt::format("\"{}\" is not base64", base64_name));
  return std::optional<std::string>(*std::move(bytes));
}

absl::StatusOr<std::optional<std::chrono::milliseconds>> TakeTtl(nlohmann::json& object) {
  if (!object.contains("ttl_ms")) return std::optional<std::chrono::milliseconds>();
  const nlohmann::json& field = object["ttl_ms"];
  if (!field.is_number_integer()) return Invalid("\"ttl_ms\" is not a whole number");
  const std::chrono::milliseconds ttl(field.get<int64_t>());
  object.erase("ttl_ms");
  return std::optional<std::chrono::milliseconds>(ttl);
}

}  // namespace

void PutBytes(nlohmann::ordered_json& object, const std::string& name, std::string_view bytes) {
  if (IsUtf8(bytes)) {
    object[name] = bytes;
  } else {
    object[name + "_base64"] = ToBase64(bytes);
  }
}

nlohmann::ordered_json EntryJson(std::string_view key, const Entry& entry, bool with_version) {
  nlohmann::ordered_json object;
  PutBytes(object, "key", key);
  PutBytes(object, "value", entry.value);
  if (entry.ttl.has_value()) object["ttl_ms"] = entry.ttl->count();
  if (with_version) object["version"] = entry.version;
  return object;
}

absl::StatusOr<Record> ParseEntryJson(std::string_view text) {
  absl::StatusOr<nlohmann::json> parsed = ParseJson(text);
  if (!parsed.ok()) return parsed.status();
  if (!parsed->is_object()) return Invalid("is not a JSON object");
  auto key = TakeBytes(*parsed, "key");
  if (!key.ok()) return key.status();
  auto value = TakeBytes(*parsed, "value");
  if (!value.ok()) return value.status();
  auto ttl = TakeTtl(*parsed);
  if (!ttl.ok()) return ttl.status();
  if (!key->has_value()) return Invalid("has neither \"key\" nor \"key_base64\"");
  if (!value->has_value()) return Invalid("has neither \"value\" nor \"value_base64\"");
  parsed->erase("version");
  if (!parsed->empty()) {
    return Invalid(fmt::format("has the field \"{}\", which an export does not have", parsed->begin().key()));
  }
  return Record{.key = **std::move(key), .value = **std::move(value), .ttl = *ttl};
}

std::string KeyLine(std::string_view key) {
  const bool plain =
      IsUtf8(key) && key.find_first_of("\r\n") == std::string_view::npos && !key.starts_with('{');
  if (plain) return std::string(key);
  return fmt::format("{{\"key_base64\":\"{}\"}}", ToBase64(key));
}

absl::StatusOr<std::string> ParseKeyLine(std::string_view line) {
  if (!line.starts_with('{')) return std::string(line);
  absl::StatusOr<nlohmann::json> parsed = ParseJson(line);
  if (!parsed.ok()) return parsed.status();
  auto key = TakeBytes(*parsed, "key");
  if (!key.ok()) return key.status();
  if (!key->has_value()) return Invalid("has neither \"key\" nor \"key_base64\"");
  return **std::move(key);
}

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    // The library's own tag, "[json.exception.parse_error.101] ", tells people nothing.
    const std::string message = error.what();
    const size_t tag = message.find("] ");
    return Invalid("is not JSON: " + (tag == std::string::npos ? message : message.substr(tag + 2)));
  }
}

std::string CompactJson(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\' && i + 1 < text.size()) {
      out += c;
      out += text[++i];
      continue;
    }
    if (c == '"') in_string = !in_string;
    if (in_string || (c != ' ' && c != '\t' && c != '\n' && c != '\r')) out += c;
  }
  return out;
}

}  // namespace thermocline::cli
