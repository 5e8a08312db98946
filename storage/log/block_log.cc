#include "storage/log/block_log.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include <fmt/format.h>

namespace thermocline::storage {
namespace {

// The window of resident blocks: what is written last is often used soon, and writers need some blocks.
constexpr uint64_t kWindowShare = 8;
constexpr uint64_t kLeastWindow = 2;  // and the next block

// How often writers get credit that is given by the second.
constexpr std::chrono::milliseconds kPaceTick{10};

}  // namespace

BlockLog::BlockLog(const Config& config, const Collaborators& world)
    : config_(config), world_(world), gate_(std::make_shared<Gate>()) {}

BlockLog::~BlockLog() { gate_->Close(); }

absl::StatusOr<std::unique_ptr<BlockLog>> BlockLog::Open(const Config& config, const Collaborators& world,
                                                         RecoveredLog recovered) {
  std::unique_ptr<BlockLog> log(new BlockLog(config, world));
  log->next_sequence_ = recovered.next_sequence;
  log->last_sequence_ = recovered.tail == nullptr ? 0 : recovered.tail->sequence;
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
  if (absl::Status status = log->PrepareNextBlock(Urgency::kNow); !status.ok()) return status;
  if (absl::Status status = FinishRecovery(config.directory, config.store_id, recovered, world.files);
      !status.ok()) {
    return status;
  }
  // Of the tail as it was sealed just now.
  const Position end =
      recovered.tail == nullptr ? recovered.end : recovered.tail->position_of(recovered.tail->used);
  for (auto& block : recovered.blocks) log->Add(std::move(block));
  MutexLock lock(log->mutex_);
  log->Activate();
  log->horizon_ = log->tail();
  log->last_chunk_end_ = end;
  log->ScheduleCommit();  // prepares the block after this one
  return log;
}

std::optional<BlockLog::Appended> BlockLog::Append(Record record, Position below) {
  Filling filling;
  uint32_t bytes = 0;
  {
    MutexLock lock(mutex_);
    const bool copy = record.version != 0;
    if (!accepts_writes() || (out_of_credit() && !copy)) return std::nullopt;
    if (!no_space_.ok() && !copy && (last_space_ || !record.tombstone)) return std::nullopt;
    if (!MakeRoom(record)) return std::nullopt;
    if (open_->position_of(open_->bytes) > below) return std::nullopt;
    if (record.version == 0) record.version = next_version_++;
    if (chunk_start_ == 0) OpenChunk();
    filling = StartFilling(tail());
    bytes = EncodedBytes(record, filling.position, filling.base_version);
    cursor_ += bytes;
    ++chunk_records_;
    open_->use.Count(record, bytes);
    if (throttled_ && !copy) credit_ -= bytes;
    ScheduleTick();
    if (tail() - horizon_ >= kWriteBehindBytes) ScheduleCommit();
  }
  record_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  Fill(filling, record);
  return Appended{filling.position, record.version, bytes};
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
    open_->use.CountExpiry(record, old_bytes);
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
  if (numbered.version == 0) numbered.version = next_version_;
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

void BlockLog::WhenRoom(Done done, For what) {
  absl::Status status;
  {
    MutexLock lock(mutex_);
    status = closed_ ? absl::UnavailableError("the store is closing") : failure_;
    if (status.ok()) status = no_room_;
    if (status.ok() && (what == For::kWrites || (what == For::kDeletes && last_space_))) status = no_space_;
    if (status.ok()) {
      if (what == For::kCopies) {
        parked_copies_.push_back(std::move(done));
      } else {
        parked_.push_back(std::move(done));
      }
      if (what == For::kCopies || !out_of_credit()) ScheduleCommit();
      return;
    }
  }
  done(status);
}

absl::Status BlockLog::write_status() const {
  MutexLock lock(mutex_);
  return !failure_.ok() ? failure_ : !no_room_.ok() ? no_room_ : no_space_;
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

void BlockLog::Prefetch(Position position) const {
  const Block* block = BlockOf(position);
  const char* const data = block == nullptr ? nullptr : block->resident.load(std::memory_order_acquire);
  if (data == nullptr) return;
  const auto offset = static_cast<uint32_t>(position - block->position_of(0));
  __builtin_prefetch(data + offset);
  block->memory->Prefetch(offset);
}

std::shared_ptr<const void> BlockLog::Pin(Position position, std::string_view found) const {
  if (position >= frozen_below_.load(std::memory_order_acquire)) return nullptr;
  const Block* block = BlockOf(position);
  const char* const data = block->resident.load(std::memory_order_acquire);
  // The block may have come back since, and what was found be in the cache.
  if (data == nullptr || found.data() < data || found.data() >= data + block->bytes) return nullptr;
  return block->memory;
}

void BlockLog::Touch(Position position) const {
  const Block* block = BlockOf(position);
  if (block == nullptr || block->resident.load(std::memory_order_acquire) == nullptr) return;
  block->memory->Touch(static_cast<uint32_t>(position - block->position_of(0)));
}

uint32_t BlockLog::UsesOf(Position position) const {
  const Block* block = BlockOf(position);
  if (block == nullptr || block->resident.load(std::memory_order_acquire) == nullptr) return 0;
  return block->memory->uses(static_cast<uint32_t>(position - block->position_of(0)));
}

uint32_t BlockLog::BytesAt(Position position, const Record& record) const {
  const Block* block = BlockOf(position);
  return block == nullptr ? 0 : EncodedBytes(record, position, block->base_version);
}

bool BlockLog::HasMemoryToSpare() const {
  const uint64_t index = world_.budget.used(MemoryBudget::Share::kIndex);
  const uint64_t rest = world_.budget.limit() - std::min(world_.budget.limit(), index);
  const uint64_t window = std::max(kLeastWindow, rest / kWindowShare / config_.block_bytes);
  return resident_blocks_.load(std::memory_order_relaxed) > window;
}

void BlockLog::MakeRoomFor(uint64_t bytes) {
  wanted_bytes_.store(bytes, std::memory_order_relaxed);
  MutexLock lock(mutex_);
  ScheduleCommit();
}

BlockHold BlockLog::Hold(Position position) const {
  Block* const block = table_.Find(position / config_.block_bytes);
  return block == nullptr ? BlockHold() : BlockHold(*block);
}

BlockHold BlockLog::HoldFrom(uint64_t sequence) const {
  Block* const block = sequence == 0 ? table_.Next(0) : table_.Next(sequence - 1);
  return block == nullptr ? BlockHold() : BlockHold(*block);
}

void BlockLog::MarkDead(Position position, uint32_t bytes) {
  Block* const block = table_.Find(position / config_.block_bytes);
  if (block == nullptr) return;
  uint64_t dead = bytes;
  if (dead == 0) {
    // What is not resident was sealed: its use is constant.
    const auto resident = Resident(position);
    dead = resident ? resident->bytes : block->use.mean_record_bytes();
  }
  block->dead_bytes.fetch_add(dead, std::memory_order_relaxed);
  dead_bytes_.fetch_add(dead, std::memory_order_relaxed);
}

std::vector<BlockLog::Usage> BlockLog::usage(uint64_t now_ms) const {
  MutexLock lock(mutex_);
  const uint64_t on_disk = horizon_ / config_.block_bytes;
  std::vector<Usage> usage;
  for (const Block* block = table_.Next(0); block != nullptr; block = table_.Next(block->sequence)) {
    const bool written = block->relocated || block->sequence < on_disk;
    if (!block->sealed || !written) continue;
    const uint64_t dead = block->dead_bytes.load(std::memory_order_relaxed) + block->use.ExpiredBytes(now_ms);
    // The last estimate may be too high by the size of a record.
    const uint64_t at_most = std::min<uint64_t>(block->use.record_bytes, block->used);
    usage.push_back({.sequence = block->sequence,
                     .used = block->used,
                     .live_bytes = block->used - std::min(dead, at_most),
                     .records = block->use.records});
  }
  return usage;
}

std::vector<BlockLog::Written> BlockLog::HoldWritten() const {
  std::vector<Written> held;
  const std::vector<Usage> blocks = usage(0);
  MutexLock lock(mutex_);
  for (const Usage& written : blocks) {
    Block* const block = table_.Find(written.sequence);
    if (block == nullptr) continue;
    held.push_back({BlockHold(*block), block->dead_bytes.load(std::memory_order_relaxed)});
  }
  return held;
}

void BlockLog::TakeResident(absl::FunctionRef<void(const Block&, const BlockMemory&)> visit) {
  MutexLock lock(mutex_);
  for (Block* block = table_.Next(0); block != nullptr; block = table_.Next(block->sequence)) {
    if (block->memory == nullptr) continue;
    visit(*block, *block->memory);
    block->resident.store(nullptr, std::memory_order_relaxed);
    block->memory.reset();
  }
  resident_.clear();
}

uint64_t BlockLog::DeadBytesIn(uint64_t sequence) const {
  MutexLock lock(mutex_);
  const Block* const block = table_.Find(sequence);
  return block == nullptr ? 0 : block->dead_bytes.load(std::memory_order_relaxed);
}

std::vector<uint64_t> BlockLog::sequences() const {
  MutexLock lock(mutex_);
  std::vector<uint64_t> sequences;
  for (const Block* block = table_.Next(0); block != nullptr; block = table_.Next(block->sequence))
    sequences.push_back(block->sequence);
  return sequences;
}

void BlockLog::MarkDeadIn(uint64_t sequence, uint64_t bytes) {
  MutexLock lock(mutex_);
  Block* const block = table_.Find(sequence);
  if (block == nullptr) return;
  block->dead_bytes.fetch_add(bytes, std::memory_order_relaxed);
  dead_bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

void BlockLog::MarkRecordsDeadIn(uint64_t sequence, uint64_t records) {
  uint64_t mean = 0;
  {
    MutexLock lock(mutex_);
    if (const Block* block = table_.Find(sequence)) mean = block->use.mean_record_bytes();
  }
  MarkDeadIn(sequence, records * mean);
}

void BlockLog::Throttle(bool on) {
  MutexLock lock(mutex_);
  throttled_ = on;
  SchedulePace();
  if (!parked_.empty()) ScheduleCommit();
}

void BlockLog::AddCredit(uint64_t bytes) {
  MutexLock lock(mutex_);
  Credit(bytes);
}

void BlockLog::Pace(uint64_t bytes_per_second) {
  MutexLock lock(mutex_);
  pace_ = bytes_per_second;
  SchedulePace();
}

void BlockLog::SchedulePace() {
  if (!throttled_ || pace_ == 0 || closed_ || std::exchange(pace_scheduled_, true)) return;
  world_.commits.RunAfter(kPaceTick, [this, gate = gate_] {
    if (!gate->Enter()) return;
    {
      MutexLock lock(mutex_);
      pace_scheduled_ = false;
      Credit(pace_ * kPaceTick.count() / 1000);
      SchedulePace();
    }
    gate->Leave();
  });
}

void BlockLog::Credit(uint64_t bytes) {
  credit_ = std::min<int64_t>(credit_ + static_cast<int64_t>(bytes), config_.block_bytes / 4);
  if (!parked_.empty()) ScheduleCommit();
}

// Those whom the credit may serve, the others go on waiting.
std::deque<BlockLog::Done> BlockLog::TakeParked() {
  constexpr int64_t kSmallRecord = 64;
  std::deque<Done> taken;
  if (!throttled_) {
    taken.swap(parked_);
  } else {
    for (int64_t bytes = credit_; bytes > 0 && !parked_.empty(); bytes -= kSmallRecord) {
      taken.push_back(std::move(parked_.front()));
      parked_.pop_front();
    }
  }
  std::move(parked_copies_.begin(), parked_copies_.end(), std::back_inserter(taken));
  parked_copies_.clear();
  return taken;
}

void BlockLog::SetAside(uint32_t count, SetAsideDone done) {
  {
    MutexLock lock(mutex_);
    if (!closed_) {
      setting_aside_ = SettingAside{count, std::move(done)};
      ScheduleCommit();
      return;
    }
  }
  done(absl::UnavailableError("the store is closing"));
}

void BlockLog::Add(std::unique_ptr<Block> block) {
  blocks_.fetch_add(1, std::memory_order_relaxed);
  disk_bytes_.fetch_add(block->file_bytes, std::memory_order_relaxed);
  record_bytes_.fetch_add(block->use.record_bytes, std::memory_order_relaxed);
  dead_bytes_.fetch_add(block->dead_bytes.load(std::memory_order_relaxed), std::memory_order_relaxed);
  MutexLock lock(mutex_);
  table_.Add(std::move(block));
}

void BlockLog::Retire(std::vector<uint64_t> sequences, Done done) {
  {
    MutexLock lock(mutex_);
    if (!closed_) {
      retiring_.push_back({std::move(sequences), std::move(done)});
      ScheduleCommit();
      return;
    }
  }
  done(absl::UnavailableError("the store is closing"));
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
          .unsynced_bytes = tail() - horizon_,
          .record_bytes = record_bytes_,
          .dead_bytes = dead_bytes_};
}

}  // namespace thermocline::storage
