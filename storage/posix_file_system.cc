#include "storage/posix_file_system.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <errno.h>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <dirent.h>
#include <fmt/format.h>

#include "storage/posix_status.h"

namespace thermocline::storage {
namespace {

// What O_DIRECT wants offsets, lengths and memory to be a multiple of; enough for every common disk.
constexpr uint32_t kDirectAlignment = 4096;

// Calls `call` again as long as a signal interrupts it.
template <typename Call>
auto Uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const { return fd_; }

 private:
  int fd_;
};

absl::StatusOr<Descriptor> OpenDescriptor(const std::string& path, int flags, std::string_view operation) {
  const int fd = Uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0644); });
  if (fd < 0) return PosixFailure(errno, operation, path);
  return Descriptor(fd);
}

absl::Status WriteAll(int fd, uint64_t offset, std::string_view data, const std::string& path) {
  std::string_view rest = data;
  while (!rest.empty()) {
    const uint64_t at = offset + (data.size() - rest.size());
    const ssize_t written = Uninterrupted([&] { return ::pwrite(fd, rest.data(), rest.size(), at); });
    if (written < 0) {
      return PosixFailure(errno, fmt::format("write {} bytes at offset {} of", data.size(), offset), path);
    }
    rest.remove_prefix(written);
  }
  return absl::OkStatus();
}

class PosixFile : public File {
 public:
  PosixFile(std::string path, Descriptor descriptor, bool direct)
      : path_(std::move(path)), descriptor_(std::move(descriptor)), direct_(direct) {}

  absl::Status ReadAt(uint64_t offset, std::span<char> out) override {
    const bool aligned =
        (offset | out.size() | reinterpret_cast<uintptr_t>(out.data())) % kDirectAlignment == 0;
    return direct_ && !aligned ? ReadUnaligned(offset, out) : ReadAtLeast(offset, out, out.size());
  }

  absl::Status WriteAt(uint64_t offset, std::string_view data) override {
    return WriteAll(fd(), offset, data, path_);
  }

  absl::Status Sync() override {
    if (Uninterrupted([&] { return ::fdatasync(fd()); }) != 0) return PosixFailure(errno, "sync", path_);
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t bytes) override {
    if (bytes == 0) return absl::OkStatus();
    int error = EINTR;
    while (error == EINTR) error = ::posix_fallocate(fd(), 0, static_cast<off_t>(bytes));
    if (error != 0) return PosixFailure(error, fmt::format("reserve {} bytes for", bytes), path_);
    return absl::OkStatus();
  }

  absl::Status Truncate(uint64_t bytes) override {
    if (Uninterrupted([&] { return ::ftruncate(fd(), static_cast<off_t>(bytes)); }) != 0) {
      return PosixFailure(errno, fmt::format("set to {} bytes the length of", bytes), path_);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Size() override {
    struct stat status;
    if (::fstat(fd(), &status) != 0) return PosixFailure(errno, "tell the length of", path_);
    return status.st_size;
  }

  Handle handle() const override {
    return {.descriptor = fd(), .alignment = direct_ ? kDirectAlignment : 1, .path = path_};
  }

 private:
  int fd() const { return descriptor_.get(); }

  // Reads at least `wanted` bytes into the beginning of `out`, all of `out` if the file reaches that far.
  absl::Status ReadAtLeast(uint64_t offset, std::span<char> out, size_t wanted) {
    size_t done = 0;
    while (done < wanted) {
      const ssize_t got =
          Uninterrupted([&] { return ::pread(fd(), out.data() + done, out.size() - done, offset + done); });
      if (got < 0) return ReadFailure(errno, wanted, offset, path_);
      done += got;
      // With O_DIRECT only the end of the file makes a read stop off the grid, and the next one would be
      // refused.
      const bool at_end = got == 0 || (direct_ && done % kDirectAlignment != 0);
      if (at_end && done < wanted) return ReadBeyondEnd(wanted, offset, path_);
    }
    return absl::OkStatus();
  }

  // Reads the aligned range around the one asked for into memory of its own.
  absl::Status ReadUnaligned(uint64_t offset, std::span<char> out) {
    if (out.empty()) return absl::OkStatus();
    const uint64_t begin = offset / kDirectAlignment * kDirectAlignment;
    const uint64_t end = (offset + out.size() + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment;
    const std::unique_ptr<char, decltype(&std::free)> buffer(
        static_cast<char*>(std::aligned_alloc(kDirectAlignment, end - begin)), &std::free);
    if (buffer == nullptr) return ReadFailure(ENOMEM, out.size(), offset, path_);
    absl::Status status =
        ReadAtLeast(begin, std::span<char>(buffer.get(), end - begin), offset + out.size() - begin);
    if (absl::IsOutOfRange(status)) return ReadBeyondEnd(out.size(), offset, path_);
    if (status.ok()) std::memcpy(out.data(), buffer.get() + (offset - begin), out.size());
    return status;
  }

  const std::string path_;
  const Descriptor descriptor_;
  const bool direct_;
};

class PosixFileLock : public FileLock {
 public:
  explicit PosixFileLock(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

 private:
  const Descriptor descriptor_;  // closing it gives up the lock
};

// What the holder of a lock wrote into its file: its process id, if it got that far.
std::string HolderOf(int fd) {
  char text[32];
  const ssize_t got = ::pread(fd, text, sizeof text, 0);
  const std::string_view read(text, std::max<ssize_t>(got, 0));
  const size_t digits = std::min(read.find_first_not_of("0123456789"), read.size());
  return digits == 0 ? "another process" : fmt::format("process {}", read.substr(0, digits));
}

struct DirectoryCloser {
  void operator()(DIR* stream) const { ::closedir(stream); }
};

absl::Status SyncDirectoryAt(const std::string& path) {
  absl::StatusOr<Descriptor> descriptor = OpenDescriptor(path, O_RDONLY | O_DIRECTORY, "open directory");
  if (!descriptor.ok()) return descriptor.status();
  if (Uninterrupted([&] { return ::fsync(descriptor->get()); }) != 0) {
    return PosixFailure(errno, "sync directory", path);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<File>> PosixFileSystem::Open(const std::string& path, Mode mode) {
  if (mode == Mode::kReadDirect) {
    absl::StatusOr<Descriptor> direct = OpenDescriptor(path, O_RDONLY | O_DIRECT, "open");
    if (direct.ok()) return std::make_unique<PosixFile>(path, *std::move(direct), true);
    // Refused by the file system, or a failure that the second attempt reports as well.
  }
  const int flags = mode == Mode::kCreate      ? O_RDWR | O_CREAT | O_EXCL
                    : mode == Mode::kReadWrite ? O_RDWR
                                               : O_RDONLY;
  absl::StatusOr<Descriptor> descriptor =
      OpenDescriptor(path, flags, mode == Mode::kCreate ? "create" : "open");
  if (!descriptor.ok()) return descriptor.status();
  return std::make_unique<PosixFile>(path, *std::move(descriptor), false);
}

absl::Status PosixFileSystem::CreateDirectory(const std::string& path) {
  // Each level is synced into the one above, or a crash could take the directory with everything that is safe
  // in it.
  std::filesystem::path parent;
  for (const std::filesystem::path& part : std::filesystem::path(path)) {
    const std::filesystem::path level = parent / part;
    if (::mkdir(level.c_str(), 0755) == 0) {
      const std::string above = parent.empty() ? "." : parent.string();
      if (absl::Status status = SyncDirectoryAt(above); !status.ok()) return status;
    } else {
      const int error = errno;
      std::error_code missing;
      if (!std::filesystem::is_directory(level, missing)) {
        return PosixFailure(error, "create directory", level.string());
      }
    }
    parent = level;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> PosixFileSystem::List(const std::string& directory) {
  const std::unique_ptr<DIR, DirectoryCloser> stream(::opendir(directory.c_str()));
  if (stream == nullptr && errno == ENOTDIR) {
    return absl::FailedPreconditionError(fmt::format("cannot list directory {}: it is a file", directory));
  }
  if (stream == nullptr) return PosixFailure(errno, "list directory", directory);
  std::vector<std::string> names;
  errno = 0;  // the only way to tell a failure of readdir from the end
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno != 0) return PosixFailure(errno, "list directory", directory);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status PosixFileSystem::Rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return PosixFailure(errno, fmt::format("rename {} to", from), to);
  }
  return absl::OkStatus();
}

absl::Status PosixFileSystem::Remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return PosixFailure(errno, "remove", path);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> PosixFileSystem::AvailableBytes(const std::string& directory) {
  struct statvfs found {};
  if (statvfs(directory.c_str(), &found) != 0) return PosixFailure(errno, "look at the space of", directory);
  return uint64_t{found.f_bavail} * found.f_frsize;
}

absl::Status PosixFileSystem::SyncDirectory(const std::string& directory) {
  return SyncDirectoryAt(directory);
}

absl::StatusOr<std::unique_ptr<FileLock>> PosixFileSystem::Lock(const std::string& path) {
  absl::StatusOr<Descriptor> descriptor = OpenDescriptor(path, O_RDWR | O_CREAT, "open lock file");
  if (!descriptor.ok()) return descriptor.status();
  const int fd = descriptor->get();
  if (Uninterrupted([&] { return ::flock(fd, LOCK_EX | LOCK_NB); }) != 0) {
    if (errno != EWOULDBLOCK) return PosixFailure(errno, "lock", path);
    return absl::FailedPreconditionError(fmt::format("{} is locked by {}", path, HolderOf(fd)));
  }
  // Only for the message above: a disk too full to take it does not make the lock less held.
  if (::ftruncate(fd, 0) == 0) {
    if (absl::Status status = WriteAll(fd, 0, fmt::format("{}\n", ::getpid()), path);
        !status.ok() && !absl::IsResourceExhausted(status)) {
      return status;
    }
  }
  return std::make_unique<PosixFileLock>(*std::move(descriptor));
}

}  // namespace thermocline::storage
