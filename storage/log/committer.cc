// The part of BlockLog that runs on its commit executor: group commit, and memory for what comes next.

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "storage/log/block_log.h"

namespace thermocline::storage {
namespace {

constexpr int kYields = 100;

using Share = MemoryBudget::Share;

// A new block may give out this many versions, and a crash skips at most as many: a 64-bit counter takes 2^28
// crashes.
constexpr uint64_t kVersionsPerBlock = uint64_t{1} << 36;

constexpr std::chrono::milliseconds kRetryPause{100};

// The second half is for compaction alone: as many as it writes at a time.
constexpr uint64_t kKeptBlocks = 12;

}  // namespace

Executor::Task BlockLog::CommitterTask(bool BlockLog::*scheduled) {
  return [this, gate = gate_, scheduled] {
    if (!gate->Enter()) return;
    {
      MutexLock lock(mutex_);
      this->*scheduled = false;
    }
    RunCommitter(scheduled == &BlockLog::tick_scheduled_);
    gate->Leave();
  };
}

void BlockLog::ScheduleCommit() {
  if (std::exchange(commit_scheduled_, true) || closed_) return;
  world_.commits.Run(CommitterTask(&BlockLog::commit_scheduled_));
}

void BlockLog::ScheduleTick() {
  if (std::exchange(tick_scheduled_, true) || closed_) return;
  world_.commits.RunAfter(config_.flush_interval, CommitterTask(&BlockLog::tick_scheduled_));
}

void BlockLog::ScheduleRetry() {
  if (std::exchange(retry_scheduled_, true) || closed_) return;
  world_.commits.RunAfter(kRetryPause, CommitterTask(&BlockLog::retry_scheduled_));
}

// The committer is also called for room, which needs no sync.
bool BlockLog::CommitIsDue() {
  return !waiters_.empty() || dirty_.size() > 1 || tail() - horizon_ >= kWriteBehindBytes;
}

void BlockLog::RunCommitter(bool must_commit) {
  std::deque<Done> parked;
  absl::Status status;
  Urgency urgency = Urgency::kSoon;
  {
    MutexLock lock(mutex_);
    status = failure_;
    must_commit |= CommitIsDue();
    parked = TakeParked();
    if (!parked.empty() || cursor_ > config_.block_bytes / 2) urgency = Urgency::kNow;
  }
  // What a failed write or sync left on the disk is unknown, and a second sync would prove nothing.
  if (status.ok() && must_commit) status = Commit();
  if (!status.ok()) {
    Fail(status);
  } else {
    status = PrepareNextBlock(urgency);
    if (status.ok()) status = KeepHeadroom();
  }
  if (!status.ok()) {
    MutexLock lock(mutex_);
    throttled_ = false;
    auto rest = TakeParked();
    std::move(rest.begin(), rest.end(), std::back_inserter(parked));
  }
  SetNumbersAside(status);
  RetireBlocks();
  for (Done& done : parked) done(status);
}

absl::Status BlockLog::Commit() {
  Position target = 0;
  const std::vector<Dirty> dirty = TakeDirty(target);
  for (const Dirty& part : dirty) {
    if (part.end > part.block->flushed) {
      if (absl::Status status = WriteChunks(*part.block, part.end); !status.ok()) return status;
      // A block is on the disk before the next one is written: the log has no holes.
      if (absl::Status status = part.block->writer->Sync(); !status.ok()) return status;
      syncs_.fetch_add(1, std::memory_order_relaxed);
      part.block->flushed = part.end;
    }
    if (part.sealed) FinishSealed(*part.block);
  }
  Advance(target);
  return absl::OkStatus();
}

std::vector<BlockLog::Dirty> BlockLog::TakeDirty(Position& target) {
  std::vector<Dirty> dirty;
  int old_epoch = 0;
  {
    MutexLock lock(mutex_);
    if (chunk_start_ != 0) CloseChunk(AlignChunk(cursor_), /*last=*/false);
    frozen_below_.store(tail(), std::memory_order_release);
    target = tail();
    old_epoch = epoch_;
    epoch_ ^= 1;
    for (Block* block : dirty_) dirty.push_back({block, block->used, block->sealed});
    dirty_.assign(1, open_);
  }
  // Copies of records into closed chunks may still be under way on other threads; they take no lock, so they
  // end soon. A thread that gives way to others gets the processor only if this one sleeps.
  for (int tries = 0; filling_[old_epoch].load(std::memory_order_acquire) != 0; ++tries) {
    if (tries < kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }
  return dirty;
}

absl::Status BlockLog::WriteChunks(Block& block, uint32_t end) {
  Position horizon = 0;
  {
    MutexLock lock(mutex_);
    // All blocks before this one are on the disk, also when the horizon has not moved yet.
    horizon = std::max(horizon_, block.position_of(0));
  }
  char* const data = block.memory->data();
  for (uint32_t offset = block.flushed; offset < end;) {
    auto* chunk = reinterpret_cast<ChunkHeader*>(data + offset);
    chunk->horizon = horizon;
    chunk->checksum = ChecksumOf({data + offset, chunk->bytes}, config_.store_id);
    offset += chunk->bytes;
  }
  written_bytes_.fetch_add(end - block.flushed, std::memory_order_relaxed);
  return block.writer->WriteAt(block.flushed, {data + block.flushed, end - block.flushed});
}

void BlockLog::FinishSealed(Block& block) {
  // What was preallocated and not used goes back. If it does not, the file is only longer than it need be.
  if (block.writer->Truncate(block.used).ok()) {
    disk_bytes_.fetch_sub(block.file_bytes - block.used, std::memory_order_relaxed);
    block.file_bytes = block.used;
  }
  block.writer.reset();
  resident_.push_back(&block);
}

void BlockLog::Advance(Position target) {
  std::vector<Waiter> served;
  {
    MutexLock lock(mutex_);
    horizon_ = target;
    const auto waiting = std::stable_partition(waiters_.begin(), waiters_.end(),
                                               [&](const Waiter& waiter) { return waiter.target > target; });
    served.assign(std::make_move_iterator(waiting), std::make_move_iterator(waiters_.end()));
    waiters_.erase(waiting, waiters_.end());
    if (!waiters_.empty()) ScheduleCommit();
  }
  for (Waiter& waiter : served) waiter.done(absl::OkStatus());
}

void BlockLog::Fail(const absl::Status& status) {
  std::vector<Waiter> waiters;
  {
    MutexLock lock(mutex_);
    if (failure_.ok()) {
      failure_ = absl::UnavailableError(
          fmt::format("writes are refused until a restart, since the log could not be written: {}",
                      std::string(status.message())));
    }
    waiters.swap(waiters_);
  }
  for (Waiter& waiter : waiters) waiter.done(OutcomeUnknown(status));
}

absl::Status BlockLog::OutcomeUnknown(const absl::Status& failure) {
  return absl::UnknownError(
      fmt::format("the write may or may not survive a restart: {}", std::string(failure.message())));
}

// A full disk must not lock itself up: deletes and compaction need space to give more of it back.
void BlockLog::LookAtSpace() {
  const auto available = world_.files.AvailableBytes(config_.directory);
  const uint64_t kept = kKeptBlocks * uint64_t{config_.block_bytes};
  MutexLock lock(mutex_);
  no_space_ = absl::OkStatus();
  last_space_ = false;
  if (!available.ok() || *available >= kept) return;
  no_space_ = absl::ResourceExhaustedError(
      fmt::format("the disk of {} has only {} bytes left, and {} are kept for deletes and for compaction: "
                  "delete keys, or give it more space",
                  config_.directory, *available, kept));
  last_space_ = *available < kept / 2;
  // While the log is being opened, nobody may run beside it; it looks again when it is open.
  if (open_ != nullptr) ScheduleRetry();
}

absl::Status BlockLog::PrepareNextBlock(Urgency urgency) {
  bool look = false;
  {
    MutexLock lock(mutex_);
    look = next_ == nullptr || !no_space_.ok();
  }
  if (look) LookAtSpace();
  {
    MutexLock lock(mutex_);
    if (next_ != nullptr) return absl::OkStatus();
  }
  const uint64_t needed =
      BlockMemory::bytes_of(config_.block_bytes) + ChunkTable::bytes_of(config_.block_bytes);
  while (urgency == Urgency::kSoon && world_.budget.available() < needed) {
    if (FreeMemory(needed, urgency)) continue;
    if (leaving_ != nullptr) return absl::OkStatus();  // the committer runs again when it has been copied
    break;
  }
  auto block = CreateBlock();
  MutexLock lock(mutex_);
  if (block.ok()) {
    next_ = *std::move(block);
    bound_.store((next_->sequence + next_->sequence / 2 + 64) * config_.block_bytes,
                 std::memory_order_relaxed);
    no_room_ = absl::OkStatus();
  } else {
    no_room_ = block.status();
    ScheduleRetry();
  }
  return no_room_;
}

absl::StatusOr<std::unique_ptr<Block>> BlockLog::CreateBlock() {
  const uint64_t sequence = next_sequence_;
  if (sequence >= BlockTable::kEnd)
    return absl::ResourceExhaustedError("the log has used up its block numbers");
  auto block = std::make_unique<Block>(sequence, config_.directory + "/" + BlockFileName(sequence),
                                       config_.block_bytes);
  do {
    if (!block->table_memory) {
      block->table_memory =
          world_.budget.Take(Share::kChunkTables, ChunkTable::bytes_of(config_.block_bytes));
    }
    block->memory = BlockMemory::Allocate(world_.budget, config_.block_bytes);
  } while (!(block->memory != nullptr && block->table_memory) &&
           FreeMemory(BlockMemory::bytes_of(config_.block_bytes), Urgency::kNow));
  if (block->memory == nullptr || !block->table_memory) {
    return absl::ResourceExhaustedError(
        fmt::format("no memory for another block of {} bytes within the limit of {}: raise --memory",
                    config_.block_bytes, world_.budget.limit()));
  }
  {
    MutexLock lock(mutex_);
    block->version_ceiling = next_version_ + kVersionsPerBlock;
  }
  auto file = world_.files.Open(block->path, FileSystem::Mode::kCreate);
  if (!file.ok()) return file.status();
  absl::Status status = (*file)->Allocate(config_.block_bytes);
  if (status.ok()) status = (*file)->WriteAt(0, EncodeBlockHeader(*block, last_sequence_, config_.store_id));
  if (status.ok()) status = (*file)->Sync();
  if (status.ok()) status = world_.files.SyncDirectory(config_.directory);
  if (status.ok()) {
    auto reader = world_.files.Open(block->path, FileSystem::Mode::kReadDirect);
    status = reader.status();
    if (reader.ok()) block->reader = *std::move(reader);
  }
  if (!status.ok()) {
    // Nothing refers to it yet; if it stays, recovery finds an empty block and removes it.
    if (!world_.files.Remove(block->path).ok()) ++next_sequence_;
    return status;
  }
  ++next_sequence_;
  last_sequence_ = sequence;
  block->writer = *std::move(file);
  block->flushed = kFirstChunkOffset;
  block->file_bytes = config_.block_bytes;
  blocks_.fetch_add(1, std::memory_order_relaxed);
  disk_bytes_.fetch_add(config_.block_bytes, std::memory_order_relaxed);
  return block;
}

// Numbers below those of every block that writers will append to: what is relocated under them is older, in
// the order of the log, than what supersedes it meanwhile.
absl::StatusOr<uint64_t> BlockLog::TakeNumbers(uint32_t count) {
  std::unique_ptr<Block> unused;
  {
    MutexLock lock(mutex_);
    unused = std::move(next_);
    last_sequence_ = open_->sequence;
  }
  if (unused != nullptr) {
    blocks_.fetch_sub(1, std::memory_order_relaxed);
    disk_bytes_.fetch_sub(unused->file_bytes, std::memory_order_relaxed);
    // If it stays, recovery finds an empty block and removes it.
    world_.files.Remove(unused->path).IgnoreError();
    unused.reset();
  }
  const uint64_t first = next_sequence_;
  if (first + count >= BlockTable::kEnd)
    return absl::ResourceExhaustedError("the log has used up its block numbers");
  next_sequence_ += count;
  if (absl::Status status = PrepareNextBlock(Urgency::kNow); !status.ok()) return status;
  MutexLock lock(mutex_);
  // A writer may have filled the open block just now, and gone on in the new one.
  if (open_->sequence >= first + count) return first;
  if (!SwitchBlock()) return absl::UnavailableError("no block to go on with");
  return first;
}

void BlockLog::SetNumbersAside(const absl::Status& log_status) {
  std::optional<SettingAside> request;
  {
    MutexLock lock(mutex_);
    request.swap(setting_aside_);
  }
  if (!request) return;
  if (!log_status.ok()) return request->done(log_status);
  request->done(TakeNumbers(request->count));
}

void BlockLog::RetireBlocks() {
  std::vector<Retiring> requests;
  {
    MutexLock lock(mutex_);
    requests.swap(retiring_);
  }
  std::vector<std::unique_ptr<Block>> removed;
  for (const Retiring& request : requests) {
    MutexLock lock(mutex_);
    for (const uint64_t sequence : request.sequences) removed.push_back(table_.Remove(sequence));
  }
  for (const auto& block : removed) {
    const auto resident = std::find(resident_.begin(), resident_.end(), block.get());
    if (resident == resident_.end()) continue;
    if (resident == resident_.begin()) StopCopying();
    resident_.erase(resident);
    block->resident.store(nullptr, std::memory_order_release);
    resident_blocks_.fetch_sub(1, std::memory_order_relaxed);
  }
  if (!removed.empty()) world_.wait_for_latches();
  for (auto& block : removed) {
    block->memory.reset();
    blocks_.fetch_sub(1, std::memory_order_relaxed);
    disk_bytes_.fetch_sub(block->file_bytes, std::memory_order_relaxed);
    record_bytes_.fetch_sub(block->use.record_bytes, std::memory_order_relaxed);
    dead_bytes_.fetch_sub(block->dead_bytes.load(std::memory_order_relaxed), std::memory_order_relaxed);
    retired_.push_back(std::move(block));
  }
  // Acquire: see BlockHold.
  std::erase_if(retired_,
                [](const auto& block) { return block->holds.load(std::memory_order_acquire) == 0; });
  for (Retiring& request : requests) request.done(absl::OkStatus());
}

absl::Status BlockLog::Unlink(uint64_t sequence) { return world_.files.Remove(PathOf(sequence)); }

absl::Status BlockLog::KeepHeadroom() {
  const uint64_t headroom = config_.memory_headroom;
  const auto available = [this] { return world_.budget.available(); };
  bool more = true;
  for (uint64_t free = available(); more && free < headroom; free = available())
    more = FreeMemory(headroom - free, free < headroom / 8 ? Urgency::kNow : Urgency::kSoon);
  const uint64_t wanted = wanted_bytes_.load(std::memory_order_relaxed);
  if (wanted != 0) {
    while (available() < headroom + wanted && HasMemoryToSpare() && EvictOldest(Urgency::kSoon)) {
    }
    // What is still missing after the block that leaves now is asked for again.
    if (leaving_ == nullptr) wanted_bytes_.store(0, std::memory_order_relaxed);
  }
  // A writer that was sent away for want of memory needs no more than this for a table of the index to grow;
  // or it tries again when the block that is leaving has left.
  if (more || leaving_ != nullptr || available() >= headroom / 4 * 3) return absl::OkStatus();
  return absl::ResourceExhaustedError(fmt::format(
      "the index of all keys takes {} of {} bytes of memory, and no block can leave it any more: raise "
      "--memory",
      world_.budget.used(Share::kIndex), world_.budget.limit()));
}

// By one block, or a part of the cache. False: there is nothing, or the block is not ready.
bool BlockLog::FreeMemory(uint64_t bytes, Urgency urgency) {
  const bool cache_first = resident_.empty() || !HasMemoryToSpare();
  if (world_.shrink_cache && cache_first && world_.shrink_cache(bytes) != 0) return true;
  return EvictOldest(urgency);
}

// What is hot of it has been copied. Else that begins.
bool BlockLog::IsReadyToLeave(const Block& block) {
  if (!world_.before_leaving || !block.memory->AnyUse(0, block.used)) return true;
  if (leaving_ == nullptr || leaving_->start != block.position_of(0)) {
    leaving_ = std::make_shared<LeavingBlock>(block.memory, block.position_of(0), block.used);
    world_.before_leaving(leaving_, [this, gate = gate_] {
      if (!gate->Enter()) return;
      {
        MutexLock lock(mutex_);
        ScheduleCommit();
      }
      gate->Leave();
    });
  }
  // Acquire: with who copied.
  return leaving_->copied.load(std::memory_order_acquire);
}

// The memory of the block that is being copied is needed: what was not copied by now goes.
void BlockLog::StopCopying() {
  if (leaving_ == nullptr) return;
  {
    MutexLock lock(leaving_->mutex);
    leaving_->memory.reset();
  }
  leaving_.reset();
}

bool BlockLog::EvictOldest(Urgency urgency) {
  if (resident_.empty()) return false;
  Block& block = *resident_.front();
  if (urgency == Urgency::kSoon && !IsReadyToLeave(block)) return false;
  StopCopying();
  resident_.pop_front();
  block.resident.store(nullptr, std::memory_order_release);
  // Whoever saw it resident holds a latch, or has pinned it under one.
  world_.wait_for_latches();
  block.memory.reset();
  resident_blocks_.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

void BlockLog::Readmit(uint64_t sequence, std::shared_ptr<BlockMemory> memory) {
  {
    MutexLock lock(mutex_);
    readmitted_.push_back({sequence, std::move(memory)});
  }
  world_.commits.Run([this, gate = gate_] {
    if (!gate->Enter()) return;
    TakeBack();
    gate->Leave();
  });
}

void BlockLog::TakeBack() {
  std::vector<Readmitted> blocks;
  {
    MutexLock lock(mutex_);
    blocks.swap(readmitted_);
  }
  for (auto& [sequence, memory] : blocks) {
    Block* const block = table_.Find(sequence);
    if (block == nullptr || block->memory != nullptr || leaving_ != nullptr) continue;
    block->memory = std::move(memory);
    block->resident.store(block->memory->data(), std::memory_order_release);
    const auto after = std::find_if(resident_.begin(), resident_.end(),
                                    [&](const Block* each) { return each->sequence > block->sequence; });
    resident_.insert(after, block);
    resident_blocks_.fetch_add(1, std::memory_order_relaxed);
  }
}

absl::StatusOr<BlockLog::End> BlockLog::Close() {
  std::optional<SettingAside> unserved;
  std::vector<Retiring> unretired;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    unserved.swap(setting_aside_);
    unretired.swap(retiring_);
  }
  const absl::Status closing = absl::UnavailableError("the store is closing");
  if (unserved) unserved->done(closing);
  for (Retiring& request : unretired) request.done(closing);
  gate_->Close();
  {
    MutexLock lock(mutex_);
    if (!failure_.ok()) return failure_;
  }
  if (absl::Status status = Commit(); !status.ok()) {
    Fail(status);
    return status;
  }
  MutexLock lock(mutex_);
  return End{last_chunk_end_, next_version_};
}

}  // namespace thermocline::storage
