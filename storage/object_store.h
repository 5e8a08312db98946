#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/disk_reads.h"
#include "storage/file_system.h"

namespace thermocline::storage {

// An immutable object, open for reading. Thread-safe.
class Object {
 public:
  // Reads that are under way must have completed.
  virtual ~Object() = default;

  virtual uint64_t size() const = 0;

  // Reads exactly out.size() bytes, which must be at least one. `done` is called exactly once, during the
  // call or later on a thread that serves other reads: it should be short. Whoever reads limits how many are
  // under way. The memory belongs to the caller and must outlive `done`.
  //   OUT_OF_RANGE  beyond the end
  //   UNAVAILABLE   the store failed
  //   DATA_LOSS     the object is not what it was when it was opened
  virtual void Read(uint64_t offset, std::span<char> out, absl::AnyInvocable<void(absl::Status)> done) = 0;

  // Nobody wants the reads that are under way, nor any that come: where the store can, they end soon, with
  // CANCELLED. Idempotent.
  virtual void Cancel() {}
};

// A new object on its way: nobody sees it before Finish has returned OK. For one thread at a time.
class ObjectWriter {
 public:
  // Leaves nothing behind unless Finish has returned OK.
  virtual ~ObjectWriter() = default;

  // Adds bytes to the end. May wait for the store. After a failure only the destructor may be called.
  //   RESOURCE_EXHAUSTED  no space
  //   UNAVAILABLE         the store failed
  virtual absl::Status Append(std::string_view bytes) = 0;

  // Makes the object durable, whole and visible; nothing may follow but the destructor.
  // ALREADY_EXISTS: there is one of that name now, which stays as it is. Others as Append; then it is not
  // known whether the object is there.
  virtual absl::Status Finish() = 0;
};

inline constexpr size_t kMaxObjectNameBytes = 1000;
// See ObjectStore.
bool IsObjectName(std::string_view name);

// Named immutable objects: written once as a whole, read in ranges, listed, removed. Thread-safe; what it has
// opened must not outlive it. Calls may wait for the store.
//
// A name is one or more parts of 1 to 200 of the characters a-z, 0-9, '.', '_' and '-', not beginning with
// '.', with '/' between parts, and up to kMaxObjectNameBytes in all. INVALID_ARGUMENT for others.
//
// Nobody should give an object the name of another's folder: a store that keeps objects as files has no place
// for "a/b" beside "a", and answers Create or Finish with INVALID_ARGUMENT (it does not give up the folder
// with the last object in it); one that does not, takes both.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  // NOT_FOUND, UNAVAILABLE.
  virtual absl::StatusOr<std::unique_ptr<Object>> Open(const std::string& name) = 0;

  // ALREADY_EXISTS may be said here or by ObjectWriter::Finish.
  virtual absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string& name) = 0;

  // OK as well if there is none. Not durable at once: a crash may bring the object back, as a whole. Those
  // who have it open may fail to read it from then on, with NOT_FOUND. Its space is given back, at the latest
  // when nobody has it open any more.
  virtual absl::Status Remove(const std::string& name) = 0;

  struct Listed {
    std::string name;
    uint64_t bytes = 0;
  };
  // Calls `visit` for each finished object whose name begins with `prefix`, in no order, until it returns
  // false.
  virtual absl::Status List(const std::string& prefix, const std::function<bool(Listed)>& visit) = 0;
};

// Objects as files <directory>/<name>, with a file LOCK and a folder UNFINISHED, whose names no object
// can have. The directory is created if missing; what a crash left unfinished is removed now. Files with
// other names are ignored. Reads go through the system's page cache. `files` and `reads` must outlive it.
//   FAILED_PRECONDITION  another store, of this process or another one, has it open
//   UNAVAILABLE, RESOURCE_EXHAUSTED, PERMISSION_DENIED
absl::StatusOr<std::unique_ptr<ObjectStore>> OpenDirectoryStore(const std::string& directory,
                                                                FileSystem& files, DiskReads& reads);

}  // namespace thermocline::storage
