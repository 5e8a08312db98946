#include "server/service/batch_get.h"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "server/service/batch_errors.h"
#include "server/service/batch_steps.h"
#include "server/service/requests.h"

namespace thermocline::server {
namespace {

// As far ahead of an operation the engine hears of its key.
constexpr uint32_t kAhead = 4;

// Enough to keep a disk busy; few enough that the reads of others do not queue behind a large batch.
constexpr size_t kGetsUnderWay = 64;

// What stock clients receive, less what goes around the values.
constexpr size_t kDefaultMaxBytes = 3 << 20;
constexpr size_t kStockMessageBytes = (4 << 20) - (64 << 10);
constexpr size_t kEntryOverheadBytes = 32;

size_t ValueBudget(const v1::BatchGetRequest& request) {
  if (request.max_bytes() != 0) return request.max_bytes();
  const size_t overhead = static_cast<size_t>(request.keys_size()) * kEntryOverheadBytes;
  return std::min(kDefaultMaxBytes, kStockMessageBytes - overhead);
}

std::vector<uint32_t> AllOf(int count) {
  std::vector<uint32_t> steps(count);
  std::iota(steps.begin(), steps.end(), 0);
  return steps;
}

// One BatchGet; owns itself until it has called `done`.
class BatchGet {
 public:
  BatchGet(storage::Engine& engine, storage::Clock& clock, const v1::BatchGetRequest& request,
           v1::BatchGetResponse* response, absl::AnyInvocable<void(absl::Status)> done)
      : engine_(engine),
        request_(request),
        response_(response),
        done_(std::move(done)),
        now_ms_(clock.NowMs()),
        bytes_left_(ValueBudget(request)),
        steps_(
            AllOf(request.keys_size()), kGetsUnderWay, [this](uint32_t step) { Begin(step); },
            [this] { Finish(); }) {}

  void Run() {
    response_->mutable_entries()->Reserve(request_.keys_size());
    for (int i = 0; i < request_.keys_size(); ++i) response_->add_entries();
    steps_.Run();
  }

 private:
  void Begin(uint32_t step) {
    if (const auto ahead = static_cast<int>(step + kAhead); ahead < request_.keys_size())
      engine_.Expect(request_.keys(ahead));
    const std::string& key = request_.keys(static_cast<int>(step));
    if (absl::Status status = CheckKey(key); !status.ok()) {
      Fail(step, status);
      return steps_.Ended();
    }
    engine_.Get(key, [this, step](absl::StatusOr<std::optional<storage::Entry>> result) {
      if (!result.ok()) {
        Fail(step, result.status());
      } else if (result->has_value()) {
        Fill(step, **result);
        *result = std::nullopt;
      }
      steps_.Ended();
    });
  }

  void Fail(uint32_t step, const absl::Status& status) {
    v1::BatchGetResponse::Entry& entry = *response_->mutable_entries(static_cast<int>(step));
    entry.set_state(v1::BatchGetResponse::Entry::FAILED);
    errors_.Fill(status, entry.mutable_error());
  }

  void Fill(uint32_t step, const storage::Entry& found) {
    v1::BatchGetResponse::Entry& entry = *response_->mutable_entries(static_cast<int>(step));
    entry.set_version(found.version);
    if (auto ttl = RemainingMs(found.expires_at_ms, now_ms_)) entry.set_ttl_ms(*ttl);
    const std::string_view value = found.value.view();
    if (TakeRoom(value.size())) {
      entry.set_state(v1::BatchGetResponse::Entry::FOUND);
      entry.set_value(value.data(), value.size());
    } else {
      entry.set_state(v1::BatchGetResponse::Entry::TOO_LARGE);
    }
  }

  // The first value always has room: a client that asks again for what was too large must get on.
  bool TakeRoom(size_t bytes) {
    std::lock_guard lock(mutex_);
    if (bytes > bytes_left_ && any_sent_) return false;
    bytes_left_ -= std::min(bytes, bytes_left_);
    any_sent_ = true;
    return true;
  }

  void Finish() {
    absl::AnyInvocable<void(absl::Status)> done = std::move(done_);
    delete this;
    done(absl::OkStatus());
  }

  storage::Engine& engine_;
  const v1::BatchGetRequest& request_;
  v1::BatchGetResponse* const response_;  // each step writes its own entry
  absl::AnyInvocable<void(absl::Status)> done_;
  const uint64_t now_ms_;
  BatchErrors errors_;

  std::mutex mutex_;
  size_t bytes_left_;      // guarded by mutex_
  bool any_sent_ = false;  // guarded by mutex_

  BatchSteps steps_;
};

}  // namespace

void RunBatchGet(storage::Engine& engine, storage::Clock& clock, const v1::BatchGetRequest& request,
                 v1::BatchGetResponse* response, absl::AnyInvocable<void(absl::Status)> done) {
  (new BatchGet(engine, clock, request, response, std::move(done)))->Run();
}

}  // namespace thermocline::server
