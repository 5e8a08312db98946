#pragma once

#include <string>

namespace thermocline::testing {

// A new empty directory, removed with all that is in it when this goes. It lies in $TEST_TMPDIR or $TMPDIR or
// /tmp.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }
  // The path of `name` in it.
  std::string Path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace thermocline::testing
