#pragma once

#include <atomic>
#include <cstdint>

#include "storage/clock.h"

namespace thermocline::storage {

// The machine's clock.
class SystemClock : public Clock {
 public:
  uint64_t NowMs() override;
};

// The same numbers for the same seed (SplitMix64), as long as one thread asks.
class SeededRandom : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}

  uint64_t Next() override;

 private:
  std::atomic<uint64_t> state_;
};

// Other numbers at every start: seeded by the operating system.
class SystemRandom : public SeededRandom {
 public:
  SystemRandom();
};

}  // namespace thermocline::storage
