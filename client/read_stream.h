#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/grpcpp.h"

#include "client/transport.h"

namespace thermocline::transport {

// The responses of one call, fetched one ahead of the reader. For one thread at a time; must not outlive the
// Transport.
template <class Calls, class Request, class Response>
class ReadStream {
 public:
  using Method = void (Calls::*)(grpc::ClientContext*, const Request*, grpc::ClientReadReactor<Response>*);

  ReadStream(Calls* calls, Method method, Request request)
      : reactor_(std::make_unique<Reactor>(calls, method, std::move(request))) {}
  // Cancels the call if it has not ended: when this is gone, the server has nothing to do for it.
  ~ReadStream() = default;

  // Replaces `response`, whose memory is used again, by the next one. False if the call has ended well; its
  // error if it failed. DEADLINE_EXCEEDED if nothing came until `deadline`.
  absl::StatusOr<bool> Next(Deadline deadline, Response& response) {
    return reactor_->Next(deadline, response);
  }

 private:
  class Reactor final : public grpc::ClientReadReactor<Response> {
   public:
    Reactor(Calls* calls, Method method, Request request) : request_(std::move(request)) {
      (calls->*method)(&context_, &request_, this);
      // The reader starts reads from outside of reactions, so the call must not end before a read has failed.
      this->AddHold();
      this->StartRead(&incoming_);
      this->StartCall();
    }

    ~Reactor() override {
      context_.TryCancel();
      std::unique_lock lock(mutex_);
      abandoned_ = true;
      if (arrived_) {
        lock.unlock();
        this->RemoveHold();
        lock.lock();
      }
      changed_.wait(lock, [this] { return status_.has_value(); });
    }

    absl::StatusOr<bool> Next(Deadline deadline, Response& response) {
      std::unique_lock lock(mutex_);
      if (!changed_.wait_until(lock, deadline, [this] { return arrived_ || status_.has_value(); })) {
        return absl::DeadlineExceededError(
            "the server sent no further part of its answer within the timeout");
      }
      if (!arrived_) {
        if (!status_->ok()) return *status_;
        return false;
      }
      response.Swap(&incoming_);
      arrived_ = false;
      lock.unlock();
      incoming_.Clear();
      this->StartRead(&incoming_);
      return true;
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
      this->RemoveHold();
    }

    void OnDone(const grpc::Status& status) override {
      std::lock_guard lock(mutex_);
      status_ = ToStatus(status);
      changed_.notify_one();
    }

    const Request request_;
    grpc::ClientContext context_;
    Response incoming_;  // written by gRPC while a read is under way, that is, until arrived_ or status_

    std::mutex mutex_;
    std::condition_variable changed_;
    bool arrived_ = false;                // incoming_ holds a response
    bool abandoned_ = false;              // no further read will be started
    std::optional<absl::Status> status_;  // the call has ended
  };

  std::unique_ptr<Reactor> reactor_;
};

}  // namespace thermocline::transport
