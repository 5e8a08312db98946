#include "storage/segment/catalog.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <utility>

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/iterator.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "storage/cold/rocks_file_system.h"
#include "storage/segment/catalog_rows.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {
namespace {

using rocksdb::Slice;

constexpr uint64_t kNumbersAtOnce = uint64_t{1} << 16;
constexpr size_t kPartIds = 2048;

void PutBigEndian(std::string& key, uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(number >> shift));
}

uint64_t BigEndian(const char* bytes) {
  uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number = number << 8 | static_cast<unsigned char>(bytes[i]);
  return number;
}

std::string Key(char kind, uint64_t number) {
  std::string key(1, kind);
  PutBigEndian(key, number);
  return key;
}

std::string NameKey(std::string_view name) { return std::string(1, 'n').append(name); }

std::string_view ToView(const Slice& slice) { return {slice.data(), slice.size()}; }

absl::Status FromRocks(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = "the catalog of segments: " + status.ToString();
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsBusy()) return absl::FailedPreconditionError(message);
  return absl::UnavailableError(message);
}

class SilentLogger : public rocksdb::Logger {
 public:
  SilentLogger() : Logger(rocksdb::InfoLogLevel::FATAL_LEVEL) {}
  void Logv(const char*, va_list) override {}
};

rocksdb::Options OptionsFor(uint64_t memory_bytes, rocksdb::Env* env) {
  rocksdb::Options options;
  options.env = env;
  options.create_if_missing = true;
  options.info_log = std::make_shared<SilentLogger>();
  options.write_buffer_size = memory_bytes / 6;
  options.arena_block_size = std::min<uint64_t>(64 << 10, memory_bytes / 64);
  options.max_write_buffer_number = 2;
  options.max_total_wal_size = std::max<uint64_t>(memory_bytes, 16 << 20);
  options.max_background_jobs = 2;
  options.max_open_files = 64;
  options.max_manifest_file_size = 1 << 20;
  options.level_compaction_dynamic_level_bytes = true;
  options.max_bytes_for_level_base = 64 << 20;
  options.target_file_size_base = 16 << 20;
  options.compression = rocksdb::kLZ4Compression;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.max_bgerror_resume_count = 0;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.compaction_readahead_size = 128 << 10;
  options.writable_file_max_buffer_size = 256 << 10;
  rocksdb::BlockBasedTableOptions table;
  rocksdb::LRUCacheOptions cache;
  cache.capacity = memory_bytes / 2;
  cache.num_shard_bits = 0;
  table.block_cache = rocksdb::NewLRUCache(cache);
  table.cache_index_and_filter_blocks = true;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace

class Catalog::Snapshot {
 public:
  explicit Snapshot(rocksdb::DB& db) : db_(db), snapshot_(db.GetSnapshot()) {}
  ~Snapshot() { db_.ReleaseSnapshot(snapshot_); }
  const rocksdb::Snapshot* get() const { return snapshot_; }

 private:
  rocksdb::DB& db_;
  const rocksdb::Snapshot* const snapshot_;
};

class Catalog::Batch::Impl {
 public:
  rocksdb::WriteBatch rows;
};

class Catalog::Impl {
 public:
  explicit Impl(FileSystem& files)
      : files_(std::make_shared<RocksFileSystem>(files)), env_(rocksdb::NewCompositeEnv(files_)) {}

  absl::Status Open(const std::string& directory, uint64_t memory_bytes, FileSystem& files) {
    if (absl::Status status = files.CreateDirectory(directory); !status.ok()) return status;
    rocksdb::DB* db = nullptr;
    const rocksdb::Status opened = rocksdb::DB::Open(OptionsFor(memory_bytes, env_.get()), directory, &db);
    if (!opened.ok()) return FromRocks(opened);
    db_.reset(db);
    std::string row;
    const rocksdb::Status found = db_->Get({}, "c", &row);
    if (!found.ok() && !found.IsNotFound()) return FromRocks(found);
    if (found.ok() && row.size() != 8) return absl::DataLossError("the catalog of segments is damaged");
    is_new_ = !found.ok();
    next_ = reserved_ = found.ok() ? BigEndian(row.data()) : 1;
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> NewNumber() {
    MutexLock lock(number_mutex_);
    if (next_ == reserved_) {
      std::string row;
      PutBigEndian(row, reserved_ + kNumbersAtOnce);
      rocksdb::WriteBatch rows;
      rows.Put("c", row);
      if (absl::Status status = Write(rows); !status.ok()) return status;
      if (absl::Status status = Sync(); !status.ok()) return status;
      reserved_ += kNumbersAtOnce;
    }
    return next_++;
  }

  absl::Status Write(rocksdb::WriteBatch& rows) {
    if (absl::Status status = write_status(); !status.ok()) return status;
    const rocksdb::Status written = db_->Write({}, &rows);
    if (written.ok()) {
      written_.fetch_add(1, std::memory_order_release);  // acquired by Sync
      return absl::OkStatus();
    }
    // RocksDB does not write to a log again that has failed once, also if the disk was only full.
    Refuse(FromRocks(written));
    return write_status();
  }

  absl::Status Sync() {
    const uint64_t mine = written_.load(std::memory_order_acquire);
    MutexLock lock(sync_mutex_);
    if (!failure_.ok()) return failure_;
    if (synced_ >= mine) return absl::OkStatus();
    const uint64_t now = written_.load(std::memory_order_acquire);
    const rocksdb::Status synced = db_->SyncWAL();
    if (synced.ok()) {
      synced_ = now;
      return absl::OkStatus();
    }
    return failure_ = absl::UnavailableError(
               "changes of segments are refused until the server is started again: " + synced.ToString());
  }

  void Refuse(const absl::Status& status) {
    MutexLock lock(sync_mutex_);
    if (failure_.ok()) {
      failure_ =
          absl::UnavailableError("changes of segments are refused until the server is started again: " +
                                 std::string(status.message()));
    }
  }

  absl::Status write_status() const {
    MutexLock lock(sync_mutex_);
    return failure_;
  }

  absl::Status Close() {
    if (db_ == nullptr) return absl::OkStatus();
    absl::Status status = write_status();
    if (status.ok()) status = FromRocks(db_->SyncWAL());
    status.Update(FromRocks(db_->Close()));
    db_.reset();
    return status;
  }

  rocksdb::DB& db() { return *db_; }
  bool is_new() const { return is_new_; }

 private:
  const std::shared_ptr<RocksFileSystem> files_;
  const std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<rocksdb::DB> db_;
  bool is_new_ = false;

  Mutex number_mutex_;
  uint64_t next_ ABSL_GUARDED_BY(number_mutex_) = 0;
  uint64_t reserved_ ABSL_GUARDED_BY(number_mutex_) = 0;

  std::atomic<uint64_t> written_{0};  // batches; release when one is applied, acquire in Sync
  mutable Mutex sync_mutex_;
  uint64_t synced_ ABSL_GUARDED_BY(sync_mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(sync_mutex_);
};

namespace {

// The ids of one kind of one recent layer. It holds no iterator between parts: that would keep tables in
// memory for as long as a query lives.
class RecentIds final : public IdStream {
 public:
  RecentIds(rocksdb::DB& db, std::shared_ptr<const void> keep, const rocksdb::Snapshot* snapshot, char kind,
            uint64_t layer)
      : db_(db),
        keep_(std::move(keep)),
        snapshot_(snapshot),
        prefix_(Key(kind, layer)),
        end_key_(Key(kind, layer + 1)),
        end_(end_key_) {
    ids_.reserve(kPartIds);
  }

  absl::Status Next(Part& part) override {
    part = Part();
    if (ended_ || !failure_.ok()) return failure_;
    failure_ = Read();
    if (failure_.ok() && !ids_.empty())
      part = Part{Part::Kind::kIds, ids_.size(), ids_.front(), ids_.back(), ids_.data(), nullptr};
    return failure_;
  }

  void Expand() override {}
  void SkipTo(uint64_t id) override { from_ = std::max(from_, id); }
  void Want(std::span<const uint64_t>) override {}

 private:
  absl::Status Read() {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot_;
    options.iterate_upper_bound = &end_;
    const std::unique_ptr<rocksdb::Iterator> rows(db_.NewIterator(options));
    std::string first = prefix_;
    PutBigEndian(first, from_);
    ids_.clear();
    for (rows->Seek(first); rows->Valid() && ids_.size() < kPartIds; rows->Next()) {
      const Slice key = rows->key();
      if (key.size() != prefix_.size() + 8) return absl::DataLossError("the catalog of segments is damaged");
      ids_.push_back(BigEndian(key.data() + prefix_.size()));
    }
    ended_ = ids_.size() < kPartIds || ids_.back() == UINT64_MAX;
    if (!ended_) from_ = ids_.back() + 1;
    return FromRocks(rows->status());
  }

  rocksdb::DB& db_;
  const std::shared_ptr<const void> keep_;
  const rocksdb::Snapshot* const snapshot_;
  const std::string prefix_;
  const std::string end_key_;
  const Slice end_;
  std::vector<uint64_t> ids_;
  uint64_t from_ = 0;
  bool ended_ = false;
  absl::Status failure_;
};

}  // namespace

Catalog::Catalog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Catalog::~Catalog() { Close().IgnoreError(); }

absl::StatusOr<std::unique_ptr<Catalog>> Catalog::Open(const std::string& directory, uint64_t memory_bytes,
                                                       FileSystem& files) {
  auto impl = std::make_unique<Impl>(files);
  if (absl::Status status = impl->Open(directory, memory_bytes, files); !status.ok()) return status;
  return std::unique_ptr<Catalog>(new Catalog(std::move(impl)));
}

absl::Status Catalog::Close() { return impl_->Close(); }
absl::StatusOr<uint64_t> Catalog::NewNumber() { return impl_->NewNumber(); }
absl::Status Catalog::Sync() { return impl_->Sync(); }
absl::Status Catalog::write_status() const { return impl_->write_status(); }
bool Catalog::is_new() const { return impl_->is_new(); }

std::shared_ptr<const Catalog::Snapshot> Catalog::Now() const {
  return std::make_shared<const Snapshot>(impl_->db());
}

absl::StatusOr<std::optional<SegmentEntry>> Catalog::Find(std::string_view name, const Snapshot* at) const {
  rocksdb::ReadOptions options;
  if (at != nullptr) options.snapshot = at->get();
  std::string row;
  const rocksdb::Status found = impl_->db().Get(options, NameKey(name), &row);
  if (found.IsNotFound()) return std::optional<SegmentEntry>();
  if (!found.ok()) return FromRocks(found);
  absl::StatusOr<SegmentEntry> entry = DecodeSegment(row);
  if (!entry.ok()) return entry.status();
  return std::optional<SegmentEntry>(*std::move(entry));
}

absl::Status Catalog::ForEach(
    std::string_view prefix, std::string_view after, const Snapshot* at,
    const std::function<bool(std::string_view name, const SegmentEntry& entry)>& visit) const {
  rocksdb::ReadOptions options;
  if (at != nullptr) options.snapshot = at->get();
  const std::unique_ptr<rocksdb::Iterator> row(impl_->db().NewIterator(options));
  const std::string first = NameKey(prefix);
  const bool resumes = after >= prefix && !after.empty();
  for (row->Seek(resumes ? NameKey(after) : first); row->Valid(); row->Next()) {
    if (!row->key().starts_with(first)) break;
    const std::string_view name = ToView(row->key()).substr(1);
    if (resumes && name == after) continue;
    const absl::StatusOr<SegmentEntry> entry = DecodeSegment(ToView(row->value()));
    if (!entry.ok()) return entry.status();
    if (!visit(name, *entry)) return absl::OkStatus();
  }
  return FromRocks(row->status());
}

absl::Status Catalog::ForEachResult(
    const std::function<void(uint64_t number, const ResultEntry& entry)>& visit) const {
  const std::unique_ptr<rocksdb::Iterator> row(impl_->db().NewIterator({}));
  for (row->Seek("r"); row->Valid() && row->key().starts_with("r"); row->Next()) {
    const absl::StatusOr<ResultEntry> entry = DecodeResult(ToView(row->value()));
    if (!entry.ok()) return entry.status();
    if (row->key().size() != 9) return absl::DataLossError("the catalog of segments is damaged");
    visit(BigEndian(row->key().data() + 1), *entry);
  }
  return FromRocks(row->status());
}

absl::Status Catalog::Write(Batch& batch) { return impl_->Write(batch.impl_->rows); }

std::unique_ptr<IdStream> Catalog::RecentStream(std::shared_ptr<const Snapshot> at, uint64_t layer,
                                                bool adds) const {
  const rocksdb::Snapshot* const snapshot = at->get();
  return std::make_unique<RecentIds>(impl_->db(), std::move(at), snapshot, adds ? 'a' : 'd', layer);
}

Catalog::Batch::Batch() : impl_(std::make_unique<Impl>()) {}
Catalog::Batch::~Batch() = default;

void Catalog::Batch::Put(std::string_view name, const SegmentEntry& entry) {
  impl_->rows.Put(NameKey(name), EncodeSegment(entry));
}

void Catalog::Batch::Remove(std::string_view name) { impl_->rows.Delete(NameKey(name)); }

namespace {

// Has a recent layer say one thing of some ids, and no longer the opposite.
void PutRecent(rocksdb::WriteBatch& rows, uint64_t layer, std::span<const uint64_t> ids, char kind,
               char opposite, bool may_be_opposite) {
  std::string said = Key(kind, layer);
  std::string denied = Key(opposite, layer);
  const size_t prefix = said.size();
  for (const uint64_t id : ids) {
    for (std::string* const key : {&said, &denied}) {
      key->resize(prefix);
      PutBigEndian(*key, id);
    }
    rows.Put(said, Slice());
    if (may_be_opposite) rows.Delete(denied);
  }
}

}  // namespace

void Catalog::Batch::AddRecent(uint64_t layer, std::span<const uint64_t> ids, bool may_be_removed) {
  PutRecent(impl_->rows, layer, ids, 'a', 'd', may_be_removed);
}

void Catalog::Batch::RemoveRecent(uint64_t layer, std::span<const uint64_t> ids, bool may_be_added) {
  PutRecent(impl_->rows, layer, ids, 'd', 'a', may_be_added);
}

void Catalog::Batch::DropRecent(uint64_t layer) {
  for (const char kind : {'a', 'd'}) impl_->rows.DeleteRange(Key(kind, layer), Key(kind, layer + 1));
}

void Catalog::Batch::PutResult(uint64_t number, const ResultEntry& entry) {
  impl_->rows.Put(Key('r', number), EncodeResult(entry));
}

void Catalog::Batch::RemoveResult(uint64_t number) { impl_->rows.Delete(Key('r', number)); }

}  // namespace thermocline::storage::segment
