#include "server/config.h"

#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/options.h"

namespace thermocline::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusOr<CommandLine> Parse(std::vector<std::string> arguments) {
  std::vector<const char*> argv = {"thermocline-server"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return ParseCommandLine(static_cast<int>(argv.size()), argv.data());
}

// The message of a refusal.
std::string Refusal(std::vector<std::string> arguments) {
  const absl::StatusOr<CommandLine> command = Parse(std::move(arguments));
  if (command.ok()) return "accepted";
  EXPECT_EQ(command.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(command.status().message());
}

class ConfigFile : public ::testing::Test {
 protected:
  std::string Write(const std::string& text) {
    const std::string path = ::testing::TempDir() + "config_test.toml";
    std::ofstream(path) << text;
    return path;
  }
};

TEST(CommandLineTest, SpeaksOfTheDefaults) {
  const absl::StatusOr<CommandLine> command = Parse({});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_TRUE(command->answer.empty());
  EXPECT_EQ(command->config.host, "127.0.0.1");
  EXPECT_EQ(command->config.port, 7070);
  EXPECT_EQ(command->config.data_directory, "./data");
  EXPECT_EQ(command->config.memory_bytes, uint64_t{1} << 30);
  EXPECT_EQ(command->config.segment_memory_bytes, 64u << 20);
  EXPECT_EQ(command->config.segment_result_bytes, uint64_t{1} << 30);
  EXPECT_EQ(command->config.segment_result_lifetime, std::chrono::hours(1));
  EXPECT_EQ(command->config.block_bytes, 0u);
  EXPECT_EQ(command->config.flush_interval, std::chrono::milliseconds(100));
  EXPECT_EQ(command->config.read_threads, 16);
  EXPECT_EQ(command->config.log_level, "info");
}

TEST(CommandLineTest, TextsOfTheDefaultsSayWhatConfigSays) {
  const Config defaults;
  const Config parsed = Parse({})->config;
  EXPECT_EQ(parsed.host, defaults.host);
  EXPECT_EQ(parsed.port, defaults.port);
  EXPECT_EQ(parsed.data_directory, defaults.data_directory);
  EXPECT_EQ(parsed.memory_bytes, defaults.memory_bytes);
  EXPECT_EQ(parsed.segment_memory_bytes, defaults.segment_memory_bytes);
  EXPECT_EQ(parsed.segment_result_bytes, defaults.segment_result_bytes);
  EXPECT_EQ(parsed.segment_result_lifetime, defaults.segment_result_lifetime);
  EXPECT_EQ(parsed.export_to, defaults.export_to);
  EXPECT_EQ(parsed.block_bytes, defaults.block_bytes);
  EXPECT_EQ(parsed.flush_interval, defaults.flush_interval);
  EXPECT_EQ(parsed.read_threads, defaults.read_threads);
  EXPECT_EQ(parsed.io_threads, defaults.io_threads);
  EXPECT_EQ(parsed.disk_reads, defaults.disk_reads);
  EXPECT_EQ(parsed.tls_certificate, defaults.tls_certificate);
  EXPECT_EQ(parsed.log_level, defaults.log_level);
}

TEST(CommandLineTest, ReadsEveryFlag) {
  const absl::StatusOr<CommandLine> command = Parse({"--listen",
                                                     "[::1]:0",
                                                     "--data",
                                                     "/var/lib/a b",
                                                     "--memory=8GiB",
                                                     "--block-size",
                                                     "64KiB",
                                                     "--segment-memory",
                                                     "3GiB",
                                                     "--segment-results",
                                                     "0",
                                                     "--segment-result-lifetime",
                                                     "12h",
                                                     "--export-to",
                                                     "file:///srv/out,s3://lake/exports/",
                                                     "--flush-interval",
                                                     "2s",
                                                     "--read-threads",
                                                     "3",
                                                     "--io-threads",
                                                     "5",
                                                     "--disk-reads",
                                                     "threads",
                                                     "--tls-cert",
                                                     "c.pem",
                                                     "--tls-key",
                                                     "k.pem",
                                                     "--tls-client-ca",
                                                     "ca.pem",
                                                     "--log-level",
                                                     "debug"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->config.host, "::1");
  EXPECT_EQ(command->config.port, 0);
  EXPECT_EQ(command->config.data_directory, "/var/lib/a b");
  EXPECT_EQ(command->config.memory_bytes, uint64_t{8} << 30);
  EXPECT_EQ(command->config.segment_memory_bytes, uint64_t{3} << 30);
  EXPECT_EQ(command->config.segment_result_bytes, 0u);
  EXPECT_EQ(command->config.segment_result_lifetime, std::chrono::hours(12));
  EXPECT_THAT(command->config.export_to, ::testing::ElementsAre("file:///srv/out", "s3://lake/exports/"));
  EXPECT_EQ(command->config.block_bytes, 64u << 10);
  EXPECT_EQ(command->config.flush_interval, std::chrono::seconds(2));
  EXPECT_EQ(command->config.read_threads, 3);
  EXPECT_EQ(command->config.io_threads, 5);
  EXPECT_EQ(command->config.disk_reads, storage::DiskReadsChoice::kThreads);
  EXPECT_EQ(command->config.tls_certificate, "c.pem");
  EXPECT_EQ(command->config.tls_key, "k.pem");
  EXPECT_EQ(command->config.tls_client_ca, "ca.pem");
  EXPECT_EQ(command->config.log_level, "debug");
}

TEST(CommandLineTest, AnswersHelpAndVersion) {
  const absl::StatusOr<CommandLine> help = Parse({"--help"});
  ASSERT_TRUE(help.ok()) << help.status();
  for (const char* flag : {"--listen", "--data", "--memory", "--segment-memory", "--segment-results",
                           "--segment-result-lifetime", "--export-to", "--block-size", "--flush-interval",
                           "--disk-reads", "--read-threads", "--io-threads", "--tls-cert", "--tls-key",
                           "--tls-client-ca", "--log-level", "--version", "--config"}) {
    EXPECT_THAT(help->answer, HasSubstr(flag));
  }
  const absl::StatusOr<CommandLine> version = Parse({"--version"});
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_THAT(version->answer, ::testing::MatchesRegex("thermocline-server [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(CommandLineTest, RefusalsNameFlagValueAndWhatIsAllowed) {
  EXPECT_THAT(Refusal({"--memory", "1MiB"}),
              AllOf(HasSubstr("--memory"), HasSubstr("'1MiB'"), HasSubstr("4 MiB")));
  EXPECT_THAT(Refusal({"--memory", "lots"}),
              AllOf(HasSubstr("--memory"), HasSubstr("'lots'"), HasSubstr("16 TiB")));
  EXPECT_THAT(Refusal({"--memory", "17TiB"}), HasSubstr("--memory"));
  EXPECT_THAT(Refusal({"--memory", "-1"}), HasSubstr("--memory"));
  EXPECT_THAT(Refusal({"--block-size", "96KiB"}), AllOf(HasSubstr("'96KiB'"), HasSubstr("power of two")));
  EXPECT_THAT(Refusal({"--block-size", "32KiB"}), HasSubstr("64 KiB"));
  EXPECT_THAT(Refusal({"--block-size", "128MiB"}), HasSubstr("64 MiB"));
  EXPECT_THAT(Refusal({"--flush-interval", "100"}),
              AllOf(HasSubstr("--flush-interval"), HasSubstr("1ms to 1m")));
  EXPECT_THAT(Refusal({"--flush-interval", "0ms"}), HasSubstr("1ms to 1m"));
  EXPECT_THAT(Refusal({"--flush-interval", "61s"}), HasSubstr("1ms to 1m"));
  EXPECT_THAT(Refusal({"--read-threads", "0"}), HasSubstr("1 to 256"));
  EXPECT_THAT(Refusal({"--read-threads", "257"}), HasSubstr("1 to 256"));
  EXPECT_THAT(Refusal({"--read-threads", "8x"}), HasSubstr("'8x'"));
  EXPECT_THAT(Refusal({"--io-threads", "-1"}), AllOf(HasSubstr("--io-threads"), HasSubstr("0 to 256")));
  EXPECT_THAT(Refusal({"--disk-reads", "magic"}), AllOf(HasSubstr("'magic'"), HasSubstr("io_uring")));
  EXPECT_THAT(Refusal({"--tls-cert", "c.pem"}), AllOf(HasSubstr("--tls-key"), HasSubstr("together")));
  EXPECT_THAT(Refusal({"--tls-client-ca", "c.pem"}), HasSubstr("--tls-cert"));
  EXPECT_THAT(Refusal({"--log-level", "loud"}),
              AllOf(HasSubstr("'loud'"), HasSubstr("trace, debug, info, warn, error")));
  EXPECT_THAT(Refusal({"--data", ""}), HasSubstr("--data"));
}

TEST(CommandLineTest, SegmentsHaveAPartOfTheMemory) {
  const auto part = [](std::vector<std::string> arguments) -> std::string {
    const absl::StatusOr<CommandLine> command = Parse(std::move(arguments));
    return command.ok() ? FormatSize(command->config.segment_memory_bytes) : "refused";
  };
  EXPECT_EQ(part({"--memory", "4MiB"}), "0 B");
  EXPECT_EQ(part({"--memory", "63MiB"}), "0 B");
  EXPECT_EQ(part({"--memory", "64MiB"}), "8 MiB");
  EXPECT_EQ(part({"--memory", "160MiB"}), "10 MiB");
  EXPECT_EQ(part({"--memory", "100GiB"}), "2 GiB");
  EXPECT_EQ(part({"--memory", "160MiB", "--segment-memory", "auto"}), "10 MiB");
  EXPECT_EQ(part({"--memory", "160MiB", "--segment-memory", "0"}), "0 B");
  EXPECT_EQ(part({"--memory", "16MiB", "--segment-memory", "12MiB"}), "12 MiB");
  EXPECT_EQ(part({"--memory", "100GiB", "--segment-memory", "50GiB"}), "50 GiB");
  EXPECT_THAT(Refusal({"--memory", "16MiB", "--segment-memory", "13MiB"}),
              AllOf(HasSubstr("--segment-memory"), HasSubstr("'13MiB'"), HasSubstr("which is 16 MiB"),
                    HasSubstr("8 MiB to 12 MiB")));
  EXPECT_THAT(Refusal({"--segment-memory", "7MiB"}), HasSubstr("8 MiB to 1020 MiB"));
  EXPECT_THAT(Refusal({"--segment-memory", "much"}), AllOf(HasSubstr("'much'"), HasSubstr("auto")));
  EXPECT_THAT(Refusal({"--memory", "4MiB", "--segment-memory", "8MiB"}),
              AllOf(HasSubstr("give 0"), HasSubstr("raise --memory to 12 MiB")));
  EXPECT_THAT(Refusal({"--segment-results", "some"}),
              AllOf(HasSubstr("--segment-results"), HasSubstr("'some'"), HasSubstr("1GiB")));
  EXPECT_THAT(Refusal({"--segment-result-lifetime", "0s"}), HasSubstr("1s to 720h"));
  EXPECT_THAT(Refusal({"--segment-result-lifetime", "721h"}), HasSubstr("1s to 720h"));
}

TEST(CommandLineTest, RefusesAddressesThatAreNone) {
  for (const char* address : {"", "7070", "localhost", ":7070", "localhost:", "localhost:65536",
                              "localhost:-1", "::1:7070", "[]:7070", "localhost:70a"}) {
    EXPECT_THAT(Refusal({"--listen", address}), AllOf(HasSubstr("--listen"), HasSubstr("HOST:PORT")))
        << address;
  }
}

TEST(CommandLineTest, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(Refusal({"--memroy", "1GiB"}), AllOf(HasSubstr("--memroy"), HasSubstr("--help")));
  EXPECT_THAT(Refusal({"extra"}), HasSubstr("extra"));
  EXPECT_THAT(Refusal({"--memory"}), HasSubstr("--memory"));
  EXPECT_THAT(Refusal({"--memory", "1GiB", "--memory", "2GiB"}), HasSubstr("--memory"));
}

TEST_F(ConfigFile, GivesValuesAndFlagsWin) {
  const std::string path = Write(
      "# a comment\n"
      "listen = \"0.0.0.0:8080\"\n"
      "data = \"/var/lib/a b\"  # another\n"
      "memory = \"2GiB\"\n"
      "read-threads = 4\n"
      "flush-interval = '50ms'\n");
  const absl::StatusOr<CommandLine> command = Parse({"--config", path, "--memory", "3GiB"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->config.host, "0.0.0.0");
  EXPECT_EQ(command->config.port, 8080);
  EXPECT_EQ(command->config.data_directory, "/var/lib/a b");
  EXPECT_EQ(command->config.memory_bytes, uint64_t{3} << 30);
  EXPECT_EQ(command->config.read_threads, 4);
  EXPECT_EQ(command->config.flush_interval, std::chrono::milliseconds(50));
  EXPECT_EQ(command->config.log_level, "info");
}

TEST_F(ConfigFile, RefusesUnknownKeysByName) {
  const std::string path = Write("memroy = \"2GiB\"\n");
  EXPECT_THAT(Refusal({"--config", path}),
              AllOf(HasSubstr(path), HasSubstr("'memroy'"), HasSubstr("memory")));
  EXPECT_THAT(Refusal({"--config", Write("[server]\nmemory = \"2GiB\"\n")}), HasSubstr("[server]"));
}

TEST_F(ConfigFile, RefusesKeysThatOnlyAFlagMayBe) {
  EXPECT_THAT(Refusal({"--config", Write("version = true\n")}), HasSubstr("version"));
  EXPECT_THAT(Refusal({"--config", Write("config = \"other.toml\"\n")}), HasSubstr("config"));
}

TEST_F(ConfigFile, RefusesBadValuesAsFlagsDo) {
  EXPECT_THAT(Refusal({"--config", Write("memory = \"2 gallons\"\n")}),
              AllOf(HasSubstr("memory"), HasSubstr("2 gallons")));
  EXPECT_THAT(Refusal({"--config", Write("memory = [\"2GiB\", \"3GiB\"]\n")}), HasSubstr("memory"));
}

TEST_F(ConfigFile, DoesNotCutAPathSilently) {
  EXPECT_THAT(Refusal({"--config", Write("data = \"/srv/a#b\"\n")}),
              AllOf(HasSubstr("--data"), HasSubstr("#")));
}

TEST_F(ConfigFile, RefusesAFileThatIsNotThere) {
  EXPECT_THAT(Refusal({"--config", "/nonexistent/server.toml"}), HasSubstr("/nonexistent/server.toml"));
}

TEST_F(ConfigFile, TheExampleThatWeShipIsUnderstoodAndSetsNothingButDefaults) {
  const absl::StatusOr<CommandLine> command = Parse({"--config", THERMOCLINE_EXAMPLE_CONFIG});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->config.port, Config().port);
  EXPECT_EQ(command->config.memory_bytes, Config().memory_bytes);
  EXPECT_EQ(command->config.segment_memory_bytes, Config().segment_memory_bytes);
}

TEST(SizeTest, ReadsUnits) {
  EXPECT_EQ(ParseSize("4096"), 4096u);
  EXPECT_EQ(ParseSize("10B"), 10u);
  EXPECT_EQ(ParseSize("64KiB"), 64u << 10);
  EXPECT_EQ(ParseSize("64 MiB"), 64u << 20);
  EXPECT_EQ(ParseSize("3gib"), uint64_t{3} << 30);
  EXPECT_EQ(ParseSize("1TiB"), uint64_t{1} << 40);
  EXPECT_EQ(ParseSize("5KB"), 5'000u);
  EXPECT_EQ(ParseSize("5MB"), 5'000'000u);
  EXPECT_EQ(ParseSize("5GB"), 5'000'000'000u);
  EXPECT_EQ(ParseSize("5TB"), 5'000'000'000'000u);
}

TEST(SizeTest, RefusesWhatIsNone) {
  for (const char* text : {"", "GiB", "1.5GiB", "-1", "+1", " 1", "1 Gi B", "1GiBs", "0x10",
                           "99999999999999999999", "18446744073709551615KiB"}) {
    EXPECT_EQ(ParseSize(text), std::nullopt) << text;
  }
}

TEST(SizeTest, IsWrittenForPeople) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(64 << 20), "64 MiB");
  EXPECT_EQ(FormatSize((uint64_t{1} << 30) * 3 / 2), "1.5 GiB");
  EXPECT_EQ(FormatSize(uint64_t{20'000} << 40), "20000 TiB");
}

TEST(DurationTest, ReadsUnitsAndRefusesWhatIsNone) {
  EXPECT_EQ(ParseDuration("100ms"), std::chrono::milliseconds(100));
  EXPECT_EQ(ParseDuration("2 s"), std::chrono::seconds(2));
  EXPECT_EQ(ParseDuration("1m"), std::chrono::minutes(1));
  EXPECT_EQ(ParseDuration("12h"), std::chrono::hours(12));
  for (const char* text : {"", "100", "ms", "-1s", "1d", "18446744073709551615ms"}) {
    EXPECT_EQ(ParseDuration(text), std::nullopt) << text;
  }
}

TEST(HostPortTest, PutsBracketsAroundIpv6) {
  EXPECT_EQ(HostPort("localhost", 70), "localhost:70");
  EXPECT_EQ(HostPort("::1", 70), "[::1]:70");
}

}  // namespace
}  // namespace thermocline::server
