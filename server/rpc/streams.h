#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/rpc/call.h"
#include "server/rpc/exchange.h"
#include "server/rpc/loop.h"
#include "server/rpc/unary.h"
#include "server/status.h"

namespace thermocline::server::rpc {

// A method that answers one request with a stream of responses, which are made one at a time and no faster
// than the client takes them.
template <typename Request, typename Response>
class ServerStreamMethod final : public Method {
 public:
  // Makes the next response and says whether more follow, or why the stream fails; during the call or later,
  // on any thread.
  using NextDone = absl::AnyInvocable<void(absl::StatusOr<bool>)>;
  using Next = absl::AnyInvocable<void(Response*, NextDone)>;
  // The request lives for the call.
  using Open = std::function<absl::StatusOr<Next>(const Request&)>;

  explicit ServerStreamMethod(Open open) : open_(std::move(open)) {}

  Exchange* Start(Call& call) override { return new StreamExchange(call, open_); }

 private:
  // An operation of its loop while a response is being made.
  class StreamExchange final : public Exchange, private LoopTask {
   public:
    StreamExchange(Call& call, const Open& open) : call_(&call), loop_(call.loop()), open_(open) {}

    void OnMessage(std::string_view message) override {
      if (absl::Status status = request_.Read(message, *call_); !status.ok()) Finish(status);
    }

    void OnEnd() override {
      if (absl::Status status = request_.End(); !status.ok()) return Finish(status);
      absl::StatusOr<Next> next = open_(request_.value());
      if (!next.ok()) return Finish(next.status());
      next_ = *std::move(next);
      Make();
    }

    void OnWritable() override {
      if (std::exchange(held_back_, false)) Make();
    }

    void OnGone() override {
      call_ = nullptr;
      if (!making_) delete this;
    }

   private:
    void Make() {
      making_ = true;
      loop_.OperationBegan();
      response_.Clear();
      // Never continued inside the call: the stack would grow with the stream.
      next_(&response_, [this](absl::StatusOr<bool> more) {
        more_ = std::move(more);
        loop_.Post(*this);
      });
    }

    void RunOnLoop() override {
      making_ = false;
      // What follows begins before this ends.
      Loop& loop = loop_;
      GoOn();
      loop.OperationEnded();
    }

    void GoOn() {
      if (call_ == nullptr) {
        delete this;
        return;
      }
      if (!more_.ok()) return Finish(more_.status());
      if (!call_->Send(response_)) return;  // OnGone has been called
      if (!*more_) return Finish(absl::OkStatus());
      held_back_ = call_->backlogged();
      if (!held_back_) return Make();
      response_ = Response();  // a slow reader may take its time
    }

    void Finish(const absl::Status& status) {
      call_->Finish(status, WireCode(status));
      delete this;
    }

    Call* call_;
    Loop& loop_;
    const Open& open_;
    SingleRequest<Request> request_;
    Next next_;
    Response response_;
    absl::StatusOr<bool> more_ = false;
    bool making_ = false;
    bool held_back_ = false;
  };

  const Open open_;
};

// A method that answers each message of a stream with one, at once.
template <typename Request, typename Response>
class DialogueMethod final : public Method {
 public:
  // Fills in the empty response; a failure ends the call.
  using Answer = std::function<absl::Status(const Request&, Response*)>;

  explicit DialogueMethod(Answer answer) : answer_(std::move(answer)) {}

  Exchange* Start(Call& call) override { return new DialogueExchange(call, answer_); }

 private:
  class DialogueExchange final : public Exchange {
   public:
    DialogueExchange(Call& call, const Answer& answer) : call_(call), answer_(answer) {}

    void OnMessage(std::string_view message) override {
      Request request;
      Response response;
      absl::Status status = absl::OkStatus();
      if (!request.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
        status = absl::InternalError("the message is not a " + std::string(request.GetTypeName()));
      } else {
        status = answer_(request, &response);
      }
      if (!status.ok()) return Finish(status);
      if (call_.Send(response) && call_.backlogged()) call_.Pause();
    }

    void OnEnd() override { Finish(absl::OkStatus()); }
    void OnWritable() override { call_.Resume(); }
    void OnGone() override { delete this; }

   private:
    void Finish(const absl::Status& status) {
      call_.Finish(status);
      delete this;
    }

    Call& call_;
    const Answer& answer_;
  };

  const Answer answer_;
};

}  // namespace thermocline::server::rpc
