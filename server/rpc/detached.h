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
#include "server/rpc/letterbox.h"
#include "server/rpc/loop.h"
#include "server/rpc/unary.h"
#include "server/status.h"

namespace thermocline::server::rpc {

// A method with one request and one response whose work may take long: when the client leaves or the server
// has stopped, nobody waits for it any more. `Serve` is called with a request that lives for the call, and a
// completion that may be called at any time, on any thread, also when the endpoint is no more; or never, once
// nobody waits.
template <typename Request, typename Response>
class DetachedMethod final : public Method {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Response>)>;
  // Stands for the work, and is destroyed when nobody waits for it: that may end it. nullptr: nothing does.
  using Work = std::shared_ptr<void>;
  using Serve = std::function<Work(const Request&, Done)>;

  struct Options {
    Effect effect = Effect::kNone;
    bool stop_waits = false;                       // a stop of the server does, as long as it has patience
    int (*code)(const absl::Status&) = &WireCode;  // what clients see of a status
  };

  explicit DetachedMethod(Serve serve, Options options = {})
      : serve_(std::move(serve)), options_(std::move(options)) {}

  Exchange* Start(Call& call) override { return new DetachedExchange(call, *this); }

 private:
  // With `stop_waits`, an operation of its loop from the request on.
  class DetachedExchange final : public Exchange {
   public:
    DetachedExchange(Call& call, const DetachedMethod& method)
        : call_(call), loop_(call.loop()), method_(method) {}

    void OnMessage(std::string_view message) override {
      if (absl::Status status = request_.Read(message, call_); !status.ok()) Finish(status);
    }

    void OnEnd() override {
      if (absl::Status status = request_.End(); !status.ok()) return Finish(status);
      begun_ = true;
      if (method_.options_.stop_waits) loop_.OperationBegan();
      work_ = method_.serve_(request_.value(), [box = box_](absl::StatusOr<Response> response) {
        box->Bring(std::move(response));
      });
    }

    bool wrote() const override { return begun_ && method_.options_.effect == Effect::kWrites; }

    void OnGone() override { delete this; }

   private:
    ~DetachedExchange() override {
      box_->Close();
      work_ = nullptr;
      if (begun_ && method_.options_.stop_waits) loop_.OperationEnded();
    }

    void Answer(const absl::StatusOr<Response>& response) {
      if (!response.ok()) return Finish(response.status());
      if (call_.Send(*response)) Finish(absl::OkStatus());  // else OnGone has been called
    }

    void Finish(const absl::Status& status) {
      call_.Finish(status, method_.options_.code(status));
      delete this;
    }

    Call& call_;
    Loop& loop_;
    const DetachedMethod& method_;
    SingleRequest<Request> request_;
    using Box = Letterbox<absl::StatusOr<Response>>;
    const std::shared_ptr<Box> box_ =
        std::make_shared<Box>(loop_, [this](absl::StatusOr<Response> response) { Answer(response); });
    Work work_;
    bool begun_ = false;
  };

  const Serve serve_;
  const Options options_;
};

}  // namespace thermocline::server::rpc
