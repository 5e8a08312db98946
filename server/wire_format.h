#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace thermocline::server::wire {

// Protobuf's wire format, for the few messages that are too hot to become objects. Fields of these messages
// have numbers up to 15: their tags take one byte.

enum class Type : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

constexpr char Tag(int field, Type type) { return static_cast<char>(field << 3 | static_cast<int>(type)); }

constexpr size_t VarintBytes(uint64_t value) {
  // Seven bits a byte, without a division: 9/64 is a little more than 1/7 of the bits there can be.
  const int bits = 64 - __builtin_clzll(value | 1);
  return static_cast<size_t>((bits * 9 + 64) / 64);
}

inline void AppendVarint(uint64_t value, std::string& to) {
  for (; value >= 0x80; value >>= 7) to.push_back(static_cast<char>(0x80 | (value & 0x7f)));
  to.push_back(static_cast<char>(value));
}

// Fields with their default value are left out, as proto3 does.
constexpr size_t VarintFieldBytes(uint64_t value) { return value == 0 ? 0 : 1 + VarintBytes(value); }
inline void AppendVarintField(int field, uint64_t value, std::string& to) {
  if (value == 0) return;
  to.push_back(Tag(field, Type::kVarint));
  AppendVarint(value, to);
}

constexpr size_t BytesFieldBytes(size_t size) { return size == 0 ? 0 : 1 + VarintBytes(size) + size; }
inline void AppendBytesField(int field, std::string_view bytes, std::string& to) {
  if (bytes.empty()) return;
  to.push_back(Tag(field, Type::kBytes));
  AppendVarint(bytes.size(), to);
  to.append(bytes);
}

// Reads a message field by field.
class Reader {
 public:
  explicit Reader(std::string_view message) : rest_(message) {}

  // Steps to the next field; false at the end, or where the message is broken.
  bool Next();
  // True if a field is not what the wire format allows.
  bool broken() const { return broken_; }

  uint32_t field() const { return field_; }
  Type type() const { return type_; }
  uint64_t number() const { return number_; }        // of a kVarint
  std::string_view bytes() const { return bytes_; }  // of a kBytes; lives as long as the message

 private:
  std::optional<uint64_t> TakeVarint();
  bool Broken();

  std::string_view rest_;
  bool broken_ = false;
  uint32_t field_ = 0;
  Type type_ = Type::kVarint;
  uint64_t number_ = 0;
  std::string_view bytes_;
};

}  // namespace thermocline::server::wire
