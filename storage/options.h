#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace thermocline::storage {

struct Options {
  // Where everything lives; created if missing. One engine at a time (a lock file refuses a second).
  std::string directory;

  // The one memory number, in bytes: at least kMinMemoryBytes. Index, resident blocks and tables share it.
  uint64_t memory_bytes = uint64_t{1} << 30;

  // Bytes of a block of the log: a power of two, 64 KiB .. 64 MiB; 0 chooses the largest that lets at least
  // 16 blocks fit into memory_bytes, and 32 where they are larger than 32 MiB. Decided when the store is
  // created; a store that exists keeps its own.
  uint32_t block_bytes = 0;

  // A MEMORY write is on the disk at most this long after it was acknowledged, plus the time of one sync.
  std::chrono::milliseconds flush_interval{100};

  // Most bytes that the index of the log's keys may take before the oldest records move to deep cold, where a
  // key costs less than 2 bytes of memory. 0: as much as the memory limit allows; below
  // kMinDeepColdMemoryBytes of memory there is no deep cold then, and writes of new keys are refused when the
  // index is full.
  uint64_t index_bytes = 0;

  // A checkpoint of the index is written when so many bytes of blocks would have to be read after a crash. 0:
  // half of all, or after ten minutes a sixteenth. One is written at each Close as well.
  uint64_t checkpoint_log_bytes = 0;

  // Threads that a start reads checkpoint and log with, and rebuilds the index; 0: as many as the machine
  // has. What comes out is the same.
  int recovery_threads = 0;

  // How many bits of a key's hash are used. Fewer than 64 make keys collide, which tests want and nobody
  // else.
  int hash_bits = 64;
};

inline constexpr uint64_t kMinMemoryBytes = uint64_t{4} << 20;
inline constexpr uint64_t kMinDeepColdMemoryBytes = uint64_t{128} << 20;
inline constexpr uint32_t kMinBlockBytes = 64 << 10;
inline constexpr uint32_t kMaxBlockBytes = 64 << 20;

}  // namespace thermocline::storage
