#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "client/cli/io.h"
#include "storage/byte_stream.h"
#include "storage/object_store.h"

// What commands need that work on files, without a server.
namespace thermocline::cli {

// While it lives, Ctrl-C and a request to terminate set a flag instead of ending the process; a second one
// ends it. One at a time.
class Interruption {
 public:
  // The flag is atomic and lock-free.
  explicit Interruption(std::atomic<bool>& flag);
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;
};

// A new directory for what does not fit in memory, as an object store; all of it goes with this.
class ScratchStore {
 public:
  // FAILED_PRECONDITION, RESOURCE_EXHAUSTED, ...: it cannot be made there.
  static absl::StatusOr<std::unique_ptr<ScratchStore>> Create(const std::string& parent);
  ~ScratchStore();

  storage::ObjectStore& objects();

 private:
  struct Parts;
  explicit ScratchStore(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

// "-" is standard input.
absl::StatusOr<std::unique_ptr<storage::ByteReader>> OpenInput(const std::string& path, const Io& io);

// "-" is standard output. What is no regular file (a pipe, a device) is written as it comes; a file appears
// at the end.
absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> OpenOutput(const std::string& path, const Io& io);

// The directory that a file lies in; of "-" the system's for temporary files.
std::string DirectoryOf(const std::string& path);

}  // namespace thermocline::cli
