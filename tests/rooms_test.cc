// Holds the tree to its own rules: who may include whom, and what every file must look like.

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thermocline {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kMaxLines = 600;

// Whose files may include what, of the tree (`ours`) and of libraries (`theirs`). The first row whose `files`
// match counts.
struct Rule {
  const char* files;
  const char* ours;
  const char* theirs;
};

#define THERMOCLINE_WRAPPED "liburing|curl/|pugixml|libpq|mysql|simdjson"  // each by one room
constexpr const char* kAnyLibrary = "(?!" THERMOCLINE_WRAPPED ").*";
constexpr const char* kTestLibrary = "(?!liburing|curl/).*";
constexpr const char* kNoWireLibrary = "(?!grpc|google/protobuf/|rocksdb/|" THERMOCLINE_WRAPPED ").*";
constexpr const char* kServiceLibrary =
    "(?!grpcpp|grpc\\+\\+|boost/|nghttp2/|openssl/|zlib|rocksdb/|" THERMOCLINE_WRAPPED ").*";
constexpr const char* kTransportLibrary = "(?!grpc|thermocline/|rocksdb/|" THERMOCLINE_WRAPPED ").*";
constexpr const char* kRocksLibrary = "(?!grpc|google/protobuf/|" THERMOCLINE_WRAPPED ").*";
constexpr const char* kObjectLibrary = "(?!grpc|google/protobuf/|rocksdb/|liburing|libpq|mysql|simdjson).*";
constexpr const char* kSourceLibrary = "(?!grpc|google/protobuf/|rocksdb/|liburing|curl/|pugixml|simdjson).*";
constexpr const char* kSortLibrary = "(?!grpc|google/protobuf/|rocksdb/|liburing|curl/|pugixml|libpq|mysql).*";

const std::vector<Rule>& Rules() {
  static const auto& rules = *new std::vector<Rule>{
      // The doors of storage show nothing of what lies behind them.
      {R"(storage/[^/]+\.h)", R"(storage/[^/]+\.h)", R"([a-z_0-9]+|absl/.*)"},
      {R"(storage/uring_reads\.cc)", R"(storage/[^/]+\.h)", R"(liburing\.h|[a-z_0-9/]+(\.h)?|fmt/.*)"},
      {R"(storage/[^/]+\.cc)", R"(storage/.*)", kNoWireLibrary},
      {R"(storage/cache/.*)", R"(storage/[^/]+\.h|storage/cache/.*|storage/log/format\.h)", kNoWireLibrary},
      {R"(storage/cold/.*)", R"(storage/[^/]+\.h|storage/cold/.*)", kRocksLibrary},
      {R"(storage/engine/.*)", R"(storage/[^/]+\.h|storage/(cache|engine|index|log)/.*|storage/cold/cold_store\.h)",
       kNoWireLibrary},
      {R"(storage/index/.*)", R"(storage/[^/]+\.h|storage/index/.*)", kNoWireLibrary},
      {R"(storage/log/.*)", R"(storage/[^/]+\.h|storage/log/.*)", kNoWireLibrary},
      {R"(storage/object/s3/(http_client|answers)\.cc)", R"(storage/[^/]+\.h|storage/object/.*)", kObjectLibrary},
      {R"(storage/object/.*)", R"(storage/[^/]+\.h|storage/object/.*)", kNoWireLibrary},
      {R"(storage/sort/.*)", R"(storage/[^/]+\.h|storage/sort/.*)", kSortLibrary},
      {R"(storage/source/.*)", R"(storage/[^/]+\.h|storage/source/.*)", kSourceLibrary},
      {R"(storage/segment/catalog\.cc)",
       R"(storage/[^/]+\.h|storage/segment/.*|storage/cold/rocks_(options|file_system)\.h)", kRocksLibrary},
      {R"(storage/segment/.*)", R"(storage/[^/]+\.h|storage/segment/.*)", kNoWireLibrary},
      // The transport and the services know nothing of each other; server/*.cc brings them together.
      {R"(server/rpc/.*)", R"(server/[^/]+\.h|server/rpc/.*|storage/[^/]+\.h)", kTransportLibrary},
      {R"(server/service/.*)", R"(server/[^/]+\.h|server/service/.*|storage/[^/]+\.h|thermocline/v1/[a-z_]+\.pb\.h)",
       kServiceLibrary},
      {R"(server/.*)", R"(server/.*|storage/[^/]+\.h|thermocline/v1/.*)", kServiceLibrary},
      {R"(client/cli/.*)", R"(client/.*|thermocline/v1/.*|storage/[^/]+\.h)", kAnyLibrary},
      {R"(client/.*)", R"(client/[^/]+\.h|thermocline/v1/.*)", kAnyLibrary},
      {R"(tests/.*)", R"((storage|server|client|tests|thermocline/v1)/.*)", kTestLibrary},
  };
  return rules;
}

bool Matches(const std::string& text, const std::string& pattern) {
  return std::regex_match(text, std::regex(pattern));
}

bool IsOurs(const std::string& include) {
  return Matches(include, "(storage|server|client|tests|proto|thermocline)/.*");
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

void CheckIncludes(const std::string& path, const std::string& text, std::vector<std::string>& faults) {
  const auto rule = std::find_if(Rules().begin(), Rules().end(),
                                 [&](const Rule& candidate) { return Matches(path, candidate.files); });
  if (rule == Rules().end()) {
    faults.push_back(path + ": lies in no room that this test knows");
    return;
  }
  static const std::regex& include = *new std::regex(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"].*)");
  for (const std::string& line : Lines(text)) {
    std::smatch match;
    if (!std::regex_match(line, match, include)) continue;
    const std::string included = match[1];
    if (!Matches(included, IsOurs(included) ? rule->ours : rule->theirs)) {
      faults.push_back(fmt::format("{}: may not include {}", path, included));
    }
  }
}

// What is wrong with a file, by its path from the root.
std::vector<std::string> Faults(const std::string& path, const std::string& text) {
  std::vector<std::string> faults;
  if (Matches(path, R"(.*\.(h|cc))")) CheckIncludes(path, text, faults);
  if (Matches(path, R"(.*\.h)") && text.find("#pragma once\n") == std::string::npos) {
    faults.push_back(path + ": a header without #pragma once");
  }
  static const std::regex& vague = *new std::regex("util|common|helper|manager", std::regex::icase);
  if (std::regex_search(fs::path(path).filename().string(), vague)) {
    faults.push_back(path + ": a name that says nothing");
  }
  const std::vector<std::string> lines = Lines(text);
  if (lines.size() > kMaxLines) faults.push_back(fmt::format("{}: {} lines", path, lines.size()));
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!lines[i].empty() && (lines[i].back() == ' ' || lines[i].back() == '\r')) {
      faults.push_back(fmt::format("{}:{}: white space at the end", path, i + 1));
    }
    if (lines[i].find('\t') != std::string::npos) faults.push_back(fmt::format("{}:{}: a tab", path, i + 1));
  }
  return faults;
}

// Paths, from the root, of every file that is written by hand.
std::vector<std::string> Sources(const fs::path& root) {
  std::vector<std::string> sources;
  const std::string wanted =
      R"(.*\.(h|cc|proto|cmake|sh|toml|yml|md)|(.*/)?(CMakeLists\.txt|Dockerfile|dev|run))";
  for (fs::recursive_directory_iterator entry(root), end; entry != end; ++entry) {
    const std::string path = fs::relative(entry->path(), root).string();
    if (entry->is_directory() && Matches(path, R"(build|data|\.git|\.cache)"))
      entry.disable_recursion_pending();
    if (entry->is_regular_file() && Matches(path, wanted)) sources.push_back(path);
  }
  std::sort(sources.begin(), sources.end());
  return sources;
}

std::string ReadFile(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(RoomsTest, TheTreeKeepsItsRules) {
  const fs::path root = THERMOCLINE_SOURCE_DIR;
  const std::vector<std::string> sources = Sources(root);
  ASSERT_THAT(sources, ::testing::IsSupersetOf({"dev", "storage/engine.h", "tests/rooms_test.cc"}));
  std::vector<std::string> faults;
  for (const std::string& path : sources) {
    const std::vector<std::string> found = Faults(path, ReadFile(root / path));
    faults.insert(faults.end(), found.begin(), found.end());
  }
  EXPECT_THAT(faults, IsEmpty()) << fmt::format("{}", fmt::join(faults, "\n"));
}

TEST(RoomsTest, SeesForbiddenIncludes) {
  struct Case {
    const char* path;
    const char* included;
    bool allowed;
  };
  for (const auto& [path, included, allowed] : std::vector<Case>{
           {"storage/engine.h", "\"storage/types.h\"", true},
           {"storage/engine.h", "<vector>", true},
           {"storage/engine.h", "\"absl/status/status.h\"", true},
           {"storage/engine.h", "\"storage/log/block.h\"", false},
           {"storage/engine.h", "<fmt/format.h>", false},
           {"storage/engine.cc", "\"storage/log/block.h\"", true},
           {"storage/engine.cc", "<unistd.h>", true},
           {"storage/engine.cc", "<grpcpp/grpcpp.h>", false},
           {"storage/engine.cc", "\"google/protobuf/message.h\"", false},
           {"storage/engine.cc", "\"thermocline/v1/admin.pb.h\"", false},
           {"storage/engine.cc", "\"server/config.h\"", false},
           {"storage/uring_reads.cc", "<liburing.h>", true},
           {"storage/disk_reads.cc", "<liburing.h>", false},
           {"server/main.cc", "<liburing.h>", false},
           {"storage/cold/cold_store.cc", "\"storage/cold/watch.h\"", true},
           {"storage/cold/cold_store.cc", "<rocksdb/db.h>", true},
           {"storage/log/block.cc", "<rocksdb/db.h>", false},
           {"storage/cold/cold_store.cc", "\"storage/log/block.h\"", false},
           {"storage/engine/scan.cc", "\"storage/log/block.h\"", true},
           {"storage/engine/scan.cc", "\"thermocline/v1/admin.pb.h\"", false},
           {"storage/object/s3/http_client.cc", "<curl/curl.h>", true},
           {"storage/object/s3/requests.cc", "<curl/curl.h>", false},
           {"storage/object/s3/answers.cc", "<pugixml.hpp>", true},
           {"storage/object/s3/s3_client.cc", "<pugixml.hpp>", false},
           {"storage/log/block.cc", "\"storage/log/chunk.h\"", true},
           {"storage/log/block.cc", "\"storage/types.h\"", true},
           {"storage/log/block.cc", "\"storage/index/bucket.h\"", false},
           {"storage/index/bucket.h", "\"storage/log/block.h\"", false},
           {"storage/index/bucket.h", "\"client/client.h\"", false},
           {"server/service/admin.cc", "\"storage/engine.h\"", true},
           {"server/service/admin.cc", "\"thermocline/v1/admin.pb.h\"", true},
           {"server/service/admin.cc", "\"thermocline/v1/admin.grpc.pb.h\"", false},
           {"server/service/admin.cc", "\"server/rpc/call.h\"", false},
           {"server/service/admin.cc", "<grpcpp/grpcpp.h>", false},
           {"server/rpc/call.cc", "\"server/service/admin.h\"", false},
           {"server/rpc/call.cc", "<nghttp2/nghttp2.h>", true},
           {"server/grpc_endpoint.cc", "\"server/rpc/call.h\"", true},
           {"server/grpc_endpoint.cc", "<boost/asio/io_context.hpp>", false},
           {"server/service/admin.cc", "\"storage/log/block.h\"", false},
           {"server/service/admin.cc", "\"client/client.h\"", false},
           {"client/client.cc", "\"thermocline/v1/key_value.grpc.pb.h\"", true},
           {"client/client.cc", "\"storage/types.h\"", false},
           {"client/client.cc", "\"client/cli/commands.h\"", false},
           {"client/cli/main.cc", "\"client/client.h\"", true},
           {"client/cli/main.cc", "\"server/config.h\"", false},
           {"server/main.cc", "\"tests/support/simulated_disk.h\"", false},
           {"tests/storage/log/block_test.cc", "\"storage/log/block.h\"", true},
       }) {
    const std::vector<std::string> faults =
        Faults(path, fmt::format("#pragma once\n#include {}\nint x;\n", included));
    EXPECT_EQ(faults.empty(), allowed) << path << " includes " << included;
  }
  EXPECT_THAT(Faults("attic/old.cc", ""), ElementsAre(HasSubstr("no room")));
  EXPECT_THAT(Faults("server/a.cc", "  #  include  \"storage/log/block.h\"  // why\n"),
              ElementsAre("server/a.cc: may not include storage/log/block.h"));
}

TEST(RoomsTest, SeesUntidyFiles) {
  EXPECT_THAT(Faults("storage/a.h", "int x;\n"), ElementsAre(HasSubstr("#pragma once")));
  EXPECT_THAT(Faults("dev", "#!/bin/bash\n\techo \n"),
              ElementsAre("dev:2: white space at the end", "dev:2: a tab"));
  EXPECT_THAT(Faults("README.md", "one\r\n"), ElementsAre("README.md:1: white space at the end"));
  EXPECT_THAT(Faults("server/string_util.cc", ""), ElementsAre(HasSubstr("a name that says nothing")));
  EXPECT_THAT(Faults("server/BlockManager.cc", ""), ElementsAre(HasSubstr("a name that says nothing")));

  std::string text;
  for (size_t i = 0; i < kMaxLines; ++i) text += "line\n";
  EXPECT_THAT(Faults("dev", text), IsEmpty());
  EXPECT_THAT(Faults("dev", text + "line\n"), ElementsAre("dev: 601 lines"));
}

// What stands in the README compiles and runs (programs_test), for it is the example.
TEST(ReadmeTest, QuotesTheExample) {
  const fs::path root = THERMOCLINE_SOURCE_DIR;
  const std::string readme = ReadFile(root / "README.md");
  const std::string start = "absl::Status Run(";
  const size_t quoted = readme.find(start);
  ASSERT_NE(quoted, std::string::npos);
  const std::string quote = readme.substr(quoted, readme.find("```", quoted) - quoted);
  EXPECT_THAT(ReadFile(root / "client/example.cc"), HasSubstr(quote));
}

}  // namespace
}  // namespace thermocline
