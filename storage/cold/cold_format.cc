#include "storage/cold/cold_format.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace thermocline::storage::cold {
namespace {

static_assert(std::endian::native == std::endian::little, "formats are copied as they lie in memory");

size_t BytesOf(uint64_t number) { return (std::bit_width(number) + 7) / 8; }

std::string_view First(const uint64_t& number, size_t bytes) {
  return {reinterpret_cast<const char*>(&number), bytes};
}

uint64_t NumberOf(std::string_view bytes) {
  uint64_t number = 0;
  std::memcpy(&number, bytes.data(), bytes.size());
  return number;
}

}  // namespace

std::string RecordKey(std::string_view key) { return std::string(KeyPrefix(Space::kRecords)).append(key); }

std::string ExpiryKey(uint64_t expires_at_ms, std::string_view key) {
  const uint64_t big_endian = __builtin_bswap64(expires_at_ms);
  return std::string(KeyPrefix(Space::kExpiries)).append(First(big_endian, sizeof big_endian)).append(key);
}

void EncodeEntry(const DecodedEntry& entry, std::string& out) {
  const size_t version_bytes = BytesOf(entry.version);
  const size_t expiry_bytes = BytesOf(entry.expires_at_ms);
  out.assign(1, static_cast<char>(version_bytes | expiry_bytes << 4));
  out.append(First(entry.version, version_bytes));
  out.append(First(entry.expires_at_ms, expiry_bytes));
  out.append(entry.value);
}

std::optional<DecodedEntry> DecodeEntry(std::string_view bytes) {
  if (bytes.empty()) return std::nullopt;
  const size_t version_bytes = bytes[0] & 15;
  const size_t expiry_bytes = static_cast<unsigned char>(bytes[0]) >> 4;
  if (std::max(version_bytes, expiry_bytes) > 8 || bytes.size() < 1 + version_bytes + expiry_bytes) {
    return std::nullopt;
  }
  return DecodedEntry{.value = bytes.substr(1 + version_bytes + expiry_bytes),
                      .version = NumberOf(bytes.substr(1, version_bytes)),
                      .expires_at_ms = NumberOf(bytes.substr(1 + version_bytes, expiry_bytes))};
}

std::optional<DecodedExpiry> DecodeExpiryKey(std::string_view rocks_key) {
  if (rocks_key.size() < 9 || !rocks_key.starts_with(KeyPrefix(Space::kExpiries))) return std::nullopt;
  return DecodedExpiry{__builtin_bswap64(NumberOf(rocks_key.substr(1, 8))), rocks_key.substr(9)};
}

std::string EncodeHeader(const Header& header) {
  return std::string(reinterpret_cast<const char*>(&header), sizeof header);
}

std::optional<Header> DecodeHeader(std::string_view bytes) {
  Header header;
  if (bytes.size() < sizeof header.format_version) return std::nullopt;
  std::memcpy(&header, bytes.data(), std::min(bytes.size(), sizeof header));
  if (header.format_version == kFormatVersion && bytes.size() != sizeof header) return std::nullopt;
  return header;
}

}  // namespace thermocline::storage::cold
