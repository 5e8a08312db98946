#include "tests/bench/machine.h"

#include <filesystem>
#include <fstream>
#include <sys/resource.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include <fmt/format.h>

namespace thermocline::bench {
namespace {

namespace fs = std::filesystem;

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

}  // namespace

ProcessUsage UsageOfThisProcess() {
  ProcessUsage usage;
  uint64_t all_pages = 0;
  uint64_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> all_pages >> resident_pages;
  usage.resident_bytes = resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  rusage resources{};
  getrusage(RUSAGE_SELF, &resources);
  usage.peak_resident_bytes = static_cast<uint64_t>(resources.ru_maxrss) * 1024;
  usage.cpu_seconds = Seconds(resources.ru_utime) + Seconds(resources.ru_stime);
  return usage;
}

uint64_t DiskBytes(const std::string& directory) {
  constexpr uint64_t kStatBlockBytes = 512;
  uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    struct stat attributes {};
    if (stat(entry->path().c_str(), &attributes) == 0 && S_ISREG(attributes.st_mode)) {
      bytes += static_cast<uint64_t>(attributes.st_blocks) * kStatBlockBytes;
    }
  }
  return bytes;
}

absl::StatusOr<std::unique_ptr<ScratchDirectory>> ScratchDirectory::Create(const std::string& path,
                                                                           bool keep) {
  std::error_code error;
  fs::create_directories(path, error);
  const bool empty = !error && fs::is_empty(path, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(), fmt::format("cannot create the directory {}", path));
  }
  if (!empty) {
    return absl::FailedPreconditionError(
        fmt::format("there is something in {} already: name an empty directory, or one to be created", path));
  }
  return std::unique_ptr<ScratchDirectory>(new ScratchDirectory(path, keep));
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code error;
  if (!keep_) fs::remove_all(path_, error);
  if (error) fmt::print(stderr, "{} could not be removed: {}\n", path_, error.message());
}

absl::Status ScratchDirectory::Remove(const std::string& name) const {
  std::error_code error;
  fs::remove_all(Path(name), error);
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(error.value(), fmt::format("cannot remove {}", Path(name)));
}

}  // namespace thermocline::bench
