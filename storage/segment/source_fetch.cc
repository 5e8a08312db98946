#include "storage/segment/source_fetch.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <list>
#include <shared_mutex>
#include <span>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include <xxhash.h>

#include "storage/segment/id_sorter.h"
#include "storage/segment/query_start.h"
#include "storage/segment/work_list.h"

namespace thermocline::storage::segment {
namespace {

// What a fetch takes to sort with, as a part of the memory of all of them.
constexpr uint64_t kMemoryPart = 4;
constexpr uint64_t kMostSortBytes = uint64_t{64} << 20;
// Others that are fetched may take hours before it is their turn.
constexpr std::chrono::hours kPatience(1000);

std::string KeyOf(const Expression& source, const std::string& definition) {
  // No expression has such a text.
  const std::string text = '\0' + ToText(source) + '\0' + definition;
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  std::string key(reinterpret_cast<const char*>(&hash.low64), sizeof hash.low64);
  return key.append(reinterpret_cast<const char*>(&hash.high64), sizeof hash.high64);
}

absl::StatusOr<OpenedSource> OpenSource(Core& core, const Expression& source) {
  if (core.world.source) return core.world.source(source.name, source.parameters);
  return absl::FailedPreconditionError(fmt::format(
      "this server has no sources, so source:{} cannot be in an expression: start the server with --sources "
      "FILE",
      source.name));
}

std::optional<FetchedSource> FindKept(Core& core, const std::string& key) {
  std::shared_lock naming(core.naming);
  const std::optional<ResultEntry> kept = core.results->Find(key);
  if (!kept.has_value()) return std::nullopt;
  FetchedSource found;
  found.file = kept->file;
  found.key = key;
  if (found.file.number != 0) found.pins = core.files->Pin({found.file.number});
  return found;
}

}  // namespace

// One fetch, and all who wait for it.
class SourceFetch : public std::enable_shared_from_this<SourceFetch> {
 public:
  SourceFetch(std::shared_ptr<Core> core, std::shared_ptr<Core::Reading> inside, const Expression& source,
              OpenedSource opened, std::string key)
      : core_(std::move(core)),
        inside_(std::move(inside)),
        ids_(std::move(opened.ids)),
        key_(std::move(key)),
        what_("fetching " + Shortened(ToText(source))),
        work_(std::make_shared<Work>()) {
    work_->what = what_;
    work_->max_ids = UINT64_MAX;
  }

  // False: it has ended.
  bool Join(const Cancellation& cancellation, SourceFetched& done) {
    Waiting::iterator at;
    {
      MutexLock lock(mutex_);
      if (ended_ || abandoned_) return false;
      at = waiting_.insert(waiting_.end(), Waiter{std::move(done), nullptr});
    }
    // Leaves by another thread: Cancel may be called with locks held.
    auto listening = cancellation.OnCancel([weak = weak_from_this(), at, core = core_.get()] {
      const std::shared_ptr<SourceFetch> live = weak.lock();
      if (live != nullptr) core->world.executor.Run([live, at] { live->Leave(at); });
    });
    MutexLock lock(mutex_);
    if (IsWaiting(at)) at->listening = std::move(listening);
    return true;
  }

  void Start() {
    core_->fetch_threads->Run([self = shared_from_this()] { self->Read(); });
  }

 private:
  struct Waiter {
    SourceFetched done;
    std::shared_ptr<const void> listening;
  };
  using Waiting = std::list<Waiter>;

  // Iterators of a list are good until their waiter goes, and that happens here only.
  bool IsWaiting(Waiting::iterator at) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::any_of(waiting_.begin(), waiting_.end(),
                       [&](const Waiter& waiter) { return &waiter == &*at; });
  }

  void Leave(Waiting::iterator at) {
    Waiting gone;
    bool last = false;
    {
      MutexLock lock(mutex_);
      if (ended_) return;
      gone.splice(gone.end(), waiting_, at);
      last = waiting_.empty();
      if (last) abandoned_ = true;
    }
    if (last) {
      // Who asks from now on begins anew.
      core_->fetches->Remove(key_, this);
      cancellation_.Cancel();
    }
    gone.front().done(absl::CancelledError("nobody waits for the answer any more"));
  }

  void Read() {
    inside_->listed = core_->works.Add(work_);
    sorter_ = core_->NewSorter(inside_, cancellation_);
    if (absl::Status status = ReadAll(); !status.ok()) return End(std::move(status));
    ids_ = nullptr;
    sorter_->Finish([self = shared_from_this()](absl::StatusOr<IdSorter::Sorted> sorted) {
      if (!sorted.ok()) return self->End(sorted.status());
      // Not on the threads that read: all of them may be waiting for what this gives back.
      self->core_->world.executor.Run(
          [self, sorted = *std::move(sorted)]() mutable { self->Keep(std::move(sorted)); });
    });
  }

  absl::Status ReadAll() {
    const auto cancel = [weak = std::weak_ptr<IdSource>(ids_)] {
      if (const std::shared_ptr<IdSource> live = weak.lock()) live->Cancel();
    };
    const std::shared_ptr<const void> by_callers = cancellation_.OnCancel(cancel);
    const std::shared_ptr<const void> by_close = core_->closing.OnCancel(cancel);
    for (;;) {
      absl::StatusOr<std::span<const uint64_t>> ids = ids_->Next();
      if (!ids.ok()) return ids.status();
      if (ids->empty()) return absl::OkStatus();
      work_->ids.fetch_add(ids->size(), std::memory_order_relaxed);
      if (inside_->memory.bytes() == 0) {
        if (absl::Status status = Grow(); !status.ok()) return status;
      }
      for (std::span<const uint64_t> left = *ids; !left.empty();) {
        const size_t count = std::min(left.size(), sorter_->room());
        sorter_->Add(left.first(count));
        left = left.subspan(count);
        if (sorter_->room() > 0) continue;
        if (absl::Status status = sorter_->Spill(); !status.ok()) return status;
      }
    }
  }

  // First in line with other fetches, so that no more of them than fit keep changes waiting.
  absl::Status Grow() {
    const uint64_t bytes =
        std::clamp<uint64_t>(core_->fetch_memory->limit() / kMemoryPart, IdSorter::kMinBytes, kMostSortBytes);
    absl::StatusOr<MemoryLine::Grant> turn = Await(*core_->fetch_memory, bytes);
    if (!turn.ok()) return turn.status();
    absl::StatusOr<MemoryLine::Grant> memory = Await(*core_->change_memory, bytes);
    if (!memory.ok()) return memory.status();
    turn_ = *std::move(turn);
    inside_->memory = *std::move(memory);
    work_->memory_bytes = bytes;
    sorter_->Grow(bytes);
    return absl::OkStatus();
  }

  // On a thread of fetches, which may wait.
  absl::StatusOr<MemoryLine::Grant> Await(MemoryLine& line, uint64_t bytes) {
    auto answer = std::make_shared<std::promise<absl::StatusOr<MemoryLine::Grant>>>();
    line.Request(
        bytes, kPatience, what_,
        [answer](absl::StatusOr<MemoryLine::Grant> grant) { answer->set_value(std::move(grant)); },
        cancellation_);
    return answer->get_future().get();
  }

  void Keep(IdSorter::Sorted sorted) {
    FetchedSource fetched;
    fetched.file = sorted.file;
    fetched.key = key_;
    if (!sorted.list.empty()) {
      absl::StatusOr<FileEntry> written = Write(sorted.list);
      if (!written.ok()) return End(written.status());
      fetched.file = *written;
    }
    if (fetched.file.number != 0) fetched.pins = core_->files->Pin({fetched.file.number});
    ResultEntry entry;
    entry.key = key_;
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
    core_->fetches->Remove(key_, this);
    ids_ = nullptr;
    sorter_ = nullptr;
    inside_->memory = MemoryLine::Grant();
    turn_ = MemoryLine::Grant();
    inside_->listed = nullptr;
    Waiting waiting;
    {
      MutexLock lock(mutex_);
      ended_ = true;
      waiting.swap(waiting_);
    }
    for (Waiter& waiter : waiting) {
      if (!result.ok()) {
        waiter.done(result.status());
        continue;
      }
      FetchedSource own;
      own.file = result->file;
      own.key = result->key;
      if (own.file.number != 0) own.pins = core_->files->Pin({own.file.number});
      waiter.done(std::move(own));
    }
  }

  const std::shared_ptr<Core> core_;
  const std::shared_ptr<Core::Reading> inside_;
  std::shared_ptr<IdSource> ids_;
  const std::string key_;
  const std::string what_;
  const std::shared_ptr<Work> work_;
  const Cancellation cancellation_ = Cancellation::New();  // when nobody waits any more
  std::shared_ptr<IdSorter> sorter_;
  MemoryLine::Grant turn_;

  Mutex mutex_;
  Waiting waiting_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;  // all have left
};

absl::StatusOr<std::optional<FetchedSource>> FindKeptSource(Core& core, const Expression& source) {
  const absl::StatusOr<OpenedSource> opened = OpenSource(core, source);
  if (!opened.ok()) return opened.status();
  return FindKept(core, KeyOf(source, opened->definition));
}

void FetchSource(const std::shared_ptr<Core>& core, const Expression& source, bool use_kept,
                 const Cancellation& cancellation, SourceFetched done) {
  absl::StatusOr<OpenedSource> opened = OpenSource(*core, source);
  if (!opened.ok()) return done(opened.status());
  const std::string key = KeyOf(source, opened->definition);
  if (use_kept) {
    std::optional<FetchedSource> kept = FindKept(*core, key);
    if (kept.has_value()) return done(*std::move(kept));
  }
  absl::StatusOr<std::shared_ptr<Core::Reading>> inside = core->NewReading();
  if (!inside.ok()) return done(inside.status());
  const auto fresh = std::make_shared<SourceFetch>(core, *std::move(inside), source, *std::move(opened), key);
  // What is under way may have been begun before this was asked for.
  while (use_kept) {
    const auto [fetch, is_new] = core->fetches->FindOr(key, fresh);
    if (is_new) break;
    if (fetch->Join(cancellation, done)) return;
    core->fetches->Remove(key, fetch.get());
  }
  // Others may have joined and left already.
  if (!fresh->Join(cancellation, done))
    return FetchSource(core, source, use_kept, cancellation, std::move(done));
  fresh->Start();
}

}  // namespace thermocline::storage::segment
