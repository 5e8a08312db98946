#include "storage/engine/heat.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "storage/log/chunk_reader.h"

namespace thermocline::storage {
namespace {

// The committer may have to wait for a step.
constexpr uint32_t kStepBytes = 128 << 10;

}  // namespace

Heat::Heat(const Parts& parts) : parts_(parts) {}

void Heat::Copy(std::shared_ptr<LeavingBlock> block, std::function<void()> done) {
  Step(block, kFirstChunkOffset, std::move(done));
}

void Heat::Step(const std::shared_ptr<LeavingBlock>& block, uint32_t offset, std::function<void()> done) {
  // The log owns the block: a task that runs late must not be what keeps its memory.
  const std::weak_ptr<LeavingBlock> leaving = block;
  parts_.executor.Run([this, gate = gate_, leaving, offset, done = std::move(done)]() mutable {
    if (!gate->Enter()) return;
    if (auto still = leaving.lock()) {
      const uint32_t next = CopyChunks(*still, offset);
      if (next < still->used) {
        Step(still, next, std::move(done));
      } else {
        // Release: with BlockLog::IsReadyToLeave.
        still->copied.store(true, std::memory_order_release);
        done();
      }
    }
    gate->Leave();
  });
}

uint32_t Heat::CopyChunks(LeavingBlock& block, uint32_t offset) {
  MutexLock lock(block.mutex);
  if (block.memory == nullptr) return block.used;
  const uint32_t end = std::min(block.used, offset + kStepBytes);
  while (offset < end) {
    uint32_t bytes = 0;
    std::memcpy(&bytes, block.memory->data() + offset + offsetof(ChunkHeader, bytes), sizeof(bytes));
    if (block.memory->AnyUse(offset, offset + bytes)) CopyRecords(*block.memory, block, offset);
    offset += bytes;
  }
  if (offset >= block.used) block.memory.reset();
  return offset;
}

void Heat::CopyRecords(const BlockMemory& memory, const LeavingBlock& block, uint32_t chunk) {
  ChunkHeader header;
  std::memcpy(&header, memory.data() + chunk, sizeof(header));
  const auto copy = [&](Position position, const DecodedRecord& decoded) {
    const uint32_t uses = memory.uses(static_cast<uint32_t>(position - block.start));
    if (uses == 0 || decoded.record.grave) return absl::OkStatus();
    {
      HashIndex::Latch latch(parts_.index, parts_.hash_of(decoded.record.key));
      const Slots slots = latch.Find();
      const bool head = std::any_of(slots.begin(), slots.end(),
                                    [&](const Slot& slot) { return slot.position == position; });
      if (!head) return absl::OkStatus();
    }
    const bool in = uses > 1 ? parts_.cache.Insert(position, decoded.record, 0)
                             : parts_.cache.Offer(position, decoded.record);
    if (in) copied_.fetch_add(1, std::memory_order_relaxed);
    return absl::OkStatus();
  };
  // A record that does not fit its chunk ends it, which cannot be in memory.
  VisitRecords({memory.data() + chunk, header.bytes}, block.start + chunk, copy).IgnoreError();
}

}  // namespace thermocline::storage
