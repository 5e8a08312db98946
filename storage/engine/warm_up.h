#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "storage/cache/record_cache.h"
#include "storage/disk_reads.h"
#include "storage/engine/checkpoint.h"
#include "storage/executor.h"
#include "storage/gate.h"
#include "storage/index/hash_index.h"
#include "storage/log/block_log.h"

namespace thermocline::storage {

// Where the records stand that are in memory for being used: in the cache, or in blocks that have not left
// yet. Of a log that was closed. Takes the cache's records out of it.
HotSet TakeHotSet(RecordCache& cache, BlockLog& log);

// Brings what was hot when the store was closed back into the cache while the store is in use, block by
// block: records that are still heads of their keys, as long as nothing has to go for them. And then whole
// blocks, the newest first, as long as a quarter of the memory stays free. Reads little at a time, so that
// gets do not wait for it.
//
// Thread-safe.
class WarmUp {
 public:
  struct Parts {
    HashIndex& index;
    RecordCache& cache;
    BlockLog& log;
    MemoryBudget& budget;
    DiskReads& disk;
    Executor& executor;
    std::function<uint64_t(std::string_view)> hash_of;
  };
  WarmUp(const Parts& parts, std::unique_ptr<CheckpointReader> hot);
  ~WarmUp();

  void Start() { Schedule(&WarmUp::NextBlock); }
  // Waits for the reads under way and takes no more.
  void Stop();

  uint64_t records() const { return records_.load(std::memory_order_relaxed); }

 private:
  struct HotBlock;
  struct Part;

  void Schedule(void (WarmUp::*step)());
  void NextBlock();
  void ReadSome();
  void Take(const HotBlock& block, const Part& part);
  void BeginBlocks();
  void ReadBlock();
  absl::Status TakeRecord(Position position, const DecodedRecord& decoded);

  const Parts parts_;
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  // Of the step that runs.
  std::unique_ptr<CheckpointReader> hot_;  // until all of it has been read
  std::unique_ptr<HotBlock> block_;
  std::atomic<bool> full_{false};        // the cache has no more room
  std::vector<uint64_t> whole_blocks_;   // to be read yet, the next one last
  std::shared_ptr<BlockMemory> memory_;  // of the one that is being read
  uint32_t read_ = 0;                    // so many bytes of it
  std::atomic<uint64_t> records_{0};
};

}  // namespace thermocline::storage
