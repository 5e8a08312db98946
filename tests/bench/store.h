#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "tests/bench/workload.h"

namespace thermocline::bench {

// What a store uses its memory for. To tell more apart: one more here, its name below, and a line in each
// store.
enum class Share : uint8_t {
  kIndex,      // where keys are; of RocksDB: filters and index blocks
  kBlocks,     // records as they are on the disk
  kTables,     // what finds the parts of a file
  kCache,      // hot records
  kMemtables,  // records that are only in a write-ahead log
};
inline constexpr std::array<std::string_view, 5> kShareNames = {"index", "blocks", "tables", "cache",
                                                                "memtables"};
inline constexpr size_t kShares = kShareNames.size();

// What a store holds and has done since it was opened.
struct StoreStats {
  uint64_t memory_limit = 0;
  std::array<uint64_t, kShares> memory{};  // bytes, by Share
  uint64_t written_bytes = 0;              // to the disk, logs included
  uint64_t gets_from_memory = 0;           // without any read of the disk
  uint64_t gets_from_disk = 0;
  uint64_t disk_reads = 0;

  // How it was opened; of Thermocline only.
  uint64_t recovered_slots = 0;    // of the index, from its checkpoint
  uint64_t recovered_records = 0;  // read from the log
  uint64_t recovery_ms = 0;

  uint64_t memory_of(Share share) const { return memory[static_cast<size_t>(share)]; }
};

// One get or set on its way through a store.
struct Operation {
  Key key;
  bool is_set = false;
  std::chrono::steady_clock::time_point start;
};

// Operations to be done, and where they go when they are done. Thread-safe.
class OperationSource {
 public:
  virtual ~OperationSource() = default;

  // The next one, in `value` what to set; false if there are no more. Whoever runs it notes its start.
  virtual bool Next(Operation& operation, std::string& value) = 0;
  // Called once for each: for a get with the value, which lives for the call, or nullopt for a miss.
  virtual void Done(const Operation& operation,
                    const absl::StatusOr<std::optional<std::string_view>>& value) = 0;
};

// Writes records in groups. For one thread.
class GroupWriter {
 public:
  virtual ~GroupWriter() = default;

  // A Put of `key` follows soon: a batch is known before it is put.
  virtual void Expect(std::string_view) {}
  // Adds a record to the group; it is readable at the latest when Flush has returned.
  virtual absl::Status Put(std::string_view key, std::string_view value) = 0;
  // Ends the group. `acknowledged` is called, perhaps on another thread, when all of it is on the disk.
  virtual absl::Status Flush(absl::AnyInvocable<void(absl::Status)> acknowledged) = 0;
};

// A key/value store as the benches see it: each implementation does these in the way that is best for it.
// Thread-safe.
class Store {
 public:
  virtual ~Store() = default;

  // Must be gone before the store is.
  virtual std::unique_ptr<GroupWriter> NewWriter() = 0;
  // Runs all operations of `source`, up to `depth` at the same time, and returns when all are done. Sets
  // count as done when they are readable, and are on the disk a tenth of a second later. One call at a time.
  virtual void Run(OperationSource& source, int depth) = 0;
  virtual StoreStats Stats() = 0;
  // Puts everything on the disk and stops. Nothing may be called afterwards.
  virtual absl::Status Close() = 0;
};

struct StoreOptions {
  std::string directory;  // created
  uint64_t memory_bytes = 0;
  bool io_uring = true;   // Thermocline's disk reads; else threads
  int read_threads = 64;  // of Thermocline's World; RocksDB takes one for each operation under way
};

// Each in a file of its own. Errors as those of the store. In a process that has no other store, and before
// it starts threads: they may set up the heap for all of it.
absl::StatusOr<std::unique_ptr<Store>> OpenThermocline(const StoreOptions& options);
absl::StatusOr<std::unique_ptr<Store>> OpenRocksDb(const StoreOptions& options);

}  // namespace thermocline::bench
