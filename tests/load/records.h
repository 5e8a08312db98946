#pragma once

#include <cstdint>
#include <string_view>

namespace thermocline::load {

// Keys and values that are computed from numbers, so that any value which comes back can be checked without
// having been stored. Immutable, thus thread-safe.
class Records {
 public:
  static constexpr uint32_t kMinValueBytes = 8;

  struct Shape {
    bool random_keys = false;        // 8 random bytes; otherwise 16 printable ones: "user" and the number
    uint32_t min_value_bytes = 100;  // at least kMinValueBytes
    uint32_t max_value_bytes = 100;
    uint64_t seed = 1;
  };

  explicit Records(const Shape& shape);

  const Shape& shape() const { return shape_; }
  uint32_t key_bytes() const { return shape_.random_keys ? 8 : 16; }
  // Writes key_bytes() bytes. Keys of different numbers differ; numbers are below 10^12.
  void WriteKey(uint64_t number, char* to) const;

  // The same for all values of a key.
  uint32_t ValueBytes(uint64_t number) const;
  // Writes ValueBytes() bytes: the revision, made to look random, and random bytes that follow from key and
  // revision.
  void WriteValue(uint64_t number, uint32_t revision, char* to) const;
  // Whether these are, to the last byte, a value that WriteValue gives this key.
  bool IsValueOf(uint64_t number, std::string_view value) const;

 private:
  uint64_t StampOf(uint64_t number) const;

  Shape shape_;
  uint64_t key_seed_;
  uint64_t value_seed_;
};

}  // namespace thermocline::load
