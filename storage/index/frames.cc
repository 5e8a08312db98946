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

// Aligned to its own size. nullptr: the system has none.
void* Map(size_t bytes) {
  void* const mapped =
      mmap(nullptr, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const from = static_cast<char*>(mapped);
  const size_t before = (bytes - reinterpret_cast<uintptr_t>(from) % bytes) % bytes;
  if (before > 0) munmap(from, before);
  munmap(from + before + bytes, bytes - before);
  // If the system has no huge pages, small ones do.
  if (bytes == kHugePage) madvise(from + before, bytes, MADV_HUGEPAGE);
  return from + before;
}

}  // namespace

Frames::Frames(MemoryBudget& budget)
    : budget_(budget),
      slab_bytes_(std::clamp<size_t>(std::bit_floor(budget.limit() / kSlabsInBudget), kMinSlab, kHugePage)) {}

Frames::~Frames() {
  MutexLock lock(mutex_);
  for (const Slab& slab : slabs_) {
    munmap(slab.begin, slab.bytes);
    budget_.Give(Share::kIndex, slab.bytes);
  }
}

uint64_t* Frames::Take() {
  MutexLock lock(mutex_);
  if (next_ == end_ && !AddSlab()) return nullptr;
  char* const frame = next_;
  next_ += kBytes;
  return reinterpret_cast<uint64_t*>(frame);
}

bool Frames::AddSlab() {
  size_t bytes = slab_bytes_;
  while (!budget_.TryTake(Share::kIndex, bytes)) {
    bytes /= 2;
    if (bytes < kMinSlab) return false;
  }
  void* const begin = Map(bytes);
  if (begin == nullptr) {
    budget_.Give(Share::kIndex, bytes);
    return false;
  }
  slabs_.push_back({begin, bytes});
  next_ = static_cast<char*>(begin);
  end_ = next_ + bytes;
  return true;
}

}  // namespace thermocline::storage
