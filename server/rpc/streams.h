#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/rpc/call.h"
#include "server/rpc/exchange.h"
#include "server/rpc/letterbox.h"
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
  // on any thread. It is destroyed as soon as the call is over, perhaps while it makes a response: `done` has
  // no effect then, and need not be called. The response lives as long as `done`.
  using NextDone = absl::AnyInvocable<void(absl::StatusOr<bool>)>;
  using Next = absl::AnyInvocable<void(Response*, NextDone)>;
  // The request lives for the call.
  using Open = std::function<absl::StatusOr<Next>(const Request&)>;

  struct Options {
    int (*code)(const absl::Status&) = &WireCode;  // what clients see of a status
  };

  explicit ServerStreamMethod(Open open, Options options = {}) : open_(std::move(open)), options_(options) {}

  Exchange* Start(Call& call) override { return new StreamExchange(call, *this); }

 private:
  // An operation of its loop while a response is being made.
  class StreamExchange final : public Exchange {
   public:
    StreamExchange(Call& call, const ServerStreamMethod& method)
        : call_(call), loop_(call.loop()), method_(method) {}

    void OnMessage(std::string_view message) override {
      if (absl::Status status = request_.Read(message, call_); !status.ok()) Finish(status);
    }

    void OnEnd() override {
      if (absl::Status status = request_.End(); !status.ok()) return Finish(status);
      absl::StatusOr<Next> next = method_.open_(request_.value());
      if (!next.ok()) return Finish(next.status());
      next_ = *std::move(next);
      Make();
    }

    void OnWritable() override {
      if (std::exchange(held_back_, false)) Make();
    }

    void OnGone() override { delete this; }

   private:
    ~StreamExchange() override {
      box_->Close();
      next_ = nullptr;
      if (making_) loop_.OperationEnded();
    }

    void Make() {
      making_ = true;
      loop_.OperationBegan();
      response_->Clear();
      // Never continued inside the call: the stack would grow with the stream.
      next_(response_.get(),
            [box = box_, response = response_](absl::StatusOr<bool> more) { box->Bring(std::move(more)); });
    }

    void Made(const absl::StatusOr<bool>& more) {
      making_ = false;
      // What follows begins before this ends.
      Loop& loop = loop_;
      GoOn(more);
      loop.OperationEnded();
    }

    void GoOn(const absl::StatusOr<bool>& more) {
      if (!more.ok()) return Finish(more.status());
      if (!call_.Send(*response_)) return;  // OnGone has been called
      if (!*more) return Finish(absl::OkStatus());
      held_back_ = call_.backlogged();
      if (!held_back_) return Make();
      response_ = std::make_shared<Response>();  // a slow reader may take its time
    }

    void Finish(const absl::Status& status) {
      call_.Finish(status, method_.options_.code(status));
      delete this;
    }

    Call& call_;
    Loop& loop_;
    const ServerStreamMethod& method_;
    SingleRequest<Request> request_;
    using Box = Letterbox<absl::StatusOr<bool>>;
    const std::shared_ptr<Box> box_ =
        std::make_shared<Box>(loop_, [this](const absl::StatusOr<bool>& more) { Made(more); });
    Next next_;
    std::shared_ptr<Response> response_ = std::make_shared<Response>();
    bool making_ = false;
    bool held_back_ = false;
  };

  const Open open_;
  const Options options_;
};

// A method that takes a stream of requests, one at a time and no faster than they are dealt with, and answers
// at the end. Each call has a Taker of its own:
//   void Take(const Request& request, absl::AnyInvocable<void(absl::Status)> done);
//   void Finish(Response* response, absl::AnyInvocable<void(absl::Status)> done);
// Each calls `done` once, during the call or later on any thread, before which nothing else is asked of it; a
// failure ends the call of the client. Finish comes after the last request. The taker is destroyed as soon as
// the client's call is over, perhaps while it works: `done` has no effect then, and need not be called.
// Request and response live as long as `done`.
template <typename Request, typename Response, typename Taker>
class ClientStreamMethod final : public Method {
 public:
  using NewTaker = std::function<std::unique_ptr<Taker>()>;

  struct Options {
    Effect effect = Effect::kNone;                 // of Finish
    int (*code)(const absl::Status&) = &WireCode;  // what clients see of a status
  };

  explicit ClientStreamMethod(NewTaker new_taker, Options options = {})
      : new_taker_(std::move(new_taker)), options_(options) {}

  Exchange* Start(Call& call) override { return new TakingExchange(call, *this); }

 private:
  // An operation of its loop while the taker works.
  class TakingExchange final : public Exchange {
   public:
    TakingExchange(Call& call, const ClientStreamMethod& method)
        : call_(call), loop_(call.loop()), method_(method), taker_(method.new_taker_()) {}

    void OnMessage(std::string_view message) override {
      // Held for the largest one, whose memory the next ones use again.
      if (absl::Status status = HoldParsed(message, loop_, hold_); !status.ok()) return Finish(status);
      if (!request_->ParseFromArray(message.data(), static_cast<int>(message.size()))) {
        return Finish(absl::InternalError("the message is not a " + std::string(request_->GetTypeName())));
      }
      call_.Pause();
      Work();
      taker_->Take(*request_,
                   [box = box_, request = request_](absl::Status status) { box->Bring(std::move(status)); });
    }

    void OnEnd() override {
      ended_ = true;
      Work();
      taker_->Finish(response_.get(), [box = box_, response = response_](absl::Status status) {
        box->Bring(std::move(status));
      });
    }

    bool wrote() const override { return ended_ && method_.options_.effect == Effect::kWrites; }

    void OnGone() override { delete this; }

   private:
    ~TakingExchange() override {
      box_->Close();
      taker_ = nullptr;
      if (working_) loop_.OperationEnded();
    }

    void Work() {
      working_ = true;
      loop_.OperationBegan();
    }

    void Worked(const absl::Status& status) {
      working_ = false;
      // What follows begins before this ends.
      Loop& loop = loop_;
      GoOn(status);
      loop.OperationEnded();
    }

    void GoOn(const absl::Status& status) {
      if (!status.ok()) return Finish(status);
      if (!ended_) return call_.Resume();                    // may deliver a message, or be the end
      if (call_.Send(*response_)) Finish(absl::OkStatus());  // else OnGone has been called
    }

    void Finish(const absl::Status& status) {
      call_.Finish(status, method_.options_.code(status));
      delete this;
    }

    Call& call_;
    Loop& loop_;
    const ClientStreamMethod& method_;
    using Box = Letterbox<absl::Status>;
    const std::shared_ptr<Box> box_ =
        std::make_shared<Box>(loop_, [this](const absl::Status& status) { Worked(status); });
    std::unique_ptr<Taker> taker_;
    const std::shared_ptr<Request> request_ = std::make_shared<Request>();
    const std::shared_ptr<Response> response_ = std::make_shared<Response>();
    Loop::Hold hold_;
    bool working_ = false;
    bool ended_ = false;
  };

  const NewTaker new_taker_;
  const Options options_;
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
