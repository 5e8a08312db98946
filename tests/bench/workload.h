#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace thermocline::bench {

// SplitMix64's finalizer: a bijection of all 64-bit numbers that looks random.
inline uint64_t Mix(uint64_t number) {
  number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9;
  number = (number ^ (number >> 27)) * 0x94d049bb133111eb;
  return number ^ (number >> 31);
}

// SplitMix64: the same numbers for the same seed. Not thread-safe.
class RandomStream {
 public:
  explicit RandomStream(uint64_t seed) : state_(Mix(seed)) {}

  uint64_t Next() { return Mix(state_ += 0x9e3779b97f4a7c15); }
  uint64_t Below(uint64_t bound);  // 0 .. bound-1; `bound` at least 1
  double Fraction();               // 0 <= x < 1

 private:
  uint64_t state_;
};

// A bijection of 0 .. size-1 that looks random, computed instead of stored.
class Permutation {
 public:
  Permutation(uint64_t size, uint64_t seed);

  uint64_t operator()(uint64_t number) const;

 private:
  uint64_t size_;
  uint64_t seed_;
  int half_bits_;
};

struct Key {
  std::array<char, 8> bytes{};
  uint8_t size = 0;

  std::string_view view() const { return {bytes.data(), size}; }
};

// Keys and values that are computed from a seed and a number, so that billions of them can be written, chosen
// and verified without being stored. Immutable, thus thread-safe.
class Workload {
 public:
  struct Shape {
    int key_bytes = 8;              // 4 or 8
    uint32_t min_value_bytes = 32;  // at least 4
    uint32_t max_value_bytes = 75;
    uint64_t seed = 1;
  };

  explicit Workload(const Shape& shape);

  // Keys of 8 bytes are all different. Those of 4 bytes are drawn at random, so some come twice.
  Key KeyAt(uint64_t index) const;
  // How many different keys the first `count` are: exactly, or with 4 bytes the expected number, from which
  // the true one differs by less than a hundred thousandth.
  double DistinctKeys(uint64_t count) const;

  // The value that `key` has after its `revision`-th overwrite. Random bytes; a key's values are of the same
  // length.
  void ValueOf(const Key& key, uint32_t revision, std::string& value) const;
  // The revision for which ValueOf gives exactly these bytes, or nullopt if there is none.
  std::optional<uint32_t> RevisionOf(const Key& key, std::string_view value) const;

  // Whether a get of an inserted key has returned one of the key's values, of a revision up to `newest`.
  // DATA_LOSS that says what is wrong, or the get's own error.
  absl::Status CheckRead(const Key& key, const absl::StatusOr<std::optional<std::string_view>>& value,
                         uint32_t newest) const;

  uint32_t ValueBytes(const Key& key) const;
  uint32_t RecordBytes(const Key& key) const { return key.size + ValueBytes(key); }
  double MeanRecordBytes() const;

 private:
  Shape shape_;
  uint64_t key_seed_;
  uint64_t value_seed_;
};

}  // namespace thermocline::bench
