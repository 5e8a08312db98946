#include "storage/index/frames.h"

#include <algorithm>
#include <bit>
#include <sys/mman.h>

namespace thermocline::storage {
namespace {

using Share = MemoryBudget::Share;

constexpr size_t kHugePage = 2 << 20;
constexpr size_t kMinSlab = 4 << 10;
constexpr uint64_t kSlabsInBudget = 256;  // of a small budget, so that little of it waits in the last slab

// Addresses without memory: a system that promises no more memory than it has would refuse as much of that.
void* ReserveAddresses(size_t bytes) {
  void* const begin = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return begin == MAP_FAILED ? nullptr : begin;
}

uint64_t* FirstFrameIn(void* reserved) {
  const auto address = reinterpret_cast<uintptr_t>(reserved);
  return reinterpret_cast<uint64_t*>(static_cast<char*>(reserved) +
                                     (kHugePage - address % kHugePage) % kHugePage);
}

}  // namespace

Frames::Frames(MemoryBudget& budget, uint64_t frame_bytes)
    : words_log2_(std::countr_zero(frame_bytes / sizeof(uint64_t))),
      budget_(budget),
      slab_bytes_(std::clamp<size_t>(std::bit_floor(budget.limit() / kSlabsInBudget),
                                     std::max<size_t>(kMinSlab, frame_bytes), kHugePage)),
      reserved_bytes_((budget.limit() / kHugePage + 2) * kHugePage),
      reserved_(ReserveAddresses(reserved_bytes_)),
      first_(FirstFrameIn(reserved_)) {
  // Smaller slabs would leave most of a huge page unused. If the system has none, small pages do.
  if (reserved_ != nullptr && slab_bytes_ == kHugePage) madvise(reserved_, reserved_bytes_, MADV_HUGEPAGE);
}

Frames::~Frames() {
  MutexLock lock(mutex_);
  if (reserved_ != nullptr) munmap(reserved_, reserved_bytes_);
  budget_.Give(Share::kIndex, slabs_end_);
}

std::optional<uint32_t> Frames::Take() {
  MutexLock lock(mutex_);
  if ((next_ + 1) * frame_bytes() > slabs_end_ && !AddSlab()) return std::nullopt;
  return static_cast<uint32_t>(next_++);
}

bool Frames::AddSlab() {
  if (reserved_ == nullptr) return false;
  for (size_t bytes = slab_bytes_; bytes >= std::max<size_t>(kMinSlab, frame_bytes()); bytes /= 2) {
    if (!budget_.TryTake(Share::kIndex, bytes)) continue;
    if (mprotect(reinterpret_cast<char*>(first_) + slabs_end_, bytes, PROT_READ | PROT_WRITE) == 0) {
      slabs_end_ += bytes;
      return true;
    }
    budget_.Give(Share::kIndex, bytes);
  }
  return false;
}

}  // namespace thermocline::storage
