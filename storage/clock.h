#pragma once

#include <cstdint>

namespace thermocline::storage {

// Wall-clock time. It decides only what has expired; the order of writes never depends on it.
// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Milliseconds since 1970-01-01 UTC. May jump in either direction.
  virtual uint64_t NowMs() = 0;
};

// A source of random numbers, not cryptographic. Thread-safe.
class Random {
 public:
  virtual ~Random() = default;

  virtual uint64_t Next() = 0;
};

}  // namespace thermocline::storage
