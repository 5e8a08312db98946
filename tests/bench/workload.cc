#include "tests/bench/workload.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

namespace thermocline::bench {
namespace {

constexpr uint64_t kGoldenRatio = 0x9e3779b97f4a7c15;
constexpr uint32_t kStampBytes = 4;  // of a value: its revision, made to look random

uint64_t BitsOf(const Key& key) {
  uint64_t bits = 0;
  std::memcpy(&bits, key.bytes.data(), key.size);
  return bits;
}

}  // namespace

// Bounds are far from 2^64, so that nobody could see the bias.
uint64_t RandomStream::Below(uint64_t bound) { return Next() % bound; }

double RandomStream::Fraction() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

Permutation::Permutation(uint64_t size, uint64_t seed)
    : size_(size), seed_(Mix(seed)), half_bits_((std::bit_width(std::max<uint64_t>(size, 2) - 1) + 1) / 2) {}

// A Feistel network over the next power of four, walked until it comes back below size.
uint64_t Permutation::operator()(uint64_t number) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  do {
    uint64_t left = number >> half_bits_;
    uint64_t right = number & mask;
    for (uint64_t round = 1; round <= 4; ++round) {
      const uint64_t next = left ^ (Mix(right + seed_ + round * kGoldenRatio) & mask);
      left = right;
      right = next;
    }
    number = left << half_bits_ | right;
  } while (number >= size_);
  return number;
}

Workload::Workload(const Shape& shape)
    : shape_(shape), key_seed_(Mix(shape.seed + kGoldenRatio)), value_seed_(Mix(key_seed_ + kGoldenRatio)) {}

Key Workload::KeyAt(uint64_t index) const {
  uint64_t bits = Mix(index * kGoldenRatio + key_seed_);
  if (shape_.key_bytes == 4) bits >>= 32;
  Key key{.size = static_cast<uint8_t>(shape_.key_bytes)};
  std::memcpy(key.bytes.data(), &bits, key.size);
  return key;
}

double Workload::DistinctKeys(uint64_t count) const {
  if (shape_.key_bytes == 8) return static_cast<double>(count);
  constexpr double kPossible = 0x1p32;
  return -kPossible * std::expm1(-static_cast<double>(count) / kPossible);
}

uint32_t Workload::ValueBytes(const Key& key) const {
  const uint64_t lengths = shape_.max_value_bytes - shape_.min_value_bytes + 1;
  return shape_.min_value_bytes + static_cast<uint32_t>(Mix(BitsOf(key) ^ value_seed_) % lengths);
}

double Workload::MeanRecordBytes() const {
  return shape_.key_bytes + (shape_.min_value_bytes + shape_.max_value_bytes) / 2.0;
}

void Workload::ValueOf(const Key& key, uint32_t revision, std::string& value) const {
  const uint64_t start = Mix(BitsOf(key) + value_seed_);
  const uint32_t size = ValueBytes(key);
  value.resize(size);
  const uint32_t stamp = revision ^ static_cast<uint32_t>(start);
  std::memcpy(value.data(), &stamp, kStampBytes);
  RandomStream random(start + revision);
  for (uint32_t at = kStampBytes; at < size; at += sizeof(uint64_t)) {
    const uint64_t bytes = random.Next();
    std::memcpy(value.data() + at, &bytes, std::min<size_t>(sizeof(bytes), size - at));
  }
}

std::optional<uint32_t> Workload::RevisionOf(const Key& key, std::string_view value) const {
  if (value.size() != ValueBytes(key)) return std::nullopt;
  uint32_t stamp = 0;
  std::memcpy(&stamp, value.data(), kStampBytes);
  const uint32_t revision = stamp ^ static_cast<uint32_t>(Mix(BitsOf(key) + value_seed_));
  thread_local std::string expected;
  ValueOf(key, revision, expected);
  if (value != expected) return std::nullopt;
  return revision;
}

absl::Status Workload::CheckRead(const Key& key, const absl::StatusOr<std::optional<std::string_view>>& value,
                                 uint32_t newest) const {
  if (!value.ok()) return value.status();
  const std::optional<uint32_t> revision = *value ? RevisionOf(key, **value) : std::nullopt;
  if (revision && *revision <= newest) return absl::OkStatus();
  const std::string fault = !*value ? "was inserted and is not there"
                            : !revision
                                ? fmt::format("has {} bytes that are none of its values", (*value)->size())
                                : "has a value that was never written";
  return absl::DataLossError(fmt::format("key {:016x} {}", BitsOf(key), fault));
}

}  // namespace thermocline::bench
