#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <rocksdb/db.h>

#include "storage/cold/cold_format.h"
#include "storage/cold/cold_store.h"
#include "storage/cold/ingestion.h"

namespace thermocline::storage::cold {

// What a batch of the store does to the database, found out record by record: entries, the index of expiries
// and the counts, as one step. For one thread; the records' views must outlive it.
class Change {
 public:
  enum class Kind { kPut, kDelete };

  // `header` is the database's before the change. The others as Ingestion.
  Change(Kind kind, rocksdb::DB& db, const rocksdb::Options& options, std::string directory,
         const Header& header)
      : kind_(kind), header_(header), ingestion_(db, options, std::move(directory)) {}

  // `present` is the entry that the record's key has, if it has one. Keys ascend from call to call.
  rocksdb::Status Add(const ColdRecord& record, const rocksdb::Slice& rocks_key,
                      const std::optional<DecodedEntry>& present);

  // Writes what is left, and makes all of it true and durable. After it only what follows may be called.
  rocksdb::Status Commit();

  // False if every entry stays as it is; then there is nothing to commit.
  bool changed() const { return changed_; }
  // The database's after the change.
  const Header& header() const { return header_; }
  // The earliest of the expiries that come in; the largest number if none does.
  uint64_t first_expiry_ms() const { return first_expiry_ms_; }

 private:
  // What becomes of an entry of the index of expiries.
  struct ExpiryChange {
    uint64_t expires_at_ms;
    std::string_view key;  // of the batch
    bool added;
  };
  static_assert(sizeof(ExpiryChange) == 32, "cold_store.h promises so much per record that expires");

  rocksdb::Status WriteExpiries();

  const Kind kind_;
  Header header_;
  Ingestion ingestion_;
  std::vector<ExpiryChange> expiries_;
  std::string encoded_;
  uint64_t first_expiry_ms_ = UINT64_MAX;
  bool changed_ = false;
};

}  // namespace thermocline::storage::cold
