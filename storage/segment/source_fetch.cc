#include "storage/segment/source_fetch.h"

#include <algorithm>
#include <shared_mutex>
#include <span>
#include <string>
#include <utility>

#include "fmt/format.h"
#include <xxhash.h>

#include "storage/segment/id_sorter.h"
#include "storage/segment/work_list.h"

namespace thermocline::storage::segment {
namespace {

// What a fetch takes to sort with, as a part of the memory of changes.
constexpr uint64_t kMemoryPart = 4;
constexpr uint64_t kMostSortBytes = uint64_t{64} << 20;

// No segment has such a name.
std::string LockOf(const Expression& source) { return std::string(1, '\0') + ToText(source); }

std::string KeyOf(const Expression& source) {
  const std::string text = LockOf(source);
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  std::string key(reinterpret_cast<const char*>(&hash.low64), sizeof hash.low64);
  return key.append(reinterpret_cast<const char*>(&hash.high64), sizeof hash.high64);
}

// One fetch, under the lock of its source.
class Fetch : public std::enable_shared_from_this<Fetch> {
 public:
  Fetch(std::shared_ptr<Core> core, std::shared_ptr<Core::Reading> inside, const Expression& source,
        const SourceFetchOptions& options, SourceFetched done)
      : core_(std::move(core)),
        inside_(std::move(inside)),
        source_(source),
        options_(options),
        done_(std::move(done)),
        what_("fetching " + ToText(source_)),
        work_(std::make_shared<Work>()) {
    work_->what = what_;
    work_->max_ids = UINT64_MAX;
  }

  void Start() {
    if (options_.use_kept) {
      // Who had the lock before may have fetched it.
      std::optional<FetchedSource> kept = FindKeptSource(*core_, source_);
      if (kept.has_value()) return End(*std::move(kept));
    }
    const uint64_t bytes = std::clamp<uint64_t>(core_->change_memory->limit() / kMemoryPart,
                                                IdSorter::kMinBytes, kMostSortBytes);
    core_->change_memory->Request(
        bytes, options_.patience, what_,
        [self = shared_from_this()](absl::StatusOr<MemoryLine::Grant> grant) {
          if (!grant.ok()) return self->End(grant.status());
          self->inside_->memory = *std::move(grant);
          self->core_->world.outside.Run([self] { self->Read(); });
        },
        options_.cancellation);
  }

 private:
  void Read() {
    inside_->listed = core_->works.Add(work_);
    work_->memory_bytes = inside_->memory.bytes();
    sorter_ = core_->NewSorter(inside_);
    sorter_->Grow(inside_->memory.bytes());
    if (absl::Status status = ReadAll(); !status.ok()) return End(status);
    sorter_->Finish([self = shared_from_this()](absl::StatusOr<IdSorter::Sorted> sorted) {
      if (!sorted.ok()) return self->End(sorted.status());
      self->core_->world.outside.Run(
          [self, sorted = *std::move(sorted)]() mutable { self->Keep(std::move(sorted)); });
    });
  }

  absl::Status ReadAll() {
    absl::StatusOr<std::unique_ptr<IdSource>> opened = core_->world.source(source_.name, source_.parameters);
    if (!opened.ok()) return opened.status();
    const std::shared_ptr<IdSource> source = *std::move(opened);
    const auto cancel = [weak = std::weak_ptr<IdSource>(source)] {
      if (const std::shared_ptr<IdSource> live = weak.lock()) live->Cancel();
    };
    const std::shared_ptr<const void> by_caller = options_.cancellation.OnCancel(cancel);
    const std::shared_ptr<const void> by_close = core_->closing.OnCancel(cancel);
    for (;;) {
      absl::StatusOr<std::span<const uint64_t>> ids = source->Next();
      if (!ids.ok()) return ids.status();
      if (ids->empty()) return absl::OkStatus();
      work_->ids.fetch_add(ids->size(), std::memory_order_relaxed);
      for (std::span<const uint64_t> left = *ids; !left.empty();) {
        const size_t count = std::min(left.size(), sorter_->room());
        sorter_->Add(left.first(count));
        left = left.subspan(count);
        if (sorter_->room() > 0) continue;
        if (absl::Status status = sorter_->Spill(); !status.ok()) return status;
      }
    }
  }

  void Keep(IdSorter::Sorted sorted) {
    FetchedSource fetched;
    fetched.file = sorted.file;
    if (!sorted.list.empty()) {
      absl::StatusOr<FileEntry> written = Write(sorted.list);
      if (!written.ok()) return End(written.status());
      fetched.file = *written;
    }
    if (fetched.file.number != 0) fetched.pins = core_->files->Pin({fetched.file.number});
    ResultEntry entry;
    entry.key = KeyOf(source_);
    entry.count = fetched.file.count;
    entry.file = fetched.file;
    core_->KeepResult(std::move(entry));
    End(std::move(fetched));
  }

  absl::StatusOr<FileEntry> Write(std::span<const uint64_t> ids) {
    const absl::StatusOr<uint64_t> number = core_->catalog->NewNumber();
    if (!number.ok()) return number.status();
    absl::StatusOr<std::unique_ptr<IdFileWriter>> writer = core_->files->Create(*number);
    if (!writer.ok()) return writer.status();
    if (absl::Status status = (*writer)->Add(ids); !status.ok()) return status;
    const absl::StatusOr<IdFileSummary> summary = (*writer)->Finish();
    if (!summary.ok()) return summary.status();
    return ToEntry(*number, *summary);
  }

  void End(absl::StatusOr<FetchedSource> result) {
    inside_->memory = MemoryLine::Grant();
    inside_->listed = nullptr;
    core_->locks->Release(LockOf(source_));
    std::exchange(done_, nullptr)(std::move(result));
  }

  const std::shared_ptr<Core> core_;
  const std::shared_ptr<Core::Reading> inside_;
  const Expression source_;
  const SourceFetchOptions options_;
  SourceFetched done_;
  const std::string what_;
  const std::shared_ptr<Work> work_;
  std::shared_ptr<IdSorter> sorter_;
};

}  // namespace

std::optional<FetchedSource> FindKeptSource(Core& core, const Expression& source) {
  std::shared_lock naming(core.naming);
  const std::optional<ResultEntry> kept = core.results->Find(KeyOf(source));
  if (!kept.has_value()) return std::nullopt;
  FetchedSource found;
  found.file = kept->file;
  if (found.file.number != 0) found.pins = core.files->Pin({found.file.number});
  return found;
}

void FetchSource(std::shared_ptr<Core> core, const Expression& source, const SourceFetchOptions& options,
                 SourceFetched done) {
  if (!core->world.source) {
    return done(absl::FailedPreconditionError(
        fmt::format("this server has no sources, so source:{} cannot be in an expression: start the server "
                    "with --sources FILE",
                    source.name)));
  }
  absl::StatusOr<std::shared_ptr<Core::Reading>> inside = core->NewReading();
  if (!inside.ok()) return done(inside.status());
  auto fetch = std::make_shared<Fetch>(core, *std::move(inside), source, options, std::move(done));
  core->locks->Acquire(LockOf(source), [fetch] { fetch->Start(); });
}

}  // namespace thermocline::storage::segment
