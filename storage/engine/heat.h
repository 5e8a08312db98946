#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "storage/cache/record_cache.h"
#include "storage/executor.h"
#include "storage/gate.h"
#include "storage/index/hash_index.h"
#include "storage/log/block_log.h"

namespace thermocline::storage {

// Copies what is hot of a block that is to leave memory into the cache: records that were used while the
// block was in memory, and that are still what the index points to. One that was used once is only offered,
// as one that is read from the disk: else whoever reads everything once would push out what is hot.
//
// Thread-safe. Works in small steps on an executor.
class Heat {
 public:
  struct Parts {
    HashIndex& index;
    RecordCache& cache;
    Executor& executor;
    std::function<uint64_t(std::string_view)> hash_of;
  };
  explicit Heat(const Parts& parts);
  ~Heat() { Stop(); }

  // As BlockLog::Collaborators wants it.
  void Copy(std::shared_ptr<LeavingBlock> block, std::function<void()> done);
  // Waits for the step under way and takes no more: blocks that are not copied by then stay so.
  void Stop() { gate_->Close(); }

  uint64_t copied() const { return copied_.load(std::memory_order_relaxed); }

 private:
  void Step(const std::shared_ptr<LeavingBlock>& block, uint32_t offset, std::function<void()> done);
  uint32_t CopyChunks(LeavingBlock& block, uint32_t offset);
  void CopyRecords(const BlockMemory& memory, const LeavingBlock& block, uint32_t chunk);

  const Parts parts_;
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();  // of steps that have not run yet
  std::atomic<uint64_t> copied_{0};
};

}  // namespace thermocline::storage
