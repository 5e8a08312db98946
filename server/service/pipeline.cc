#include "server/service/pipeline.h"

#include <algorithm>
#include <iterator>
#include <type_traits>
#include <utility>

#include "fmt/format.h"

#include "server/service/requests.h"
#include "server/status.h"
#include "server/wire_format.h"

namespace thermocline::server {
namespace {

using wire::Type;

// As far ahead of an operation the engine hears of its key.
constexpr size_t kAhead = 8;
constexpr size_t kResponseBytes = 512 << 10;
// So many responses are made before they must be taken.
constexpr size_t kMaxResponses = 2;

// Numbers of fields, in key_value.proto.
constexpr int kRequestOperations = 1;
constexpr int kOperationId = 1;
constexpr int kOperationGet = 2;
constexpr int kOperationSet = 3;
constexpr int kOperationDelete = 4;
constexpr int kGetKey = 1;
constexpr int kGetNoValue = 2;
constexpr int kResponseAnswers = 1;
constexpr int kAnswerId = 1;
constexpr int kAnswerGot = 2;
constexpr int kAnswerWritten = 3;
constexpr int kAnswerError = 4;

// Whose Take this thread is in.
thread_local const Pipeline* taking = nullptr;

// Appends what goes before an answer's body, a message of `body_bytes` in its field `kind`; returns where the
// body goes.
std::string& BeginAnswer(std::vector<std::string>& responses, uint64_t id, int kind, size_t body_bytes) {
  const size_t bytes = wire::VarintFieldBytes(id) + 1 + wire::VarintBytes(body_bytes) + body_bytes;
  if (responses.empty() || responses.back().size() + bytes > kResponseBytes) responses.emplace_back();
  std::string& to = responses.back();
  to.push_back(wire::Tag(kResponseAnswers, Type::kBytes));
  wire::AppendVarint(bytes, to);
  wire::AppendVarintField(kAnswerId, id, to);
  to.push_back(wire::Tag(kind, Type::kBytes));
  wire::AppendVarint(body_bytes, to);
  return to;
}

// GetResponse: found = 1, value = 2, version = 3, ttl_ms = 4 (optional, and never 0).
void AppendGot(std::vector<std::string>& responses, uint64_t id, const storage::Entry* entry, bool no_value,
               uint64_t now_ms) {
  if (entry == nullptr) {
    BeginAnswer(responses, id, kAnswerGot, 0);
    return;
  }
  const std::string_view value = no_value ? std::string_view() : entry->value.view();
  const uint64_t ttl_ms = RemainingMs(entry->expires_at_ms, now_ms).value_or(0);
  const size_t bytes = wire::VarintFieldBytes(1) + wire::BytesFieldBytes(value.size()) +
                       wire::VarintFieldBytes(entry->version) + wire::VarintFieldBytes(ttl_ms);
  std::string& to = BeginAnswer(responses, id, kAnswerGot, bytes);
  wire::AppendVarintField(1, 1, to);
  wire::AppendBytesField(2, value, to);
  wire::AppendVarintField(3, entry->version, to);
  wire::AppendVarintField(4, ttl_ms, to);
}

// WriteResponse: applied = 1, version = 2.
void AppendWritten(std::vector<std::string>& responses, uint64_t id, const storage::WriteResult& result) {
  const uint64_t applied = result.applied ? 1 : 0;
  const size_t bytes = wire::VarintFieldBytes(applied) + wire::VarintFieldBytes(result.version);
  std::string& to = BeginAnswer(responses, id, kAnswerWritten, bytes);
  wire::AppendVarintField(1, applied, to);
  wire::AppendVarintField(2, result.version, to);
}

// Error: code = 1, message = 2.
void AppendError(std::vector<std::string>& responses, uint64_t id, const absl::Status& status,
                 int wire_code) {
  const auto code = static_cast<uint64_t>(wire_code);
  const std::string_view message(status.message().data(), status.message().size());
  const size_t bytes = wire::VarintFieldBytes(code) + wire::BytesFieldBytes(message.size());
  std::string& to = BeginAnswer(responses, id, kAnswerError, bytes);
  wire::AppendVarintField(1, code, to);
  wire::AppendBytesField(2, message, to);
}

void AppendError(std::vector<std::string>& responses, uint64_t id, const absl::Status& status) {
  AppendError(responses, id, status, WireCode(status));
}

absl::Status TooLarge(size_t bytes) {
  return absl::OutOfRangeError(fmt::format(
      "the value has {} bytes; on this stream, {} are the limit: use Get", bytes, Pipeline::kMaxValueBytes));
}

}  // namespace

Pipeline::Pipeline(storage::Engine& engine, storage::Clock& clock, absl::AnyInvocable<void()> wake)
    : engine_(engine), clock_(clock), wake_(std::move(wake)) {}

absl::Status Pipeline::Take(std::string_view request, bool stopping) {
  if (absl::Status status = Read(request); !status.ok()) return status;
  if (stopping) {
    const auto refusal = absl::UnavailableError("the server is stopping: nothing was done");
    for (const Operation& operation : operations_) AppendError(at_once_, operation.id, refusal);
    begun_ = operations_.size();
    return absl::OkStatus();
  }
  begun_ = 0;
  absl::Status status = Run();
  if (has_rest()) KeepRest(request);
  return status;
}

absl::Status Pipeline::Continue() { return Run(); }

absl::Status Pipeline::Run() {
  taking = this;
  absl::Status status;
  while (has_rest() && status.ok() && at_once_.size() <= kMaxResponses) {
    if (begun_ + kAhead < operations_.size()) engine_.Expect(operations_[begun_ + kAhead].key);
    if (begun_ + kAhead / 2 < operations_.size()) engine_.ExpectRecord(operations_[begun_ + kAhead / 2].key);
    status = Start(operations_[begun_++]);
  }
  taking = nullptr;
  return status;
}

// The request lives for the call only.
void Pipeline::KeepRest(std::string_view request) {
  kept_.assign(request);
  for (size_t i = begun_; i < operations_.size(); ++i) {
    for (std::string_view* view : {&operations_[i].message, &operations_[i].key}) {
      if (view->empty()) continue;
      *view =
          std::string_view(kept_).substr(static_cast<size_t>(view->data() - request.data()), view->size());
    }
  }
}

absl::Status Pipeline::Read(std::string_view request) {
  operations_.clear();
  begun_ = 0;
  wire::Reader fields(request);
  bool broken = false;
  while (fields.Next() && operations_.size() <= kMaxOperations) {
    if (fields.field() != kRequestOperations || fields.type() != Type::kBytes) continue;
    broken = broken || !ReadOperation(fields.bytes(), operations_.emplace_back());
  }
  if (operations_.size() > kMaxOperations) {
    operations_.clear();
    return absl::InvalidArgumentError(
        fmt::format("a message has at most {} operations: send the others in another", kMaxOperations));
  }
  if (!broken && !fields.broken()) return absl::OkStatus();
  operations_.clear();
  return absl::InternalError("the message is not a thermocline.v1.PipelineRequest");
}

bool Pipeline::ReadOperation(std::string_view message, Operation& operation) {
  wire::Reader fields(message);
  while (fields.Next()) {
    if (fields.field() == kOperationId && fields.type() == Type::kVarint) operation.id = fields.number();
    if (fields.type() != Type::kBytes) continue;
    if (fields.field() == kOperationGet) operation.kind = Operation::Kind::kGet;
    if (fields.field() == kOperationSet) operation.kind = Operation::Kind::kSet;
    if (fields.field() == kOperationDelete) operation.kind = Operation::Kind::kDelete;
    if (fields.field() >= kOperationGet && fields.field() <= kOperationDelete)
      operation.message = fields.bytes();
  }
  if (fields.broken()) return false;
  return operation.kind != Operation::Kind::kGet || ReadGet(operation.message, operation);
}

bool Pipeline::ReadGet(std::string_view message, Operation& operation) {
  wire::Reader fields(message);
  while (fields.Next()) {
    if (fields.field() == kGetKey && fields.type() == Type::kBytes) operation.key = fields.bytes();
    if (fields.field() == kGetNoValue && fields.type() == Type::kVarint)
      operation.no_value = fields.number() != 0;
  }
  return !fields.broken();
}

absl::Status Pipeline::Start(const Operation& operation) {
  ++started_;
  switch (operation.kind) {
    case Operation::Kind::kGet:
      StartGet(operation);
      return absl::OkStatus();
    case Operation::Kind::kSet:
      return StartWrite(operation, set_);
    case Operation::Kind::kDelete:
      return StartWrite(operation, delete_);
    case Operation::Kind::kNone:
      break;
  }
  const auto refusal = absl::InvalidArgumentError("operation is neither get nor set nor delete");
  Complete([&](Responses& responses) { AppendError(responses, operation.id, refusal); });
  return absl::OkStatus();
}

// Completions are two words, which AnyInvocable keeps without an allocation.
void Pipeline::StartGet(const Operation& operation) {
  if (absl::Status refusal = CheckKey(operation.key); !refusal.ok()) {
    Complete([&](Responses& responses) { AppendError(responses, operation.id, refusal); });
  } else if (operation.no_value) {
    engine_.Get(operation.key,
                [this, id = operation.id](const absl::StatusOr<std::optional<storage::Entry>>& result) {
                  CompleteGet(id, true, result);
                });
  } else {
    engine_.Get(operation.key,
                [this, id = operation.id](const absl::StatusOr<std::optional<storage::Entry>>& result) {
                  CompleteGet(id, false, result);
                });
  }
}

void Pipeline::CompleteGet(uint64_t id, bool no_value,
                           const absl::StatusOr<std::optional<storage::Entry>>& result) {
  Complete([&](Responses& responses) {
    if (!result.ok()) return AppendError(responses, id, result.status());
    const storage::Entry* const entry = result->has_value() ? &**result : nullptr;
    if (const size_t bytes = entry == nullptr || no_value ? 0 : entry->value.view().size();
        bytes > kMaxValueBytes) {
      return AppendError(responses, id, TooLarge(bytes), static_cast<int>(absl::StatusCode::kOutOfRange));
    }
    const uint64_t now_ms = entry != nullptr && entry->expires_at_ms != 0 ? clock_.NowMs() : 0;
    AppendGot(responses, id, entry, no_value, now_ms);
  });
}

template <typename Request>
absl::Status Pipeline::StartWrite(const Operation& operation, Request& request) {
  const std::string_view message = operation.message;
  if (!request.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    Complete([](Responses&) {});
    return absl::InternalError("an operation is not what it says");
  }
  if constexpr (std::is_same_v<Request, v1::SetRequest>) {
    Apply(operation.id, ToWrite(request, engine_, clock_.NowMs()));
  } else {
    Apply(operation.id, ToWrite(request));
  }
  return absl::OkStatus();
}

void Pipeline::Apply(uint64_t id, const absl::StatusOr<storage::Write>& write) {
  if (!write.ok()) return Complete([&](Responses& responses) { AppendError(responses, id, write.status()); });
  engine_.Apply(*write, [this, id](const absl::StatusOr<storage::WriteResult>& result) {
    Complete([&](Responses& responses) {
      if (!result.ok()) return AppendError(responses, id, result.status());
      AppendWritten(responses, id, *result);
    });
  });
}

template <typename Append>
void Pipeline::Complete(Append append) {
  if (taking == this) {
    append(at_once_);
    ++completed_at_once_;
    return;
  }
  storage::MutexLock lock(mutex_);
  append(later_);
  ++completed_later_;
  // Under the lock: whoever sees that nothing is under way may destroy this as soon as it is released.
  if (!std::exchange(woken_, true)) wake_();
}

void Pipeline::TakeAnswers(Responses& responses) {
  std::move(at_once_.begin(), at_once_.end(), std::back_inserter(responses));
  at_once_.clear();
  storage::MutexLock lock(mutex_);
  std::move(later_.begin(), later_.end(), std::back_inserter(responses));
  later_.clear();
}

void Pipeline::Awake() {
  storage::MutexLock lock(mutex_);
  woken_ = false;
}

Pipeline::State Pipeline::state() const {
  storage::MutexLock lock(mutex_);
  return {started_ - completed_at_once_ - completed_later_, woken_};
}

}  // namespace thermocline::server
