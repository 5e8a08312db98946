#include "server/heap.h"

#include <fstream>
#include <unistd.h>

#include <malloc.h>

namespace thermocline::server {
namespace {

constexpr int kArenas = 2;
constexpr int kMappedFrom = 256 << 10;
constexpr int kTrimmedFrom = 1 << 20;
constexpr uint64_t kTolerated = 16 << 20;

}  // namespace

void LimitHeapSlack() {
  mallopt(M_ARENA_MAX, kArenas);
  mallopt(M_MMAP_THRESHOLD, kMappedFrom);
  mallopt(M_TRIM_THRESHOLD, kTrimmedFrom);
}

void TrimHeap(uint64_t used_bytes) {
  if (ReadResidentMemory().own_bytes > used_bytes + kTolerated) malloc_trim(0);
}

ResidentMemory ReadResidentMemory() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total_pages = 0;
  uint64_t resident_pages = 0;
  uint64_t file_pages = 0;
  if (!(statm >> total_pages >> resident_pages >> file_pages)) return {};
  const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return {resident_pages * page_bytes, (resident_pages - file_pages) * page_bytes};
}

}  // namespace thermocline::server
