#include "client/cli/commands.h"

#include <utility>

#include "fmt/format.h"

#include "client/cli/byte_source.h"
#include "client/cli/entry_json.h"
#include "client/cli/splitter.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

using nlohmann::ordered_json;

constexpr size_t kShownKeyBytes = 200;

void PrintJson(const ordered_json& object, Io& io) { io.out << object.dump() << "\n"; }

// Tells how a write went.
ExitCode ReportWrite(const std::string& key, const absl::StatusOr<WriteResult>& result, Context& context) {
  if (!result.ok()) return FailCall(result.status(), context.io);
  if (context.json) {
    ordered_json object;
    PutBytes(object, "key", key);
    object["applied"] = result->applied;
    object["version"] = result->version;
    PrintJson(object, context.io);
  } else if (result->applied) {
    context.io.out << "version " << result->version << "\n";
  } else if (result->version == 0) {
    context.io.err << "condition not met: the key does not exist\n";
  } else {
    context.io.err << "condition not met: the key has version " << result->version << "\n";
  }
  return result->applied ? kOk : kNo;
}

absl::StatusOr<std::string> ReadAll(int descriptor) {
  auto source = ByteSource::Open("-", descriptor);
  if (!source.ok()) return source.status();
  std::string bytes;
  while (true) {
    const std::string_view part = (*source)->Peek();
    if (part.empty()) break;
    bytes += part;
    (*source)->Consume(part.size());
    // What is longer is refused anyway; a terabyte must not be read for that.
    if (bytes.size() > kMaxValueBytes) break;
  }
  if (!(*source)->status().ok()) return (*source)->status();
  return bytes;
}

}  // namespace

ExitCode NotFound(const std::string& key, Context& context) {
  if (context.json) {
    ordered_json object;
    PutBytes(object, "key", key);
    object["found"] = false;
    PrintJson(object, context.io);
  } else {
    context.io.err << "not found: " << FormatText(key, kShownKeyBytes) << "\n";
  }
  return kNo;
}

ExitCode FailCall(const absl::Status& status, Io& io) {
  std::string text = FormatStatus(status);
  // The message of a bad expression has a line of it, and one with a caret below the place.
  for (size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', end + 1))
    text.insert(end + 1, "  ");
  io.err << "thermocline: " << text << "\n";
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return kUsage;
    case absl::StatusCode::kNotFound:
      return kNo;
    default:
      return kServer;
  }
}

ExitCode FailFile(const absl::Status& status, Io& io) {
  io.err << "thermocline: " << std::string(status.message()) << "\n";
  return kUsage;
}

absl::Status ForEachKey(const std::string& path, int standard_input,
                        absl::FunctionRef<bool(std::string key)> use) {
  const auto source = ByteSource::Open(path, standard_input);
  if (!source.ok()) return source.status();
  const std::unique_ptr<Splitter> lines = SplitLines(**source);
  RawRecord line;
  while (lines->Next(line)) {
    absl::StatusOr<std::string> key =
        line.problem.empty() ? ParseKeyLine(line.text) : absl::InvalidArgumentError(line.problem);
    if (!key.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}, line {}: {}", path, line.line, std::string(key.status().message())));
    }
    if (!use(*std::move(key))) break;
  }
  return (*source)->status();
}

ExitCode Execute(const SetCommand& command, Context& context) {
  if (!command.value_from_input) {
    return ReportWrite(command.key, context.client.Set(command.key, command.value, command.options), context);
  }
  const absl::StatusOr<std::string> value = ReadAll(context.io.in);
  if (!value.ok()) return FailFile(value.status(), context.io);
  return ReportWrite(command.key, context.client.Set(command.key, *value, command.options), context);
}

ExitCode Execute(const DelCommand& command, Context& context) {
  return ReportWrite(command.key, context.client.Delete(command.key, command.options), context);
}

ExitCode Execute(const ExistsCommand& command, Context& context) {
  const Client::GetResult result = context.client.Get(command.key, {.with_value = false});
  if (!result.ok()) return FailCall(result.status(), context.io);
  if (!result->has_value()) return NotFound(command.key, context);
  const Entry& entry = **result;
  if (context.json) {
    ordered_json object;
    PutBytes(object, "key", command.key);
    object["found"] = true;
    object["version"] = entry.version;
    if (entry.ttl.has_value()) object["ttl_ms"] = entry.ttl->count();
    PrintJson(object, context.io);
  } else {
    context.io.out << "version " << entry.version;
    if (entry.ttl.has_value()) context.io.out << ", expires in " << FormatDuration(*entry.ttl);
    context.io.out << "\n";
  }
  return kOk;
}

ExitCode Execute(const ScanCommand& command, Context& context) {
  const auto scan = context.client.Scan(
      {.prefix = command.prefix, .limit = command.limit, .with_values = !command.keys_only});
  while (scan->Next() && context.io.out) {
    if (context.json) {
      ordered_json object = EntryJson(scan->key(), scan->entry(), true);
      if (command.keys_only) object.erase("value");
      PrintJson(object, context.io);
    } else if (command.keys_only) {
      context.io.out << KeyLine(scan->key()) << "\n";
    } else {
      context.io.out << FormatText(scan->key(), kShownKeyBytes) << "\t"
                     << FormatText(scan->entry().value, kShownValueBytes) << "\n";
    }
  }
  return scan->status().ok() ? kOk : FailCall(scan->status(), context.io);
}

}  // namespace thermocline::cli
