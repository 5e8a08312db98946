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

void* Reserve(size_t bytes) {
  void* const begin =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return begin == MAP_FAILED ? nullptr : begin;
}

}  // namespace

Frames::Frames(MemoryBudget& budget)
    : budget_(budget),
      slab_bytes_(std::clamp<size_t>(std::bit_floor(budget.limit() / kSlabsInBudget), kMinSlab, kHugePage)),
      reserved_bytes_((budget.limit() / kHugePage + 2) * kHugePage),
      reserved_(Reserve(reserved_bytes_)) {
  const auto address = reinterpret_cast<uintptr_t>(reserved_);
  begin_ = next_ = end_ = static_cast<char*>(reserved_) + (kHugePage - address % kHugePage) % kHugePage;
  // Smaller slabs would leave most of a huge page unused. If the system has none, small pages do.
  if (reserved_ != nullptr && slab_bytes_ == kHugePage) madvise(reserved_, reserved_bytes_, MADV_HUGEPAGE);
}

Frames::~Frames() {
  MutexLock lock(mutex_);
  if (reserved_ != nullptr) munmap(reserved_, reserved_bytes_);
  budget_.Give(Share::kIndex, static_cast<uint64_t>(end_ - begin_));
}

uint64_t* Frames::Take() {
  MutexLock lock(mutex_);
  if (next_ == end_ && !AddSlab()) return nullptr;
  char* const frame = next_;
  next_ += kBytes;
  return reinterpret_cast<uint64_t*>(frame);
}

bool Frames::AddSlab() {
  if (reserved_ == nullptr) return false;
  for (size_t bytes = slab_bytes_; bytes >= kMinSlab; bytes /= 2) {
    if (!budget_.TryTake(Share::kIndex, bytes)) continue;
    end_ += bytes;
    return true;
  }
  return false;
}

}  // namespace thermocline::storage
