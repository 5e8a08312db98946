#include "storage/cold/cold_store.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>

#include "storage/cold/change.h"
#include "storage/cold/cold_format.h"
#include "storage/cold/ingestion.h"
#include "storage/cold/rocks_file_system.h"
#include "storage/cold/rocks_options.h"
#include "storage/cold/watch.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {
namespace {

using cold::Change;
using cold::DecodedEntry;
using cold::Header;
using cold::Ingestion;
using cold::Space;
using rocksdb::PinnableSlice;
using rocksdb::ReadOptions;
using rocksdb::Slice;

// Keys asked for at once. As many data blocks are pinned meanwhile.
constexpr size_t kKeysPerRead = 32;

// Of an expired entry on its way out, beside its key: as a string, as a record, to be sorted, and its expiry.
constexpr uint64_t kBytesPerExpired = 40 + sizeof(ColdRecord) + 16 + 32;

std::string_view View(const Slice& slice) { return {slice.data(), slice.size()}; }
Slice ToSlice(std::string_view view) { return {view.data(), view.size()}; }

// The only place where RocksDB's errors become ours.
absl::Status FromRocks(const rocksdb::Status& status, std::string_view operation,
                       std::string_view directory) {
  if (status.ok()) return absl::OkStatus();
  const std::string message =
      fmt::format("cannot {} cold store {}: {}", operation, directory,
                  status.getState() != nullptr ? status.getState() : status.ToString());
  if (status.IsNoSpace() || status.IsMemoryLimit()) return absl::ResourceExhaustedError(message);
  if (status.IsCorruption() || status.IsPathNotFound()) return absl::DataLossError(message);
  if (status.IsBusy()) return absl::FailedPreconditionError(message);
  return absl::UnavailableError(message);
}

// A record of a batch, and the first bytes of its key as a number: most comparisons need not look at the key,
// which is somewhere else in memory.
struct Ordered {
  uint64_t first_bytes;
  const ColdRecord* record;
};
static_assert(sizeof(Ordered) == 16, "cold_store.h promises so much per record");

// Ascending by their keys, of each key only the newest version.
std::vector<Ordered> InOrder(std::span<const ColdRecord> batch) {
  std::vector<Ordered> ordered;
  ordered.reserve(batch.size());
  for (const ColdRecord& record : batch) {
    uint64_t first_bytes = 0;
    std::memcpy(&first_bytes, record.key.data(), std::min(sizeof first_bytes, record.key.size()));
    ordered.push_back({__builtin_bswap64(first_bytes), &record});
  }
  std::sort(ordered.begin(), ordered.end(), [](const Ordered& a, const Ordered& b) {
    if (a.first_bytes != b.first_bytes) return a.first_bytes < b.first_bytes;
    const int order = a.record->key.compare(b.record->key);
    return order != 0 ? order < 0 : a.record->version > b.record->version;
  });
  const auto same_key = [](const Ordered& a, const Ordered& b) {
    return a.first_bytes == b.first_bytes && a.record->key == b.record->key;
  };
  ordered.erase(std::unique(ordered.begin(), ordered.end(), same_key), ordered.end());
  return ordered;
}

absl::Status CheckLimits(std::string_view key, size_t value_bytes) {
  if (key.empty() || key.size() > kMaxKeyBytes) {
    return absl::InvalidArgumentError(
        fmt::format("a key has 1 to {} bytes, not {}", kMaxKeyBytes, key.size()));
  }
  if (value_bytes > kMaxValueBytes) {
    return absl::InvalidArgumentError(
        fmt::format("a value has at most {} bytes, not {}", kMaxValueBytes, value_bytes));
  }
  return absl::OkStatus();
}

ColdEntry ToEntry(const DecodedEntry& decoded) {
  return {std::string(decoded.value), decoded.version, decoded.expires_at_ms};
}

// The first key that is behind every key with `prefix`; empty if there is none.
std::string EndOf(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (!end.empty()) ++end.back();
  return end;
}

}  // namespace

class ColdStore::Impl {
 public:
  Impl(const ColdOptions& options, FileSystem& files)
      : directory_(options.directory),
        store_id_(options.store_id),
        memory_bytes_(options.memory_bytes),
        files_(std::make_shared<RocksFileSystem>(files)),
        env_(rocksdb::NewCompositeEnv(files_)),
        watch_(std::make_shared<cold::Watch>()),
        rocks_(cold::RocksOptionsFor(options.memory_bytes,
                                     std::max(options.memory_bytes, options.most_memory_bytes))) {
    rocks_.options.env = rocks_.batch_options.env = env_.get();
    rocks_.options.listeners = {watch_};
  }

  absl::Status Open();
  absl::Status Close();

  absl::Status Apply(Change::Kind kind, std::span<const ColdRecord> batch);
  absl::StatusOr<ColdReclaimed> ReclaimExpired(uint64_t now_ms, uint64_t max_bytes);
  absl::StatusOr<std::optional<ColdEntry>> Get(std::string_view key) const;
  absl::StatusOr<std::vector<std::optional<ColdEntry>>> MultiGet(
      std::span<const std::string_view> keys) const;
  absl::StatusOr<ColdScanPage> Scan(const ColdScanRequest& request) const;
  void Grow(uint64_t memory_bytes);
  uint64_t live_keys() const { return header().live_keys; }
  ColdStats Stats() const;

 private:
  using Found = std::array<PinnableSlice, kKeysPerRead>;
  // Which keys of a read are there.
  using Present = std::array<bool, kKeysPerRead>;
  absl::Status Error(const rocksdb::Status& status, std::string_view operation) const {
    return FromRocks(status, operation, directory_);
  }
  absl::Status Malformed(std::string_view rocks_key) const;
  absl::StatusOr<DecodedEntry> Decode(std::string_view rocks_key, const Slice& bytes) const;

  absl::Status RemoveLeftovers();
  absl::Status CheckHeader();
  absl::Status ApplyLocked(Change::Kind kind, std::span<const Ordered> sorted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_);
  absl::Status AwaitRoom();
  absl::Status write_status() const;
  rocksdb::Status ReadUncached(const Slice& key, PinnableSlice& found) const;
  absl::Status Read(std::span<const Slice> keys, Found& found, Present& present) const;
  uint64_t Property(const std::string& name) const;
  int FilesAtLevel0() const;
  Header header() const {
    MutexLock lock(header_mutex_);
    return header_;
  }

  const std::string directory_;
  const uint64_t store_id_;
  std::atomic<uint64_t> memory_bytes_;
  const std::shared_ptr<RocksFileSystem> files_;
  const std::unique_ptr<rocksdb::Env> env_;
  const std::shared_ptr<cold::Watch> watch_;
  cold::RocksOptions rocks_;
  std::unique_ptr<rocksdb::DB> db_;

  Mutex writer_;  // held for the whole of a write
  // Up to here all expiries have been reclaimed; a search from the beginning would wade through tombstones.
  uint64_t reclaimed_ms_ ABSL_GUARDED_BY(writer_) = 0;
  mutable Mutex header_mutex_;
  Header header_ ABSL_GUARDED_BY(header_mutex_);  // as it is in the database; changed by writers only
};

absl::Status ColdStore::Impl::Open() {
  const uint64_t memory_bytes = memory_bytes_.load(std::memory_order_relaxed);
  if (memory_bytes < kMinColdMemoryBytes) {
    return absl::InvalidArgumentError(fmt::format("cold store {}: {} bytes of memory, but it needs {}",
                                                  directory_, memory_bytes, kMinColdMemoryBytes));
  }
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(rocks_.options, directory_, &db);
  db_.reset(db);
  if (!status.ok()) return Error(status, "open");
  if (absl::Status removed = RemoveLeftovers(); !removed.ok()) return removed;
  return CheckHeader();
}

// Files of a batch that a crash interrupted before they were taken over.
absl::Status ColdStore::Impl::RemoveLeftovers() {
  std::vector<std::string> names;
  rocksdb::Status status = files_->GetChildren(directory_, rocksdb::IOOptions(), &names, nullptr);
  for (const std::string& name : names) {
    if (!name.starts_with(Ingestion::kFilePrefix) || !status.ok()) continue;
    status = files_->DeleteFile(fmt::format("{}/{}", directory_, name), rocksdb::IOOptions(), nullptr);
  }
  return Error(status, "clean up");
}

absl::Status ColdStore::Impl::CheckHeader() {
  PinnableSlice bytes;
  const rocksdb::Status status =
      db_->Get(ReadOptions(), db_->DefaultColumnFamily(), ToSlice(KeyPrefix(Space::kHeader)), &bytes);
  if (status.IsNotFound()) {
    const std::unique_ptr<rocksdb::Iterator> any(db_->NewIterator(ReadOptions()));
    any->SeekToFirst();
    if (any->Valid()) {
      return absl::FailedPreconditionError(
          fmt::format("{} holds a RocksDB that is no cold store", directory_));
    }
    if (!any->status().ok()) return Error(any->status(), "read");
    MutexLock lock(header_mutex_);
    header_.store_id = store_id_;
    Ingestion ingestion(*db_, rocks_.batch_options, directory_);
    const rocksdb::Status written =
        ingestion.Put(ToSlice(KeyPrefix(Space::kHeader)), cold::EncodeHeader(header_));
    return Error(written.ok() ? ingestion.Commit() : written, "create");
  }
  if (!status.ok()) return Error(status, "read the header of");
  const std::optional<Header> header = cold::DecodeHeader(View(bytes));
  if (!header) return Malformed(KeyPrefix(Space::kHeader));
  if (header->format_version != cold::kFormatVersion) {
    return absl::FailedPreconditionError(
        fmt::format("cold store {} has format {}, and this version of the software knows only {}", directory_,
                    header->format_version, cold::kFormatVersion));
  }
  if (header->store_id != store_id_) {
    return absl::FailedPreconditionError(fmt::format("cold store {} belongs to store {:016x}, not to {:016x}",
                                                     directory_, header->store_id, store_id_));
  }
  MutexLock lock(header_mutex_);
  header_ = *header;
  return absl::OkStatus();
}

absl::Status ColdStore::Impl::Close() {
  if (db_ == nullptr) return absl::OkStatus();
  rocksdb::Status status = db_->Close();
  db_.reset();
  return Error(status, "close");
}

absl::Status ColdStore::Impl::Malformed(std::string_view rocks_key) const {
  return absl::DataLossError(fmt::format("cold store {}: the entry of key '{}' is malformed", directory_,
                                         Slice(rocks_key.data(), rocks_key.size()).ToString(true)));
}

absl::StatusOr<DecodedEntry> ColdStore::Impl::Decode(std::string_view rocks_key, const Slice& bytes) const {
  const std::optional<DecodedEntry> decoded = cold::DecodeEntry(View(bytes));
  if (!decoded) return Malformed(rocks_key);
  return *decoded;
}

absl::Status ColdStore::Impl::write_status() const {
  if (absl::Status frozen = files_->write_status(); !frozen.ok()) {
    return absl::UnavailableError(fmt::format("cold store {} takes no writes until it is opened again: {}",
                                              directory_, std::string(frozen.message())));
  }
  return Error(watch_->failure(), "write to");
}

int ColdStore::Impl::FilesAtLevel0() const {
  std::string files;
  db_->GetProperty(rocksdb::DB::Properties::kNumFilesAtLevelPrefix + "0", &files);
  return std::atoi(files.c_str());
}

// Waits until compactions have caught up, for ingestion itself never does. If they stopped for want of space,
// starts them again.
absl::Status ColdStore::Impl::AwaitRoom() {
  if (watch_->failure().IsNoSpace()) {
    watch_->ForgetNoSpace();
    if (rocksdb::Status status = db_->Resume(); !status.ok()) return Error(status, "write to");
  }
  while (FilesAtLevel0() >= cold::kMostFilesAtLevel0) {
    if (absl::Status status = write_status(); !status.ok()) return status;
    watch_->Wait();
  }
  return write_status();
}

absl::Status ColdStore::Impl::Apply(Change::Kind kind, std::span<const ColdRecord> batch) {
  for (const ColdRecord& record : batch) {
    if (absl::Status status = CheckLimits(record.key, record.value.size()); !status.ok()) return status;
  }
  const std::vector<Ordered> ordered = InOrder(batch);
  MutexLock lock(writer_);
  return ApplyLocked(kind, ordered);
}

absl::Status ColdStore::Impl::ApplyLocked(Change::Kind kind, std::span<const Ordered> sorted) {
  if (absl::Status status = AwaitRoom(); !status.ok()) return status;
  Change change(kind, *db_, rocks_.batch_options, directory_, header());
  Found found;
  Present present;
  std::array<std::string, kKeysPerRead> keys;
  std::array<Slice, kKeysPerRead> slices;
  for (size_t begin = 0; begin < sorted.size(); begin += kKeysPerRead) {
    const auto records = sorted.subspan(begin, std::min(kKeysPerRead, sorted.size() - begin));
    for (size_t i = 0; i < records.size(); ++i) {
      slices[i] = keys[i] = cold::RecordKey(records[i].record->key);
    }
    absl::Status read = Read(std::span(slices).first(records.size()), found, present);
    if (!read.ok()) return read;
    for (size_t i = 0; i < records.size(); ++i) {
      std::optional<DecodedEntry> entry;
      if (present[i]) {
        entry = cold::DecodeEntry(View(found[i]));
        if (!entry) return Malformed(keys[i]);
      }
      if (rocksdb::Status status = change.Add(*records[i].record, slices[i], entry); !status.ok()) {
        return Error(status, "write to");
      }
    }
  }
  if (!change.changed()) return absl::OkStatus();
  if (rocksdb::Status status = change.Commit(); !status.ok()) return Error(status, "write to");
  reclaimed_ms_ = std::min(reclaimed_ms_, change.first_expiry_ms());
  MutexLock lock(header_mutex_);
  header_ = change.header();
  return absl::OkStatus();
}

absl::StatusOr<ColdReclaimed> ColdStore::Impl::ReclaimExpired(uint64_t now_ms, uint64_t max_bytes) {
  MutexLock lock(writer_);
  ColdReclaimed reclaimed{.keys = 0, .done = true};
  std::vector<std::pair<std::string, uint64_t>> expired;
  uint64_t bytes = 0;
  std::unique_ptr<rocksdb::Iterator> expiries(db_->NewIterator(ReadOptions()));
  for (expiries->Seek(cold::ExpiryKey(reclaimed_ms_, {})); expiries->Valid(); expiries->Next()) {
    const auto expiry = cold::DecodeExpiryKey(View(expiries->key()));
    if (!expiry || expiry->expires_at_ms > now_ms) break;
    bytes += kBytesPerExpired + 2 * expiry->key.size();
    if (bytes > max_bytes && !expired.empty()) {
      reclaimed.done = false;
      break;
    }
    expired.emplace_back(expiry->key, expiry->expires_at_ms);
  }
  if (!expiries->status().ok()) return Error(expiries->status(), "read");
  expiries.reset();  // it holds on to files
  if (expired.empty()) return reclaimed;
  const uint64_t last_ms = expired.back().second;
  std::vector<ColdRecord> batch;
  for (const auto& [key, expires_at_ms] : expired) batch.push_back({.key = key, .version = UINT64_MAX});
  const uint64_t keys_before = header().live_keys;
  if (absl::Status status = ApplyLocked(Change::Kind::kDelete, InOrder(batch)); !status.ok()) return status;
  reclaimed.keys = keys_before - header().live_keys;
  if (reclaimed.keys != expired.size()) {
    return absl::DataLossError(fmt::format("cold store {}: {} of {} entries that expire are missing",
                                           directory_, expired.size() - reclaimed.keys, expired.size()));
  }
  reclaimed_ms_ = last_ms;
  return reclaimed;
}

// Some threads with huge blocks may have filled the cache, which is no reason to fail: what does not fit is
// read into memory of the caller's.
rocksdb::Status ColdStore::Impl::ReadUncached(const Slice& key, PinnableSlice& found) const {
  ReadOptions options;
  options.fill_cache = false;
  found.Reset();
  return db_->Get(options, db_->DefaultColumnFamily(), key, &found);
}

absl::Status ColdStore::Impl::Read(std::span<const Slice> keys, Found& found, Present& present) const {
  std::array<rocksdb::Status, kKeysPerRead> statuses;
  for (PinnableSlice& old : found) old.Reset();
  db_->MultiGet(ReadOptions(), db_->DefaultColumnFamily(), keys.size(), keys.data(), found.data(),
                statuses.data());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (statuses[i].IsMemoryLimit()) statuses[i] = ReadUncached(keys[i], found[i]);
    present[i] = statuses[i].ok();
    if (!statuses[i].ok() && !statuses[i].IsNotFound()) return Error(statuses[i], "read");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<ColdEntry>> ColdStore::Impl::Get(std::string_view key) const {
  const std::string rocks_key = cold::RecordKey(key);
  PinnableSlice bytes;
  rocksdb::Status status = db_->Get(ReadOptions(), db_->DefaultColumnFamily(), rocks_key, &bytes);
  if (status.IsMemoryLimit()) status = ReadUncached(rocks_key, bytes);
  if (status.IsNotFound()) return std::nullopt;
  if (!status.ok()) return Error(status, "read");
  const absl::StatusOr<DecodedEntry> decoded = Decode(rocks_key, bytes);
  if (!decoded.ok()) return decoded.status();
  return ToEntry(*decoded);
}

absl::StatusOr<std::vector<std::optional<ColdEntry>>> ColdStore::Impl::MultiGet(
    std::span<const std::string_view> keys) const {
  std::vector<std::optional<ColdEntry>> entries(keys.size());
  Found found;
  Present present;
  std::array<std::string, kKeysPerRead> rocks_keys;
  std::array<Slice, kKeysPerRead> slices;
  for (size_t begin = 0; begin < keys.size(); begin += kKeysPerRead) {
    const size_t count = std::min(kKeysPerRead, keys.size() - begin);
    for (size_t i = 0; i < count; ++i) slices[i] = rocks_keys[i] = cold::RecordKey(keys[begin + i]);
    absl::Status read = Read(std::span(slices).first(count), found, present);
    if (!read.ok()) return read;
    for (size_t i = 0; i < count; ++i) {
      if (!present[i]) continue;
      const absl::StatusOr<DecodedEntry> decoded = Decode(rocks_keys[i], found[i]);
      if (!decoded.ok()) return decoded.status();
      entries[begin + i] = ToEntry(*decoded);
    }
  }
  return entries;
}

absl::StatusOr<ColdScanPage> ColdStore::Impl::Scan(const ColdScanRequest& request) const {
  const std::string end = EndOf(cold::RecordKey(request.prefix));
  const Slice upper_bound(end);
  ReadOptions options;
  options.iterate_upper_bound = &upper_bound;
  options.fill_cache = false;  // a scan leaves the cache to the gets
  const std::unique_ptr<rocksdb::Iterator> records(db_->NewIterator(options));
  const bool resumes = request.after_key >= request.prefix && !request.after_key.empty();
  // The first key behind a key is that key and a zero byte.
  records->Seek(resumes ? cold::RecordKey(request.after_key) + '\0' : cold::RecordKey(request.prefix));
  ColdScanPage page;
  size_t bytes = 0;
  for (; records->Valid(); records->Next()) {
    const std::string_view rocks_key = View(records->key());
    const absl::StatusOr<DecodedEntry> decoded = Decode(rocks_key, records->value());
    if (!decoded.ok()) return decoded.status();
    const std::string_view key = rocks_key.substr(1);
    bytes += key.size() + decoded->value.size();
    const bool full = page.items.size() >= request.max_entries || bytes > request.max_bytes;
    if (full && !page.items.empty()) return page;
    page.items.push_back({std::string(key), ToEntry(*decoded)});
  }
  if (!records->status().ok()) return Error(records->status(), "scan");
  page.done = true;
  return page;
}

uint64_t ColdStore::Impl::Property(const std::string& name) const {
  uint64_t value = 0;
  db_->GetIntProperty(name, &value);
  return value;
}

void ColdStore::Impl::Grow(uint64_t memory_bytes) {
  memory_bytes_.store(memory_bytes, std::memory_order_relaxed);
  rocks_.cache->SetCapacity(memory_bytes - cold::UnchargedBytes(memory_bytes));
}

ColdStats ColdStore::Impl::Stats() const {
  using Properties = rocksdb::DB::Properties;
  const Header counted = header();
  ColdStats stats;
  stats.live_keys = counted.live_keys;
  stats.live_bytes = counted.live_bytes;
  // The write-ahead log stays empty.
  stats.disk_bytes = Property(Properties::kTotalSstFilesSize) + Property(Properties::kTotalBlobFileSize);
  stats.memory_limit = memory_bytes_.load(std::memory_order_relaxed);
  stats.memory_bytes = cold::UnchargedBytes(stats.memory_limit) + rocks_.cache->GetUsage();
  stats.pending_compaction_bytes = Property(Properties::kEstimatePendingCompactionBytes);
  stats.is_stalled = FilesAtLevel0() >= cold::kMostFilesAtLevel0;
  stats.write_status = write_status();
  return stats;
}

absl::StatusOr<std::unique_ptr<ColdStore>> ColdStore::Open(const ColdOptions& options, FileSystem& files) {
  auto impl = std::make_unique<Impl>(options, files);
  if (absl::Status status = impl->Open(); !status.ok()) return status;
  return std::unique_ptr<ColdStore>(new ColdStore(std::move(impl)));
}

ColdStore::ColdStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ColdStore::~ColdStore() = default;

absl::Status ColdStore::Put(std::span<const ColdRecord> batch) {
  return impl_->Apply(Change::Kind::kPut, batch);
}

absl::Status ColdStore::Delete(std::span<const ColdRemoval> batch) {
  std::vector<ColdRecord> records;
  records.reserve(batch.size());
  for (const ColdRemoval& removal : batch) {
    records.push_back({.key = removal.key, .version = removal.version});
  }
  return impl_->Apply(Change::Kind::kDelete, records);
}

absl::StatusOr<ColdReclaimed> ColdStore::ReclaimExpired(uint64_t now_ms, uint64_t max_bytes) {
  return impl_->ReclaimExpired(now_ms, max_bytes);
}

absl::StatusOr<std::optional<ColdEntry>> ColdStore::Get(std::string_view key) const {
  return impl_->Get(key);
}

absl::StatusOr<std::vector<std::optional<ColdEntry>>> ColdStore::MultiGet(
    std::span<const std::string_view> keys) const {
  return impl_->MultiGet(keys);
}

absl::StatusOr<ColdScanPage> ColdStore::Scan(const ColdScanRequest& request) const {
  return impl_->Scan(request);
}

void ColdStore::Grow(uint64_t memory_bytes) { impl_->Grow(memory_bytes); }

uint64_t ColdStore::live_keys() const { return impl_->live_keys(); }

ColdStats ColdStore::Stats() const { return impl_->Stats(); }

absl::Status ColdStore::Close() { return impl_->Close(); }

}  // namespace thermocline::storage
