#include "server/wire_format.h"

namespace thermocline::server::wire {

std::optional<uint64_t> Reader::TakeVarint() {
  uint64_t value = 0;
  for (size_t i = 0; i < rest_.size() && i < 10; ++i) {
    const auto byte = static_cast<uint8_t>(rest_[i]);
    value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      rest_.remove_prefix(i + 1);
      return value;
    }
  }
  return std::nullopt;
}

bool Reader::Broken() {
  broken_ = true;
  rest_ = {};
  return false;
}

bool Reader::Next() {
  if (rest_.empty()) return false;
  const std::optional<uint64_t> tag = TakeVarint();
  if (!tag || *tag >> 32 != 0 || *tag >> 3 == 0) return Broken();
  field_ = static_cast<uint32_t>(*tag >> 3);
  type_ = static_cast<Type>(*tag & 7);
  size_t size = 0;
  switch (type_) {
    case Type::kVarint: {
      const std::optional<uint64_t> number = TakeVarint();
      if (!number) return Broken();
      number_ = *number;
      return true;
    }
    case Type::kBytes: {
      const std::optional<uint64_t> length = TakeVarint();
      if (!length || *length > rest_.size()) return Broken();
      size = *length;
      break;
    }
    case Type::kFixed64:
      size = 8;
      break;
    case Type::kFixed32:
      size = 4;
      break;
    default:  // groups, which proto3 does not have
      return Broken();
  }
  if (size > rest_.size()) return Broken();
  bytes_ = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return true;
}

}  // namespace thermocline::server::wire
