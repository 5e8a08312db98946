#include "storage/segment/results.h"

#include <utility>

namespace thermocline::storage::segment {
namespace {

// Beside files, each costs memory.
constexpr size_t kMaxResults = 4096;

}  // namespace

absl::Status Results::Load(const std::set<uint64_t>& files) {
  MutexLock lock(mutex_);
  Catalog::Batch stale;
  std::vector<uint64_t> stale_files;  // which nobody names from now on: they are swept
  absl::Status status = catalog_.ForEachResult([&](uint64_t number, const ResultEntry& entry) {
    if (max_bytes_ == 0 || entry.expires_at_ms <= clock_.NowMs() || order_.size() == kMaxResults ||
        by_key_.contains(entry.key) || (entry.file.number != 0 && !files.contains(entry.file.number))) {
      stale.RemoveResult(number);
    } else {
      Insert({number, entry});
    }
  });
  if (!status.ok()) return status;
  while (bytes_ > max_bytes_) Forget(std::prev(order_.end()), stale, stale_files);
  return catalog_.Write(stale);
}

std::vector<uint64_t> Results::Files() const {
  MutexLock lock(mutex_);
  std::vector<uint64_t> files;
  for (const Kept& kept : order_) files.push_back(kept.entry.file.number);
  return files;
}

void Results::Insert(Kept kept) {
  bytes_ += kept.entry.file.bytes;
  order_.push_front(std::move(kept));
  const ResultEntry& entry = order_.front().entry;
  by_key_[entry.key] = order_.begin();
  for (const uint64_t segment : entry.segments) by_segment_[segment].insert(entry.key);
}

void Results::Forget(Order::iterator kept, Catalog::Batch& batch, std::vector<uint64_t>& files) {
  const ResultEntry& entry = kept->entry;
  batch.RemoveResult(kept->number);
  if (entry.file.number != 0) files.push_back(entry.file.number);
  bytes_ -= entry.file.bytes;
  for (const uint64_t segment : entry.segments) {
    const auto keys = by_segment_.find(segment);
    keys->second.erase(entry.key);
    if (keys->second.empty()) by_segment_.erase(keys);
  }
  by_key_.erase(entry.key);
  order_.erase(kept);
}

std::optional<ResultEntry> Results::Find(const std::string& key) {
  MutexLock lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end() || found->second->entry.expires_at_ms <= clock_.NowMs()) return std::nullopt;
  order_.splice(order_.begin(), order_, found->second);
  ++hits_;
  return found->second->entry;
}

std::vector<uint64_t> Results::Keep(ResultEntry entry) {
  std::vector<uint64_t> removed;
  const absl::StatusOr<uint64_t> number = catalog_.NewNumber();
  if (!number.ok() || max_bytes_ == 0 || entry.file.bytes > max_bytes_) {
    if (entry.file.number != 0) removed.push_back(entry.file.number);
    return removed;
  }
  entry.expires_at_ms = clock_.NowMs() + lifetime_ms_;
  MutexLock lock(mutex_);
  Catalog::Batch batch;
  if (const auto found = by_key_.find(entry.key); found != by_key_.end()) {
    // A count alone does not take the place of the ids.
    const ResultEntry& there = found->second->entry;
    const bool has_ids = there.file.number != 0 && there.expires_at_ms > clock_.NowMs();
    if (has_ids && entry.file.number == 0 && entry.count != 0) return removed;
    Forget(found->second, batch, removed);
  }
  while (!order_.empty() && (bytes_ + entry.file.bytes > max_bytes_ || order_.size() >= kMaxResults))
    Forget(std::prev(order_.end()), batch, removed);
  batch.PutResult(*number, entry);
  // A row that is lost in a crash is computed again; its file is swept then.
  if (catalog_.Write(batch).ok()) {
    Insert({*number, std::move(entry)});
  } else if (entry.file.number != 0) {
    removed.push_back(entry.file.number);
  }
  return removed;
}

std::vector<uint64_t> Results::Forget(const std::string& key) {
  std::vector<uint64_t> removed;
  MutexLock lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return removed;
  Catalog::Batch batch;
  Forget(found->second, batch, removed);
  catalog_.Write(batch).IgnoreError();
  return removed;
}

std::vector<uint64_t> Results::Invalidate(uint64_t segment) {
  std::vector<uint64_t> removed;
  MutexLock lock(mutex_);
  const auto found = by_segment_.find(segment);
  if (found == by_segment_.end()) return removed;
  Catalog::Batch batch;
  const std::set<std::string> keys = found->second;
  for (const std::string& key : keys) Forget(by_key_.at(key), batch, removed);
  // If it fails, rows stay whose keys nobody will ask for.
  catalog_.Write(batch).IgnoreError();
  return removed;
}

Results::Counts Results::counts() const {
  MutexLock lock(mutex_);
  return {order_.size(), bytes_, hits_};
}

}  // namespace thermocline::storage::segment
