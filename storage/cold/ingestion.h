#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_writer.h>

namespace thermocline::storage::cold {

// One atomic change of a RocksDB: files written beside its own, in the order of their keys, and then taken
// over at once and durably. No memtable and no log: a batch is written once, and may be of any size.
// For one thread.
class Ingestion {
 public:
  // `directory` is the database's; RocksDB ignores files of this name there.
  static constexpr std::string_view kFilePrefix = "incoming-";

  Ingestion(rocksdb::DB& db, const rocksdb::Options& options, std::string directory)
      : db_(db), options_(options), directory_(std::move(directory)) {}
  // Removes what was not taken over.
  ~Ingestion();

  // Keys ascend from call to call, each but once.
  rocksdb::Status Put(const rocksdb::Slice& key, const rocksdb::Slice& value);
  rocksdb::Status Delete(const rocksdb::Slice& key);

  // After it nothing but the destructor.
  rocksdb::Status Commit();

 private:
  rocksdb::Status NextFile();
  rocksdb::Status CloseFile();

  rocksdb::DB& db_;
  const rocksdb::Options& options_;
  const std::string directory_;
  std::unique_ptr<rocksdb::SstFileWriter> writer_;
  std::vector<std::string> paths_;
};

}  // namespace thermocline::storage::cold
