#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace thermocline::storage {

// Hands out the one memory number in shares. What allocates in bulk takes bytes here first and gives them
// back after it has freed them, so the sum never exceeds the limit. Thread-safe, lock-free.
class MemoryBudget {
 public:
  enum class Share : uint8_t { kIndex, kBlocks, kChunkTables, kCompaction, kCold, kCache };
  static constexpr size_t kShares = 6;

  explicit MemoryBudget(uint64_t limit_bytes) : limit_(limit_bytes) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // False, and nothing taken, if the bytes do not fit under the limit.
  bool TryTake(Share share, uint64_t bytes) {
    uint64_t used = used_.load(std::memory_order_relaxed);
    do {
      if (bytes > limit_ - used) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    shares_[static_cast<size_t>(share)].fetch_add(bytes, std::memory_order_relaxed);
    return true;
  }

  void Give(Share share, uint64_t bytes) {
    shares_[static_cast<size_t>(share)].fetch_sub(bytes, std::memory_order_relaxed);
    used_.fetch_sub(bytes, std::memory_order_relaxed);
  }

  // Bytes of a share that are given back when this is destroyed.
  class Grant {
   public:
    Grant() = default;
    Grant(Grant&& other) noexcept { *this = std::move(other); }
    Grant& operator=(Grant&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(share_, other.share_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Grant() {
      if (budget_ != nullptr) budget_->Give(share_, bytes_);
    }

    explicit operator bool() const { return budget_ != nullptr; }

   private:
    friend class MemoryBudget;
    Grant(MemoryBudget& budget, Share share, uint64_t bytes)
        : budget_(&budget), share_(share), bytes_(bytes) {}

    MemoryBudget* budget_ = nullptr;
    Share share_ = Share::kIndex;
    uint64_t bytes_ = 0;
  };

  // An empty grant if the bytes do not fit.
  Grant Take(Share share, uint64_t bytes) {
    return TryTake(share, bytes) ? Grant(*this, share, bytes) : Grant();
  }

  uint64_t limit() const { return limit_; }
  uint64_t used(Share share) const {
    return shares_[static_cast<size_t>(share)].load(std::memory_order_relaxed);
  }
  uint64_t available() const {
    const uint64_t used = used_.load(std::memory_order_relaxed);
    return used < limit_ ? limit_ - used : 0;
  }

 private:
  const uint64_t limit_;
  std::atomic<uint64_t> used_{0};
  std::array<std::atomic<uint64_t>, kShares> shares_{};
};

}  // namespace thermocline::storage
