#include "tests/load/records.h"

#include <cstring>

#include "tests/bench/workload.h"

namespace thermocline::load {
namespace {

using bench::Mix;

constexpr uint64_t kGoldenRatio = 0x9e3779b97f4a7c15;
constexpr size_t kRevisionBytes = sizeof(uint32_t);

// What follows the revision in a value.
class Filling {
 public:
  Filling(uint64_t stamp, uint32_t revision) : random_(stamp + revision) {}
  uint64_t Next() { return random_.Next(); }

 private:
  bench::RandomStream random_;
};

}  // namespace

Records::Records(const Shape& shape)
    : shape_(shape), key_seed_(Mix(shape.seed + kGoldenRatio)), value_seed_(Mix(key_seed_ + kGoldenRatio)) {}

void Records::WriteKey(uint64_t number, char* to) const {
  if (shape_.random_keys) {
    const uint64_t bits = Mix(number * kGoldenRatio + key_seed_);
    std::memcpy(to, &bits, sizeof(bits));
    return;
  }
  std::memcpy(to, "user", 4);
  for (int at = 15; at >= 4; --at) {
    to[at] = static_cast<char>('0' + number % 10);
    number /= 10;
  }
}

uint64_t Records::StampOf(uint64_t number) const { return Mix(number * kGoldenRatio + value_seed_); }

uint32_t Records::ValueBytes(uint64_t number) const {
  const uint32_t lengths = shape_.max_value_bytes - shape_.min_value_bytes + 1;
  if (lengths == 1) return shape_.min_value_bytes;
  return shape_.min_value_bytes + static_cast<uint32_t>(StampOf(number) % lengths);
}

void Records::WriteValue(uint64_t number, uint32_t revision, char* to) const {
  const uint64_t stamp = StampOf(number);
  const size_t size = ValueBytes(number);
  const uint32_t disguised = revision ^ static_cast<uint32_t>(stamp);
  std::memcpy(to, &disguised, kRevisionBytes);
  Filling filling(stamp, revision);
  size_t at = kRevisionBytes;
  for (; size - at >= sizeof(uint64_t); at += sizeof(uint64_t)) {
    const uint64_t bytes = filling.Next();
    std::memcpy(to + at, &bytes, sizeof(bytes));
  }
  const uint64_t rest = filling.Next();
  std::memcpy(to + at, &rest, size - at);
}

bool Records::IsValueOf(uint64_t number, std::string_view value) const {
  if (value.size() != ValueBytes(number)) return false;
  const uint64_t stamp = StampOf(number);
  uint32_t revision = 0;
  std::memcpy(&revision, value.data(), kRevisionBytes);
  Filling filling(stamp, revision ^ static_cast<uint32_t>(stamp));
  value.remove_prefix(kRevisionBytes);
  for (; value.size() >= sizeof(uint64_t); value.remove_prefix(sizeof(uint64_t))) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, value.data(), sizeof(bytes));
    if (bytes != filling.Next()) return false;
  }
  const uint64_t rest = filling.Next();
  return std::memcmp(value.data(), &rest, value.size()) == 0;
}

}  // namespace thermocline::load
