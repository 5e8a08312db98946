#include "storage/cold/change.h"

#include <algorithm>
#include <tuple>

namespace thermocline::storage::cold {

rocksdb::Status Change::Add(const ColdRecord& record, const rocksdb::Slice& rocks_key,
                            const std::optional<DecodedEntry>& present) {
  const bool stays = kind_ == Kind::kPut ? present && present->version >= record.version
                                         : !present || present->version > record.version;
  if (stays) return rocksdb::Status::OK();
  changed_ = true;
  if (present) {
    --header_.live_keys;
    header_.live_bytes -= record.key.size() + present->value.size();
    if (present->expires_at_ms != 0) expiries_.push_back({present->expires_at_ms, record.key, false});
  }
  if (kind_ == Kind::kDelete) return ingestion_.Delete(rocks_key);
  ++header_.live_keys;
  header_.live_bytes += record.key.size() + record.value.size();
  if (record.expires_at_ms != 0) {
    expiries_.push_back({record.expires_at_ms, record.key, true});
    first_expiry_ms_ = std::min(first_expiry_ms_, record.expires_at_ms);
  }
  EncodeEntry({record.value, record.version, record.expires_at_ms}, encoded_);
  return ingestion_.Put(rocks_key, encoded_);
}

rocksdb::Status Change::Commit() {
  if (rocksdb::Status status = WriteExpiries(); !status.ok()) return status;
  const std::string_view key = KeyPrefix(Space::kHeader);
  rocksdb::Status status = ingestion_.Put({key.data(), key.size()}, EncodeHeader(header_));
  return status.ok() ? ingestion_.Commit() : status;
}

rocksdb::Status Change::WriteExpiries() {
  std::sort(expiries_.begin(), expiries_.end(), [](const ExpiryChange& a, const ExpiryChange& b) {
    return std::tie(a.expires_at_ms, a.key, a.added) < std::tie(b.expires_at_ms, b.key, b.added);
  });
  for (size_t i = 0; i < expiries_.size(); ++i) {
    const auto& [expires_at_ms, key, added] = expiries_[i];
    // A new version may expire when the old one did: taken off and put back, of which only the latter counts.
    const bool put_back = i + 1 < expiries_.size() && expiries_[i + 1].expires_at_ms == expires_at_ms &&
                          expiries_[i + 1].key == key;
    if (put_back) continue;
    const std::string rocks_key = ExpiryKey(expires_at_ms, key);
    rocksdb::Status status =
        added ? ingestion_.Put(rocks_key, rocksdb::Slice()) : ingestion_.Delete(rocks_key);
    if (!status.ok()) return status;
  }
  return rocksdb::Status::OK();
}

}  // namespace thermocline::storage::cold
