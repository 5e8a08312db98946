#include "storage/engine/warm_up.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "storage/log/chunk_reader.h"

namespace thermocline::storage {
namespace {

// Chunks with less than that between them are read together, up to so many bytes; so many reads at a time.
constexpr uint32_t kGapBytes = 16 << 10;
constexpr uint32_t kReadBytes = 256 << 10;
constexpr size_t kReadsAtOnce = 4;
constexpr uint32_t kWholeReadBytes = 1 << 20;
// Of a segment of the cache.
constexpr uint32_t kLargeShare = 8;

bool IsWhole(const Block& block, const char* data, uint64_t store_id) {
  const std::string_view bytes(data, block.used);
  for (uint32_t offset = kFirstChunkOffset; offset < block.used;) {
    const ChunkHeader* const chunk = ValidChunkAt(bytes, offset, block.position_of(offset), store_id);
    if (chunk == nullptr) return false;
    offset += chunk->bytes;
  }
  return true;
}

}  // namespace

HotSet TakeHotSet(RecordCache& cache, BlockLog& log) {
  HotSet hot;
  const uint32_t block_bytes = log.block_bytes();
  const auto note = [&](Position position) {
    hot[position / block_bytes].push_back(static_cast<uint32_t>(position % block_bytes));
  };
  cache.Drain(note);
  log.TakeResident([&](const Block& block, const BlockMemory& memory) {
    for (uint32_t offset = kFirstChunkOffset; offset < block.used;) {
      ChunkHeader chunk;
      std::memcpy(&chunk, memory.data() + offset, sizeof(chunk));
      const auto visit = [&](Position position, const DecodedRecord& decoded) {
        const auto at = static_cast<uint32_t>(position - block.position_of(0));
        if (memory.uses(at) > 0 && !decoded.record.grave) note(position);
        return absl::OkStatus();
      };
      if (memory.AnyUse(offset, offset + chunk.bytes))
        VisitRecords({memory.data() + offset, chunk.bytes}, block.position_of(offset), visit).IgnoreError();
      offset += chunk.bytes;
    }
  });
  for (auto& [sequence, offsets] : hot) {
    std::sort(offsets.begin(), offsets.end());
    offsets.erase(std::unique(offsets.begin(), offsets.end()), offsets.end());
  }
  return hot;
}

// Some chunks that stand together, and the records that are wanted of them.
struct WarmUp::Part {
  uint32_t begin = 0;
  uint32_t end = 0;
  std::span<const uint32_t> offsets;
  std::string bytes;
};

struct WarmUp::HotBlock {
  BlockHold hold;
  std::vector<uint32_t> offsets;
  size_t next = 0;  // of offsets
  std::vector<Part> parts;
  std::atomic<size_t> left{0};  // reads under way
};

WarmUp::WarmUp(const Parts& parts, std::unique_ptr<CheckpointReader> hot)
    : parts_(parts), hot_(std::move(hot)) {}

WarmUp::~WarmUp() { Stop(); }

void WarmUp::Stop() {
  gate_->Close();
  block_.reset();
  memory_.reset();
}

void WarmUp::Schedule(void (WarmUp::*step)()) {
  parts_.executor.Run([this, gate = gate_, step] {
    if (!gate->Enter()) return;
    (this->*step)();
    gate->Leave();
  });
}

// One step at a time, inside the gate.
void WarmUp::NextBlock() {
  block_ = std::make_unique<HotBlock>();
  const auto sequence = hot_->NextHot(block_->offsets);
  if (!sequence.ok() || !*sequence) return BeginBlocks();
  {
    HashIndex::Latch latch(parts_.index, 0);
    block_->hold = parts_.log.Hold(**sequence * parts_.log.block_bytes());
  }
  block_->hold ? ReadSome() : Start();
}

void WarmUp::ReadSome() {
  if (full_.load(std::memory_order_relaxed)) return BeginBlocks();
  HotBlock* const block = block_.get();
  block->parts.clear();
  const std::span<const uint32_t> offsets(block->offsets);
  size_t& next = block->next;
  while (block->parts.size() < kReadsAtOnce && next < offsets.size()) {
    const size_t first = next;
    ChunkTable::Range range = block->hold->chunks.Around(offsets[next++], block->hold->used);
    for (; next < offsets.size(); ++next) {
      if (offsets[next] < range.end) continue;
      const ChunkTable::Range more = block->hold->chunks.Around(offsets[next], block->hold->used);
      if (more.begin > range.end + kGapBytes || more.end > range.begin + kReadBytes) break;
      range.end = std::max(range.end, more.end);
    }
    block->parts.push_back({.begin = range.begin,
                            .end = range.end,
                            .offsets = offsets.subspan(first, next - first),
                            .bytes = std::string(range.end - range.begin, '\0')});
  }
  if (block->parts.empty()) return Start();
  block->left.store(block->parts.size(), std::memory_order_relaxed);
  std::vector<DiskRead> reads;
  for (Part& part : block->parts) {
    reads.push_back({.file = block->hold->reader.get(),
                     .offset = part.begin,
                     .out = part.bytes,
                     .done = [this, block, &part](const absl::Status& status) {
                       if (status.ok()) Take(*block, part);
                       // Acquire and release: who is last goes on with what all have left.
                       if (block->left.fetch_sub(1, std::memory_order_acq_rel) == 1)
                         Schedule(&WarmUp::ReadSome);
                       gate_->Leave();
                     }});
  }
  for (DiskRead& read : reads) {
    // Closed meanwhile: the others are not read.
    if (gate_->Enter()) parts_.disk.Submit(std::move(read));
  }
}

void WarmUp::BeginBlocks() {
  hot_.reset();  // it may be replaced by now, and would keep its space
  block_ = std::make_unique<HotBlock>();
  whole_blocks_ = parts_.log.sequences();
  Schedule(&WarmUp::ReadBlock);
}

// Some of the next block.
void WarmUp::ReadBlock() {
  const uint32_t block_bytes = parts_.log.block_bytes();
  if (memory_ == nullptr) {
    block_->hold = {};
    const uint64_t spare = std::max(parts_.budget.limit() / 4, uint64_t{3} * block_bytes);
    if (whole_blocks_.empty() || parts_.budget.available() < spare + block_bytes) return;
    const Position start = whole_blocks_.back() * block_bytes;
    whole_blocks_.pop_back();
    HashIndex::Latch latch(parts_.index, 0);
    if (parts_.log.IsOnlyOnDisk(start)) block_->hold = parts_.log.Hold(start);
    if (block_->hold) memory_ = BlockMemory::Allocate(parts_.budget, block_bytes);
    read_ = 0;
    return Schedule(&WarmUp::ReadBlock);
  }
  const Block& block = *block_->hold;
  const uint32_t bytes = std::min(kWholeReadBytes, block.used - read_);
  const std::span<char> out(memory_->data() + read_, bytes);
  if (block.reader->ReadAt(read_, out).ok()) {
    read_ += bytes;
    if (read_ < block.used) return Schedule(&WarmUp::ReadBlock);
    if (IsWhole(block, memory_->data(), parts_.log.store_id())) parts_.log.Readmit(block.sequence, memory_);
  }
  memory_.reset();
  Schedule(&WarmUp::ReadBlock);
}

void WarmUp::Take(const HotBlock& block, const Part& part) {
  const std::string_view bytes(part.bytes);
  auto wanted = part.offsets.begin();
  for (uint32_t offset = part.begin; offset < part.end && wanted != part.offsets.end();) {
    const ChunkHeader* const chunk =
        ValidChunkAt(bytes, offset - part.begin, block.hold->position_of(offset), parts_.log.store_id());
    // A get will say what is wrong.
    if (chunk == nullptr) return;
    const auto visit = [&](Position position, const DecodedRecord& decoded) {
      const auto at = static_cast<uint32_t>(position - block.hold->position_of(0));
      while (wanted != part.offsets.end() && *wanted < at) ++wanted;
      if (wanted == part.offsets.end() || *wanted != at) return absl::OkStatus();
      return TakeRecord(position, decoded);
    };
    if (*wanted < offset + chunk->bytes &&
        !VisitRecords(bytes.substr(offset - part.begin, chunk->bytes), block.hold->position_of(offset), visit)
             .ok()) {
      return;
    }
    offset += chunk->bytes;
  }
}

absl::Status WarmUp::TakeRecord(Position position, const DecodedRecord& decoded) {
  {
    HashIndex::Latch latch(parts_.index, parts_.hash_of(decoded.record.key));
    const Slots slots = latch.Find();
    const bool head =
        std::any_of(slots.begin(), slots.end(), [&](const Slot& slot) { return slot.position == position; });
    if (!head || parts_.log.Resident(position)) return absl::OkStatus();
  }
  // A large one may not fit where others do.
  const bool in = parts_.cache.InsertIfRoom(position, decoded.record);
  if (!in && decoded.bytes > parts_.cache.segment_bytes() / kLargeShare) return absl::OkStatus();
  if (!in) {
    full_.store(true, std::memory_order_relaxed);
    return absl::ResourceExhaustedError("the cache is full");
  }
  records_.fetch_add(1, std::memory_order_relaxed);
  return absl::OkStatus();
}

}  // namespace thermocline::storage
