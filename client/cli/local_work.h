#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"

#include "client/cli/io.h"
#include "client/cli/s3_access.h"
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

// While it lives, calls `cancel`, once, on a thread of its own, when the flag has been set: within a tenth of
// a second.
class CancelWatch {
 public:
  CancelWatch(const std::atomic<bool>& flag, std::function<void()> cancel);
  ~CancelWatch();

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread thread_;
};

// A new directory for what does not fit in memory, as an object store; all of it goes with this. A process
// that is killed leaves it behind.
class ScratchStore {
 public:
  // `parent` is a directory or s3://bucket/prefix, where it gets a name that no other has. `s3` must outlive
  // it. FAILED_PRECONDITION, RESOURCE_EXHAUSTED, ...: it cannot be made there.
  static absl::StatusOr<std::unique_ptr<ScratchStore>> Create(const std::string& parent, S3Access& s3);
  ~ScratchStore();

  storage::ObjectStore& objects();

 private:
  class Place;
  class Directory;
  class Bucket;
  explicit ScratchStore(std::unique_ptr<Place> place);

  const std::unique_ptr<Place> place_;
};

// "-" is standard input, s3://bucket/key an object.
absl::StatusOr<std::unique_ptr<storage::ByteReader>> OpenInput(const std::string& path, const Io& io,
                                                               S3Access& s3);

// "-" is standard output. What is no regular file (a pipe, a device) is written as it comes; a file appears
// at the end, as does an object, s3://bucket/key; both replace what has that name.
absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> OpenOutput(const std::string& path, const Io& io,
                                                                  S3Access& s3);

// The directory that a file lies in; of "-" and of objects the system's for temporary files.
std::string DirectoryOf(const std::string& path);

}  // namespace thermocline::cli
