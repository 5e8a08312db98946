#include "server/pipeline_method.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "server/rpc/call.h"
#include "server/rpc/loop.h"
#include "server/service/pipeline.h"

namespace thermocline::server {
namespace {

// Beyond this, nothing more is read from the stream.
constexpr size_t kMaxUnderWay = 4096;

// One Pipeline call. For its loop it is an operation as long as any of its own is under way.
class PipelineExchange final : public rpc::Exchange, private rpc::LoopTask {
 public:
  PipelineExchange(rpc::Call& call, KeyValueService& service)
      : call_(&call), loop_(call.loop()), pipeline_(service.NewPipeline([this] { loop_.Post(*this); })) {
    call.Greet();
  }

  void OnMessage(std::string_view message) override {
    Check(pipeline_->Take(message, call_->draining()));
    Advance();
  }

  void OnEnd() override {
    ended_ = true;
    Advance();
  }

  void OnWritable() override { Advance(); }

  void OnGone() override {
    call_ = nullptr;
    // Send has told its caller as well, who goes on.
    if (!advancing_) Advance();
  }

 private:
  void RunOnLoop() override {
    pipeline_->Awake();
    Advance();
  }

  void Check(const absl::Status& status) {
    if (!status.ok()) std::exchange(call_, nullptr)->Finish(status);
  }

  // Sends what there is, and decides what comes next. This may be gone when it returns.
  void Advance() {
    SendAnswers();
    while (call_ != nullptr && pipeline_->has_rest() && !call_->backlogged()) {
      Check(pipeline_->Continue());
      SendAnswers();
    }
    const Pipeline::State state = pipeline_->state();
    // Woken: there may be answers since they were taken.
    if (const bool busy = state.under_way > 0 || state.woken; busy != std::exchange(busy_, busy)) {
      busy ? loop_.OperationBegan() : loop_.OperationEnded();
    }
    const bool rest = pipeline_->has_rest();
    if (ended_ && !busy_ && !rest && call_ != nullptr)
      std::exchange(call_, nullptr)->Finish(absl::OkStatus());
    if (call_ == nullptr) {
      if (!busy_) delete this;
    } else if (rest || state.under_way >= kMaxUnderWay || call_->backlogged()) {
      call_->Pause();
    } else {
      call_->Resume();  // may deliver a message, and so end here again
    }
  }

  void SendAnswers() {
    advancing_ = true;
    answers_.clear();
    pipeline_->TakeAnswers(answers_);
    for (const std::string& answer : answers_) {
      if (call_ == nullptr || !call_->SendEncoded(answer)) break;
    }
    advancing_ = false;
  }

  rpc::Call* call_;  // nullptr: over
  rpc::Loop& loop_;
  const std::unique_ptr<Pipeline> pipeline_;
  std::vector<std::string> answers_;
  bool ended_ = false;
  bool busy_ = false;
  bool advancing_ = false;
};

class PipelineMethod final : public rpc::Method {
 public:
  explicit PipelineMethod(KeyValueService& service) : service_(service) {}

  rpc::Exchange* Start(rpc::Call& call) override { return new PipelineExchange(call, service_); }

 private:
  KeyValueService& service_;
};

}  // namespace

std::unique_ptr<rpc::Method> NewPipelineMethod(KeyValueService& service) {
  return std::make_unique<PipelineMethod>(service);
}

}  // namespace thermocline::server
