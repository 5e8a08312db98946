#include "storage/system_clock.h"

#include <chrono>
#include <random>

namespace thermocline::storage {
namespace {

uint64_t SystemSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

uint64_t SystemClock::NowMs() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

uint64_t SeededRandom::Next() {
  // A counter in steps of the golden ratio, each count mixed by itself: threads share nothing but the
  // addition.
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15;
  uint64_t mixed = state_.fetch_add(kStep, std::memory_order_relaxed) + kStep;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

SystemRandom::SystemRandom() : SeededRandom(SystemSeed()) {}

}  // namespace thermocline::storage
