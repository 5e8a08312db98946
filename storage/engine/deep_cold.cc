#include "storage/engine/deep_cold.h"

#include <algorithm>

#include <fmt/format.h>

namespace thermocline::storage {
namespace {

// The mean of the index is 9.7 bytes; right after all partitions have grown it is 10.1 for a while.
constexpr double kBytesPerSlot = 10;

// With all filters in memory: 1.6 measured, and what the store takes when it is empty.
constexpr double kBytesPerColdKey = 1.75;
constexpr uint64_t kStoreBytes = uint64_t{16} << 20;
constexpr uint64_t kMinStep = uint64_t{1} << 20;
constexpr uint64_t kMaxStep = uint64_t{16} << 20;

// The writers' block, the next one, and what waits for the disk or was just written.
constexpr uint64_t kBlocks = 5;

// A record that is read a second time while as many others as a thousandth of the memory's bytes are read is
// hot.
constexpr uint64_t kLimitPerDoorkeeperByte = 512;

constexpr uint64_t kMinTransferBytes = uint64_t{1} << 20;
constexpr uint64_t kMaxTransferBytes = uint64_t{64} << 20;

}  // namespace

uint64_t DeepCold::transfer_bytes() const {
  return std::clamp(parts_.budget.limit() / 16, kMinTransferBytes, kMaxTransferBytes);
}

uint64_t DeepCold::DoorkeeperBytes() const { return parts_.budget.limit() / kLimitPerDoorkeeperByte; }

uint64_t DeepCold::SharedBytes() const {
  const uint64_t limit = parts_.budget.limit();
  const uint64_t blocks = std::min(kBlocks * parts_.block_bytes, limit / 2);
  const uint64_t transfers = store() == nullptr ? transfer_bytes() : 0;  // else part of kCompaction
  const uint64_t others = blocks + parts_.budget.used(Share::kChunkTables) +
                          parts_.budget.used(Share::kCompaction) + transfers + limit / 32;
  return std::max(limit - std::min(limit, others), limit / 8);
}

// The index gives no memory back: so the store begins with what it will need in the end, or a good part of
// that.
uint64_t DeepCold::WantedBytes(uint64_t keys) const {
  const uint64_t wanted = kStoreBytes + static_cast<uint64_t>(kBytesPerColdKey * static_cast<double>(keys));
  return std::clamp(wanted, std::max(kMinColdMemoryBytes, MostBytes() / 8), MostBytes());
}

absl::Status DeepCold::CheckMemory() const {
  const uint64_t needed =
      kMinColdMemoryBytes + transfer_bytes() + kBlocks * parts_.block_bytes + parts_.index_bytes;
  if (parts_.index_bytes == 0 || parts_.budget.limit() >= needed) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("the memory limit is {} bytes; with an index of at most {} bytes it must be at least {}",
                  parts_.budget.limit(), parts_.index_bytes, needed));
}

uint64_t DeepCold::slots_limit() const {
  if (store() == nullptr && parts_.index_bytes == 0 && parts_.budget.limit() < kMinDeepColdMemoryBytes)
    return UINT64_MAX;
  const uint64_t shared = SharedBytes();
  uint64_t index = shared - std::min(shared, MostBytes());
  if (parts_.index_bytes != 0) index = std::min(index, parts_.index_bytes);
  return std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(index) / kBytesPerSlot));
}

absl::Status DeepCold::OpenIfPresent() {
  if (absl::Status status = CheckMemory(); !status.ok()) return status;
  // A crash may have left a store that is only half made: making it goes on then.
  const auto names = parts_.files.List(parts_.directory);
  if (absl::IsNotFound(names.status()) || (names.ok() && names->empty())) return absl::OkStatus();
  if (!names.ok()) return names.status();
  const auto made = Make();
  if (!made.ok()) return made.status();
  if (!*made) return absl::ResourceExhaustedError("no memory for deep cold: raise --memory");
  Grow();
  return absl::OkStatus();
}

// Piece by piece: what is free is little, and the committer lets blocks leave memory for more.
bool DeepCold::Gather(Share share, uint64_t& gathered, uint64_t wanted) {
  const uint64_t step = std::clamp(parts_.budget.limit() / 256, kMinStep, kMaxStep);
  while (gathered < wanted) {
    MemoryBudget::Grant grant = parts_.budget.Take(share, step);
    if (!grant) return false;
    memory_.push_back(std::move(grant));
    gathered += step;
  }
  return true;
}

absl::StatusOr<bool> DeepCold::Make() {
  if (owned_ != nullptr) return true;
  if (!Gather(Share::kCompaction, transfers_, transfer_bytes())) return false;
  if (!Gather(Share::kCold, granted_, WantedBytes(0) + DoorkeeperBytes())) return false;
  auto opened = ColdStore::Open({.directory = parts_.directory,
                                 .store_id = parts_.store_id,
                                 .memory_bytes = granted_ - DoorkeeperBytes(),
                                 .most_memory_bytes = MostBytes()},
                                parts_.files);
  if (!opened.ok()) return opened.status();
  owned_ = *std::move(opened);
  doorkeeper_ = std::make_unique<Doorkeeper>(DoorkeeperBytes() / sizeof(uint64_t));
  store_.store(owned_.get(), std::memory_order_release);
  return true;
}

void DeepCold::Grow() {
  if (owned_ == nullptr) return;
  const uint64_t before = granted_;
  Gather(Share::kCold, granted_, WantedBytes(owned_->live_keys()) + DoorkeeperBytes());
  if (granted_ != before) owned_->Grow(granted_ - DoorkeeperBytes());
}

absl::Status DeepCold::Close() {
  if (owned_ == nullptr) return absl::OkStatus();
  store_.store(nullptr, std::memory_order_relaxed);
  const absl::Status status = owned_->Close();
  owned_.reset();
  memory_.clear();
  return status;
}

}  // namespace thermocline::storage
