#include "storage/engine/checkpointer.h"

#include <algorithm>
#include <bit>
#include <utility>

#include <fmt/format.h>

namespace thermocline::storage {
namespace {

// So many bytes of records to be read after a crash are worth a checkpoint at once, and a few of them after a
// while: the index is about a tenth of the log where records are small.
constexpr uint64_t kLeastAtOnce = 256 << 20;
constexpr uint64_t kAtOnceShare = 2;
constexpr uint64_t kLeast = 64 << 20;
constexpr uint64_t kShare = 16;
constexpr std::chrono::minutes kPause{10};
constexpr std::chrono::minutes kRetry{5};

// Of slots, in one step: a few milliseconds.
constexpr int kPiecesPerStep = 16;
constexpr uint64_t kBytesOfSlot = 9;
constexpr uint64_t kSpareShare = 2;
// Of all memory, for a piece of the index and what is written of it.
constexpr uint64_t kBufferShare = 64;
constexpr uint64_t kMinBufferBytes = 64 << 10;
constexpr uint64_t kMaxBufferBytes = 512 << 10;

// There are as many partitions as there are hashes of some leading bits.
uint64_t FirstHashOf(size_t partition, size_t partitions) {
  return partition == 0 ? 0 : partition << (64 - std::countr_zero(partitions));
}

}  // namespace

Checkpointer::Checkpointer(const Parts& parts, std::vector<uint64_t> covered, Schedule schedule)
    : parts_(parts), schedule_(std::move(schedule)), covered_(std::move(covered)), last_(Clock::now()) {
  std::sort(covered_.begin(), covered_.end());
}

void Checkpointer::Poll(absl::FunctionRef<CheckpointState()> debts) {
  if (all_slots_) return AwaitDisk(debts());
  if (writer_ != nullptr || !IsDue()) return;
  if (absl::Status status = Begin(); !status.ok()) return End(status);
  schedule_([this, attempt = ++attempt_] { GoOn(attempt); });
}

void Checkpointer::GoOn(uint64_t attempt) {
  if (attempt != attempt_ || writer_ == nullptr) return;
  const auto all = Step();
  if (!all.ok()) return End(all.status());
  if (!*all) return schedule_([this, attempt] { GoOn(attempt); });
  all_slots_ = true;
}

// Slots must not outlive their records, nor graves what superseded the dead.
void Checkpointer::AwaitDisk(CheckpointState state) {
  all_slots_ = false;
  Complete(state);
  parts_.log.WhenDurable([this, attempt = attempt_, schedule = schedule_,
                          state = std::move(state)](const absl::Status& status) mutable {
    schedule([this, attempt, status, state = std::move(state)] {
      if (attempt != attempt_ || writer_ == nullptr) return;
      End(status.ok() ? Finish(state) : status);
    });
  });
}

void Checkpointer::GiveUp(const absl::Status& why) {
  if (writer_ != nullptr) End(why);
}

void Checkpointer::End(const absl::Status& status) {
  writer_.reset();
  memory_ = {};
  all_slots_ = false;
  if (status.ok()) {
    finished_.fetch_add(1, std::memory_order_relaxed);
  } else {
    if (parts_.log_bytes == 0) not_before_ = Clock::now() + kRetry;
  }
  MutexLock lock(mutex_);
  status_ = status;
}

bool Checkpointer::IsDue() const {
  if (Clock::now() < not_before_) return false;
  uint64_t all = 0;
  uint64_t uncovered = 0;
  // Expiries do not matter.
  for (const BlockLog::Usage& block : parts_.log.usage(0)) {
    all += block.used;
    if (!std::binary_search(covered_.begin(), covered_.end(), block.sequence)) uncovered += block.used;
  }
  if (parts_.log_bytes != 0) return uncovered >= parts_.log_bytes;
  if (uncovered >= std::max(kLeastAtOnce, all / kAtOnceShare)) return true;
  return uncovered >= std::max(kLeast, all / kShare) && Clock::now() >= last_ + kPause;
}

// The log needs the space more.
absl::Status Checkpointer::CheckSpace() const {
  if (parts_.log.is_short_of_space()) return parts_.log.write_status();
  const auto available = parts_.files.AvailableBytes(parts_.directory);
  if (!available.ok()) return available.status();
  const uint64_t needed = parts_.counts.slots() * kBytesOfSlot +
                          parts_.log.counters().blocks * ChunkTable::bytes_of(parts_.identity.block_bytes);
  if (*available / kSpareShare >= needed) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("a checkpoint of some {} bytes is not written with {} bytes left on the disk of {}", needed,
                  *available, parts_.directory));
}

absl::Status Checkpointer::Begin() {
  if (absl::Status status = CheckSpace(); !status.ok()) return status;
  const uint64_t buffer = std::clamp(parts_.budget.limit() / kBufferShare, kMinBufferBytes, kMaxBufferBytes);
  memory_ = parts_.budget.Take(MemoryBudget::Share::kCompaction, buffer);
  if (!memory_) return absl::ResourceExhaustedError("no memory for a checkpoint");
  auto writer =
      CheckpointWriter::Create(parts_.directory, parts_.identity, parts_.index.partitions(), parts_.files);
  if (!writer.ok()) return writer.status();
  writer_ = *std::move(writer);
  covering_.clear();
  shapes_.clear();
  partition_ = 0;
  hash_.reset();
  for (const BlockLog::Written& written : parts_.log.HoldWritten()) {
    if (absl::Status status = writer_->AddBlock(*written.block, written.dead_bytes); !status.ok())
      return status;
    covering_.push_back(written.block->sequence);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Checkpointer::Step() {
  std::vector<HashIndex::Entry> slots;
  for (int pieces = 0; pieces < kPiecesPerStep && partition_ < parts_.index.partitions(); ++pieces) {
    slots.clear();
    hash_ = parts_.index.Copy(hash_.value_or(FirstHashOf(partition_, parts_.index.partitions())), slots);
    if (absl::Status status = writer_->AddSlots(partition_, slots); !status.ok()) return status;
    if (hash_) continue;
    shapes_.push_back(parts_.index.ShapeOf(partition_));
    ++partition_;
  }
  return partition_ == parts_.index.partitions();
}

void Checkpointer::Complete(CheckpointState& state) {
  state.shapes = std::move(shapes_);
  state.hidden = parts_.counts.hidden();
  state.graves = parts_.graves.all();
  state.buried.assign(parts_.buried.begin(), parts_.buried.end());
}

absl::Status Checkpointer::Finish(const CheckpointState& state) {
  absl::Status status = writer_->Finish(state);
  if (!status.ok()) return status;
  covered_ = std::move(covering_);
  std::sort(covered_.begin(), covered_.end());
  last_ = Clock::now();
  return absl::OkStatus();
}

absl::Status Checkpointer::Write(CheckpointState state, const HotSet& hot) {
  absl::Status status = Begin();
  for (bool all = false; status.ok() && !all;) {
    const auto stepped = Step();
    status = stepped.status();
    all = stepped.ok() && *stepped;
  }
  for (auto block = hot.begin(); status.ok() && block != hot.end(); ++block)
    status = writer_->AddHot(block->first, block->second);
  Complete(state);
  if (status.ok()) status = Finish(state);
  End(status);
  return status;
}

}  // namespace thermocline::storage
