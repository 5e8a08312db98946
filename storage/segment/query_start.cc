#include "storage/segment/query_start.h"

#include <algorithm>
#include <shared_mutex>
#include <utility>

#include "storage/segment/work_list.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {
namespace {

// What a query takes beside its streams: a page in the making, and a result on its way to being kept.
constexpr uint64_t kQueryBytes = uint64_t{1} << 20;
// What its streams would like, as a part of all memory; they do with less.
constexpr uint64_t kQueryPart = 16;
constexpr uint64_t kSmallResultBytes = 64 << 10;
// Results that are written at a time: their readers may take hours, and stores like S3 lend them memory.
constexpr int kMostKeeping = 4;

}  // namespace

std::string Shortened(const std::string& text) {
  if (text.size() <= 200) return text;
  std::string shortened = text.substr(0, 197);
  return shortened.append("...");
}

absl::StatusOr<std::shared_ptr<QueryStart>> QueryStart::Parse(std::shared_ptr<Core> core,
                                                              std::string_view text,
                                                              const SegmentQueryOptions& options) {
  absl::StatusOr<Expression> expression = ParseExpression(text);
  if (!expression.ok()) return expression.status();
  absl::StatusOr<std::shared_ptr<Core::Reading>> reading = core->NewReading();
  if (!reading.ok()) return reading.status();
  std::shared_ptr<QueryStart> start(new QueryStart(std::move(core), options));
  start->text_ = text;
  start->normal_ = Normalize(*std::move(expression));
  start->normalized_ = ToText(start->normal_);
  start->reading_ = *std::move(reading);
  return start;
}

void QueryStart::Look(bool fetch, absl::AnyInvocable<void(absl::Status)> done) {
  core_->world.executor.Run([self = shared_from_this(), fetch, done = std::move(done)]() mutable {
    std::vector<Expression> sources = SourcesOf(self->normal_);
    if (fetch && !sources.empty()) {
      // Not for minutes, only to find that there is no such segment.
      const absl::Status names = self->CheckNames();
      return names.ok() ? self->FetchAll(std::move(sources), std::move(done)) : done(names);
    }
    for (const Expression& source : sources) {
      absl::StatusOr<std::optional<FetchedSource>> kept = FindKeptSource(*self->core_, source);
      if (!kept.ok()) return done(kept.status());
      if (kept->has_value()) self->Take(ToText(source), **std::move(kept));
    }
    done(self->LookNow());
  });
}

namespace {

// Sources that are fetched side by side.
struct Fetches {
  Mutex mutex;
  size_t left ABSL_GUARDED_BY(mutex) = 0;
  absl::Status status ABSL_GUARDED_BY(mutex);
};

}  // namespace

void QueryStart::FetchAll(const std::vector<Expression>& sources,
                          absl::AnyInvocable<void(absl::Status)> done) {
  auto fetches = std::make_shared<Fetches>();
  fetches->left = sources.size();
  // When one fails, nobody needs the others.
  const Cancellation others = Cancellation::New();
  auto listening = options_.cancellation.OnCancel([others] { others.Cancel(); });
  auto ended = std::make_shared<absl::AnyInvocable<void(absl::Status)>>(std::move(done));
  for (const Expression& source : sources) {
    FetchSource(core_, source, options_.use_kept_result, others,
                [self = shared_from_this(), fetches, others, listening, ended,
                 text = ToText(source)](absl::StatusOr<FetchedSource> fetched) {
                  bool failed = false;
                  bool last = false;
                  absl::Status status;
                  {
                    MutexLock lock(fetches->mutex);
                    if (fetched.ok()) self->Take(text, *std::move(fetched));
                    failed = !fetched.ok() && fetches->status.ok();
                    if (failed) fetches->status = fetched.status();
                    last = --fetches->left == 0;
                    status = fetches->status;
                  }
                  if (failed) others.Cancel();
                  if (!last) return;
                  self->core_->world.executor.Run(
                      [self, ended, status] { (*ended)(status.ok() ? self->LookNow() : status); });
                });
  }
}

absl::Status QueryStart::CheckNames() {
  return Resolve(normal_, text_, *core_->catalog, *core_->catalog->Now(), {}).status();
}

void QueryStart::Take(const std::string& source, FetchedSource fetched) {
  sources_[source] = fetched.file;
  source_keys_.push_back(std::move(fetched.key));
  reading_->source_pins.push_back(std::move(fetched.pins));
}

absl::Status QueryStart::LookNow() {
  std::shared_lock naming(core_->naming);
  reading_->at = core_->catalog->Now();
  absl::StatusOr<Resolved> resolved = Resolve(normal_, text_, *core_->catalog, *reading_->at, sources_);
  if (!resolved.ok()) return resolved.status();
  resolved_ = *std::move(resolved);
  input_bytes_ = FileBytesOf(resolved_.plan);
  if (options_.use_kept_result) UseKept();
  reading_->pins = core_->files->Pin(resolved_.files);
  const uint64_t most = core_->memory->limit();
  const uint64_t own = kQueryBytes + options_.caller_bytes;
  if (absl::Status status = Stage(resolved_.plan, most - std::min(most, own),
                                  most - std::min<uint64_t>(most, IdFiles::kWriteBytes));
      !status.ok())
    return status;
  Measure(resolved_.plan);
  return absl::OkStatus();
}

void QueryStart::UseKept() {
  kept_ = core_->results->Find(resolved_.key);
  if (!kept_.has_value()) return;
  Plan plan;
  if (kept_->file.number != 0) {
    plan.kind = Plan::Kind::kFile;
    plan.file = kept_->file;
    plan.min_count = plan.max_count = plan.file.count;
    resolved_.files = {kept_->file.number};
  } else if (kept_->count == 0) {
    resolved_.files.clear();
  } else {
    return;
  }
  resolved_.plan = std::move(plan);
  is_kept_ = true;
}

void QueryStart::Measure(const Plan& plan) {
  window_ = WindowFor(plan, core_->memory->limit() / kQueryPart);
  memory_ = MemoryOf(plan, window_) + kQueryBytes + options_.caller_bytes;
}

SegmentExplanation QueryStart::Explain() const {
  SegmentExplanation explanation;
  explanation.normalized = normalized_;
  explanation.plan = Describe(resolved_.plan, window_);
  explanation.memory_bytes = memory_;
  explanation.kept_result = kept_.has_value();
  if (is_kept_ && kept_->file.number != 0) explanation.plan.kind = SegmentPlan::Kind::kKeptResult;
  return explanation;
}

void QueryStart::Begin(Begun done) {
  begun_ = std::move(done);
  GoOn();
}

void QueryStart::End(absl::StatusOr<std::unique_ptr<SegmentQuery>> result) {
  std::exchange(begun_, nullptr)(std::move(result));
}

void QueryStart::Await(uint64_t bytes, absl::AnyInvocable<void()> then) {
  core_->memory->Request(
      bytes, options_.patience, "the query " + Shortened(normalized_),
      [self = shared_from_this(), then = std::move(then)](absl::StatusOr<MemoryLine::Grant> grant) mutable {
        if (!grant.ok()) return self->End(grant.status());
        self->reading_->memory = *std::move(grant);
        then();
      },
      options_.cancellation);
}

void QueryStart::GoOn() {
  Plan* const part = NextPart(resolved_.plan);
  if (part == nullptr) {
    Measure(resolved_.plan);
    return Await(memory_, [this] { Open(); });
  }
  const Plan& input = part->inputs.front();
  const size_t window = WindowFor(input, core_->memory->limit() / kQueryPart);
  Await(MemoryOf(input, window) + IdFiles::kWriteBytes, [this, part, window] { ComputePart(*part, window); });
}

void QueryStart::ComputePart(Plan& part, size_t window) {
  const absl::StatusOr<uint64_t> number = core_->catalog->NewNumber();
  if (!number.ok()) return End(number.status());
  auto work = std::make_shared<Work>();
  work->what = "a part of the query " + Shortened(normalized_);
  work->max_ids = part.max_count;
  work->memory_bytes = reading_->memory.bytes();
  work->context = core_->NewContext();
  work->context->SetCancellation(options_.cancellation);
  absl::StatusOr<std::unique_ptr<IdStream>> stream =
      Build(part.inputs.front(), window, *core_->files, *core_->catalog, reading_->at, work->context);
  if (!stream.ok()) return End(stream.status());
  reading_->listed = core_->works.Add(work);
  core_->files->Write(
      *std::move(stream), work->context, *number,
      [self = shared_from_this(), &part](const absl::StatusOr<FileEntry>& file) {
        self->reading_->listed = nullptr;
        if (!file.ok()) return self->End(file.status());
        std::shared_ptr<IdFiles::Pins> pin;
        if (file->number != 0) {
          // It goes with the last that has it pinned.
          pin = std::make_shared<IdFiles::Pins>(self->core_->files->Pin({file->number}));
          self->core_->files->Remove(file->number);
        }
        PartIsWritten(part, *file, std::move(pin));
        self->core_->world.executor.Run([self] {
          // Who waits for memory holds none.
          self->reading_->memory = MemoryLine::Grant();
          self->GoOn();
        });
      },
      reading_);
}

void QueryStart::Open() {
  absl::StatusOr<std::unique_ptr<SegmentQuery>> query = MakeQuery();
  // What is kept and cannot be read is nothing.
  if (!query.ok()) {
    for (const std::string& key : source_keys_) core_->ForgetResult(key);
  }
  if (query.ok() || !is_kept_) return End(std::move(query));
  core_->ForgetResult(resolved_.key);
  is_kept_ = false;
  kept_ = std::nullopt;
  reading_->memory = MemoryLine::Grant();
  if (absl::Status status = LookNow(); !status.ok()) return End(status);
  GoOn();
}

absl::StatusOr<std::unique_ptr<SegmentQuery>> QueryStart::MakeQuery() {
  const Plan& plan = resolved_.plan;
  auto work = std::make_shared<Work>();
  work->what = "query " + Shortened(normalized_);
  work->max_ids = plan.max_count;
  if (options_.limit != 0) work->max_ids = std::min(work->max_ids, options_.limit);
  work->memory_bytes = memory_;
  work->context = core_->NewContext();
  work->context->SetCancellation(options_.cancellation);
  work->from_kept_result = is_kept_;
  leaves_.clear();
  absl::StatusOr<std::unique_ptr<IdStream>> stream =
      Build(plan, window_, *core_->files, *core_->catalog, reading_->at, work->context, &leaves_);
  if (!stream.ok()) return stream.status();
  reading_->part_pins = PinsOf(plan);
  reading_->listed = core_->works.Add(work);
  core_->queries.fetch_add(1, std::memory_order_relaxed);
  SegmentQuery::Impl::Parts parts;
  if (kept_.has_value()) parts.known_count = kept_->count;
  parts.keeping = Keeping();
  parts.core = core_;
  parts.reading = reading_;
  parts.work = std::move(work);
  parts.stream = *std::move(stream);
  parts.normalized = normalized_;
  parts.options = options_;
  return SegmentQuery::Impl::Make(std::move(parts));
}

// Larger results cost as much to read as what they were made of; small ones may cost more, of small inputs.
std::optional<SegmentQuery::Impl::Keeping> QueryStart::Keeping() const {
  const bool worth_it =
      input_bytes_ >= core_->options.min_result_work_bytes && !resolved_.plan.inputs.empty();
  if (core_->keeping.load(std::memory_order_relaxed) >= kMostKeeping) return std::nullopt;
  if (kept_.has_value() || !options_.keep_result || core_->results->max_bytes() == 0 || !worth_it)
    return std::nullopt;
  SegmentQuery::Impl::Keeping keeping;
  keeping.entry.key = resolved_.key;
  keeping.entry.segments = resolved_.segments;
  keeping.max_file_bytes =
      std::min(std::max(input_bytes_ / 2, kSmallResultBytes), core_->results->max_bytes() / 4);
  return keeping;
}

}  // namespace thermocline::storage::segment
