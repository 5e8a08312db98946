#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace thermocline::bench {

// What this process takes from the machine.
struct ProcessUsage {
  uint64_t resident_bytes = 0;
  uint64_t peak_resident_bytes = 0;
  double cpu_seconds = 0;  // of all threads, in user and kernel mode, since the start
};
ProcessUsage UsageOfThisProcess();

// What the files in `directory` and below occupy on the disk. Files may come and go meanwhile.
uint64_t DiskBytes(const std::string& directory);

// A directory to work in, removed with all that is in it when this goes.
class ScratchDirectory {
 public:
  // FAILED_PRECONDITION if there is something in it already. With `keep` it stays.
  static absl::StatusOr<std::unique_ptr<ScratchDirectory>> Create(const std::string& path, bool keep);
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  std::string Path(const std::string& name) const { return path_ + "/" + name; }
  absl::Status Remove(const std::string& name) const;

 private:
  ScratchDirectory(std::string path, bool keep) : path_(std::move(path)), keep_(keep) {}

  const std::string path_;
  const bool keep_;
};

}  // namespace thermocline::bench
