#include "storage/log/block_log.h"

#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

namespace thermocline::storage {
namespace {

// A chunk is closed at the end of a page if no more than this is lost, so that a cold get reads one page;
// otherwise when it has kChunkTarget bytes.
constexpr uint32_t kMaxPadding = 128;
constexpr uint32_t kChunkTarget = 4096;

// So much unsynced data starts a commit that nobody waits for.
constexpr uint64_t kWriteBehindBytes = 4 << 20;

// Where the open chunk should be closed before a record of `bytes` is put at `at`; nullopt: it should not.
std::optional<uint32_t> ChunkEndBefore(uint32_t chunk_start, uint32_t at, uint32_t bytes) {
  const uint32_t padding = (kPageBytes - at % kPageBytes) % kPageBytes;
  if (bytes > padding && padding <= kMaxPadding) return at + padding;
  if (at - chunk_start >= kChunkTarget) return AlignChunk(at);
  return std::nullopt;
}

}  // namespace

BlockLog::BlockLog(const Config& config, const Collaborators& world)
    : config_(config), world_(world), gate_(std::make_shared<Gate>()) {}

BlockLog::~BlockLog() { gate_->Close(); }

absl::StatusOr<std::unique_ptr<BlockLog>> BlockLog::Open(const Config& config, const Collaborators& world,
                                                         RecoveredLog recovered) {
  std::unique_ptr<BlockLog> log(new BlockLog(config, world));
  log->next_sequence_ = recovered.next_sequence;
  log->last_sequence_ = recovered.blocks.empty() ? 0 : recovered.blocks.back()->sequence;
  {
    MutexLock lock(log->mutex_);
    log->next_version_ = recovered.next_version;
  }
  // The new block first: its header keeps versions and sequence numbers of what is removed next from being
  // used again.
  for (const auto& block : recovered.blocks) {
    if (block->memory != nullptr) log->resident_.push_back(block.get());
  }
  log->resident_blocks_ = log->resident_.size();
  if (absl::Status status = FreeGarbage(recovered, world.files); !status.ok()) return status;
  if (absl::Status status = log->PrepareNextBlock(); !status.ok()) return status;
  if (absl::Status status = FinishRecovery(config.directory, config.store_id, recovered, world.files);
      !status.ok()) {
    return status;
  }
  Position end = 0;
  for (auto& block : recovered.blocks) {
    end = block->position_of(block->used);
    log->blocks_.fetch_add(1, std::memory_order_relaxed);
    log->disk_bytes_.fetch_add(block->file_bytes, std::memory_order_relaxed);
    log->table_.Add(std::move(block));
  }
  MutexLock lock(log->mutex_);
  log->Activate();
  log->horizon_ = log->tail();
  log->last_chunk_end_ = end;
  log->begin_ = log->table_.Next(0)->position_of(kFirstChunkOffset);
  log->ScheduleCommit();  // prepares the block after this one
  return log;
}

std::optional<BlockLog::Appended> BlockLog::Append(Record record, Position below) {
  Filling filling;
  {
    MutexLock lock(mutex_);
    if (!accepts_writes() || !MakeRoom(record)) return std::nullopt;
    if (open_->position_of(open_->bytes) > below) return std::nullopt;
    record.version = next_version_++;
    if (chunk_start_ == 0) OpenChunk();
    filling = StartFilling(tail());
    cursor_ += EncodedBytes(record, filling.position, filling.base_version);
    ++chunk_records_;
    ScheduleTick();
    if (tail() - horizon_ >= kWriteBehindBytes) ScheduleCommit();
  }
  Fill(filling, record);
  return Appended{filling.position, record.version};
}

std::optional<uint64_t> BlockLog::UpdateInPlace(Position position, uint32_t old_bytes, Record record) {
  Filling filling;
  {
    MutexLock lock(mutex_);
    if (!accepts_writes() || chunk_start_ == 0 || position < open_->position_of(chunk_start_))
      return std::nullopt;
    record.version = next_version_;
    if (record.version >= open_->version_ceiling) return std::nullopt;
    if (EncodedBytes(record, position, open_->base_version) != old_bytes) return std::nullopt;
    ++next_version_;
    filling = StartFilling(position);
    ScheduleTick();
  }
  Fill(filling, record);
  return record.version;
}

BlockLog::Filling BlockLog::StartFilling(Position position) {
  filling_[epoch_].fetch_add(1, std::memory_order_relaxed);
  char* const block = open_->resident.load(std::memory_order_relaxed);
  return {block + (position - open_->position_of(0)), position, open_->base_version, epoch_};
}

void BlockLog::Fill(const Filling& filling, const Record& record) {
  EncodeRecord(record, filling.position, filling.base_version, filling.out);
  filling_[filling.epoch].fetch_sub(1, std::memory_order_release);
}

std::optional<uint64_t> BlockLog::NextVersion() {
  MutexLock lock(mutex_);
  if (!accepts_writes()) return std::nullopt;
  if (next_version_ >= open_->version_ceiling && !SwitchBlock()) return std::nullopt;
  return next_version_++;
}

// Closes the chunk and switches the block as the record needs it. What it takes depends on where it will
// stand, so that is asked anew after every change.
bool BlockLog::MakeRoom(const Record& record) {
  Record numbered = record;
  numbered.version = next_version_;
  while (true) {
    const uint32_t at = chunk_start_ != 0 ? cursor_ : cursor_ + sizeof(ChunkHeader);
    const uint32_t bytes = EncodedBytes(numbered, open_->position_of(at), open_->base_version);
    if (chunk_start_ != 0) {
      if (const auto end = ChunkEndBefore(chunk_start_, at, bytes);
          end && *end + sizeof(ChunkHeader) <= open_->bytes) {
        CloseChunk(*end, /*last=*/false);
        continue;
      }
    }
    const bool fits = uint64_t{AlignChunk(at + bytes)} + sizeof(ChunkHeader) <= open_->bytes;
    if (fits && next_version_ < open_->version_ceiling) return true;
    if (!SwitchBlock()) return false;
  }
}

void BlockLog::OpenChunk() {
  auto* header = reinterpret_cast<ChunkHeader*>(open_->resident.load(std::memory_order_relaxed) + cursor_);
  header->position = tail();
  header->base_version = open_->base_version;
  frozen_below_.store(tail(), std::memory_order_release);
  open_->chunks.Add(cursor_);
  chunk_start_ = cursor_;
  chunk_records_ = 0;
  cursor_ += sizeof(ChunkHeader);
}

void BlockLog::CloseChunk(uint32_t padded_end, bool last) {
  auto* header =
      reinterpret_cast<ChunkHeader*>(open_->resident.load(std::memory_order_relaxed) + chunk_start_);
  header->bytes = padded_end - chunk_start_;
  header->records_last = chunk_records_ << 1 | (last ? 1 : 0);
  chunk_start_ = 0;
  cursor_ = padded_end;
  open_->used = padded_end;
  last_chunk_end_ = tail();
}

bool BlockLog::SwitchBlock() {
  if (next_ == nullptr) {
    ScheduleCommit();
    return false;
  }
  if (chunk_start_ == 0) OpenChunk();
  CloseChunk(AlignChunk(cursor_), /*last=*/true);
  open_->sealed = true;
  Activate();
  ScheduleCommit();
  return true;
}

void BlockLog::Activate() {
  open_ = next_.get();
  open_->base_version = next_version_;
  open_->used = kFirstChunkOffset;
  open_->resident.store(open_->memory->data(), std::memory_order_release);
  table_.Add(std::move(next_));
  dirty_.push_back(open_);
  cursor_ = kFirstChunkOffset;
  chunk_start_ = 0;
  resident_blocks_.fetch_add(1, std::memory_order_relaxed);
}

Position BlockLog::Freeze() {
  MutexLock lock(mutex_);
  if (chunk_start_ != 0) CloseChunk(AlignChunk(cursor_), /*last=*/false);
  frozen_below_.store(tail(), std::memory_order_release);
  return tail();
}

void BlockLog::WhenDurable(Done done) {
  absl::Status status;
  {
    MutexLock lock(mutex_);
    status = failure_;
    if (status.ok() && tail() > horizon_) {
      waiters_.push_back({tail(), std::move(done)});
      ScheduleCommit();
      return;
    }
  }
  done(status.ok() ? status : OutcomeUnknown(status));
}

void BlockLog::WhenRoom(Done done) {
  absl::Status status;
  {
    MutexLock lock(mutex_);
    status = closed_ ? absl::UnavailableError("the store is closing") : failure_;
    if (status.ok()) status = no_room_;
    if (status.ok()) {
      parked_.push_back(std::move(done));
      ScheduleCommit();
      return;
    }
  }
  done(status);
}

absl::Status BlockLog::write_status() const {
  MutexLock lock(mutex_);
  return failure_.ok() ? no_room_ : failure_;
}

std::optional<DecodedRecord> BlockLog::Resident(Position position) const {
  const Block* block = BlockOf(position);
  const char* data = block == nullptr ? nullptr : block->resident.load(std::memory_order_acquire);
  if (data == nullptr) return std::nullopt;
  const uint64_t offset = position - block->position_of(0);
  auto decoded = DecodeRecord({data + offset, block->bytes - offset}, position, block->base_version);
  if (!decoded) std::abort();  // the index points to nothing but records
  return decoded;
}

std::shared_ptr<const void> BlockLog::Pin(Position position) const {
  if (position >= frozen_below_.load(std::memory_order_acquire)) return nullptr;
  const Block* block = BlockOf(position);
  if (block->resident.load(std::memory_order_acquire) == nullptr) return nullptr;
  return block->memory;
}

absl::StatusOr<ColdChunk> BlockLog::ReadCold(Position position) const {
  const Block* block = BlockOf(position);
  if (block == nullptr) return absl::DataLossError(fmt::format("no block holds log position {}", position));
  return block->ReadChunk(position, config_.store_id);
}

uint32_t BlockLog::used_of(const Block& block) const {
  MutexLock lock(mutex_);
  return block.used;
}

BlockLog::Counters BlockLog::counters() const {
  MutexLock lock(mutex_);
  return {.blocks = blocks_,
          .resident_blocks = resident_blocks_,
          .disk_bytes = disk_bytes_,
          .written_bytes = written_bytes_,
          .syncs = syncs_,
          .unsynced_bytes = tail() - horizon_};
}

}  // namespace thermocline::storage
