#include "client/page_stream.h"

#include <condition_variable>
#include <mutex>
#include <utility>

namespace thermocline::transport {

class PageStream::Reactor final : public grpc::ClientReadReactor<v1::ScanResponse> {
 public:
  Reactor(Transport& transport, v1::ScanRequest request) : request_(std::move(request)) {
    transport.key_value().async()->Scan(&context_, &request_, this);
    // The reader starts reads from outside of reactions, so the call must not end before a read has failed.
    AddHold();
    StartRead(&incoming_);
    StartCall();
  }

  ~Reactor() override {
    context_.TryCancel();
    std::unique_lock lock(mutex_);
    abandoned_ = true;
    if (arrived_) {
      lock.unlock();
      RemoveHold();
      lock.lock();
    }
    changed_.wait(lock, [this] { return status_.has_value(); });
  }

  absl::StatusOr<std::optional<v1::ScanResponse>> Next(Deadline deadline) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_until(lock, deadline, [this] { return arrived_ || status_.has_value(); })) {
      return absl::DeadlineExceededError("the server sent no part of the scan within the timeout");
    }
    if (!arrived_) {
      if (!status_->ok()) return *status_;
      return std::optional<v1::ScanResponse>();
    }
    std::optional<v1::ScanResponse> page(std::move(incoming_));
    incoming_.Clear();
    arrived_ = false;
    lock.unlock();
    StartRead(&incoming_);
    return page;
  }

 private:
  void OnReadDone(bool ok) override {
    std::unique_lock lock(mutex_);
    if (ok && !abandoned_) {
      arrived_ = true;
      changed_.notify_one();
      return;
    }
    lock.unlock();
    RemoveHold();
  }

  void OnDone(const grpc::Status& status) override {
    std::lock_guard lock(mutex_);
    status_ = ToStatus(status);
    changed_.notify_one();
  }

  const v1::ScanRequest request_;
  grpc::ClientContext context_;
  v1::ScanResponse
      incoming_;  // written by gRPC while a read is under way, that is, until arrived_ or status_

  std::mutex mutex_;
  std::condition_variable changed_;
  bool arrived_ = false;                // incoming_ holds a page
  bool abandoned_ = false;              // no further read will be started
  std::optional<absl::Status> status_;  // the call has ended
};

PageStream::PageStream(Transport& transport, const v1::ScanRequest& request)
    : reactor_(std::make_unique<Reactor>(transport, request)) {}

PageStream::~PageStream() = default;

absl::StatusOr<std::optional<v1::ScanResponse>> PageStream::Next(Deadline deadline) {
  return reactor_->Next(deadline);
}

}  // namespace thermocline::transport
