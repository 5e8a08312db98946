#include "server/service/segment_values.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "server/service/segment_query.h"
#include "server/status.h"
#include "storage/thread_annotations.h"

namespace thermocline::server {
namespace {

constexpr size_t kPageIds = 4096;
// Enough to keep a disk busy; few enough that the reads of others do not queue behind them.
constexpr size_t kGetsUnderWay = 64;
constexpr size_t kMaxItems = 256;
constexpr size_t kMaxBytes = 1 << 20;  // of a value, and of the values of a response
// Of values that have been read, and of those that may come if they are as large as the largest so far.
constexpr size_t kMaxAheadBytes = 4 << 20;

}  // namespace

// Takes one step after the other, each of which begins something whose end leads to the next steps. One
// thread at a time takes them; the others leave theirs to it.
class SegmentValuesReader::Work : public std::enable_shared_from_this<Work> {
 public:
  Work(storage::Segments& segments, storage::Engine& engine, const v1::QueryRequest& request,
       const storage::SegmentQueryOptions& options, KeyPattern keys)
      : segments_(segments),
        engine_(engine),
        expression_(request.expression()),
        options_(options),
        keys_(std::move(keys)) {}

  void Next(v1::QueryValuesResponse* response, PageDone done) {
    {
      storage::MutexLock lock(mutex_);
      response_ = response;
      done_ = std::move(done);
    }
    Advance();
  }

  void Cancel() {
    held_.Cancel();
    PageDone done;  // destroyed without the lock
    storage::MutexLock lock(mutex_);
    response_ = nullptr;
    std::swap(done, done_);
  }

 private:
  using Item = v1::QueryValuesResponse::Item;

  // An id whose value was asked for.
  struct Slot {
    Item item;
    bool ready = false;
  };

  enum class Step { kNone, kPage, kGet, kAnswer };

  void Advance() {
    {
      storage::MutexLock lock(mutex_);
      if (advancing_) return;
      advancing_ = true;
    }
    for (;;) {
      Step step;
      std::shared_ptr<Slot> slot;
      {
        storage::MutexLock lock(mutex_);
        step = Choose();
        if (step == Step::kNone) {
          advancing_ = false;
          return;
        }
        paging_ = paging_ || step == Step::kPage;
        if (step == Step::kGet) slot = AddSlot();
      }
      if (step == Step::kPage) ReadPage();
      if (step == Step::kGet) Get(std::move(slot));
      if (step == Step::kAnswer) Answer();
    }
  }

  Step Choose() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (response_ == nullptr) return Step::kNone;
    if (!failure_.ok() || IsWhole()) return Step::kAnswer;
    if (paging_) return Step::kNone;
    if (next_id_ == page_.ids.size()) return page_.done ? Step::kNone : Step::kPage;
    if (under_way_ == 0) return Step::kGet;
    const bool room = under_way_ < kGetsUnderWay && slots_.size() < kMaxItems + kGetsUnderWay &&
                      ready_bytes_ + (under_way_ + 1) * largest_ <= kMaxAheadBytes;
    return room ? Step::kGet : Step::kNone;
  }

  // Whether what stands ready at the front makes a response: no more fits, or nothing follows.
  bool IsWhole() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (front_ < slots_.size() && slots_[front_]->ready) {
      const size_t bytes = slots_[front_]->item.value().size();
      if (front_ == kMaxItems || (front_ > 0 && front_bytes_ + bytes > kMaxBytes)) return true;
      front_bytes_ += bytes;
      ++front_;
    }
    return front_ == kMaxItems || (front_ == slots_.size() && HasAllIds());
  }

  bool HasAllIds() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !paging_ && page_.done && next_id_ == page_.ids.size();
  }

  void ReadPage() {
    if (const auto query = held_.query(); query != nullptr) return ReadPage(*query);
    held_.Open(
        segments_, expression_, options_,
        [self = shared_from_this()](const absl::StatusOr<std::shared_ptr<storage::SegmentQuery>>& query) {
          if (!query.ok()) return self->PageRead(query.status());
          self->ReadPage(**query);
        });
  }

  void ReadPage(storage::SegmentQuery& query) {
    query.Next(kPageIds, false, &page_,
               [self = shared_from_this()](const absl::Status& status) { self->PageRead(status); });
  }

  void PageRead(const absl::Status& status) {
    {
      storage::MutexLock lock(mutex_);
      paging_ = false;
      next_id_ = 0;
      failure_.Update(status);
    }
    Advance();
  }

  std::shared_ptr<Slot> AddSlot() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    slots_.push_back(std::make_shared<Slot>());
    slots_.back()->item.set_id(page_.ids[next_id_++]);
    ++under_way_;
    return slots_.back();
  }

  void Get(std::shared_ptr<Slot> slot) {
    const std::string key = keys_.Key(slot->item.id());
    engine_.Get(key, [self = shared_from_this(),
                      slot = std::move(slot)](absl::StatusOr<std::optional<storage::Entry>> result) {
      self->Got(*slot, std::move(result));
    });
  }

  void Got(Slot& slot, absl::StatusOr<std::optional<storage::Entry>> result) {
    // Nobody else looks at it before it is ready.
    if (result.ok() && result->has_value()) {
      const std::string_view value = (*result)->value.view();
      slot.item.set_found(true);
      slot.item.set_too_large(value.size() > kMaxBytes);
      if (!slot.item.too_large()) slot.item.set_value(value.data(), value.size());
      *result = std::nullopt;  // the value pins a block
    }
    {
      storage::MutexLock lock(mutex_);
      slot.ready = true;
      --under_way_;
      ready_bytes_ += slot.item.value().size();
      largest_ = std::max(largest_, slot.item.value().size());
      // Not what it means here: that the store does not find a file of its own.
      if (!result.ok()) {
        failure_.Update(absl::Status(static_cast<absl::StatusCode>(WireCode(result.status())),
                                     result.status().message()));
      }
    }
    Advance();
  }

  void Answer() {
    v1::QueryValuesResponse* response;
    PageDone done;
    absl::Status failure;
    bool begun;
    {
      storage::MutexLock lock(mutex_);
      if (response_ == nullptr) return;
      response = std::exchange(response_, nullptr);
      std::swap(done, done_);
      failure = failure_;
      begun = std::exchange(begun_, true);
      response->mutable_progress()->set_done(slots_.empty());
      TakeFront(*response);
    }
    if (!failure.ok()) return done(std::move(failure));
    const auto query = held_.query();
    if (query == nullptr) return;  // cancelled
    v1::Progress& progress = *response->mutable_progress();
    FillProgress(query->progress(), progress);
    if (!begun) progress.set_normalized(query->normalized());
    looked_up_ += static_cast<uint64_t>(response->items_size());
    progress.set_ids(looked_up_);
    const bool more = !progress.done();
    done(more);
  }

  void TakeFront(v1::QueryValuesResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    response.mutable_items()->Reserve(static_cast<int>(front_));
    largest_ = 0;
    for (; front_ > 0; --front_) {
      Item& item = slots_.front()->item;
      largest_ = std::max(largest_, item.value().size());
      response.mutable_items()->Add(std::move(item));
      slots_.pop_front();
    }
    ready_bytes_ -= std::exchange(front_bytes_, 0);
  }

  storage::Segments& segments_;
  storage::Engine& engine_;
  const std::string expression_;
  const storage::SegmentQueryOptions options_;
  const KeyPattern keys_;
  HeldQuery held_;

  storage::Mutex mutex_;
  bool advancing_ ABSL_GUARDED_BY(mutex_) = false;
  v1::QueryValuesResponse* response_ ABSL_GUARDED_BY(mutex_) = nullptr;  // that is asked for
  PageDone done_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);

  bool paging_ ABSL_GUARDED_BY(mutex_) = false;
  storage::IdPage page_;  // the query's while paging_, else guarded by mutex_
  size_t next_id_ ABSL_GUARDED_BY(mutex_) = 0;

  std::deque<std::shared_ptr<Slot>> slots_ ABSL_GUARDED_BY(mutex_);  // in the order of their ids
  size_t under_way_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t ready_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t largest_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of those that are ready at the front and fit into one response.
  size_t front_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t front_bytes_ ABSL_GUARDED_BY(mutex_) = 0;

  bool begun_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t looked_up_ = 0;  // for whoever answers
};

SegmentValuesReader::SegmentValuesReader(storage::Segments& segments, storage::Engine& engine,
                                         const v1::QueryRequest& request,
                                         const storage::SegmentQueryOptions& options, KeyPattern keys)
    : work_(std::make_shared<Work>(segments, engine, request, options, std::move(keys))) {}

SegmentValuesReader::~SegmentValuesReader() {
  if (work_ != nullptr) work_->Cancel();
}

void SegmentValuesReader::Next(v1::QueryValuesResponse* response, PageDone done) {
  work_->Next(response, std::move(done));
}

}  // namespace thermocline::server
