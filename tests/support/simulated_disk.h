#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"
#include "storage/system_clock.h"
#include "storage/thread_annotations.h"

namespace thermocline::testing {

// A disk in memory that crashes, tears, fills up, fails and rots as told; what it does by chance, it does by
// its seed. Thread-safe. It and its files must outlive nothing but each other: open files may be destroyed
// after a crash.
//
// What is safe across a crash, and what is not:
//   - Writes, allocations and truncations of a file are visible at once and safe after a successful Sync() of
//   that file.
//     Of those not synced, each for itself is kept, lost or torn: of a torn write some 512-byte sectors
//     arrive and others do not; where the write begins within a sector, that first piece may end at any byte;
//     and the file may have grown for it or not.
//   - Creations, renames and removals are visible at once and safe after SyncDirectory() of their directory.
//   Of those not
//     synced, the first few of each directory are kept, in order. So a file may vanish although its content
//     was synced.
//   - Directories are safe when they were created. A rename to another directory is two changes, each for
//     itself: a name is added there, and one removed here.
//   - A Sync() that fails leaves every write that it was to make safe kept, lost or torn for good, though all
//   remain
//     visible until the crash: no later Sync() writes them again.
class SimulatedDisk : public storage::FileSystem {
 public:
  explicit SimulatedDisk(uint64_t seed);
  ~SimulatedDisk() override;

  absl::StatusOr<std::unique_ptr<storage::File>> Open(const std::string& path, Mode mode) override;
  absl::Status CreateDirectory(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& directory) override;
  absl::StatusOr<uint64_t> AvailableBytes(const std::string& directory) override;
  absl::StatusOr<std::unique_ptr<storage::FileLock>> Lock(const std::string& path) override;

  // The power goes off and on again: the disk holds what was safe and a part of what was not. Every file and
  // lock opened before is dead: its calls fail with UNAVAILABLE and change nothing. Faults are forgotten, the
  // capacity stays.
  void Crash();

  // The process is killed, the machine stays up: everything is as visible as it was, and as unsafe. Files and
  // locks are dead as after Crash().
  void Kill();

  // The next `changes` calls that change the disk or make changes safe are served; then the power is off, and
  // every call fails with UNAVAILABLE until Crash() restores it.
  void PowerOffAfter(uint64_t changes);

  // Refuses with RESOURCE_EXHAUSTED what would make all files together, gaps and allocations included, larger
  // than `bytes`.
  void SetCapacity(uint64_t bytes);
  uint64_t used_bytes() const;

  // Makes the `nth` next call of a kind (1: the very next) fail with UNAVAILABLE, once or from then on. A
  // write that fails leaves some of its first bytes behind. A kind has one fault at a time, the one set last.
  enum class Operation { kRead, kWrite, kSync, kAllocate, kSyncDirectory };
  enum class Repeat { kOnce, kForGood };
  void Fail(Operation operation, uint64_t nth = 1, Repeat repeat = Repeat::kOnce);
  void ClearFaults();

  // The files as they are visible now, by their paths. Contents() of a file that does not exist is nullopt.
  std::vector<std::string> Paths() const;
  std::optional<std::string> Contents(const std::string& path) const;
  // Creates or replaces a file, safely.
  void SetContents(const std::string& path, std::string bytes);
  // Inverts a bit of an existing byte, as seen now and after a crash.
  void FlipBit(const std::string& path, uint64_t offset, int bit = 0);

  // Calls served since the disk was made, those that failed by a fault included.
  struct Counts {
    uint64_t reads = 0;
    uint64_t read_bytes = 0;
    uint64_t writes = 0;
    uint64_t written_bytes = 0;
    uint64_t syncs = 0;
    uint64_t directory_syncs = 0;
  };
  Counts counts() const;

 private:
  struct Change;
  struct Node;
  struct NameChange;
  struct Fault;
  class OpenFile;
  class HeldLock;
  using Names = std::map<std::string, std::shared_ptr<Node>>;

  void CutOff() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Serve(uint64_t epoch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ServeChange(uint64_t epoch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HitsFault(Operation operation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t Below(uint64_t bound) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Flip() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return Below(2) == 0; }

  std::shared_ptr<Node> Create(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unlink(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Resize(Node& node, Change change, const std::string& path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Reserve(Node& node, uint64_t size, const std::string& path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Write(Node& node, uint64_t offset, std::string_view data) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MakeSafe(Node& node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MakeSafeByChance(Node& node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Tear(std::string& bytes, const Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MakeNamesSafe(const std::string& directory, size_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable storage::Mutex mutex_;
  storage::SeededRandom random_;
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;  // crashes so far
  bool power_off_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<uint64_t> changes_left_ ABSL_GUARDED_BY(mutex_);

  std::set<std::string> directories_ ABSL_GUARDED_BY(mutex_);
  Names visible_ ABSL_GUARDED_BY(mutex_);
  Names safe_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::vector<NameChange>> unsynced_names_ ABSL_GUARDED_BY(mutex_);  // by directory
  std::set<std::string> locked_ ABSL_GUARDED_BY(mutex_);

  uint64_t capacity_ ABSL_GUARDED_BY(mutex_) = UINT64_MAX;
  uint64_t used_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<Operation, Fault> faults_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::testing
