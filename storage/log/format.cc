#include "storage/log/format.h"

#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "storage/varint.h"

namespace thermocline::storage {
namespace {

constexpr uint8_t kTombstoneFlag = 1;
constexpr uint8_t kExpiryFlag = 2;
constexpr uint8_t kDisplacedFlag = 4;
constexpr uint8_t kUnresolvedFlag = 8;
constexpr uint8_t kDeepFlag = 16;
constexpr uint8_t kGraveFlag = 32;
constexpr uint8_t kBehindFlag = 64;
constexpr uint8_t kKnownFlags = 127;

// Leaves room for some 500 000 versions in either direction, so that most updates fit in place.
constexpr int kMinVersionBytes = 3;

constexpr uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
constexpr int64_t UnZigZag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}

uint64_t VersionField(const Record& record, uint64_t base_version) {
  return ZigZag(static_cast<int64_t>(record.version - base_version));
}

}  // namespace

uint64_t ChecksumOf(std::string_view header_and_payload, uint64_t store_id) {
  return XXH3_64bits_withSeed(header_and_payload.data() + sizeof(uint64_t),
                              header_and_payload.size() - sizeof(uint64_t), store_id);
}

std::string_view GraveKey(const uint64_t& hash) {
  return {reinterpret_cast<const char*>(&hash), sizeof(hash)};
}

uint64_t HashOfGrave(const Record& grave) {
  uint64_t hash = 0;
  std::memcpy(&hash, grave.key.data(), sizeof(hash));
  return hash;
}

uint32_t EncodedBytes(const Record& record, Position position, uint64_t base_version) {
  if (record.grave) return 1 + VarintBytes(position - record.displaced) + sizeof(uint64_t);
  uint64_t bytes = 1 + VarintBytes(record.key.size()) + record.key.size();
  if (!record.tombstone) bytes += VarintBytes(record.value.size()) + record.value.size();
  bytes += VarintBytes(VersionField(record, base_version), kMinVersionBytes);
  if (record.expires_at_ms != 0) bytes += VarintBytes(record.expires_at_ms);
  if (record.displaced != 0) bytes += VarintBytes(position - record.displaced);
  if (record.behind != 0) bytes += VarintBytes(position - record.behind);
  return static_cast<uint32_t>(bytes);
}

void EncodeRecord(const Record& record, Position position, uint64_t base_version, char* out) {
  const int flags = (record.tombstone ? kTombstoneFlag : 0) | (record.expires_at_ms != 0 ? kExpiryFlag : 0) |
                    (record.displaced != 0 ? kDisplacedFlag : 0) | (record.unresolved ? kUnresolvedFlag : 0) |
                    (record.deep ? kDeepFlag : 0) | (record.behind != 0 ? kBehindFlag : 0);
  if (record.grave) {
    *out++ = static_cast<char>(kGraveFlag | kDisplacedFlag);
    out = PutVarint(out, position - record.displaced);
    std::memcpy(out, record.key.data(), sizeof(uint64_t));
    return;
  }
  *out++ = static_cast<char>(flags);
  out = PutVarint(out, record.key.size());
  if (!record.tombstone) out = PutVarint(out, record.value.size());
  out = PutVarint(out, VersionField(record, base_version), kMinVersionBytes);
  if (record.expires_at_ms != 0) out = PutVarint(out, record.expires_at_ms);
  if (record.displaced != 0) out = PutVarint(out, position - record.displaced);
  if (record.behind != 0) out = PutVarint(out, position - record.behind);
  std::memcpy(out, record.key.data(), record.key.size());
  if (!record.tombstone && !record.value.empty()) {
    std::memcpy(out + record.key.size(), record.value.data(), record.value.size());
  }
}

namespace {

std::optional<DecodedRecord> DecodeGrave(std::string_view in, Position position) {
  const std::string_view whole = in;
  uint64_t back = 0;
  in.remove_prefix(1);
  if (!GetVarint(in, back) || back == 0 || back >= position || in.size() < sizeof(uint64_t))
    return std::nullopt;
  DecodedRecord decoded;
  decoded.record.key = in.substr(0, sizeof(uint64_t));
  decoded.record.displaced = position - back;
  decoded.record.grave = true;
  decoded.bytes = static_cast<uint32_t>(whole.size() - in.size() + sizeof(uint64_t));
  return decoded;
}

}  // namespace

std::optional<DecodedRecord> DecodeRecord(std::string_view in, Position position, uint64_t base_version) {
  const std::string_view whole = in;
  if (in.empty()) return std::nullopt;
  const auto flags = static_cast<uint8_t>(in[0]);
  if (flags == (kGraveFlag | kDisplacedFlag)) return DecodeGrave(in, position);
  in.remove_prefix(1);
  if ((flags & (~kKnownFlags | kGraveFlag)) != 0) return std::nullopt;

  DecodedRecord decoded;
  Record& record = decoded.record;
  record.tombstone = (flags & kTombstoneFlag) != 0;
  record.unresolved = (flags & kUnresolvedFlag) != 0;
  record.deep = (flags & kDeepFlag) != 0;
  uint64_t key_bytes = 0;
  uint64_t value_bytes = 0;
  uint64_t version = 0;
  if (!GetVarint(in, key_bytes) || key_bytes == 0) return std::nullopt;
  if (!record.tombstone && !GetVarint(in, value_bytes)) return std::nullopt;
  if (!GetVarint(in, version)) return std::nullopt;
  record.version = base_version + static_cast<uint64_t>(UnZigZag(version));
  if ((flags & kExpiryFlag) != 0 && !GetVarint(in, record.expires_at_ms)) return std::nullopt;
  if ((flags & kDisplacedFlag) != 0) {
    uint64_t back = 0;
    if (!GetVarint(in, back) || back == 0 || back >= position) return std::nullopt;
    record.displaced = position - back;
  }
  if ((flags & kBehindFlag) != 0) {
    uint64_t back = 0;
    if (!GetVarint(in, back) || back == 0 || back >= position) return std::nullopt;
    record.behind = position - back;
  }
  if (key_bytes > in.size() || value_bytes > in.size() - key_bytes) return std::nullopt;
  record.key = in.substr(0, key_bytes);
  record.value = in.substr(key_bytes, value_bytes);
  decoded.bytes = static_cast<uint32_t>(record.value.data() + value_bytes - whole.data());
  return decoded;
}

}  // namespace thermocline::storage
