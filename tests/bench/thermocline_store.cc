#include <atomic>
#include <semaphore>
#include <utility>

#include "server/heap.h"
#include "storage/engine.h"
#include "storage/posix_file_system.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/bench/store.h"

namespace thermocline::bench {
namespace {

using storage::Engine;

class ThermoclineWriter : public GroupWriter {
 public:
  explicit ThermoclineWriter(Engine& engine) : engine_(engine) {}

  void Expect(std::string_view key) override { engine_.Expect(key); }
  // An engine that is short of memory completes a write later: a group that is flushed before would not
  // contain it.
  absl::Status Put(std::string_view key, std::string_view value) override {
    ended_ = false;
    engine_.Apply({.key = key, .value = value, .durability = storage::Durability::kMemory},
                  [this](const absl::StatusOr<storage::WriteResult>& result) {
                    status_ = result.status();
                    if (ended_.exchange(true)) applied_.release();
                  });
    if (!ended_.exchange(true)) applied_.acquire();
    return status_;
  }

  absl::Status Flush(absl::AnyInvocable<void(absl::Status)> acknowledged) override {
    engine_.Flush(std::move(acknowledged));
    return absl::OkStatus();
  }

 private:
  Engine& engine_;
  absl::Status status_;
  // Set when the call or its completion has ended. The call waits only if it comes first: the semaphore costs
  // a system call, even if nobody waits.
  std::atomic<bool> ended_{false};
  std::binary_semaphore applied_{0};
};

class ThermoclineStore : public Store {
 public:
  ThermoclineStore() : reads_("reads", 4), commits_("commits", 1), background_("background", 1) {}

  absl::Status Open(const StoreOptions& options) {
    auto disk_reads = storage::OpenDiskReads(
        options.io_uring ? storage::DiskReadsChoice::kIoUring : storage::DiskReadsChoice::kThreads,
        options.read_threads);
    if (!disk_reads.ok()) return disk_reads.status();
    disk_reads_ = std::move(disk_reads->reads);
    auto engine = Engine::Open({.directory = options.directory, .memory_bytes = options.memory_bytes},
                               {files_, clock_, random_, reads_, *disk_reads_, commits_, background_});
    if (!engine.ok()) return engine.status();
    engine_ = *std::move(engine);
    return absl::OkStatus();
  }

  std::unique_ptr<GroupWriter> NewWriter() override { return std::make_unique<ThermoclineWriter>(*engine_); }

  void Run(OperationSource& source, int depth) override {
    Operation operation;
    std::string value;
    permits_.release(depth);
    while (true) {
      permits_.acquire();
      if (!source.Next(operation, value)) break;
      operation.start = std::chrono::steady_clock::now();
      if (operation.is_set) {
        Set(source, operation, value);
      } else {
        Get(source, operation);
      }
    }
    for (int i = 1; i < depth; ++i) permits_.acquire();
  }

  StoreStats Stats() override {
    const storage::EngineStats engine = engine_->Stats();
    StoreStats stats;
    stats.memory_limit = engine.memory_limit;
    const auto memory = [&stats](Share share) -> uint64_t& {
      return stats.memory[static_cast<size_t>(share)];
    };
    memory(Share::kIndex) = engine.index_bytes;
    memory(Share::kBlocks) = engine.block_bytes;
    memory(Share::kTables) = engine.chunk_table_bytes;
    memory(Share::kCache) = engine.cache_bytes;
    stats.written_bytes = engine.written_bytes;
    stats.gets_from_memory = engine.hits_memory;
    stats.gets_from_disk = engine.hits_disk;
    stats.disk_reads = engine.disk_reads;
    stats.recovered_slots = engine.recovered_slots;
    stats.recovered_records = engine.recovered_records;
    stats.recovery_ms = engine.recovery_ms;
    return stats;
  }

  absl::Status Close() override { return engine_->Close(); }

 private:
  void Get(OperationSource& source, const Operation& operation) {
    engine_->Get(operation.key.view(), [this, &source, operation](const auto& entry) {
      if (!entry.ok()) {
        source.Done(operation, entry.status());
      } else if (!entry->has_value()) {
        source.Done(operation, std::nullopt);
      } else {
        source.Done(operation, (*entry)->value.view());
      }
      permits_.release();
    });
  }

  void Set(OperationSource& source, const Operation& operation, const std::string& value) {
    engine_->Apply({.key = operation.key.view(), .value = value, .durability = storage::Durability::kMemory},
                   [this, &source, operation](const absl::StatusOr<storage::WriteResult>& result) {
                     if (result.ok()) {
                       source.Done(operation, std::nullopt);
                     } else {
                       source.Done(operation, result.status());
                     }
                     permits_.release();
                   });
  }

  storage::PosixFileSystem files_;
  storage::SystemClock clock_;
  storage::SystemRandom random_;
  storage::ThreadPool reads_;
  storage::ThreadPool commits_;
  storage::ThreadPool background_;
  std::unique_ptr<storage::DiskReads> disk_reads_;
  std::counting_semaphore<> permits_{0};  // operations that may yet be begun
  std::unique_ptr<Engine> engine_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenThermocline(const StoreOptions& options) {
  // As the server does. With an arena for every few readers, malloc would keep as much again as the index
  // has.
  server::LimitHeapSlack();
  auto store = std::make_unique<ThermoclineStore>();
  if (absl::Status status = store->Open(options); !status.ok()) return status;
  return store;
}

}  // namespace thermocline::bench
