#include "client/cli/command_line.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::cli {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

Invocation Parse(const std::vector<std::string>& arguments) {
  auto parsed = ParseCommandLine(arguments);
  if (const auto* ending = std::get_if<Ending>(&parsed)) {
    ADD_FAILURE() << ending->text;
    return {};
  }
  return std::get<Invocation>(std::move(parsed));
}

// What is printed about a mistake.
std::string Refusal(const std::vector<std::string>& arguments) {
  const auto parsed = ParseCommandLine(arguments);
  const auto* ending = std::get_if<Ending>(&parsed);
  if (ending == nullptr) return "(accepted)";
  EXPECT_EQ(ending->code, kUsage);
  return ending->text;
}

TEST(CommandLine, TakesGlobalOptionsOnBothSidesOfTheCommand) {
  for (const auto& invocation : {Parse({"--server", "h:1", "--json", "--timeout", "2s", "get", "k"}),
                                 Parse({"get", "k", "--timeout", "2s", "--server", "h:1", "--json"})}) {
    EXPECT_EQ(invocation.server, "h:1");
    EXPECT_TRUE(invocation.json);
    EXPECT_EQ(invocation.timeout, milliseconds(2000));
    EXPECT_EQ(std::get<GetCommand>(invocation.command).key, "k");
  }
}

TEST(CommandLine, SpeaksTlsWhenToldOrGivenItsFiles) {
  EXPECT_FALSE(Parse({"get", "k"}).tls.has_value());
  EXPECT_TRUE(Parse({"--tls", "get", "k"}).tls.has_value());
  const auto files = Parse({"get", "k", "--tls-ca", "ca", "--tls-cert", "cert", "--tls-key", "key"}).tls;
  ASSERT_TRUE(files.has_value());
  EXPECT_EQ(files->ca_file, "ca");
  EXPECT_EQ(files->certificate_file, "cert");
  EXPECT_EQ(files->key_file, "key");
}

TEST(CommandLine, TakesTheServerFromTheEnvironment) {
  ASSERT_EQ(setenv("THERMOCLINE_SERVER", "far:9", 1), 0);
  EXPECT_EQ(Parse({"stats"}).server, "far:9");
  EXPECT_EQ(Parse({"stats", "--server", "near:9"}).server, "near:9");
  ASSERT_EQ(unsetenv("THERMOCLINE_SERVER"), 0);
  EXPECT_EQ(Parse({"stats"}).server, "127.0.0.1:7070");
}

TEST(CommandLine, UnderstandsSet) {
  const auto invocation =
      Parse({"set", "k", "v", "--ttl", "10m", "--if-version", "7", "--durability", "memory"});
  const auto& set = std::get<SetCommand>(invocation.command);
  EXPECT_EQ(set.value, "v");
  EXPECT_FALSE(set.value_from_input);
  EXPECT_EQ(set.options.ttl, milliseconds(600'000));
  EXPECT_EQ(set.options.condition.kind, Condition::Kind::kIfVersion);
  EXPECT_EQ(set.options.condition.version, 7U);
  EXPECT_EQ(set.options.durability, Durability::kMemory);
  EXPECT_TRUE(std::get<SetCommand>(Parse({"set", "k", "-"}).command).value_from_input);
  EXPECT_EQ(std::get<SetCommand>(Parse({"set", "--", "-k", "-v"}).command).value, "-v");
}

TEST(CommandLine, LetsCompactTakeAsLongAsItTakesUnlessToldOtherwise) {
  EXPECT_EQ(std::get<CompactCommand>(Parse({"compact"}).command).options.timeout, std::nullopt);
  for (const auto& invocation :
       {Parse({"compact", "--timeout", "2h"}), Parse({"--timeout", "2h", "compact"})}) {
    EXPECT_EQ(std::get<CompactCommand>(invocation.command).options.timeout, std::chrono::hours(2));
  }
}

TEST(CommandLine, UnderstandsImport) {
  const auto invocation = Parse(
      {"import", "x.csv", "--key", "p:{#}", "--value", "v", "--on-error", "stop", "--acked-log", "log"});
  const auto& import = std::get<ImportCommand>(invocation.command);
  EXPECT_EQ(import.shape.format, Format::kCsv);
  EXPECT_TRUE(import.shape.key.has_value());
  EXPECT_EQ(import.shape.value_field, "v");
  EXPECT_TRUE(import.stop_on_error);
  EXPECT_EQ(import.acked_log, "log");
  const auto exported = Parse({"import", "-", "--format", "export"});
  EXPECT_EQ(std::get<ImportCommand>(exported.command).shape.format, Format::kExport);
}

template <class Words>
Words ParseSegment(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "segment");
  const Invocation invocation = Parse(arguments);
  const auto& words = std::get<SegmentCommand>(invocation.command);
  if (std::holds_alternative<Words>(words)) return std::get<Words>(words);
  ADD_FAILURE() << "another command";
  return {};
}

TEST(CommandLine, UnderstandsSegmentChanges) {
  using Kind = SegmentChangeCommand::Kind;
  auto change =
      ParseSegment<SegmentChangeCommand>({"add", "s", "1", "18446744073709551615", "--count-changed"});
  EXPECT_EQ(change.kind, Kind::kAdd);
  EXPECT_EQ(change.segment, "s");
  EXPECT_EQ(change.ids, (std::vector<uint64_t>{1, ~uint64_t{0}}));
  EXPECT_TRUE(change.options.count_changed);
  EXPECT_EQ(change.options.timeout, std::nullopt);
  change = ParseSegment<SegmentChangeCommand>(
      {"remove", "s", "--from", "f.csv", "--field", "u", "--timeout", "2s"});
  EXPECT_EQ(change.kind, Kind::kRemove);
  ASSERT_EQ(change.inputs.size(), 1U);
  EXPECT_EQ(change.inputs[0].place, "f.csv");
  EXPECT_EQ(change.inputs[0].shape.format, IdFormat::kCsv);
  EXPECT_EQ(change.inputs[0].shape.field, "u");
  EXPECT_EQ(change.options.timeout, milliseconds(2000));
  change =
      ParseSegment<SegmentChangeCommand>({"load", "s", "f.csv", "--format", "lines", "--on-error", "stop"});
  EXPECT_EQ(change.kind, Kind::kLoad);
  ASSERT_EQ(change.inputs.size(), 1U);
  EXPECT_EQ(change.inputs[0].shape.format, IdFormat::kLines);
  EXPECT_EQ(change.inputs[0].shape.field, "id");
  EXPECT_TRUE(change.stop_on_error);
  EXPECT_EQ(ParseSegment<SegmentChangeCommand>({"load", "s", "-", "--append"}).kind, Kind::kAdd);
}

TEST(CommandLine, PairsDatabasesWithQueries) {
  const auto inputs = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"load", "s"});
    std::vector<std::string> texts;
    for (const IdInput& input : ParseSegment<SegmentChangeCommand>(arguments).inputs) {
      texts.push_back(input.place + " " + input.query);
      for (const auto& value : input.parameters) texts.back() += " " + *value;
    }
    return texts;
  };
  const std::string a = "postgresql://a";
  const std::string b = "mysql://b";
  EXPECT_THAT(inputs({"f", "--from", a, "--query", "q", "--from", "g", "--from", b, "--query", "r"}),
              ::testing::ElementsAre("f ", "g ", a + " q", b + " r"));
  EXPECT_THAT(inputs({"--from", a, "--from", b, "--query", "q", "--param", "1", "--param=-2"}),
              ::testing::ElementsAre(a + " q 1 -2", b + " q 1 -2"));
  EXPECT_THAT(inputs({b, "--query", "q", "--query", "r"}), ::testing::ElementsAre(b + " q", b + " r"));
  const auto added = ParseSegment<SegmentChangeCommand>(
      {"add", "s", "--from", a, "--query", "q", "7", "8", "--longest-silence", "2s"});
  EXPECT_EQ(added.ids, (std::vector<uint64_t>{7, 8}));
  ASSERT_EQ(added.inputs.size(), 1U);
  EXPECT_EQ(added.inputs[0].longest_silence, milliseconds(2000));
}

TEST(CommandLine, UnderstandsSegmentQueries) {
  const auto query =
      ParseSegment<SegmentQueryCommand>({"query", "a - b", "--limit", "3", "--after", "0", "--fresh"});
  EXPECT_EQ(query.expression, "a - b");
  EXPECT_EQ(query.options.limit, 3U);
  EXPECT_EQ(query.options.after, 0U);
  EXPECT_TRUE(query.options.fresh);
  EXPECT_EQ(ParseSegment<SegmentQueryCommand>({"query", "a"}).options.after, std::nullopt);
  const auto values = ParseSegment<SegmentValuesCommand>({"values", "a", "--key", "u:{id}", "--only-found"});
  EXPECT_EQ(values.key_pattern, "u:{id}");
  EXPECT_TRUE(values.only_found);
  EXPECT_TRUE(ParseSegment<SegmentExplainCommand>({"explain", "a", "--execute"}).options.execute);
  const auto store = ParseSegment<SegmentStoreCommand>({"store", "s", "a | b"});
  EXPECT_EQ(store.segment, "s");
  EXPECT_EQ(store.expression, "a | b");
  EXPECT_EQ(ParseSegment<SegmentListCommand>({"list"}).prefix, "");
  EXPECT_EQ(ParseSegment<SegmentDropCommand>({"drop", "a", "b"}).segments,
            (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(ParseSegment<SegmentDescribeCommand>({"describe", "a"}).segment, "a");
  EXPECT_TRUE(ParseSegment<SegmentCountCommand>({"count", "a", "--fresh"}).options.fresh);
}

TEST(CommandLine, NamesMistakesAboutSegments) {
  EXPECT_THAT(Refusal({"segment"}), HasSubstr("help segment"));
  EXPECT_THAT(Refusal({"segment", "fly"}), HasSubstr("fly"));
  EXPECT_THAT(Refusal({"segment", "add", "s"}), HasSubstr("IDS or --from"));
  EXPECT_THAT(Refusal({"segment", "add", "s", "1", "x"}), HasSubstr("\"x\" is not an id"));
  EXPECT_THAT(Refusal({"segment", "add", "s", "18446744073709551616"}), HasSubstr("is not an id"));
  EXPECT_THAT(Refusal({"segment", "load", "s"}), HasSubstr("FILE"));
  EXPECT_THAT(Refusal({"segment", "load", "s", "-", "--from", "-"}), HasSubstr("only once"));
  EXPECT_THAT(Refusal({"segment", "load", "s", "f", "--query", "q"}), HasSubstr("needs a database"));
  EXPECT_THAT(Refusal({"segment", "load", "s", "f", "--param", "1"}), HasSubstr("needs a --query"));
  EXPECT_THAT(Refusal({"segment", "load", "s", "--from", "mysql://h"}), HasSubstr("--query"));
  EXPECT_THAT(Refusal({"segment", "load", "s", "mysql://h", "mysql://i", "--query", "1", "--query", "2",
                       "--query", "3"}),
              HasSubstr("3 queries for 2 databases"));
  EXPECT_THAT(Refusal({"segment", "query", "a", "b"}), HasSubstr("b"));
  EXPECT_THAT(Refusal({"segment", "query", "a", "--after", "-1"}), HasSubstr("\"-1\" is not a whole number"));
  EXPECT_THAT(Refusal({"segment", "values", "a"}), HasSubstr("--key"));
  EXPECT_THAT(Refusal({"segment", "values", "a", "--key", "user"}), HasSubstr("no {id} in it"));
  EXPECT_THAT(Refusal({"help", "segment", "fly"}), HasSubstr("no command \"segment fly\""));
}

TEST(CommandLine, NamesMistakes) {
  EXPECT_THAT(Refusal({}), HasSubstr("a command is missing"));
  EXPECT_THAT(Refusal({"fly"}), HasSubstr("fly"));
  EXPECT_THAT(Refusal({"get"}), HasSubstr("KEY or --keys-from"));
  EXPECT_THAT(Refusal({"get", "k", "--timing"}), HasSubstr("--keys-from"));
  EXPECT_THAT(Refusal({"set", "k"}), HasSubstr("VALUE"));
  EXPECT_THAT(Refusal({"set", "k", "v", "--ttl", "-5s"}), HasSubstr("\"-5s\" is not a duration"));
  EXPECT_THAT(Refusal({"set", "k", "v", "--durability", "never"}),
              HasSubstr("\"never\" is none of sync|memory"));
  EXPECT_THAT(Refusal({"set", "k", "v", "--if-absent", "--if-present"}), HasSubstr("--if-absent"));
  EXPECT_THAT(Refusal({"set", "k", "v", "--if-version", "x"}), HasSubstr("--if-version"));
  EXPECT_THAT(Refusal({"set", "k", "v", "--if-version", "-1"}), HasSubstr("\"-1\" is not a whole number"));
  EXPECT_THAT(Refusal({"scan", "--limit", "-1"}), HasSubstr("\"-1\" is not a whole number"));
  EXPECT_THAT(Refusal({"import", "x.ndjson"}), HasSubstr("--key"));
  EXPECT_THAT(Refusal({"import", "x.txt", "--key", "id"}), HasSubstr("--format"));
  EXPECT_THAT(Refusal({"import", "-", "--key", "id"}), HasSubstr("--format"));
  EXPECT_THAT(Refusal({"import", "x.csv", "--key", "a{b"}), HasSubstr("'{' without its '}'"));
  EXPECT_THAT(Refusal({"import", "x", "--format", "export", "--key", "id"}),
              HasSubstr("do not go with --format export"));
  EXPECT_THAT(Refusal({"import", "x.csv", "--key", "a", "--only-keys", "f"}),
              HasSubstr("--only-keys needs --verify"));
  EXPECT_THAT(Refusal({"import", "x.csv", "--key", "a", "--verify", "--acked-log", "f"}),
              HasSubstr("--acked-log"));
  EXPECT_THAT(Refusal({"help", "fly"}), HasSubstr("no command \"fly\""));
}

TEST(CommandLine, Helps) {
  const auto help = [](const std::vector<std::string>& arguments) {
    const auto parsed = ParseCommandLine(arguments);
    const auto* ending = std::get_if<Ending>(&parsed);
    EXPECT_TRUE(ending != nullptr && ending->code == kOk);
    return ending == nullptr ? "" : ending->text;
  };
  for (const auto& arguments : {std::vector<std::string>{"help"}, {"--help"}}) {
    EXPECT_THAT(help(arguments), HasSubstr("Exit codes:"));
    EXPECT_THAT(help(arguments), HasSubstr("THERMOCLINE_SERVER"));
    EXPECT_THAT(help(arguments), HasSubstr("  compact "));
  }
  for (const auto& arguments : {std::vector<std::string>{"help", "import"}, {"import", "--help"}}) {
    EXPECT_THAT(help(arguments), HasSubstr("--acked-log"));
  }
  EXPECT_THAT(help({"help", "segment"}), HasSubstr("A first session:"));
  for (const auto& arguments :
       {std::vector<std::string>{"help", "segment", "load"}, {"segment", "load", "--help"}}) {
    EXPECT_THAT(help(arguments), HasSubstr("Usage: thermocline segment load "));
    EXPECT_THAT(help(arguments), HasSubstr("--server"));
    EXPECT_THAT(help(arguments), HasSubstr("Examples:"));
  }
}

}  // namespace
}  // namespace thermocline::cli
