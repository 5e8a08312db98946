#include "client/pipeline.h"

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "grpcpp/grpcpp.h"

namespace thermocline::transport {
namespace {

// Of one message. More would keep the first of them waiting for the last.
constexpr size_t kMaxMessageOperations = 1024;
constexpr size_t kMaxMessageBytes = 256 << 10;
// A larger operation travels alone: it would keep the others waiting. The server has the same limit for
// answers.
constexpr size_t kMaxOperationBytes = 16 << 10;
// What an operation costs beside its key and value.
constexpr size_t kOverheadBytes = 64;
constexpr std::chrono::milliseconds kFirstPause(20);
constexpr std::chrono::milliseconds kLastPause(1000);

// Whether this thread is in a `done`, which must not wait for the answers that it keeps from being read.
thread_local bool in_done = false;

// A random part of `bound`, which grows.
std::chrono::milliseconds NextPause(std::chrono::milliseconds& bound) {
  thread_local std::minstd_rand random(std::random_device{}());
  std::uniform_int_distribution<int64_t> part(bound.count() / 2, bound.count());
  bound = std::min(bound * 2, kLastPause);
  return std::chrono::milliseconds(part(random));
}

absl::Status StatusOf(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace

void Operation::Fail(const absl::Status& status) {
  std::visit([&status](auto& waiting) { waiting(status); }, done);
}

class Pipeline::Deferred {
 public:
  explicit Deferred(const Pipeline& pipeline) : pipeline_(pipeline) {}

  // Where no lock is held.
  void Run() {
    const bool nested = std::exchange(in_done, true);
    for (auto& task : tasks_) task();
    in_done = nested;
  }

  void Fail(UnderWay under_way, absl::Status status) {
    tasks_.push_back([operation = std::move(under_way.operation), status = std::move(status)]() mutable {
      operation.Fail(status);
    });
  }
  template <class Response>
  void Complete(UnderWay under_way, Response& response) {
    tasks_.push_back([operation = std::move(under_way.operation), response = std::move(response)]() mutable {
      std::get<Done<Response>>(operation.done)(std::move(response));
    });
  }
  void SendUnary(UnderWay under_way) {
    tasks_.push_back([this, operation = std::move(under_way.operation)]() mutable {
      pipeline_.unary_(std::move(operation));
    });
  }

 private:
  const Pipeline& pipeline_;
  std::vector<absl::AnyInvocable<void()>> tasks_;
};

// One call of KeyValue.Pipeline. Deletes itself when it is over.
class Pipeline::Stream final : public grpc::ClientBidiReactor<v1::PipelineRequest, v1::PipelineResponse> {
 public:
  explicit Stream(Pipeline& pipeline) : pipeline_(pipeline) {
    pipeline_.stub_.async()->Pipeline(&context_, this);
    AddHold();  // writes begin outside of reactions
    StartCall();
  }

  void Write(const v1::PipelineRequest& request) { StartWrite(&request); }
  void Cancel() { context_.TryCancel(); }

 private:
  // The server says so at once: from here on, what is sent reaches it.
  void OnReadInitialMetadataDone(bool ok) override {
    if (!ok) return Release();
    pipeline_.OnEstablished();
    StartRead(&response_);  // last: from here on it may be found broken
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Release();
    pipeline_.OnAnswers(response_);
    StartRead(&response_);
  }

  void OnWriteDone(bool ok) override {
    if (ok) pipeline_.OnWritten();
  }

  void OnDone(const grpc::Status& status) override {
    Pipeline& pipeline = pipeline_;
    const absl::Status why = StatusOf(status);
    {
      std::lock_guard lock(pipeline.mutex_);
      pipeline.ending_ = true;
    }
    // First: it refers to the channel, and a thread of gRPC must not be the last to do so.
    delete this;
    pipeline.OnBroken(why);
  }

  // Nothing is read any more, and nothing will be written.
  void Release() {
    {
      std::lock_guard lock(pipeline_.mutex_);
      pipeline_.established_ = false;
    }
    RemoveHold();
  }

  Pipeline& pipeline_;
  grpc::ClientContext context_;
  v1::PipelineResponse response_;
};

Pipeline::Pipeline(v1::KeyValue::StubInterface& stub, std::function<void(Operation)> unary)
    : stub_(stub), unary_(std::move(unary)), timer_([this] { RunTimer(); }) {}

Pipeline::~Pipeline() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    timer_changed_.notify_all();
    if (stream_ != nullptr && !ending_) stream_->Cancel();
    stream_gone_.wait(lock, [this] { return stream_ == nullptr; });
  }
  timer_.join();
}

bool Pipeline::Carries(size_t bytes) { return bytes <= kMaxOperationBytes; }

void Pipeline::Submit(Operation operation) {
  auto under_way = std::make_unique<UnderWay>();
  under_way->operation = std::move(operation);
  v1::PipelineRequest::Operation& message = under_way->operation.message;
  const Deadline deadline = under_way->operation.deadline;
  under_way->bytes = kOverheadBytes + message.ByteSizeLong();
  std::unique_lock lock(mutex_);
  if (!in_done) AwaitRoom(lock, under_way->bytes, deadline);
  if (unsupported_) {
    lock.unlock();
    return unary_(std::move(under_way->operation));
  }
  const uint64_t id = next_id_++;
  message.set_id(id);
  bytes_ += under_way->bytes;
  under_way_.emplace(id, std::move(under_way));
  queue_.push_back(id);
  WakeTimerAt(deadline);
  Send(lock);
}

// Until the deadline at most: an operation that comes too late will be told so by the timer.
void Pipeline::AwaitRoom(std::unique_lock<std::mutex>& lock, size_t bytes, Deadline deadline) {
  room_.wait_until(lock, deadline, [this, bytes] {
    return under_way_.size() < kMaxOperations && (bytes_ + bytes <= kMaxBytes || under_way_.empty());
  });
}

// Opens a stream, or sends what is queued, if that is possible now. Leaves the lock open if it has used it.
void Pipeline::Send(std::unique_lock<std::mutex>& lock) {
  if (queue_.empty() || stopping_) return;
  if (stream_ == nullptr) {
    if (Clock::now() < open_again_) return WakeTimerAt(open_again_);
    stream_ = new Stream(*this);
    return;
  }
  if (!established_ || writing_) return;
  GatherMessage();
  if (message_.operations_size() == 0) return;
  writing_ = true;
  Stream* const stream = stream_;  // stays: its hold is released under the lock, with established_
  stream->AddHold();
  lock.unlock();
  stream->Write(message_);
  stream->RemoveHold();
}

void Pipeline::GatherMessage() {
  message_.Clear();
  size_t bytes = 0;
  while (!queue_.empty() && bytes < kMaxMessageBytes &&
         message_.operations_size() < static_cast<int>(kMaxMessageOperations)) {
    const auto found = under_way_.find(queue_.front());
    queue_.pop_front();
    if (found == under_way_.end()) continue;
    UnderWay& under_way = *found->second;
    under_way.sent = true;
    bytes += under_way.bytes;
    if (under_way.operation.is_read()) {
      *message_.add_operations() = under_way.operation.message;  // perhaps to be sent again
    } else {
      message_.add_operations()->Swap(&under_way.operation.message);
    }
  }
}

Pipeline::UnderWay Pipeline::Take(uint64_t id) {
  const auto found = under_way_.find(id);
  UnderWay taken = std::move(*found->second);
  under_way_.erase(found);
  bytes_ -= taken.bytes;
  room_.notify_one();
  return taken;
}

void Pipeline::OnEstablished() {
  std::unique_lock lock(mutex_);
  established_ = true;
  open_pause_ = kFirstPause;
  Send(lock);
}

void Pipeline::OnWritten() {
  std::unique_lock lock(mutex_);
  writing_ = false;
  Send(lock);
}

void Pipeline::OnAnswers(v1::PipelineResponse& response) {
  Deferred deferred(*this);
  {
    std::lock_guard lock(mutex_);
    for (v1::PipelineResponse::Answer& answer : *response.mutable_answers()) Answer(answer, deferred);
  }
  deferred.Run();
}

void Pipeline::Answer(v1::PipelineResponse::Answer& answer, Deferred& deferred) {
  const auto found = under_way_.find(answer.id());
  if (found == under_way_.end()) return;  // it came after the deadline
  UnderWay& under_way = *found->second;
  const bool is_read = under_way.operation.is_read();
  if (answer.has_error()) {
    const absl::Status status(static_cast<absl::StatusCode>(answer.error().code()), answer.error().message());
    if (is_read && status.code() == absl::StatusCode::kUnavailable) {
      under_way.last = status;
      under_way.sent = false;
      under_way.again = Clock::now() + NextPause(under_way.pause);
      return WakeTimerAt(std::min(under_way.again, under_way.operation.deadline));
    }
    if (is_read && status.code() == absl::StatusCode::kOutOfRange)
      return deferred.SendUnary(Take(answer.id()));
    return deferred.Fail(Take(answer.id()), status);
  }
  if (is_read && answer.has_got()) return deferred.Complete(Take(answer.id()), *answer.mutable_got());
  if (!is_read && answer.has_written())
    return deferred.Complete(Take(answer.id()), *answer.mutable_written());
  deferred.Fail(Take(answer.id()), absl::InternalError("the server's answer is not one to this operation"));
}

void Pipeline::OnBroken(const absl::Status& status) {
  Deferred deferred(*this);
  {
    std::lock_guard lock(mutex_);
    unsupported_ = status.code() == absl::StatusCode::kUnimplemented;
    last_failure_ = status.ok() ? absl::UnavailableError("the server has ended the stream") : status;
    EndSent(deferred);
  }
  deferred.Run();
  // Last: the destructor waits for it.
  std::unique_lock lock(mutex_);
  stream_ = nullptr;
  ending_ = false;
  writing_ = false;
  stream_gone_.notify_all();
  open_again_ = Clock::now() + NextPause(open_pause_);
  Send(lock);
}

// Nobody knows what has become of the writes that were sent. Reads are sent again.
void Pipeline::EndSent(Deferred& deferred) {
  const bool again = last_failure_.code() == absl::StatusCode::kUnavailable;
  // Other codes promise that nothing was written.
  const absl::Status for_writes =
      again ? last_failure_
            : absl::UnknownError(fmt::format("the stream has failed, and the write may be made, or not: {}",
                                             std::string(last_failure_.message())));
  std::vector<uint64_t> ended;
  for (const auto& [id, under_way] : under_way_) {
    if (unsupported_) {
      ended.push_back(id);
    } else if (under_way->sent && under_way->operation.is_read() && again) {
      under_way->sent = false;
      under_way->last = last_failure_;
      queue_.push_back(id);
    } else if (under_way->sent) {
      ended.push_back(id);
    }
  }
  for (const uint64_t id : ended) {
    if (unsupported_) {
      deferred.SendUnary(Take(id));
    } else {
      UnderWay under_way = Take(id);
      const bool is_read = under_way.operation.is_read();
      deferred.Fail(std::move(under_way), is_read ? last_failure_ : for_writes);
    }
  }
}

void Pipeline::WakeTimerAt(Deadline time) {
  if (time >= timer_at_) return;
  timer_at_ = time;
  timer_changed_.notify_one();
}

void Pipeline::RunTimer() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (timer_at_ == Deadline::max()) {
      timer_changed_.wait(lock);
      continue;
    }
    const Deadline now = Clock::now();
    if (now < timer_at_) {
      timer_changed_.wait_until(lock, timer_at_);
      continue;
    }
    Deferred deferred(*this);
    SweepAt(now, deferred);
    Send(lock);
    if (lock.owns_lock()) lock.unlock();
    deferred.Run();
    lock.lock();
  }
}

// Ends what is late, queues reads that have rested, and finds out when to look again. Seldom: most operations
// end long before their deadlines, which are much the same for all.
void Pipeline::SweepAt(Deadline now, Deferred& deferred) {
  timer_at_ = Deadline::max();
  if (stream_ == nullptr && !queue_.empty() && open_again_ > now) timer_at_ = open_again_;
  std::vector<uint64_t> late;
  for (const auto& [id, under_way] : under_way_) {
    if (under_way->operation.deadline <= now) {
      late.push_back(id);
      continue;
    }
    timer_at_ = std::min(timer_at_, under_way->operation.deadline);
    if (under_way->again == Deadline::min()) continue;
    if (under_way->again <= now) {
      under_way->again = Deadline::min();
      queue_.push_back(id);
    } else {
      timer_at_ = std::min(timer_at_, under_way->again);
    }
  }
  for (const uint64_t id : late) {
    UnderWay taken = Take(id);
    if (taken.operation.is_read() && !taken.sent) {
      absl::Status why = taken.last.ok() ? last_failure_ : taken.last;
      if (!why.ok()) {
        deferred.Fail(std::move(taken), std::move(why));
        continue;
      }
    }
    deferred.Fail(std::move(taken), absl::DeadlineExceededError("no answer within the timeout"));
  }
}

}  // namespace thermocline::transport
