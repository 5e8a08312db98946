#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace thermocline::storage {

// One open file. Reads and writes may run at the same time from any threads; overlapping ones are the
// caller's business.
//
// Errors: every failure names the path and what the system said.
//   RESOURCE_EXHAUSTED  the disk is full
//   OUT_OF_RANGE        a read beyond the end of the file
//   UNAVAILABLE         the device failed (EIO), or anything else; what a failed write or sync left is
//   unknown
class File {
 public:
  virtual ~File() = default;

  // Reads exactly out.size() bytes.
  virtual absl::Status ReadAt(uint64_t offset, std::span<char> out) = 0;
  // Writes all of `data`, growing the file where needed. Durable only after Sync().
  virtual absl::Status WriteAt(uint64_t offset, std::string_view data) = 0;
  // Makes everything written to this file durable (fdatasync). After a failure nothing may be assumed about
  // any write since the last success, and a second Sync() proves nothing.
  virtual absl::Status Sync() = 0;
  // Reserves space so that writes below `bytes` cannot fail for want of it; the file becomes at least that
  // long and reads as zeros where it was not written.
  virtual absl::Status Allocate(uint64_t bytes) = 0;
  // Cuts or extends (with zeros) the file to `bytes`; cut space returns to the file system.
  virtual absl::Status Truncate(uint64_t bytes) = 0;
  virtual absl::StatusOr<uint64_t> Size() = 0;

  // How the operating system knows the file, for reads that do not go through this class. Valid as long as
  // the file is.
  struct Handle {
    int descriptor = -1;     // -1: it does not know it, and ReadAt is the only way
    uint32_t alignment = 1;  // offset, length and memory of each read must be multiples of it; a power of two
    std::string_view path;   // for messages
  };
  virtual Handle handle() const { return {}; }
};

// Holds an exclusive lock on a path until destroyed; the operating system drops it if the process dies.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// The files of one machine. Thread-safe. Paths are the system's; a File must not outlive its FileSystem.
//
// Two implementations: PosixFileSystem (storage/posix_file_system.h) and the crash-simulating one of the
// tests.
class FileSystem {
 public:
  enum class Mode {
    kCreate,      // read and write; the file must not exist yet
    kReadWrite,   // read and write an existing file
    kReadDirect,  // read an existing file past the page cache where the file system can
  };

  virtual ~FileSystem() = default;

  // NOT_FOUND if the file does not exist, ALREADY_EXISTS if kCreate finds one, PERMISSION_DENIED.
  virtual absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, Mode mode) = 0;
  // Creates the directory and its parents, durably; no error if it exists.
  virtual absl::Status CreateDirectory(const std::string& path) = 0;
  // Names (not paths) of a directory's entries, sorted. NOT_FOUND if there is nothing, FAILED_PRECONDITION if
  // the path, or a part of it, leads to a file.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& directory) = 0;
  // Replaces `to` if it exists. Durable after SyncDirectory; where the directories differ, a crash before
  // both were synced may leave the file under both names or none.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;
  // Makes creations, renames and removals in `directory` durable.
  virtual absl::Status SyncDirectory(const std::string& directory) = 0;
  // How much more could be written there.
  virtual absl::StatusOr<uint64_t> AvailableBytes(const std::string& directory) = 0;
  // Creates the file if it is missing, and leaves it behind. FAILED_PRECONDITION if another process (or this
  // one) holds it; the message names the holder's process id if known.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;
};

}  // namespace thermocline::storage
