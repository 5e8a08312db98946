#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "storage/types.h"

// What the deep-cold store keeps in RocksDB, byte by byte: README.md draws it. Everything is little-endian
// but the time in an expiry's key, which is big-endian so that expiries sort by time. Blocks are checksummed
// by RocksDB.
namespace thermocline::storage::cold {

inline constexpr uint32_t kFormatVersion = 1;

// The first byte of a RocksDB key. A batch is written in this order, and what comes last is known last.
enum class Space : char { kRecords = 1, kExpiries = 2, kHeader = 3 };

inline std::string_view KeyPrefix(Space space) {
  static constexpr char kPrefixes[] = {1, 2, 3};
  return {&kPrefixes[static_cast<int>(space) - 1], 1};
}

std::string RecordKey(std::string_view key);
std::string ExpiryKey(uint64_t expires_at_ms, std::string_view key);

// What stands in front of a value: one byte of lengths, then as many bytes of the version and the expiry as
// they need.
inline constexpr size_t kMaxPrefaceBytes = 1 + sizeof(Version) + sizeof(uint64_t);
static_assert(kMaxPrefaceBytes == 17);

struct DecodedEntry {
  std::string_view value;
  Version version = 0;
  uint64_t expires_at_ms = 0;
};

// Replaces `out` by the encoded entry; its memory is used again.
void EncodeEntry(const DecodedEntry& entry, std::string& out);
// nullopt if the bytes are none.
std::optional<DecodedEntry> DecodeEntry(std::string_view bytes);

struct DecodedExpiry {
  uint64_t expires_at_ms;
  std::string_view key;
};
// Of a whole RocksDB key of Space::kExpiries.
std::optional<DecodedExpiry> DecodeExpiryKey(std::string_view rocks_key);

// The one entry of Space::kHeader, written anew with every batch.
struct Header {
  uint32_t format_version = kFormatVersion;
  uint32_t reserved = 0;
  uint64_t store_id = 0;
  uint64_t live_keys = 0;
  uint64_t live_bytes = 0;  // of keys and values
};
static_assert(sizeof(Header) == 32 && offsetof(Header, store_id) == 8 && offsetof(Header, live_keys) == 16 &&
              offsetof(Header, live_bytes) == 24);

std::string EncodeHeader(const Header& header);
// Knows every format's first field, and the rest of its own format; nullopt if the bytes are too few.
std::optional<Header> DecodeHeader(std::string_view bytes);

}  // namespace thermocline::storage::cold
