#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

#include "client/cli/record.h"
#include "client/client.h"

// Keys and values as JSON and as lines of text: how `export`, `get --json` and lists of keys write them, and
// how `import` and `--keys-from` read them.
namespace thermocline::cli {

// Sets object[name] to `bytes`, or object[name + "_base64"] where they are not UTF-8.
void PutBytes(nlohmann::ordered_json& object, const std::string& name, std::string_view bytes);

// {"key":..., "value":..., "ttl_ms":...}: a line of an export. `with_version` adds "version".
nlohmann::ordered_json EntryJson(std::string_view key, const Entry& entry, bool with_version);

// Reads what EntryJson writes; the version is ignored. INVALID_ARGUMENT says what is wrong.
absl::StatusOr<Record> ParseEntryJson(std::string_view text);

// A key on a line of its own. One that is not UTF-8, has a line break or begins with '{' is written as
// {"key_base64":"..."}.
std::string KeyLine(std::string_view key);
absl::StatusOr<std::string> ParseKeyLine(std::string_view line);

// Parses one JSON text. INVALID_ARGUMENT says what is wrong, and where.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

// The same JSON text without the white space outside of strings; everything else byte for byte.
std::string CompactJson(std::string_view text);

}  // namespace thermocline::cli
