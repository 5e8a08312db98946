#include "storage/segment/core.h"

#include <algorithm>
#include <mutex>
#include <set>
#include <utility>

#include "fmt/format.h"

#include "storage/segment/source_fetch.h"

namespace thermocline::storage::segment {
namespace {

// Parts of the memory.
constexpr uint64_t kCatalogPart = 8;
constexpr uint64_t kIndexesPart = 16;
// Of what is left then: changes and rewrites. The others are queries, which no change can keep waiting.
constexpr uint64_t kChangesPart = 3;
// Sources that are read at a time.
constexpr int kFetchThreads = 16;
// What exports may take of what queries have: they last long.
constexpr uint64_t kExportsPart = 2;

}  // namespace

absl::Status Core::Open() {
  if (options.memory_bytes < kMinSegmentMemoryBytes) {
    return absl::InvalidArgumentError(fmt::format("segments need at least {} bytes of memory, not {}",
                                                  kMinSegmentMemoryBytes, options.memory_bytes));
  }
  const uint64_t catalog_bytes = options.memory_bytes / kCatalogPart;
  const uint64_t index_bytes = options.memory_bytes / kIndexesPart;
  auto opened = Catalog::Open(options.directory, catalog_bytes, world.files);
  if (!opened.ok()) return opened.status();
  catalog = *std::move(opened);
  files = std::make_shared<IdFiles>(world.objects, world.executor, gate, index_bytes);
  const uint64_t left = options.memory_bytes - catalog_bytes - index_bytes;
  change_memory = std::make_shared<MemoryLine>(left / kChangesPart, world.executor);
  memory = std::make_shared<MemoryLine>(left - left / kChangesPart, world.executor);
  export_memory = std::make_shared<MemoryLine>(memory->limit() / kExportsPart, world.executor);
  fetch_memory = std::make_shared<MemoryLine>(
      std::max(change_memory->limit() / 2, uint64_t{IdSorter::kMinBytes}), world.executor);
  fetches = std::make_shared<SourceFetches>();
  if (world.source) fetch_threads = std::make_unique<ThreadPool>("source", kFetchThreads);
  locks = std::make_unique<NameLocks>(world.changes);
  results = std::make_unique<Results>(*catalog, world.clock, options.result_bytes,
                                      static_cast<uint64_t>(options.result_lifetime.count()));

  absl::StatusOr<std::set<uint64_t>> unnamed = files->List();
  if (!unnamed.ok()) return unnamed.status();
  if (catalog->is_new() && !unnamed->empty()) {
    return absl::FailedPreconditionError(
        fmt::format("the catalog of segments in {} is new, but the object store has {} id files: restore the "
                    "catalog from a "
                    "backup, or remove them",
                    options.directory, unnamed->size()));
  }
  if (absl::Status status = results->Load(*unnamed); !status.ok()) return status;
  for (const uint64_t file : results->Files()) unnamed->erase(file);
  absl::Status status = catalog->ForEach("", "", nullptr, [&](std::string_view, const SegmentEntry& entry) {
    Count(entry, 1);
    for (const Layer& layer : entry.layers) {
      if (layer.recent != 0) continue;
      unnamed->erase(layer.adds.number);
      unnamed->erase(layer.removes.number);
    }
    return true;
  });
  // Who does not know all names cannot tell what has none.
  if (!status.ok()) return status;
  for (const uint64_t file : *unnamed) status.Update(world.objects.Remove(IdFiles::NameOf(file)));
  return status;
}

absl::Status Core::Close() {
  closing.Cancel();
  export_memory->Close();
  memory->Close();
  fetch_memory->Close();
  change_memory->Close();
  gate.Close();
  fetch_threads = nullptr;
  files->Close();
  return catalog->Close();
}

absl::StatusOr<std::shared_ptr<Core::Reading>> Core::NewReading() {
  if (!gate.Enter()) return absl::UnavailableError("the server is stopping");
  return std::make_shared<Reading>(gate);
}

std::shared_ptr<IdSorter> Core::NewSorter(std::shared_ptr<const void> inside, Cancellation cancellation) {
  const auto new_context = [this, cancellation = std::move(cancellation)] {
    std::shared_ptr<ReadContext> context = NewContext();
    context->SetCancellation(cancellation);
    return context;
  };
  return std::make_shared<IdSorter>(IdSorter::Parts{.inside = std::move(inside),
                                                    .files = files,
                                                    .new_number = [this] { return catalog->NewNumber(); },
                                                    .new_context = new_context});
}

absl::Status Core::Settle(uint64_t changed_segment, std::vector<uint64_t> removed_files) {
  const std::vector<uint64_t> stale = results->Invalidate(changed_segment);
  if (absl::Status status = catalog->Sync(); !status.ok()) return status;
  removed_files.insert(removed_files.end(), stale.begin(), stale.end());
  RemoveFiles(removed_files);
  return absl::OkStatus();
}

void Core::KeepResult(ResultEntry entry) {
  const std::vector<uint64_t> removed = results->Keep(std::move(entry));
  // Rows that are gone must not come back without their files.
  if (!removed.empty() && catalog->Sync().ok()) RemoveFiles(removed);
}

void Core::ForgetResult(const std::string& key) {
  const std::vector<uint64_t> removed = results->Forget(key);
  if (!removed.empty() && catalog->Sync().ok()) RemoveFiles(removed);
}

// Nobody can find these files any more; whoever found one before has pinned it when the lock is free.
void Core::RemoveFiles(const std::vector<uint64_t>& numbers) {
  if (numbers.empty()) return;
  std::unique_lock alone(naming);
  for (const uint64_t number : numbers) files->Remove(number);
}

void Core::Count(const SegmentEntry& entry, int sign) {
  const SegmentInfo info = Info("", entry);
  const auto add = [sign](std::atomic<uint64_t>& sum, uint64_t value) {
    sum.fetch_add(sign > 0 ? value : -value, std::memory_order_relaxed);
  };
  add(segments, 1);
  add(id_files, info.files);
  add(id_file_bytes, info.bytes);
  add(recent_changes, info.recent_changes);
}

SegmentInfo Core::Info(std::string_view name, const SegmentEntry& entry) const {
  SegmentInfo info;
  info.name = name;
  info.version = entry.version;
  const SegmentEntry::Bounds count = entry.Count();
  info.min_count = count.min;
  info.max_count = count.max;
  info.recent_changes = entry.RecentChanges();
  info.created_at_ms = entry.created_at_ms;
  info.changed_at_ms = entry.changed_at_ms;
  for (const Layer& layer : entry.layers) {
    if (layer.recent != 0) continue;
    for (const FileEntry* const file : {&layer.adds, &layer.removes}) {
      if (file->number == 0) continue;
      ++info.files;
      info.bytes += file->bytes;
    }
  }
  return info;
}

}  // namespace thermocline::storage::segment
