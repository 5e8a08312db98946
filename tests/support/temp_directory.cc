#include "tests/support/temp_directory.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace thermocline::testing {
namespace {

std::string Parent() {
  for (const char* variable : {"TEST_TMPDIR", "TMPDIR"}) {
    if (const char* value = std::getenv(variable); value != nullptr && *value != '\0') return value;
  }
  return "/tmp";
}

}  // namespace

TempDirectory::TempDirectory() : path_(Parent() + "/thermocline-test-XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) {
    std::perror(("cannot create a temporary directory " + path_).c_str());
    std::abort();
  }
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace thermocline::testing
