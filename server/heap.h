#pragma once

#include <cstdint>

namespace thermocline::server {

// What malloc keeps back from the system counts against --memory although nobody uses it; these keep it
// small.

// Few arenas, and large buffers (values, messages) as mappings of their own, which go back as soon as they
// are freed. Call before any other thread starts.
void LimitHeapSlack();

// Gives back free memory between pieces that are in use, if the process's own memory exceeds `used_bytes`
// (what it knows to use) by more than 16 MiB. Takes milliseconds, during which others wait for malloc.
void TrimHeap(uint64_t used_bytes);

// Memory that the system counts for this process: all of it, and without what it maps from files.
struct ResidentMemory {
  uint64_t total_bytes = 0;
  uint64_t own_bytes = 0;
};
ResidentMemory ReadResidentMemory();

}  // namespace thermocline::server
