// The command line against the real server.

#include <algorithm>
#include <fstream>
#include <future>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "client/cli/run.h"
#include "tests/client/cli/input.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace thermocline::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;
using thermocline::testing::ServerProcess;

struct Outcome {
  ExitCode code;
  std::string out;
  std::string err;
};

Outcome RunCli(std::vector<std::string> arguments, const std::string& input = "") {
  Input in(input);
  std::ostringstream out;
  std::ostringstream err;
  Io io{.in = in.descriptor(), .out = out, .err = err};
  const ExitCode code = Run(arguments, io);
  return {code, out.str(), err.str()};
}

std::unique_ptr<ServerProcess> StartServer() {
  auto server = ServerProcess::Start({.flags = {"--memory", "32MiB"}, .data_directory = ""});
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

std::vector<std::string> SortedLines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  std::sort(lines.begin(), lines.end());
  return lines;
}

class CliServerTest : public ::testing::Test {
 protected:
  Outcome Cli(std::vector<std::string> arguments, const std::string& input = "") {
    // In front, so that a test can end its arguments with `-- KEY`.
    arguments.insert(arguments.begin(), {"--server", server_->address(), "--timeout", "60s"});
    return RunCli(std::move(arguments), input);
  }

  std::string File(const std::string& name, const std::string& text) {
    std::string path = directory_.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  std::string Read(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(directory_.path() + "/" + name, std::ios::binary).rdbuf();
    return text.str();
  }

  std::string Value(const std::string& key) { return Cli({"get", key}).out; }

  thermocline::testing::TempDirectory directory_;
  std::unique_ptr<ServerProcess> server_ = StartServer();
};

TEST(CliWithoutServer, SaysThatItCannotBeReached) {
  const Outcome outcome = RunCli({"get", "k", "--server", "127.0.0.1:1"});
  EXPECT_EQ(outcome.code, kServer);
  EXPECT_THAT(outcome.err, HasSubstr("no Thermocline server answers at 127.0.0.1:1"));
  EXPECT_THAT(outcome.err, HasSubstr("onnection refused"));
  EXPECT_EQ(outcome.out, "");
}

TEST(CliWithoutServer, KeepsUsageApart) {
  const Outcome wrong = RunCli({"fly"});
  EXPECT_EQ(wrong.code, kUsage);
  EXPECT_EQ(wrong.out, "");
  const Outcome help = RunCli({"help"});
  EXPECT_EQ(help.code, kOk);
  EXPECT_THAT(help.out, HasSubstr("Exit codes"));
}

TEST_F(CliServerTest, SetsGetsAndDeletes) {
  EXPECT_EQ(Cli({"set", "k", "v"}).code, kOk);
  EXPECT_EQ(Value("k"), "v");
  EXPECT_THAT(Cli({"exists", "k"}).out, HasSubstr("version "));
  EXPECT_EQ(Cli({"del", "k"}).code, kOk);
  EXPECT_EQ(Cli({"del", "k"}).code, kOk) << "deleting what is not there succeeds";
  const Outcome gone = Cli({"get", "k"});
  EXPECT_EQ(gone.code, kNo);
  EXPECT_EQ(gone.out, "");
  EXPECT_THAT(gone.err, HasSubstr("not found: k"));
  EXPECT_EQ(Cli({"exists", "k"}).code, kNo);
}

TEST_F(CliServerTest, CarriesValuesByteForByte) {
  std::string value(1 << 20, '\0');
  for (size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>(i * 7);
  EXPECT_EQ(Cli({"set", "k", "-"}, value).code, kOk);
  EXPECT_TRUE(Value("k") == value) << "a mebibyte is not printed";
  EXPECT_EQ(Cli({"set", "empty", "-"}, "").code, kOk);
  EXPECT_EQ(Cli({"get", "empty"}).code, kOk);
  EXPECT_EQ(Cli({"set", "--", "-k", "-v"}).code, kOk);
  EXPECT_EQ(Cli({"get", "--", "-k"}).out, "-v");
}

TEST_F(CliServerTest, TellsWhetherAConditionWasMet) {
  EXPECT_EQ(Cli({"set", "k", "1", "--if-absent"}).code, kOk);
  const Outcome again = Cli({"set", "k", "2", "--if-absent"});
  EXPECT_EQ(again.code, kNo);
  EXPECT_THAT(again.err, HasSubstr("condition not met: the key has version"));
  const auto version = nlohmann::json::parse(Cli({"exists", "k", "--json"}).out)["version"].get<uint64_t>();
  EXPECT_EQ(Cli({"set", "k", "3", "--if-version", std::to_string(version)}).code, kOk);
  EXPECT_EQ(Cli({"del", "k", "--if-version", std::to_string(version)}).code, kNo);
  EXPECT_EQ(Cli({"del", "k", "--if-present"}).code, kOk);
  const Outcome absent = Cli({"del", "k", "--if-present", "--json"});
  EXPECT_EQ(absent.code, kNo);
  EXPECT_EQ(nlohmann::json::parse(absent.out)["applied"], false);
  EXPECT_EQ(Cli({"set", "k", "4", "--if-present"}).code, kNo);
}

TEST_F(CliServerTest, SpeaksJsonToPrograms) {
  EXPECT_EQ(Cli({"set", "k", "-", "--ttl", "1h"}, "\xff").code, kOk);
  const auto entry = nlohmann::json::parse(Cli({"get", "k", "--json"}).out);
  EXPECT_EQ(entry["key"], "k");
  EXPECT_EQ(entry["value_base64"], "/w==");
  EXPECT_GT(entry["ttl_ms"], 3'500'000);
  EXPECT_GT(entry["version"], 0);
  EXPECT_EQ(nlohmann::json::parse(Cli({"get", "nope", "--json"}).out)["found"], false);
  EXPECT_THAT(Cli({"exists", "k"}).out, HasSubstr("expires in 59 m"));
  const auto stats = nlohmann::json::parse(Cli({"stats", "--json"}).out);
  EXPECT_EQ(stats["memory"]["limit_bytes"], 32 << 20);
  EXPECT_EQ(stats["operations"]["sets"], 1);
  EXPECT_THAT(Cli({"stats"}).out, HasSubstr("limit               32.0 MiB"));
}

TEST_F(CliServerTest, Compacts) {
  EXPECT_EQ(Cli({"compact"}).out, "nothing to free\n");
  const std::string value(500'000, 'v');
  for (int i = 0; i < 30; ++i) ASSERT_EQ(Cli({"set", std::to_string(i), "-"}, value).code, kOk);
  for (const char* key : {"0", "1", "2"}) ASSERT_EQ(Cli({"del", key}).code, kOk);
  const auto report = nlohmann::json::parse(Cli({"compact", "--json"}).out);
  EXPECT_GT(report["blocks_freed"], 0);
  EXPECT_GT(report["bytes_scanned"], report["bytes_written"]);
  const auto stats = nlohmann::json::parse(Cli({"stats", "--json"}).out);
  EXPECT_EQ(stats["compaction"]["blocks_freed"], report["blocks_freed"]);
  EXPECT_EQ(Value("29"), value);
}

TEST_F(CliServerTest, PassesOnWhatTheServerRefuses) {
  const Outcome long_key = Cli({"set", std::string(65'537, 'k'), "v"});
  EXPECT_EQ(long_key.code, kUsage);
  EXPECT_THAT(long_key.err, HasSubstr("65 536"));
  const Outcome long_value = Cli({"set", "k", "-"}, std::string((16 << 20) + 1, 'v'));
  EXPECT_EQ(long_value.code, kUsage);
  EXPECT_THAT(long_value.err, HasSubstr("16 MiB"));
  // A block of a server with so little memory cannot hold it.
  EXPECT_EQ(Cli({"set", "k", "-"}, std::string(16 << 20, 'v')).code, kUsage);
  const Outcome long_ttl = Cli({"set", "k", "v", "--ttl", "40000d"});
  EXPECT_EQ(long_ttl.code, kUsage);
  EXPECT_THAT(long_ttl.err, HasSubstr("ttl"));
  EXPECT_EQ(Cli({"exists", "k"}).code, kNo);
}

TEST_F(CliServerTest, Scans) {
  for (const char* key : {"a:1", "a:2", "b:1"}) ASSERT_EQ(Cli({"set", key, "v\n"}).code, kOk);
  EXPECT_THAT(SortedLines(Cli({"scan"}).out), UnorderedElementsAre("a:1\tv\\n", "a:2\tv\\n", "b:1\tv\\n"));
  EXPECT_THAT(SortedLines(Cli({"scan", "--prefix", "a:", "--keys-only"}).out),
              UnorderedElementsAre("a:1", "a:2"));
  EXPECT_EQ(SortedLines(Cli({"scan", "--limit", "2", "--json"}).out).size(), 2U);
  const auto line = nlohmann::json::parse(Cli({"scan", "--prefix", "b", "--json", "--keys-only"}).out);
  EXPECT_EQ(line["key"], "b:1");
  EXPECT_FALSE(line.contains("value"));
}

TEST_F(CliServerTest, ImportsNdjsonAndReportsWhatIsMalformed) {
  const std::string file = File("x.ndjson", "{\"id\":1,\"x\":\"a\"}\nnonsense\n\n{\"x\":1}\n{\"id\":2}\n");
  const Outcome outcome = Cli({"import", file, "--key", "item:{id}"});
  EXPECT_EQ(outcome.code, kRejected);
  EXPECT_THAT(outcome.err, HasSubstr("line 2: is not JSON"));
  EXPECT_THAT(outcome.err, HasSubstr("line 4: has no field \"id\""));
  EXPECT_THAT(outcome.out, HasSubstr("2 records written"));
  EXPECT_THAT(outcome.out, HasSubstr("2 rejected"));
  EXPECT_EQ(Value("item:1"), "{\"id\":1,\"x\":\"a\"}");
  EXPECT_EQ(Value("item:2"), "{\"id\":2}");
}

TEST_F(CliServerTest, StopsAnImportAtAnErrorWhenToldTo) {
  const Outcome outcome = Cli({"import", "-", "--format", "ndjson", "--key", "id", "--on-error", "stop"},
                              "{\"id\":1}\nx\n{\"id\":2}\n");
  EXPECT_EQ(outcome.code, kRejected);
  EXPECT_EQ(Value("1"), "{\"id\":1}");
  EXPECT_EQ(Cli({"exists", "2"}).code, kNo);
}

TEST_F(CliServerTest, ReportsRecordsThatTheServerRefusesByTheirLine) {
  std::string text =
      "{\"id\":\"a\"}\n{\"id\":\"" + std::string(70'000, 'k') + "\"}\n{\"id\":\"\"}\n{\"id\":\"b\"}\n";
  const Outcome outcome = Cli({"import", File("x.ndjson", text), "--key", "id"});
  EXPECT_EQ(outcome.code, kRejected);
  EXPECT_THAT(outcome.err, HasSubstr("line 2: the key has 70000 bytes"));
  EXPECT_THAT(outcome.err, HasSubstr("line 3: the key is empty"));
  EXPECT_THAT(outcome.out, HasSubstr("2 records written"));
}

TEST_F(CliServerTest, CountsWhatItDoesNotPrint) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "nonsense\n";
  const Outcome outcome = Cli({"import", File("x.ndjson", text), "--key", "id", "--json"});
  EXPECT_EQ(outcome.code, kRejected);
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["rejected"], 50);
  EXPECT_THAT(outcome.err, HasSubstr("line 20:"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("line 21:")));
}

TEST_F(CliServerTest, ImportsCsvAndJson) {
  EXPECT_EQ(Cli({"import", File("x.csv", "id,name\r\n7,\"A, B\"\r\n"), "--key", "csv:{id}"}).code, kOk);
  EXPECT_EQ(Value("csv:7"), "{\"id\":\"7\",\"name\":\"A, B\"}");
  EXPECT_EQ(Cli({"import", File("x.json", "[ {\"n\": \"x\"},\n{\"n\": \"y\"} ]"), "--key", "json:{#}",
                 "--value", "n"})
                .code,
            kOk);
  EXPECT_EQ(Value("json:1"), "x");
  EXPECT_EQ(Value("json:2"), "y");
}

TEST_F(CliServerTest, TheLastOfSeveralRecordsWithOneKeyStays) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += fmt::format("{{\"id\":{},\"n\":{}}}\n", i % 7, i);
  ASSERT_EQ(
      Cli({"import", File("x.ndjson", text), "--key", "id", "--value", "n", "--durability", "memory"}).code,
      kOk);
  for (int id = 0; id < 7; ++id) {
    EXPECT_EQ(Value(std::to_string(id)), std::to_string(19'999 - (19'999 - id) % 7));
  }
}

TEST_F(CliServerTest, RefusesFilesThatAreNone) {
  const Outcome missing = Cli({"import", "/nonexistent.csv", "--key", "id"});
  EXPECT_EQ(missing.code, kUsage);
  EXPECT_THAT(missing.err, HasSubstr("/nonexistent.csv"));
  EXPECT_EQ(Cli({"import", File("x.csv", ""), "--key", "id"}).code, kUsage);
  EXPECT_EQ(Cli({"import", File("y.csv", "id\n"), "--key", "id", "--acked-log", "/nonexistent/log"}).code,
            kUsage);
  EXPECT_EQ(Cli({"get", "--keys-from", "/nonexistent"}).code, kUsage);
  EXPECT_EQ(Cli({"export", "--output", "/nonexistent/x"}).code, kUsage);
  const Outcome object = Cli({"import", File("x.json", "{\"id\":1}"), "--key", "id"});
  EXPECT_EQ(object.code, kRejected);
  EXPECT_THAT(object.err, HasSubstr("is not a JSON array"));
}

TEST_F(CliServerTest, VerifiesWhatItHasImported) {
  const std::string file = File("x.ndjson", "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n");
  ASSERT_EQ(Cli({"import", file, "--key", "id", "--acked-log", directory_.path() + "/acked"}).code, kOk);
  EXPECT_THAT(SortedLines(Read("acked")), UnorderedElementsAre("1", "2", "3"));
  EXPECT_EQ(Cli({"import", file, "--key", "id", "--verify"}).code, kOk);

  ASSERT_EQ(Cli({"set", "2", "other"}).code, kOk);
  ASSERT_EQ(Cli({"del", "3"}).code, kOk);
  const Outcome differs = Cli({"import", file, "--key", "id", "--verify"});
  EXPECT_EQ(differs.code, kNo);
  EXPECT_THAT(differs.err, HasSubstr("line 2: 2: has another value"));
  EXPECT_THAT(differs.err, HasSubstr("line 3: 3: is not there"));
  EXPECT_THAT(differs.out, HasSubstr("1 records are equal"));
  EXPECT_THAT(differs.out, HasSubstr("2 missing or different"));

  const Outcome some =
      Cli({"import", file, "--key", "id", "--verify", "--only-keys", File("keys", "1\n"), "--json"});
  EXPECT_EQ(some.code, kOk);
  EXPECT_EQ(nlohmann::json::parse(some.out)["equal"], 1);
}

TEST_F(CliServerTest, ExportAndImportRoundTrip) {
  ASSERT_EQ(Cli({"set", "plain", "caf\xc3\xa9 \"x\"\n"}).code, kOk);
  ASSERT_EQ(Cli({"set", "binary\xff", "-"}, std::string("\0\x01\xfe", 3)).code, kOk);
  ASSERT_EQ(Cli({"set", "empty", "-"}, "").code, kOk);
  ASSERT_EQ(Cli({"set", "expiring", "v", "--ttl", "300d"}).code, kOk);
  const std::string exported = directory_.path() + "/out";
  ASSERT_EQ(Cli({"export", "--output", exported}).code, kOk);

  const auto other = StartServer();
  EXPECT_EQ(RunCli({"import", exported, "--format", "export", "--server", other->address()}).code, kOk);
  const auto without_ttl = [](const std::string& text) {
    std::map<std::string, std::string> lines;
    for (const std::string& line : SortedLines(text)) {
      auto object = nlohmann::json::parse(line);
      EXPECT_EQ(object.contains("ttl_ms"), object.value("key", "") == "expiring");
      object.erase("ttl_ms");
      lines[object.dump()];
    }
    return lines;
  };
  const std::string again = RunCli({"export", "--server", other->address()}).out;
  EXPECT_EQ(without_ttl(again), without_ttl(Read("out")));
  EXPECT_EQ(without_ttl(again).size(), 4U);
}

TEST_F(CliServerTest, ReadsListsOfKeys) {
  for (const char* key : {"a", "{b}"}) ASSERT_EQ(Cli({"set", key, "v"}).code, kOk);
  const std::string keys = File("keys", Cli({"scan", "--keys-only"}).out);
  EXPECT_EQ(SortedLines(Cli({"get", "--keys-from", keys}).out).size(), 2U);
  const Outcome timing = Cli({"get", "--keys-from", keys, "--timing", "--json"});
  EXPECT_EQ(timing.code, kOk);
  EXPECT_EQ(nlohmann::json::parse(timing.out)["reads"], 2);
  EXPECT_THAT(Cli({"get", "--keys-from", keys, "--timing"}).out, HasSubstr("p99"));
  const Outcome missing = Cli({"get", "--keys-from", "-"}, "a\nnope\n");
  EXPECT_EQ(missing.code, kNo);
  EXPECT_THAT(missing.err, HasSubstr("not found: nope"));
  const Outcome broken = Cli({"get", "--keys-from", "-"}, "a\n{\n");
  EXPECT_EQ(broken.code, kUsage);
  EXPECT_THAT(broken.err, HasSubstr("line 2"));
}

TEST_F(CliServerTest, AnImportSurvivesNothingButLosesNothingThatWasAcknowledged) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += fmt::format("{{\"id\":{},\"payload\":\"{:0200}\"}}\n", i, i);
  const std::string file = File("x.ndjson", text);
  const std::string acked = directory_.path() + "/acked";
  auto importing = std::async(std::launch::async, [&] {
    return RunCli({"import", file, "--key", "id", "--acked-log", acked, "--json", "--server",
                   server_->address(), "--timeout", "5s"});
  });
  while (Read("acked").size() < 20'000 &&
         importing.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
  }
  server_->Kill();
  const Outcome outcome = importing.get();
  EXPECT_EQ(outcome.code, kServer) << outcome.out;
  const auto summary = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(summary["written"], SortedLines(Read("acked")).size());

  ASSERT_TRUE(server_->Restart().ok());
  const Outcome verified = Cli({"import", file, "--key", "id", "--verify", "--only-keys", acked, "--json"});
  EXPECT_EQ(verified.code, kOk) << verified.err;
  EXPECT_EQ(nlohmann::json::parse(verified.out)["equal"], summary["written"]);
}

}  // namespace
}  // namespace thermocline::cli
