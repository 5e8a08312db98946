#include "server/service/jobs.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "server/service/segment_requests.h"
#include "server/status.h"
#include "storage/thread_annotations.h"

namespace thermocline::server {
namespace {

using storage::MutexLock;
using storage::SegmentExportProgress;

constexpr size_t kShownExpressionBytes = 500;
constexpr size_t kShownFailureBytes = 1000;
constexpr std::chrono::milliseconds kBetweenMessages{200};
// Of an export for the memory of its query, when its turn has come.
constexpr std::chrono::minutes kPatience{10};
// Before so much of a job is done, nobody can tell how long the rest takes.
constexpr double kLeastPart = 0.002;

// The first bytes of UTF-8, without half a character.
// What others say need not be UTF-8, and protobuf's strings must be.
std::string Readable(const std::string& text) {
  using nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

std::string Beginning(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return std::string(text.substr(0, bytes)) + "...";
}

// Ids of jobs of one server do not mean jobs of the next one.
std::string FirstPartOfIds(uint64_t now_ms) {
  std::string text;
  for (uint64_t seconds = now_ms / 1000; seconds > 0; seconds /= 36)
    text.insert(text.begin(), "0123456789abcdefghijklmnopqrstuvwxyz"[seconds % 36]);
  return text + "-";
}

storage::SegmentExportFormat ToFormat(v1::ExportFormat format) {
  if (format == v1::PACKED) return storage::SegmentExportFormat::kPacked;
  return format == v1::ID_FILE ? storage::SegmentExportFormat::kIdFile : storage::SegmentExportFormat::kLines;
}

v1::Job::Stage ToStage(SegmentExportProgress::Stage stage) {
  switch (stage) {
    case SegmentExportProgress::Stage::kPlanning:
      return v1::Job::PLANNING;
    case SegmentExportProgress::Stage::kWaiting:
      return v1::Job::WAITING;
    case SegmentExportProgress::Stage::kWriting:
      return v1::Job::WRITING;
    default:
      return v1::Job::FINISHING;
  }
}

bool HasEnded(const v1::Job& job) { return job.stage() >= v1::Job::DONE; }

double Part(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : std::min(1.0, static_cast<double>(part) / static_cast<double>(whole));
}

void FillJob(const SegmentExportProgress& from, v1::Job& to) {
  to.set_stage(ToStage(from.stage));
  to.set_ids(from.ids);
  if (from.query.max_ids != 0) to.set_max_ids(from.query.max_ids);
  to.set_bytes(from.bytes);
  to.set_ids_per_second(from.ids_per_second);
  FillProgress(from.query, *to.mutable_progress());
  if (to.stage() != v1::Job::WRITING) return;
  const double done = std::max(Part(from.ids, from.query.max_ids),
                               Part(from.query.blocks_read + from.query.blocks_passed, from.query.blocks));
  if (done < kLeastPart) return;
  to.set_remaining_ms(static_cast<uint64_t>(static_cast<double>(from.writing_ms) * (1 - done) / done));
}

}  // namespace

struct JobWatcher::Watch : std::enable_shared_from_this<Watch> {
  using Done = absl::AnyInvocable<void(absl::StatusOr<bool>)>;

  void Next(v1::Job* to, Done then);
  void Wait(uint64_t of_turn);
  // Answers if there is something new.
  void Look(uint64_t of_turn);
  void LookNow();

  std::shared_ptr<Jobs::State> state;
  std::shared_ptr<Jobs::Record> record;
  v1::Job last;  // that was sent; for who answers

  storage::Mutex mutex;
  uint64_t turn ABSL_GUARDED_BY(mutex) = 0;  // grows with each response that is asked for
  v1::Job* response ABSL_GUARDED_BY(mutex) = nullptr;
  Done done ABSL_GUARDED_BY(mutex);  // nullptr: nothing is asked for
};

// What is guarded, is by the mutex of the state.
struct Jobs::Record {
  uint64_t number = 0;
  v1::Job job;             // what does not change while it runs; all of it at the end
  std::string expression;  // until it has ended
  storage::SegmentExportOptions options;
  storage::Segments::CreateObject create;           // until it begins
  std::shared_ptr<storage::SegmentExport> running;  // nullptr: it waits or has ended
  std::string why_cancelled;
  std::vector<std::weak_ptr<JobWatcher::Watch>> watches;
};

class Jobs::State : public std::enable_shared_from_this<State> {
 public:
  using RecordPtr = std::shared_ptr<Record>;

  State(storage::Segments& segments, const ExportTargets& targets, storage::Clock& clock,
        storage::Executor& executor, const Options& options)
      : segments(segments),
        targets(targets),
        executor(executor),
        clock_(clock),
        options_(options),
        first_part_(FirstPartOfIds(clock.NowMs())) {}

  absl::StatusOr<v1::Job> Admit(const RecordPtr& record);
  void Stop();
  // As Stop, and nothing of them ends any more.
  void Abandon();

  absl::StatusOr<RecordPtr> Find(const std::string& id);
  v1::Job Look(Record& record);
  void Watch(Record& record, const std::shared_ptr<JobWatcher::Watch>& watch);
  void List(bool unfinished_only, v1::ListJobsResponse& response);
  void Cancel(const RecordPtr& record, std::string_view why);

  storage::Segments& segments;
  const ExportTargets& targets;
  storage::Executor& executor;

 private:
  void BeginWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Ended(const RecordPtr& record, const absl::StatusOr<storage::SegmentExportResult>& result);
  std::vector<std::weak_ptr<JobWatcher::Watch>> Close(const RecordPtr& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Tell(const std::vector<std::weak_ptr<JobWatcher::Watch>>& watches);
  v1::Job Snapshot(const Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  storage::Clock& clock_;
  const Options options_;
  const std::string first_part_;

  storage::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t next_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, RecordPtr> records_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> writing_ ABSL_GUARDED_BY(mutex_);  // URLs of those not ended: their ids
  std::deque<RecordPtr> waiting_ ABSL_GUARDED_BY(mutex_);
  std::deque<uint64_t> ended_ ABSL_GUARDED_BY(mutex_);
  size_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t expression_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

absl::StatusOr<v1::Job> Jobs::State::Admit(const RecordPtr& record) {
  MutexLock lock(mutex_);
  if (stopped_) return absl::UnavailableError("the server is stopping");
  const std::string& url = record->job.url();
  if (const auto other = writing_.find(url); other != writing_.end()) {
    return absl::AlreadyExistsError(
        fmt::format("job {} writes to {}: wait for its end, or cancel it", other->second, url));
  }
  if (waiting_.size() >= options_.max_waiting ||
      expression_bytes_ + record->expression.size() > options_.max_waiting_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("{} jobs are waiting already: try again later, or cancel some of them", waiting_.size()));
  }
  record->number = next_++;
  record->job.set_id(first_part_ + std::to_string(record->number));
  record->job.set_stage(v1::Job::WAITING);
  record->job.set_created_at_ms(clock_.NowMs());
  records_[record->number] = record;
  writing_[url] = record->job.id();
  expression_bytes_ += record->expression.size();
  waiting_.push_back(record);
  BeginWaiting();
  return Snapshot(*record);
}

void Jobs::State::BeginWaiting() {
  while (!stopped_ && running_ < options_.max_running && !waiting_.empty()) {
    const RecordPtr record = std::move(waiting_.front());
    waiting_.pop_front();
    ++running_;
    record->job.set_started_at_ms(clock_.NowMs());
    record->running = segments.Export(
        record->expression, record->options, std::move(record->create),
        [state = shared_from_this(), record](const absl::StatusOr<storage::SegmentExportResult>& result) {
          state->Ended(record, result);
        });
  }
}

void Jobs::State::Ended(const RecordPtr& record, const absl::StatusOr<storage::SegmentExportResult>& result) {
  std::shared_ptr<storage::SegmentExport> ended;  // goes without the lock
  std::vector<std::weak_ptr<JobWatcher::Watch>> watches;
  {
    MutexLock lock(mutex_);
    record->job = Snapshot(*record);
    ended.swap(record->running);
    v1::Job& job = record->job;
    job.clear_remaining_ms();
    if (result.ok()) {
      job.set_stage(v1::Job::DONE);
      job.set_ids(result->ids);
      job.set_bytes(result->bytes);
      job.set_sha256(result->sha256);
      job.mutable_progress()->set_normalized(Beginning(result->normalized, kShownExpressionBytes));
      job.mutable_progress()->set_done(true);
    } else if (absl::IsCancelled(result.status())) {
      job.set_stage(v1::Job::CANCELLED);
      job.set_failure(record->why_cancelled);
    } else {
      job.set_stage(v1::Job::FAILED);
      job.set_failure_code(ExportWireCode(result.status()));
      job.set_failure(Beginning(Readable(std::string(result.status().message())), kShownFailureBytes));
    }
    --running_;
    watches = Close(record);
    BeginWaiting();
  }
  Tell(watches);
}

// Its stage is final.
std::vector<std::weak_ptr<JobWatcher::Watch>> Jobs::State::Close(const RecordPtr& record) {
  record->job.set_finished_at_ms(clock_.NowMs());
  writing_.erase(record->job.url());
  expression_bytes_ -= record->expression.size();
  record->expression = std::string();
  record->create = nullptr;
  ended_.push_back(record->number);
  if (ended_.size() > options_.max_ended) {
    records_.erase(ended_.front());
    ended_.pop_front();
  }
  return std::exchange(record->watches, {});
}

void Jobs::State::Tell(const std::vector<std::weak_ptr<JobWatcher::Watch>>& watches) {
  for (const std::weak_ptr<JobWatcher::Watch>& each : watches) {
    if (const auto watch = each.lock(); watch != nullptr) watch->LookNow();
  }
}

v1::Job Jobs::State::Snapshot(const Record& record) {
  v1::Job job = record.job;
  if (record.running != nullptr) FillJob(record.running->progress(), job);
  return job;
}

void Jobs::State::Cancel(const RecordPtr& record, std::string_view why) {
  std::shared_ptr<storage::SegmentExport> running;
  std::vector<std::weak_ptr<JobWatcher::Watch>> watches;
  {
    MutexLock lock(mutex_);
    if (HasEnded(record->job)) return;
    if (record->why_cancelled.empty()) record->why_cancelled = why;
    running = record->running;
    if (running == nullptr) {
      std::erase(waiting_, record);
      record->job.set_stage(v1::Job::CANCELLED);
      record->job.set_failure(record->why_cancelled);
      watches = Close(record);
    }
  }
  if (running != nullptr) running->Cancel();
  Tell(watches);
}

void Jobs::State::Stop() {
  std::vector<RecordPtr> unfinished;
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    for (const auto& [number, record] : records_) {
      if (!HasEnded(record->job)) unfinished.push_back(record);
    }
  }
  for (const RecordPtr& record : unfinished) Cancel(record, "the server was stopped");
}

void Jobs::State::Abandon() {
  Stop();
  std::vector<std::shared_ptr<storage::SegmentExport>> running;
  MutexLock lock(mutex_);
  for (const auto& [number, record] : records_) {
    if (record->running != nullptr) running.push_back(std::move(record->running));
  }
}

absl::StatusOr<Jobs::State::RecordPtr> Jobs::State::Find(const std::string& id) {
  uint64_t number = 0;
  if (id.starts_with(first_part_) && id.size() < 40) {
    for (const char c : std::string_view(id).substr(first_part_.size())) {
      if (c < '0' || c > '9')
        number = 0;
      else
        number = number * 10 + static_cast<uint64_t>(c - '0');
    }
  }
  MutexLock lock(mutex_);
  const auto found = records_.find(number);
  if (found != records_.end() && found->second->job.id() == id) return found->second;
  return absl::NotFoundError(fmt::format(
      "there is no job {}: the server knows those that run or wait, and the last {} since its start",
      id.substr(0, 100), options_.max_ended));
}

v1::Job Jobs::State::Look(Record& record) {
  MutexLock lock(mutex_);
  return Snapshot(record);
}

void Jobs::State::Watch(Record& record, const std::shared_ptr<JobWatcher::Watch>& watch) {
  MutexLock lock(mutex_);
  if (HasEnded(record.job)) return;
  std::erase_if(record.watches, [](const auto& each) { return each.expired(); });
  record.watches.push_back(watch);
}

void Jobs::State::List(bool unfinished_only, v1::ListJobsResponse& response) {
  MutexLock lock(mutex_);
  for (auto each = records_.rbegin(); each != records_.rend(); ++each) {
    if (!unfinished_only || !HasEnded(each->second->job)) *response.add_jobs() = Snapshot(*each->second);
  }
}

Jobs::Jobs(storage::Segments& segments, const ExportTargets& targets, storage::Clock& clock,
           storage::Executor& executor, const Options& options)
    : state_(std::make_shared<State>(segments, targets, clock, executor, options)) {}

Jobs::~Jobs() { state_->Abandon(); }

void Jobs::Stop() { state_->Stop(); }

void Jobs::Export(const v1::ExportRequest& request, absl::AnyInvocable<void(absl::StatusOr<v1::Job>)> done) {
  absl::StatusOr<storage::Segments::CreateObject> create =
      state_->targets.Resolve(request.url(), request.replace());
  if (!create.ok()) return done(create.status());
  auto record = std::make_shared<Record>();
  record->expression = request.expression();
  record->create = *std::move(create);
  record->options.format = ToFormat(request.format());
  record->options.query.limit = request.limit();
  if (request.has_after()) record->options.query.after = request.after();
  record->options.query.use_kept_result = !request.fresh();
  record->options.query.patience = kPatience;
  record->job.set_expression(Beginning(request.expression(), kShownExpressionBytes));
  record->job.set_url(request.url());
  record->job.set_format(request.format() == v1::EXPORT_FORMAT_UNSPECIFIED ? v1::LINES : request.format());
  // What is wrong with the expression is found out while somebody listens.
  state_->segments.Explain(request.expression(), /*execute=*/false, {},
                           [state = state_, record, limit = request.limit(), done = std::move(done)](
                               const absl::StatusOr<storage::SegmentExplanation>& explanation) mutable {
                             if (!explanation.ok()) return done(explanation.status());
                             const uint64_t most = explanation->plan.max_count;
                             record->job.set_max_ids(limit == 0 ? most : std::min<uint64_t>(limit, most));
                             done(state->Admit(record));
                           });
}

absl::StatusOr<JobWatcher> Jobs::Watch(const v1::WatchJobRequest& request) {
  absl::StatusOr<State::RecordPtr> record = state_->Find(request.id());
  if (!record.ok()) return record.status();
  auto watch = std::make_shared<JobWatcher::Watch>();
  watch->state = state_;
  watch->record = *std::move(record);
  state_->Watch(*watch->record, watch);
  return JobWatcher(std::move(watch));
}

void Jobs::List(const v1::ListJobsRequest& request, v1::ListJobsResponse& response) {
  state_->List(request.unfinished_only(), response);
}

absl::StatusOr<v1::Job> Jobs::Cancel(const v1::CancelJobRequest& request) {
  const absl::StatusOr<State::RecordPtr> record = state_->Find(request.id());
  if (!record.ok()) return record.status();
  state_->Cancel(*record, "a client has cancelled it");
  return state_->Look(**record);
}

void JobWatcher::Watch::Next(v1::Job* to, Done then) {
  const bool first = last.id().empty();
  uint64_t of_turn = 0;
  {
    MutexLock lock(mutex);
    response = to;
    done = std::move(then);
    of_turn = ++turn;
  }
  if (first) return Look(of_turn);
  // It may have ended when nothing was asked for; else its end is told.
  if (HasEnded(state->Look(*record))) return Look(of_turn);
  Wait(of_turn);
}

void JobWatcher::Watch::Wait(uint64_t of_turn) {
  state->executor.RunAfter(kBetweenMessages, [weak = weak_from_this(), of_turn] {
    if (const auto self = weak.lock(); self != nullptr) self->Look(of_turn);
  });
}

void JobWatcher::Watch::LookNow() {
  uint64_t of_turn = 0;
  {
    MutexLock lock(mutex);
    of_turn = turn;
  }
  Look(of_turn);
}

void JobWatcher::Watch::Look(uint64_t of_turn) {
  v1::Job job = state->Look(*record);
  Done then;
  {
    MutexLock lock(mutex);
    if (of_turn != turn || done == nullptr) return;
    const bool news = job.stage() != last.stage() || job.ids() != last.ids() || job.bytes() != last.bytes() ||
                      job.progress().blocks_read() != last.progress().blocks_read();
    if (news) {
      then = std::exchange(done, nullptr);
      last = job;
      *response = std::move(job);
    }
  }
  if (then == nullptr) return Wait(of_turn);
  then(!HasEnded(last));
}

JobWatcher::JobWatcher(std::shared_ptr<Watch> watch) : watch_(std::move(watch)) {}

JobWatcher::~JobWatcher() {
  if (watch_ == nullptr) return;
  Watch::Done dropped;  // without the lock
  MutexLock lock(watch_->mutex);
  dropped = std::exchange(watch_->done, nullptr);
}

void JobWatcher::Next(v1::Job* response, absl::AnyInvocable<void(absl::StatusOr<bool>)> done) {
  watch_->Next(response, std::move(done));
}

}  // namespace thermocline::server
