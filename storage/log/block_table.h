#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "storage/log/block.h"

namespace thermocline::storage {

// The blocks of the log by their sequence numbers. One thread at a time changes it; any may find, without a
// lock: release when a pointer is stored, acquire when it is read. Who removes a block must wait before it
// destroys it until nobody can still hold a pointer that Find or Next returned.
class BlockTable {
 public:
  // Past the last sequence number that fits; the log is refused more blocks there.
  static constexpr uint64_t kEnd = uint64_t{1} << 24;

  BlockTable() = default;
  ~BlockTable() {
    for (auto& entry : pages_) {
      std::unique_ptr<Page> page(entry.load(std::memory_order_relaxed));
      if (page == nullptr) continue;
      for (auto& block : *page) std::unique_ptr<Block> owned(block.load(std::memory_order_relaxed));
    }
  }
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  void Add(std::unique_ptr<Block> block) {
    const uint64_t sequence = block->sequence;
    std::atomic<Page*>& entry = pages_[sequence / kPage];
    if (entry.load(std::memory_order_relaxed) == nullptr) entry.store(new Page{}, std::memory_order_release);
    (*entry.load(std::memory_order_relaxed))[sequence % kPage].store(block.release(),
                                                                     std::memory_order_release);
    if (sequence >= last_.load(std::memory_order_relaxed)) last_.store(sequence, std::memory_order_release);
  }

  // nullptr if there is none.
  Block* Find(uint64_t sequence) const {
    if (sequence >= kEnd) return nullptr;
    const Page* page = pages_[sequence / kPage].load(std::memory_order_acquire);
    return page == nullptr ? nullptr : (*page)[sequence % kPage].load(std::memory_order_acquire);
  }

  // The block, which must be there, is no longer found.
  std::unique_ptr<Block> Remove(uint64_t sequence) {
    Page* const page = pages_[sequence / kPage].load(std::memory_order_relaxed);
    return std::unique_ptr<Block>((*page)[sequence % kPage].exchange(nullptr, std::memory_order_relaxed));
  }

  // The block that follows `sequence`, or nullptr.
  Block* Next(uint64_t sequence) const {
    const uint64_t last = last_.load(std::memory_order_acquire);
    while (++sequence <= last) {
      if (pages_[sequence / kPage].load(std::memory_order_acquire) == nullptr) {
        sequence |= kPage - 1;
      } else if (Block* block = Find(sequence)) {
        return block;
      }
    }
    return nullptr;
  }

 private:
  static constexpr size_t kPage = 4096;
  using Page = std::array<std::atomic<Block*>, kPage>;

  std::array<std::atomic<Page*>, kEnd / kPage> pages_{};
  std::atomic<uint64_t> last_{0};
};

}  // namespace thermocline::storage
