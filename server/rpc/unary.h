#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "server/rpc/call.h"
#include "server/rpc/exchange.h"
#include "server/rpc/loop.h"
#include "server/status.h"

namespace thermocline::server::rpc {

// Has `hold` hold what a message takes once it is parsed, which can be many times its size. INVALID_ARGUMENT
// if it has more parts than any of our requests, RESOURCE_EXHAUSTED if it does not fit.
absl::Status HoldParsed(std::string_view message, Loop& loop, Loop::Hold& hold);

// Takes the one request of a call apart; shared by all methods that have one.
template <typename Request>
class SingleRequest {
 public:
  // Why the call cannot go on; OK if it can. The memory of the request is held from then on.
  absl::Status Read(std::string_view message, Call& call) {
    if (std::exchange(has_, true))
      return absl::InternalError("more than one message for a method that takes one");
    bytes_ = message.size();
    hold_ = call.TakeHold();
    if (absl::Status status = HoldParsed(message, call.loop(), hold_); !status.ok()) return status;
    if (request_.ParseFromArray(message.data(), static_cast<int>(message.size()))) return absl::OkStatus();
    return absl::InternalError("the message is not a " + std::string(request_.GetTypeName()));
  }
  absl::Status End() const {
    return has_ ? absl::OkStatus() : absl::InternalError("no message for a method that takes one");
  }
  const Request& value() const { return request_; }
  size_t bytes() const { return bytes_; }
  void Clear() {
    has_ = false;
    hold_.Release();
    request_.Clear();
  }

 private:
  Request request_;
  Loop::Hold hold_;
  size_t bytes_ = 0;
  bool has_ = false;
};

// What a method does to the store, beside answering.
enum class Effect { kNone, kWrites };

// A method with one request and one response, served by `Serve`, which calls its completion exactly once,
// during the call or later on any thread. Request and response live until then, also if the client has left.
template <typename Request, typename Response>
class UnaryMethod final : public Method {
 public:
  using Done = absl::AnyInvocable<void(absl::Status)>;
  using Serve = std::function<void(const Request&, Response*, Done)>;

  // Says that a request is about to be served: what it needs may be brought into the processor's cache.
  using Expect = std::function<void(const Request&)>;

  struct Options {
    Effect effect = Effect::kNone;
    // Called one after the other, a little apart, where several calls are at hand; both, or none.
    Expect expect;
    Expect expect_more;
    int (*code)(const absl::Status&) = &WireCode;  // what clients see of a status
  };

  explicit UnaryMethod(Serve serve, Options options = {})
      : serve_(std::move(serve)), options_(std::move(options)) {}

  Exchange* Start(Call& call) override {
    UnaryExchange* const exchange = UnaryExchange::New();
    exchange->Begin(call, *this);
    return exchange;
  }

 private:
  // Used again and again: messages keep their memory.
  class UnaryExchange final : public Exchange, private LoopTask {
   public:
    static UnaryExchange* New() {
      if (idle_.empty()) return new UnaryExchange;
      UnaryExchange* const exchange = idle_.back().release();
      idle_.pop_back();
      return exchange;
    }

    void Begin(Call& call, const UnaryMethod& method) {
      call_ = &call;
      loop_ = &call.loop();
      method_ = &method;
    }

    void OnMessage(std::string_view message) override {
      if (absl::Status status = request_.Read(message, *call_); !status.ok()) return Fail(status);
    }

    void OnEnd() override {
      if (absl::Status status = request_.End(); !status.ok()) return Fail(status);
      if (!method_->options_.expect) return Serve();
      method_->options_.expect(request_.value());
      stage_ = Stage::kExpected;
      loop_->RunSoon(*this);
    }

    bool wrote() const override { return begun_ && method_->options_.effect == Effect::kWrites; }

    void OnGone() override {
      call_ = nullptr;
      if (stage_ == Stage::kNone && !running_) Recycle();
    }

   private:
    void Serve() {
      begun_ = running_ = true;
      loop_->OperationBegan();
      method_->serve_(request_.value(), &response_, [this](absl::Status status) {
        status_ = std::move(status);
        if (Loop::Current() == loop_) return RunOnLoop();
        loop_->Post(*this);
      });
    }

    // It may begin, or is done.
    void RunOnLoop() override {
      if (stage_ != Stage::kNone) return Advance();
      running_ = false;
      Loop& loop = *loop_;
      if (call_ == nullptr) {
        delete this;  // with an answer of any size
      } else {
        Answer();
      }
      loop.OperationEnded();
    }

    void Advance() {
      const Stage stage = std::exchange(stage_, Stage::kNone);
      if (call_ == nullptr) return Recycle();
      if (stage == Stage::kExpectedMore || !loop_->HasSoon()) return Serve();
      method_->options_.expect_more(request_.value());
      stage_ = Stage::kExpectedMore;
      loop_->RunSoon(*this);
    }

    void Answer() {
      if (!status_.ok()) {
        call_->Finish(status_, method_->options_.code(status_));
      } else if (call_->Send(response_)) {
        call_->Finish(absl::OkStatus());
      } else {
        return;  // OnGone has been called
      }
      Recycle();
    }

    void Fail(const absl::Status& status) {
      call_->Finish(status);
      Recycle();
    }

    void Recycle() {
      // Of a response that was never sent, nobody knows how large it is.
      const size_t bytes = request_.bytes() + static_cast<size_t>(response_.GetCachedSize());
      if (call_ == nullptr || idle_.size() >= kMaxIdle || bytes > kMaxKeptBytes) {
        delete this;
        return;
      }
      call_ = nullptr;
      begun_ = false;
      request_.Clear();
      response_.Clear();
      status_ = absl::OkStatus();
      idle_.emplace_back(this);
    }

    static constexpr size_t kMaxIdle = 256;
    static constexpr size_t kMaxKeptBytes = 4096;
    static thread_local std::vector<std::unique_ptr<UnaryExchange>> idle_;

    friend std::default_delete<UnaryExchange>;

    Call* call_ = nullptr;  // nullptr: the client has left
    Loop* loop_ = nullptr;
    const UnaryMethod* method_ = nullptr;
    SingleRequest<Request> request_;
    Response response_;
    absl::Status status_;
    enum class Stage : uint8_t { kNone, kExpected, kExpectedMore };
    Stage stage_ = Stage::kNone;  // while the loop has it to run soon
    bool begun_ = false;
    bool running_ = false;
  };

  const Serve serve_;
  const Options options_;
};

template <typename Request, typename Response>
thread_local std::vector<std::unique_ptr<typename UnaryMethod<Request, Response>::UnaryExchange>>
    UnaryMethod<Request, Response>::UnaryExchange::idle_;

}  // namespace thermocline::server::rpc
