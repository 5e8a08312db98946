#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"
#include "storage/log/format.h"
#include "storage/memory_budget.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// The contiguous memory of one block, zeroed at first, and which parts of it were used lately; taken from the
// budget until destroyed.
class BlockMemory {
 public:
  // nullptr if the budget has no room for it.
  static std::shared_ptr<BlockMemory> Allocate(MemoryBudget& budget, uint32_t bytes);
  ~BlockMemory();
  BlockMemory(const BlockMemory&) = delete;
  BlockMemory& operator=(const BlockMemory&) = delete;

  char* data() const { return data_; }

  // Counts a use of the record at `offset`, up to two. Thread-safe, as the two below; nothing is ordered by
  // it. Records that begin in the same 64 bytes share their uses.
  void Touch(uint32_t offset) {
    const auto [word, shift] = UsesAt(offset);
    const uint64_t uses = word->load(std::memory_order_relaxed) >> shift & kUses;
    // Bits are only set, so two at once count as one. Nothing is written for what is hot already.
    if (uses != kUses) word->fetch_or((uses << 1 | 1) << shift, std::memory_order_relaxed);
  }
  // Touch follows soon.
  void Prefetch(uint32_t offset) const { __builtin_prefetch(UsesAt(offset).word, /*to be written*/ 1); }
  // 0, 1, or 2 for more.
  uint32_t uses(uint32_t offset) const {
    const auto [word, shift] = UsesAt(offset);
    return static_cast<uint32_t>(std::popcount(word->load(std::memory_order_relaxed) >> shift & kUses));
  }
  bool AnyUse(uint32_t begin, uint32_t end) const;

  // Of a block with its bookkeeping.
  static uint64_t bytes_of(uint32_t block_bytes) { return block_bytes + block_bytes / kBytesPerByteOfUses; }

 private:
  static constexpr uint32_t kGranule = 64;
  static constexpr uint32_t kGranulesPerWord = 32;
  static constexpr uint64_t kUses = 3;
  static constexpr uint32_t kBytesPerByteOfUses = kGranule * kGranulesPerWord / sizeof(uint64_t);

  struct UsesPlace {
    std::atomic<uint64_t>* word;
    uint32_t shift;
  };
  UsesPlace UsesAt(uint32_t offset) const {
    const uint32_t granule = offset / kGranule;
    return {&uses_[granule / kGranulesPerWord], granule % kGranulesPerWord * 2};
  }

  BlockMemory(MemoryBudget::Grant grant, char* data, uint32_t bytes)
      : grant_(std::move(grant)),
        data_(data),
        bytes_(bytes),
        uses_(new std::atomic<uint64_t>[bytes / (kGranule * kGranulesPerWord)] {}) {}

  const MemoryBudget::Grant grant_;
  char* const data_;
  const uint32_t bytes_;
  const std::unique_ptr<std::atomic<uint64_t>[]> uses_;
};

// A sealed block that is to leave memory, while what is hot of it is copied elsewhere. Thread-safe.
struct LeavingBlock {
  LeavingBlock(std::shared_ptr<BlockMemory> bytes, Position begin, uint32_t end)
      : start(begin), used(end), memory(std::move(bytes)) {}

  const Position start;  // of the block
  const uint32_t used;   // up to here chunks stand, none of which changes any more
  std::atomic<bool> copied{false};
  Mutex mutex;
  // nullptr: it is needed elsewhere, and what was not copied by now goes.
  std::shared_ptr<BlockMemory> memory ABSL_GUARDED_BY(mutex);
};

// A chunk as the disk returned it, its checksum verified.
struct ColdChunk {
  std::string bytes;
  Position position = 0;  // of the chunk
  uint64_t base_version = 0;

  // The record at a position inside the chunk. DATA_LOSS if there is none.
  absl::StatusOr<DecodedRecord> RecordAt(Position position) const;
};

// Where chunks begin in a block: of each page the first and the last one. Four bytes a page, so that a cold
// read is one read of little more than the chunk it needs, whatever the sizes of values.
class ChunkTable {
 public:
  explicit ChunkTable(uint32_t block_bytes) : pages_(block_bytes / kPageBytes) {}

  // In ascending order.
  void Add(uint32_t offset) {
    Page& page = pages_[offset / kPageBytes];
    page.last = static_cast<uint16_t>(offset % kPageBytes);
    if (page.first == kNone) page.first = page.last;
  }

  struct Range {
    uint32_t begin;
    uint32_t end;
  };
  // From the beginning of a chunk to that of a later one (or `used`), with `offset` between them, as short as
  // the table can tell.
  Range Around(uint32_t offset, uint32_t used) const;

  static uint64_t bytes_of(uint32_t block_bytes) { return block_bytes / kPageBytes * sizeof(Page); }

  // To be kept in a file, and back. False: it is of a block of another size.
  std::string_view raw() const {
    return {reinterpret_cast<const char*>(pages_.data()), pages_.size() * sizeof(Page)};
  }
  bool Assign(std::string_view raw);

 private:
  static constexpr uint16_t kNone = 0xffff;
  // Offsets in the page.
  struct Page {
    uint16_t first = kNone;
    uint16_t last = kNone;
  };
  static_assert(sizeof(Page) == 4);

  std::vector<Page> pages_;
};

// What of a block's bytes is still needed, and until when.
struct BlockUse {
  uint64_t records = 0;       // graves included
  uint64_t record_bytes = 0;  // encoded
  uint64_t expiring_bytes = 0;
  uint64_t first_expiry_ms = UINT64_MAX;
  uint64_t last_expiry_ms = 0;

  void Count(const Record& record, uint32_t bytes);
  void CountExpiry(const Record& record, uint32_t bytes);
  void Add(const BlockUse& other);
  uint64_t mean_record_bytes() const { return records == 0 ? 0 : record_bytes / records; }
  // How many of the expiring bytes have expired by now, if expiries are spread evenly.
  uint64_t ExpiredBytes(uint64_t now_ms) const;
};

// One block of the log: its file, and its memory while it is resident.
//
// Who may touch what: the fields behind "log" are guarded by the log's mutex until the block is sealed and
// constant from then on; those behind "committer" belong to the one thread that commits.
struct Block {
  Block(uint64_t sequence_number, std::string file_path, uint32_t block_bytes, bool is_relocated = false)
      : sequence(sequence_number),
        path(std::move(file_path)),
        bytes(block_bytes),
        relocated(is_relocated),
        chunks(block_bytes) {}

  Position position_of(uint32_t offset) const { return sequence * bytes + offset; }

  const uint64_t sequence;
  const std::string path;
  const uint32_t bytes;  // capacity
  bool relocated;        // written by compaction; constant once the block stands in the log

  // log
  uint64_t version_ceiling = 0;
  uint64_t base_version = 0;
  ChunkTable chunks;
  uint32_t used = 0;  // end of the last closed chunk
  bool sealed = false;
  BlockUse use;

  // Of record_bytes: what nobody needs any more. Estimated where the size of a dead record is not known.
  std::atomic<uint64_t> dead_bytes{0};
  // See BlockHold.
  std::atomic<uint32_t> holds{0};

  // The beginning of the memory while the block is resident, else nullptr. Read under a latch of the index:
  // the memory lives at least until that latch is released (HashIndex::WaitForLatches stands between the
  // store of nullptr and the release).
  std::atomic<char*> resident{nullptr};

  // committer; `memory` may be copied under a latch while `resident` is set
  std::shared_ptr<BlockMemory> memory;
  MemoryBudget::Grant table_memory;  // of `chunks`
  std::unique_ptr<File> writer;      // until sealed and on the disk
  std::unique_ptr<File> reader;      // constant once the block stands in the log
  uint32_t flushed = 0;              // below this offset everything is on the disk
  uint64_t file_bytes = 0;

  // For ColdRead; thread-safe once the block is sealed and on the disk.
  // What to read of the file to get the chunk around `position`.
  absl::StatusOr<ChunkTable::Range> RangeAround(Position position) const;
  // The verified chunk in bytes that were read from `begin` on.
  absl::StatusOr<ColdChunk> ChunkIn(std::string bytes_read, uint32_t begin, Position position,
                                    uint64_t store_id) const;
  // A file that ends too early is damaged.
  absl::Status ReadFailure(Position position, const absl::Status& status) const;
};

// Keeps a block from being destroyed while something reads its file. Taken under a latch of the index.
class BlockHold {
 public:
  BlockHold() = default;
  explicit BlockHold(Block& block) : block_(&block) { block.holds.fetch_add(1, std::memory_order_relaxed); }
  BlockHold(BlockHold&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  BlockHold& operator=(BlockHold&& other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~BlockHold() {
    // Release: what was read is done; acquired by who destroys the block.
    if (block_ != nullptr) block_->holds.fetch_sub(1, std::memory_order_release);
  }

  const Block* operator->() const { return block_; }
  const Block& operator*() const { return *block_; }
  explicit operator bool() const { return block_ != nullptr; }

 private:
  Block* block_ = nullptr;
};

// Where the open chunk should be closed before a record of `bytes` is put at `at`; nullopt: it should not.
std::optional<uint32_t> ChunkEndBefore(uint32_t chunk_start, uint32_t at, uint32_t bytes);

// The header page of a new block.
std::string EncodeBlockHeader(const Block& block, uint64_t previous, uint64_t store_id);

// Looks for the chunk that stands at `offset` of a block's bytes. nullptr if none does: not aligned, cut off,
// of another place, or its checksum is wrong.
const ChunkHeader* ValidChunkAt(std::string_view block_bytes, uint32_t offset, Position position,
                                uint64_t store_id);

// "0000000000000001.block", and back (0: not such a name).
std::string BlockFileName(uint64_t sequence);
uint64_t SequenceOfFileName(std::string_view name);

}  // namespace thermocline::storage
