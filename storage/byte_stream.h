#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"
#include "storage/object_store.h"

// What is read once from front to back, and where such goes: files, pipes and objects look alike.
namespace thermocline::storage {

// Bytes from front to back. For one thread at a time.
class ByteReader {
 public:
  virtual ~ByteReader() = default;

  // Reads up to out.size() bytes, which must be at least one, and says how many; 0: the end. May wait. After
  // a failure only the destructor may be called. Errors name the input.
  virtual absl::StatusOr<size_t> Read(std::span<char> out) = 0;

  // How many bytes there are in all; nullopt if that is not known.
  virtual std::optional<uint64_t> size() const = 0;

  // Ends a Read() that waits soon, and all that follow, with CANCELLED; what never waits long, such as a file,
  // need not care. From any thread. Idempotent.
  virtual void Cancel() {}
};

// NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION for a directory; the message names the path.
absl::StatusOr<std::unique_ptr<ByteReader>> OpenFileReader(const std::string& path);

// Reads what is open already, which stays open. `name` is for messages.
std::unique_ptr<ByteReader> NewDescriptorReader(int descriptor, std::string name);

// Reads an object with `pieces` (at least one) reads of `piece_bytes` under way; that is the memory it takes.
// Cancel() is the object's.
std::unique_ptr<ByteReader> NewObjectReader(std::unique_ptr<Object> object, size_t piece_bytes,
                                            size_t pieces);

// A file that appears, durably, at Finish, in place of what has that name then; until then it is written
// under another name beside it. `files` must outlive it.
//   NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED
absl::StatusOr<std::unique_ptr<ObjectWriter>> CreateFileWriter(FileSystem& files, const std::string& path);

// Writes to what is open already (a pipe, a terminal, a device), which stays open. Bytes go out as they come.
// CANCELLED: nobody reads them any more (the process must ignore SIGPIPE).
std::unique_ptr<ObjectWriter> NewDescriptorWriter(int descriptor, std::string name);

}  // namespace thermocline::storage
