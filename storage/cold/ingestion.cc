#include "storage/cold/ingestion.h"

#include <fmt/format.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include "storage/cold/rocks_options.h"

namespace thermocline::storage::cold {

Ingestion::~Ingestion() {
  writer_.reset();
  const auto& files = options_.env->GetFileSystem();
  // Those that were taken over have another name by now. What cannot be removed is when the store is opened.
  for (const std::string& path : paths_) {
    files->DeleteFile(path, rocksdb::IOOptions(), nullptr).PermitUncheckedError();
  }
}

rocksdb::Status Ingestion::Put(const rocksdb::Slice& key, const rocksdb::Slice& value) {
  if (rocksdb::Status status = NextFile(); !status.ok()) return status;
  return writer_->Put(key, value);
}

rocksdb::Status Ingestion::Delete(const rocksdb::Slice& key) {
  if (rocksdb::Status status = NextFile(); !status.ok()) return status;
  return writer_->Delete(key);
}

rocksdb::Status Ingestion::NextFile() {
  if (writer_ != nullptr && writer_->FileSize() < kBatchFileBytes) return rocksdb::Status::OK();
  if (rocksdb::Status status = CloseFile(); !status.ok()) return status;
  paths_.push_back(fmt::format("{}/{}{}.sst", directory_, kFilePrefix, paths_.size()));
  writer_ = std::make_unique<rocksdb::SstFileWriter>(rocksdb::EnvOptions(options_), options_);
  return writer_->Open(paths_.back());
}

rocksdb::Status Ingestion::CloseFile() {
  if (writer_ == nullptr) return rocksdb::Status::OK();
  rocksdb::Status status = writer_->Finish();
  writer_.reset();
  return status;
}

rocksdb::Status Ingestion::Commit() {
  if (rocksdb::Status status = CloseFile(); !status.ok()) return status;
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  options.failed_move_fall_back_to_copy = false;
  options.write_global_seqno = false;  // files are never written again once they are complete
  return db_.IngestExternalFile(paths_, options);
}

}  // namespace thermocline::storage::cold
