#include "server/service/batch_write.h"

#include <functional>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "server/service/batch_errors.h"
#include "server/service/batch_steps.h"
#include "server/service/requests.h"

namespace thermocline::server {
namespace {

// As far ahead of an operation the engine hears of its key.
constexpr uint32_t kAhead = 4;

constexpr uint32_t kNone = UINT32_MAX;

// The order within a batch: writes to the same key follow each other, all others are free.
struct Order {
  std::vector<uint32_t> first;  // writes that wait for no other
  std::vector<uint32_t> next;   // by write: the next one to the same key, or kNone
};

std::string_view KeyOf(const v1::BatchWriteRequest::Write& write) {
  return write.has_set() ? write.set().key() : write.delete_().key();
}

Order OrderOf(const v1::BatchWriteRequest& request) {
  Order order;
  order.next.assign(request.writes_size(), kNone);
  order.first.reserve(request.writes_size());
  std::unordered_map<std::string_view, uint32_t> last;
  last.reserve(request.writes_size());
  for (uint32_t i = 0; i < order.next.size(); ++i) {
    const auto [earlier, is_first] = last.try_emplace(KeyOf(request.writes(static_cast<int>(i))), i);
    if (is_first) {
      order.first.push_back(i);
    } else {
      order.next[std::exchange(earlier->second, i)] = i;
    }
  }
  return order;
}

// One BatchWrite; owns itself until it has called `done`.
//
// A write waits for the one before it to the same key. If each of them waited for its own sync, a batch with
// a key a thousand times would take a thousand syncs: so all but the last are written as MEMORY, and where
// they had asked for SYNC, one flush at the end makes good for them.
class BatchWrite {
 public:
  BatchWrite(storage::Engine& engine, storage::Clock& clock, const v1::BatchWriteRequest& request,
             v1::BatchWriteResponse* response, absl::AnyInvocable<void(absl::Status)> done)
      : BatchWrite(engine, clock, request, response, std::move(done), OrderOf(request)) {}

  void Run() {
    response_->mutable_results()->Reserve(request_.writes_size());
    for (int i = 0; i < request_.writes_size(); ++i) response_->add_results();
    steps_.Run();
  }

 private:
  BatchWrite(storage::Engine& engine, storage::Clock& clock, const v1::BatchWriteRequest& request,
             v1::BatchWriteResponse* response, absl::AnyInvocable<void(absl::Status)> done, Order order)
      : engine_(engine),
        request_(request),
        response_(response),
        done_(std::move(done)),
        now_ms_(clock.NowMs()),
        next_(std::move(order.next)),
        // All at once, so that they share a sync.
        steps_(
            std::move(order.first), next_.size(), [this](uint32_t step) { Begin(step); },
            [this] { Settle(); }) {}

  void Begin(uint32_t step) {
    if (const auto ahead = static_cast<int>(step + kAhead); ahead < request_.writes_size())
      engine_.Expect(KeyOf(request_.writes(ahead)));
    absl::StatusOr<storage::Write> write = ToWrite(request_.writes(static_cast<int>(step)), engine_, now_ms_);
    if (!write.ok()) {
      Fail(step, write.status());
      return End(step);
    }
    if (next_[step] == kNone || write->durability != storage::Durability::kSync) {
      engine_.Apply(*write, [this, step](const absl::StatusOr<storage::WriteResult>& result) {
        Record(step, result);
        End(step);
      });
      return;
    }
    write->durability = storage::Durability::kMemory;
    engine_.Apply(*write, [this, step](const absl::StatusOr<storage::WriteResult>& result) {
      if (result.ok() && result->applied) Defer(step);
      Record(step, result);
      End(step);
    });
  }

  void End(uint32_t step) { steps_.Ended(next_[step] == kNone ? std::nullopt : std::optional(next_[step])); }

  void Record(uint32_t step, const absl::StatusOr<storage::WriteResult>& result) {
    if (!result.ok()) return Fail(step, result.status());
    v1::WriteResponse& written = *response_->mutable_results(static_cast<int>(step))->mutable_written();
    written.set_applied(result->applied);
    written.set_version(result->version);
  }

  void Fail(uint32_t step, const absl::Status& status) {
    errors_.Fill(status, response_->mutable_results(static_cast<int>(step))->mutable_error());
  }

  void Defer(uint32_t step) {
    std::lock_guard lock(mutex_);
    deferred_.push_back(step);
  }

  // Every write has its result; now those that wait for a sync get theirs.
  void Settle() {
    if (deferred_.empty()) return Finish();
    engine_.Flush([this](const absl::Status& status) {
      if (!status.ok()) {
        const absl::Status unknown = absl::UnknownError(
            fmt::format("written, but perhaps not kept: {}", std::string(status.message())));
        for (uint32_t step : deferred_) Fail(step, unknown);
      }
      Finish();
    });
  }

  void Finish() {
    absl::AnyInvocable<void(absl::Status)> done = std::move(done_);
    delete this;
    done(absl::OkStatus());
  }

  storage::Engine& engine_;
  const v1::BatchWriteRequest& request_;
  v1::BatchWriteResponse* const response_;  // each step writes its own result
  absl::AnyInvocable<void(absl::Status)> done_;
  const uint64_t now_ms_;
  const std::vector<uint32_t> next_;  // as Order's
  BatchErrors errors_;

  std::mutex mutex_;
  std::vector<uint32_t>
      deferred_;  // applied without the sync they asked for; guarded by mutex_ until all have ended

  BatchSteps steps_;
};

}  // namespace

void RunBatchWrite(storage::Engine& engine, storage::Clock& clock, const v1::BatchWriteRequest& request,
                   v1::BatchWriteResponse* response, absl::AnyInvocable<void(absl::Status)> done) {
  (new BatchWrite(engine, clock, request, response, std::move(done)))->Run();
}

}  // namespace thermocline::server
