#include "client/cli/command_line.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "fmt/format.h"

#include "client/cli/options.h"
#include "client/cli/s3_access.h"
#include "client/cli/segment_command_line.h"

namespace thermocline::cli {
namespace {

constexpr const char* kName = "thermocline";
constexpr const char* kDescription = "Talks to a Thermocline server.";
constexpr const char* kCommandFooter =
    "\nAlso, for every command: --server, --timeout, --json; see thermocline help.\n";

constexpr const char* kFooter = R"(
A key or value that begins with '-' goes after '--':  thermocline set -- -key -value

Exit codes:
  0  done
  1  not found, condition not met, or --verify found a difference
  2  a wrong argument or query, or a file or object that cannot be read or written
  3  the server, or a database, refused, failed, or cannot be reached
  4  some of the records or ids of an input were rejected

Environment:
  THERMOCLINE_SERVER                                          the server, where --server is not given
  THERMOCLINE_TLS_CA, THERMOCLINE_TLS_CERT, THERMOCLINE_TLS_KEY  likewise
  AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...  of S3, for s3://bucket/key
)";

// The commands write into this; the one that was called counts.
struct Words {
  Invocation invocation;
  GetCommand get;
  SetCommand set;
  DelCommand del;
  ExistsCommand exists;
  ScanCommand scan;
  CompactCommand compact;
  ImportCommand import;
  ExportCommand export_;
  SegmentCommand segment;
  SortCommand sort;
  TimelineCommand timeline;
  std::string import_key;
  std::optional<Format> import_format;
  std::vector<std::string> help_topic;
  bool tls = false;
  TlsOptions tls_files;
};

void AddDurability(CLI::App* app, Durability& target) {
  AddChoice<Durability>(app, "--durability", {{"sync", Durability::kSync}, {"memory", Durability::kMemory}},
                        target, "sync: acknowledged when on the disk (default); memory: when readable");
}

CLI::Option* AddIfPresent(CLI::App* app, Condition& target) {
  return app->add_flag_callback(
      "--if-present", [&target] { target = Condition::IfPresent(); }, "Only if the key exists");
}

CLI::Option* AddIfVersion(CLI::App* app, Condition& target) {
  const auto set = [&target](const Version& version) { target = Condition::IfVersion(version); };
  return AddNumber(app, "--if-version", set, "Only if the value has this version")->type_name("VERSION");
}

void AddGet(CLI::App& app, GetCommand& get) {
  CLI::App* command = app.add_subcommand("get", "Print the value of a key, byte for byte");
  CLI::Option* key = command->add_option("KEY", get.key, "The key");
  CLI::Option* keys_from =
      command
          ->add_option("--keys-from", get.keys_from,
                       "Read all keys of this file, one a line, and print a line of JSON for each")
          ->type_name("FILE")
          ->excludes(key);
  command
      ->add_flag("--timing", get.timing,
                 "Print how long each read took (p50, p99, ...) instead of the values")
      ->needs(keys_from);
  command->callback([&get] {
    if (get.key.empty() && get.keys_from.empty()) throw CLI::RequiredError("KEY or --keys-from");
  });
}

void AddSet(CLI::App& app, SetCommand& set) {
  CLI::App* command = app.add_subcommand("set", "Set the value of a key");
  command->add_option("KEY", set.key, "The key")->required();
  command->add_option("VALUE", set.value, "The value; - reads it from standard input")->required();
  AddDuration(command, "--ttl", set.options.ttl, "Expires after this time, as 90s, 10m, 12h or 30d");
  CLI::Option* absent = command->add_flag_callback(
      "--if-absent", [&set] { set.options.condition = Condition::IfAbsent(); },
      "Only if the key does not exist");
  CLI::Option* present = AddIfPresent(command, set.options.condition)->excludes(absent);
  AddIfVersion(command, set.options.condition)->excludes(absent)->excludes(present);
  AddDurability(command, set.options.durability);
  command->callback([&set] { set.value_from_input = set.value == "-"; });
}

void AddDel(CLI::App& app, DelCommand& del) {
  CLI::App* command = app.add_subcommand("del", "Delete a key; it need not exist");
  command->add_option("KEY", del.key, "The key")->required();
  CLI::Option* present = AddIfPresent(command, del.options.condition);
  AddIfVersion(command, del.options.condition)->excludes(present);
  AddDurability(command, del.options.durability);
}

void AddReaders(CLI::App& app, Words& words) {
  CLI::App* exists = app.add_subcommand("exists", "Tell whether a key exists: exit code 0 or 1");
  exists->add_option("KEY", words.exists.key, "The key")->required();

  CLI::App* scan = app.add_subcommand("scan", "List keys and values, in no useful order");
  scan->add_option("--prefix", words.scan.prefix, "Only keys that begin so (the server still reads all)")
      ->type_name("TEXT");
  AddNumber(
      scan, "--limit", [&words](uint64_t limit) { words.scan.limit = limit; }, "Stop after this many keys")
      ->type_name("COUNT");
  scan->add_flag("--keys-only", words.scan.keys_only, "Keys only, one a line");

  app.add_subcommand("stats", "Show what the server holds and has done");
  app.add_subcommand("compact", "Free the disk space of what was overwritten, deleted or has expired");

  CLI::App* export_command = app.add_subcommand(
      "export", "Write all keys and values as NDJSON, which 'import --format export' reads");
  export_command
      ->add_option("--prefix", words.export_.prefix, "Only keys that begin so (the server still reads all)")
      ->type_name("TEXT");
  export_command
      ->add_option("--output", words.export_.output,
                   "Write to this file or object instead of standard output; it appears when it is complete")
      ->type_name("FILE");
  AddS3(export_command, words.export_.s3);
}

// What only makes sense together, and what the file's name tells.
void FinishImport(Words& words) {
  ImportCommand& import = words.import;
  const auto fail = [](const absl::Status& status) {
    throw CLI::ValidationError(std::string(status.message()));
  };
  if (words.import_format.has_value()) {
    import.shape.format = *words.import_format;
  } else {
    const absl::StatusOr<Format> format = FormatOf(import.file);
    if (!format.ok()) fail(format.status());
    import.shape.format = *format;
  }
  if (!import.only_keys.empty() && !import.verify) throw CLI::ValidationError("--only-keys needs --verify");
  if (!import.acked_log.empty() && import.verify)
    throw CLI::ValidationError("--acked-log does not go with --verify");
  if (import.shape.format == Format::kExport) {
    if (!words.import_key.empty() || import.shape.value_field.has_value() || import.shape.ttl.has_value()) {
      throw CLI::ValidationError(
          "--key, --value and --ttl do not go with --format export, whose records have their own");
    }
    return;
  }
  if (words.import_key.empty()) throw CLI::RequiredError("--key");
  absl::StatusOr<KeyTemplate> key = KeyTemplate::Parse(words.import_key);
  if (!key.ok()) fail(key.status());
  import.shape.key = *std::move(key);
}

void AddImport(CLI::App& app, Words& words) {
  ImportCommand& import = words.import;
  CLI::App* command = app.add_subcommand("import", "Set a key for each record of a file");
  command
      ->add_option("FILE", import.file,
                   ".ndjson, .json (an array) or .csv, or s3://bucket/key; - reads standard input")
      ->required();
  command
      ->add_option(
          "--key", words.import_key,
          "The field that is the key, or a template: 'place:{country}:{#}'; {#} is the record's number")
      ->type_name("FIELD|TEMPLATE");
  command
      ->add_option("--value", import.shape.value_field,
                   "Store this field alone instead of the whole record as JSON")
      ->type_name("FIELD");
  AddChoice<std::optional<Format>>(command, "--format",
                                   {{"ndjson", Format::kNdjson},
                                    {"json", Format::kJson},
                                    {"csv", Format::kCsv},
                                    {"export", Format::kExport}},
                                   words.import_format, "Instead of what the file's name tells");
  AddDuration(command, "--ttl", import.shape.ttl, "Every record expires after this time");
  AddDurability(command, import.durability);
  AddChoice<bool>(command, "--on-error", {{"skip", false}, {"stop", true}}, import.stop_on_error,
                  "When a record is malformed or refused: skip it and report it (default), or stop");
  command
      ->add_option("--acked-log", import.acked_log,
                   "Append each key to this file once the server has acknowledged it, "
                   "for resuming or checking")
      ->type_name("FILE");
  command->add_flag("--verify", import.verify, "Write nothing: read each key back and compare its value");
  command
      ->add_option("--only-keys", import.only_keys,
                   "With --verify: only the keys in this file, one a line (held in memory)")
      ->type_name("FILE");
  AddS3(command, import.s3);
  command->callback([&words] { FinishImport(words); });
}

Command Choose(const CLI::App& app, Words& words) {
  const std::string name = app.get_subcommands().front()->get_name();
  if (name == "get") return std::move(words.get);
  if (name == "set") return std::move(words.set);
  if (name == "del") return std::move(words.del);
  if (name == "exists") return std::move(words.exists);
  if (name == "scan") return std::move(words.scan);
  if (name == "compact") {
    // Unless it is asked for, there is no timeout.
    if (app.count("--timeout") > 0) words.compact.options.timeout = words.invocation.timeout;
    return words.compact;
  }
  if (name == "segment" || name == "jobs") {
    if (app.count("--timeout") > 0) SetTimeout(words.segment, words.invocation.timeout);
    return std::move(words.segment);
  }
  if (name == "timeline") return std::move(words.timeline);
  if (name == "sort") return std::move(words.sort);
  if (name == "import") return std::move(words.import);
  if (name == "export") return std::move(words.export_);
  return StatsCommand();
}

void AddCommands(CLI::App& app, Words& words) {
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.footer(kCommandFooter);
  app.add_option("--server", words.invocation.server, "host:port of the server")
      ->envname("THERMOCLINE_SERVER")
      ->default_val("127.0.0.1:7070")
      ->type_name("HOST:PORT");
  app.add_flag("--tls", words.tls, "The server speaks TLS; trust whom this system trusts");
  app.add_option("--tls-ca", words.tls_files.ca_file,
                 "It speaks TLS; trust only what these have signed (PEM)")
      ->envname("THERMOCLINE_TLS_CA")
      ->type_name("FILE");
  app.add_option("--tls-cert", words.tls_files.certificate_file, "Show the server this certificate (PEM)")
      ->envname("THERMOCLINE_TLS_CERT")
      ->type_name("FILE");
  app.add_option("--tls-key", words.tls_files.key_file, "The private key of --tls-cert (PEM)")
      ->envname("THERMOCLINE_TLS_KEY")
      ->type_name("FILE");
  words.invocation.timeout = std::chrono::seconds(10);
  AddDuration(&app, "--timeout", words.invocation.timeout,
              "Longest wait for an answer, as 500ms or 1m (default 10s; long work, such as compact or a "
              "query, takes as long as it takes)");
  app.add_flag("--json", words.invocation.json, "Output for programs");
  AddGet(app, words.get);
  AddSet(app, words.set);
  AddDel(app, words.del);
  AddReaders(app, words);
  AddImport(app, words);
  AddSegmentCommands(app, words.segment);
  AddJobCommands(app, words.segment);
  AddSortCommand(app, words.sort);
  AddTimelineCommand(app, words.timeline);
  app.add_subcommand("help", "Print this, or how a command is used")
      ->add_option("COMMAND", words.help_topic, "The command, as in 'help segment query'");
  app.footer(kFooter);
}

Ending Help(const std::vector<std::string>& topic) {
  // An app that has parsed its words prints the help of their command, whatever it is asked for.
  CLI::App app(kDescription, kName);
  Words words;
  AddCommands(app, words);
  CLI::App* command = &app;
  std::string path;
  for (const std::string& name : topic) {
    if (!path.empty()) path += " ";
    const std::vector<CLI::App*> found =
        command->get_subcommands([&](CLI::App* sub) { return sub->get_name() == name; });
    if (found.empty()) {
      return {kUsage,
              fmt::format("thermocline: there is no command \"{}{}\"; see thermocline help\n", path, name)};
    }
    command = found.front();
    path += name;
  }
  // The name before that of the command, as in "thermocline segment query".
  const std::string before = topic.size() > 1 ? fmt::format("{} {}", kName, topic.front()) : kName;
  return {kOk, command == &app ? app.help() : command->help(before)};
}

}  // namespace

std::variant<Invocation, Ending> ParseCommandLine(const std::vector<std::string>& arguments) {
  CLI::App app(kDescription, kName);
  Words words;
  AddCommands(app, words);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    if (app.exit(error, out, err) == 0) return Ending{kOk, out.str()};
    return Ending{kUsage, fmt::format("thermocline: {}\nSee thermocline help.\n", error.what())};
  }
  if (app.get_subcommands().empty())
    return Ending{kUsage, "thermocline: a command is missing; see thermocline help\n"};
  if (app.got_subcommand("help")) return Help(words.help_topic);
  if (app.got_subcommand("segment") && app.get_subcommand("segment")->get_subcommands().empty())
    return Ending{kUsage, "thermocline: a segment command is missing; see thermocline help segment\n"};
  if (app.got_subcommand("jobs") && app.get_subcommand("jobs")->get_subcommands().empty())
    return Ending{kUsage, "thermocline: list, watch or cancel is missing; see thermocline help jobs\n"};
  words.invocation.command = Choose(app, words);
  const TlsOptions& files = words.tls_files;
  if (words.tls || !files.ca_file.empty() || !files.certificate_file.empty() || !files.key_file.empty()) {
    words.invocation.tls = files;
  }
  return std::move(words.invocation);
}

}  // namespace thermocline::cli
