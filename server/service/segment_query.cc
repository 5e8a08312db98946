#include "server/service/segment_query.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "server/service/segment_requests.h"
#include "storage/thread_annotations.h"

namespace thermocline::server {
namespace {

// Half a mebibyte as they are sent one by one, and less as bitmaps: far below what stock clients receive.
constexpr size_t kPageIds = 64 << 10;
constexpr size_t kBitmapWords = 1024;

// The wire's order of bytes is the memory's.
static_assert(std::endian::native == std::endian::little);

void FillIds(const storage::IdPage& page, v1::QueryResponse& response) {
  auto& ids = *response.mutable_ids();
  const auto count = static_cast<int>(page.ids.size());
  ids.Reserve(count);
  if (count > 0)
    std::memcpy(ids.AddNAlreadyReserved(count), page.ids.data(), page.ids.size() * sizeof(uint64_t));
  for (const storage::IdPage::Bitmap& bitmap : page.bitmaps) {
    v1::IdBitmap& sent = *response.add_bitmaps();
    sent.set_first(bitmap.first);
    sent.set_count(bitmap.count);
    sent.set_bits(page.words.data() + bitmap.words_at, kBitmapWords * sizeof(uint64_t));
  }
}

}  // namespace

struct HeldQuery::State {
  const storage::Cancellation cancellation = storage::Cancellation::New();
  storage::Mutex mutex;
  bool gone ABSL_GUARDED_BY(mutex) = false;
  std::shared_ptr<storage::SegmentQuery> query ABSL_GUARDED_BY(mutex);
};

HeldQuery::HeldQuery() : state_(std::make_shared<State>()) {}

HeldQuery::~HeldQuery() {
  if (state_ != nullptr) Cancel();
}

void HeldQuery::Cancel() {
  state_->cancellation.Cancel();
  std::shared_ptr<storage::SegmentQuery> query;  // destroyed without the lock
  storage::MutexLock lock(state_->mutex);
  state_->gone = true;
  query.swap(state_->query);
}

void HeldQuery::Open(storage::Segments& segments, std::string_view expression,
                     storage::SegmentQueryOptions options, Opened opened) {
  options.cancellation = state_->cancellation;
  segments.Query(expression, options,
                 [state = state_, opened = std::move(opened)](
                     absl::StatusOr<std::unique_ptr<storage::SegmentQuery>> result) mutable {
                   if (!result.ok()) return opened(result.status());
                   const std::shared_ptr<storage::SegmentQuery> query = *std::move(result);
                   {
                     storage::MutexLock lock(state->mutex);
                     if (state->gone) return;
                     state->query = query;
                   }
                   opened(query);
                 });
}

std::shared_ptr<storage::SegmentQuery> HeldQuery::query() const {
  storage::MutexLock lock(state_->mutex);
  return state_->query;
}

struct SegmentReader::Pages {
  bool bitmaps = false;
  storage::IdPage page;
  bool begun = false;  // the first response has been made
  bool ended = false;  // all ids have been handed out
};

SegmentReader::SegmentReader(storage::Segments& segments, const v1::QueryRequest& request,
                             const storage::SegmentQueryOptions& options)
    : segments_(segments),
      expression_(request.expression()),
      options_(options),
      pages_(std::make_shared<Pages>()) {
  pages_->bitmaps = request.accept_bitmaps();
}

void SegmentReader::Next(v1::QueryResponse* response, PageDone done) {
  if (const auto query = held_.query(); query != nullptr) {
    return Read(query, pages_, response, std::move(done));
  }
  held_.Open(segments_, expression_, options_,
             [pages = pages_, response,
              done = std::move(done)](absl::StatusOr<std::shared_ptr<storage::SegmentQuery>> query) mutable {
               if (!query.ok()) return done(query.status());
               Read(*query, pages, response, std::move(done));
             });
}

void SegmentReader::Read(const std::shared_ptr<storage::SegmentQuery>& query,
                         const std::shared_ptr<Pages>& pages, v1::QueryResponse* response, PageDone done) {
  const auto finish = [](const storage::SegmentQuery& of, Pages& read, v1::QueryResponse& to) {
    v1::Progress& progress = *to.mutable_progress();
    FillProgress(of.progress(), progress);
    if (!std::exchange(read.begun, true)) progress.set_normalized(of.normalized());
    // What ends it stands alone, so that whoever takes ids need not look at what comes with them.
    progress.set_done(to.ids().empty() && to.bitmaps().empty() && read.ended);
    return !progress.done();
  };
  if (pages->ended) {
    const bool more = finish(*query, *pages, *response);
    return done(more);
  }
  query->Next(kPageIds, pages->bitmaps, &pages->page,
              [query = std::weak_ptr(query), pages, response, finish,
               done = std::move(done)](absl::Status status) mutable {
                const auto held = query.lock();
                if (held == nullptr) return;
                if (!status.ok()) return done(std::move(status));
                FillIds(pages->page, *response);
                pages->ended = pages->page.done;
                const bool more = finish(*held, *pages, *response);
                done(more);
              });
}

}  // namespace thermocline::server
