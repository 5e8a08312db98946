#include "storage/segment/export.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "storage/segment/export_manifest.h"

namespace thermocline::storage {
namespace {

constexpr size_t kPageIds = 32 << 10;
// A page may have a part more than was asked for.
constexpr size_t kPageRoom = kPageIds + segment::kMaxPartIds;
// What an export takes beside its query, which has a page as well: two pages, what the encoder takes, and a
// piece of a file in the object's writer.
constexpr uint64_t kExportBytes =
    2 * kPageRoom * sizeof(uint64_t) + segment::ExportEncoder::kMemoryBytes + (256 << 10);
// For other exports, as long as it takes.
constexpr std::chrono::hours kPatience{168};

uint64_t Milliseconds(std::chrono::steady_clock::duration time) {
  return static_cast<uint64_t>(
      std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::milliseconds>(time).count()));
}

uint64_t CountOf(const IdPage& page) {
  uint64_t count = page.ids.size();
  for (const IdPage::Bitmap& bitmap : page.bitmaps) count += bitmap.count;
  return count;
}

}  // namespace

void segment::Pace::Note(Time now, uint64_t count) {
  const Mark& newest = marks_[(oldest_ + marks_.size() - 1) % marks_.size()];
  if (now - newest.at < std::chrono::seconds(1)) return;
  marks_[oldest_] = {now, count};
  oldest_ = (oldest_ + 1) % marks_.size();
}

uint64_t segment::Pace::PerSecond(Time now, uint64_t count) const {
  const Mark& from = marks_[oldest_];
  return (count - from.count) * 1000 / std::max<uint64_t>(1, Milliseconds(now - from.at));
}

SegmentExport::Impl::Impl(std::shared_ptr<segment::Core> core, Segments& segments,
                          std::string_view expression, const SegmentExportOptions& options,
                          Segments::CreateObject create, Segments::ExportDone done)
    : core_(std::move(core)),
      segments_(segments),
      expression_(expression),
      options_(options),
      create_(std::move(create)),
      done_(std::move(done)),
      pace_(Clock::now()) {}

void SegmentExport::Impl::Begin() {
  core_->world.outside.Run([self = shared_from_this()] { self->Open(); });
}

void SegmentExport::Impl::Open() {
  absl::StatusOr<std::unique_ptr<ObjectWriter>> object = absl::UnknownError("not asked for");
  bool stopped = false;
  {
    MutexLock lock(mutex_);
    stopped = !verdict_.ok();
  }
  if (!stopped) {
    object = create_(SegmentExportObject::kIds);
    if (object.ok())
      encoder_ = std::make_unique<segment::ExportEncoder>(*std::move(object), options_.format);
    else
      Stop(object.status());
  }
  {
    MutexLock lock(mutex_);
    stopped = !verdict_.ok();
    if (!stopped) writing_ = false;
  }
  if (stopped) return End();
  Plan();
}

void SegmentExport::Impl::Plan() {
  auto planned = [self = shared_from_this()](const absl::StatusOr<SegmentExplanation>& explanation) {
    if (!explanation.ok()) return self->Stop(explanation.status());
    {
      MutexLock lock(self->mutex_);
      self->normalized_ = explanation->normalized;
      self->query_progress_.max_ids = explanation->plan.max_count;
      if (self->verdict_.ok()) self->stage_ = Stage::kWaiting;
    }
    self->AwaitMemory(explanation->memory_bytes + kExportBytes);
  };
  // Whoever owns the segments waits for this before they go.
  completions_.Deliver([&] {
    segments_.Explain(expression_, /*execute=*/false, {.cancellation = cancellation_}, std::move(planned));
  });
}

// What exports take together is less than queries have, so who has got past here gets the rest too.
void SegmentExport::Impl::AwaitMemory(uint64_t bytes) {
  core_->export_memory->Request(
      std::min(bytes, core_->export_memory->limit()), kPatience, "the export",
      [self = shared_from_this()](absl::StatusOr<segment::MemoryLine::Grant> grant) {
        if (!grant.ok()) return self->Stop(grant.status());
        {
          MutexLock lock(self->mutex_);
          if (!self->verdict_.ok()) return;
          std::swap(self->memory_, *grant);
        }
        self->Ask();
      },
      cancellation_);
}

void SegmentExport::Impl::Ask() {
  SegmentQueryOptions options = options_.query;
  options.caller_bytes = kExportBytes;
  options.cancellation = cancellation_;
  auto asked = [self = shared_from_this()](absl::StatusOr<std::unique_ptr<SegmentQuery>> query) {
    if (!query.ok()) return self->Stop(query.status());
    const std::shared_ptr<SegmentQuery> shared = *std::move(query);
    {
      MutexLock lock(self->mutex_);
      if (!self->verdict_.ok()) return;
      self->query_ = shared;
      self->stage_ = Stage::kWriting;
      self->writing_since_ = Clock::now();
      self->pace_ = segment::Pace(self->writing_since_);
      self->fetched_.ids.reserve(kPageRoom);
      self->normalized_ = shared->normalized();
    }
    self->Fetch();
  };
  completions_.Deliver([&] { segments_.Query(expression_, options, std::move(asked)); });
}

void SegmentExport::Impl::Fetch() {
  std::shared_ptr<SegmentQuery> query;
  {
    MutexLock lock(mutex_);
    query = query_;
  }
  if (query == nullptr) return;
  query->Next(kPageIds, /*bitmaps=*/true, &fetched_,
              [self = shared_from_this()](const absl::Status& status) { self->Fetched(status); });
}

void SegmentExport::Impl::Fetched(const absl::Status& status) {
  if (!status.ok()) return Stop(status);
  bool more = false;
  {
    MutexLock lock(mutex_);
    if (!verdict_.ok()) return;
    fetched_ready_ = true;
    if (writing_) return;
    more = TurnPage();
  }
  if (more) Fetch();
}

bool SegmentExport::Impl::TurnPage() {
  fetched_ready_ = false;
  std::swap(page_, fetched_);
  writing_ = true;
  // Behind the pages of others.
  core_->world.outside.Run([self = shared_from_this()] { self->Write(); });
  return !page_.done;
}

void SegmentExport::Impl::Write() {
  bool stopped = false;
  {
    MutexLock lock(mutex_);
    stopped = !verdict_.ok();
  }
  if (stopped) return End();
  const uint64_t count = CountOf(page_);
  if (absl::Status status = encoder_->Add(page_); !status.ok()) Stop(std::move(status));
  bool last = false;
  bool more = false;
  {
    MutexLock lock(mutex_);
    stopped = !verdict_.ok();
    ids_ += count;
    bytes_ = encoder_->bytes();
    pace_.Note(Clock::now(), ids_);
    last = !stopped && page_.done;
    if (last) stage_ = Stage::kFinishing;
    if (!stopped && !last) {
      writing_ = false;
      if (fetched_ready_) more = TurnPage();
    }
  }
  if (stopped) return End();
  if (last) return Finish();
  if (more) Fetch();
}

// Cannot be cancelled: nobody would know what has become of the objects.
void SegmentExport::Impl::Finish() {
  std::shared_ptr<SegmentQuery> query;
  {
    MutexLock lock(mutex_);
    query.swap(query_);
    query_progress_ = query->progress();
    result_.normalized = normalized_;
  }
  query = nullptr;  // its memory may be what others wait for
  absl::Status status = WriteObjects();
  {
    MutexLock lock(mutex_);
    verdict_ = std::move(status);
  }
  End();
}

absl::Status SegmentExport::Impl::WriteObjects() {
  absl::StatusOr<SegmentExportResult> result = encoder_->Finish();
  if (!result.ok()) return result.status();
  result->normalized = std::move(result_.normalized);
  result_ = *std::move(result);
  {
    MutexLock lock(mutex_);
    bytes_ = result_.bytes;
  }
  absl::StatusOr<std::unique_ptr<ObjectWriter>> manifest = create_(SegmentExportObject::kManifest);
  absl::Status status = manifest.status();
  if (status.ok()) {
    status = (*manifest)->Append(segment::ExportManifest(result_, options_, core_->world.clock.NowMs()));
  }
  if (status.ok()) status = (*manifest)->Finish();
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      fmt::format("the object is there and whole, but its manifest could not be "
                                  "written: {}",
                                  std::string(status.message())));
}

// On the executor `outside`, once; nothing else is under way but what finds out that it is too late.
void SegmentExport::Impl::End() {
  encoder_ = nullptr;
  create_ = nullptr;
  page_ = IdPage();
  absl::Status verdict;
  segment::MemoryLine::Grant memory;
  {
    MutexLock lock(mutex_);
    stage_ = Stage::kEnded;
    ended_at_ = Clock::now();
    verdict = verdict_;
    std::swap(memory, memory_);
  }
  memory = segment::MemoryLine::Grant();
  Segments::ExportDone done = std::move(done_);
  completions_.Deliver([&] {
    if (!verdict.ok()) return done(verdict);
    done(std::move(result_));
  });
}

void SegmentExport::Impl::Stop(absl::Status why) {
  cancellation_.Cancel();
  std::shared_ptr<SegmentQuery> query;  // goes without the lock: its completions may want it
  MutexLock lock(mutex_);
  if (!verdict_.ok() || stage_ >= Stage::kFinishing) return;
  verdict_ = std::move(why);
  if (query_ != nullptr) query_progress_ = query_->progress();
  query.swap(query_);
  if (std::exchange(writing_, true)) return;
  core_->world.outside.Run([self = shared_from_this()] { self->End(); });
}

void SegmentExport::Impl::Cancel() { Stop(absl::CancelledError("the export was cancelled")); }

void SegmentExport::Impl::Abandon() {
  Cancel();
  completions_.Stop();
}

SegmentExportProgress SegmentExport::Impl::progress() const {
  SegmentExportProgress progress;
  MutexLock lock(mutex_);
  progress.stage = stage_;
  progress.ids = ids_;
  progress.bytes = bytes_;
  progress.query = query_ != nullptr ? query_->progress() : query_progress_;
  if (writing_since_ == Clock::time_point()) return progress;
  const Clock::time_point now = stage_ == Stage::kEnded ? ended_at_ : Clock::now();
  progress.writing_ms = Milliseconds(now - writing_since_);
  progress.ids_per_second = stage_ == Stage::kEnded ? ids_ * 1000 / std::max<uint64_t>(1, progress.writing_ms)
                                                    : pace_.PerSecond(now, ids_);
  return progress;
}

SegmentExport::SegmentExport(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
SegmentExport::~SegmentExport() { impl_->Abandon(); }

void SegmentExport::Cancel() { impl_->Cancel(); }
SegmentExportProgress SegmentExport::progress() const { return impl_->progress(); }

}  // namespace thermocline::storage
