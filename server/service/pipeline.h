#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/clock.h"
#include "storage/engine.h"
#include "storage/thread_annotations.h"
#include "thermocline/v1/key_value.pb.h"

namespace thermocline::server {

// One stream of KeyValue.Pipeline (key_value.proto says what it means), whatever carries it. Messages come
// and go encoded: the hot ones are read and written without becoming objects.
//
// Used by one thread at a time; its operations complete on any. It must live until none is under way.
//
// A value of more than kMaxValueBytes is not sent: it would keep all others waiting. Its answer is the error
// OUT_OF_RANGE, which tells the client to use Get.
class Pipeline {
 public:
  static constexpr size_t kMaxValueBytes = 16 << 10;
  static constexpr size_t kMaxOperations = 8192;  // of a request

  // `wake` is called on any thread when an operation has completed that was not answered within its Take.
  // Once it has been called, it is not called again until Awake(), and the pipeline must live until then. It
  // must not call the pipeline, nor wait.
  Pipeline(storage::Engine& engine, storage::Clock& clock, absl::AnyInvocable<void()> wake);

  // Starts the operations of a PipelineRequest; or, if `stopping`, answers each with UNAVAILABLE. INTERNAL,
  // and some of them may have been started, if it is none; INVALID_ARGUMENT if it has too many. With much to
  // answer it leaves the rest to Continue: take the answers first. Not while there is a rest.
  absl::Status Take(std::string_view request, bool stopping);
  bool has_rest() const { return begun_ < operations_.size(); }
  absl::Status Continue();

  // Answers the wake: to be followed by TakeAnswers.
  void Awake();

  // Moves the answers that there are to the end of `responses`, each a PipelineResponse.
  void TakeAnswers(std::vector<std::string>& responses);

  struct State {
    size_t under_way;  // operations that have no answer yet
    bool woken;        // Awake() is due
  };
  State state() const;

 private:
  struct Operation {
    enum class Kind { kNone, kGet, kSet, kDelete };

    uint64_t id = 0;
    Kind kind = Kind::kNone;
    std::string_view message;  // of the kind
    std::string_view key;      // of a get
    bool no_value = false;     // of a get
  };
  // Answers in the making: the last of the responses is being filled.
  using Responses = std::vector<std::string>;

  absl::Status Read(std::string_view request);
  absl::Status Run();
  void KeepRest(std::string_view request);
  static bool ReadOperation(std::string_view message, Operation& operation);
  static bool ReadGet(std::string_view message, Operation& operation);
  absl::Status Start(const Operation& operation);
  void StartGet(const Operation& operation);
  template <typename Request>
  absl::Status StartWrite(const Operation& operation, Request& request);
  void Apply(uint64_t id, const absl::StatusOr<storage::Write>& write);
  void CompleteGet(uint64_t id, bool no_value, const absl::StatusOr<std::optional<storage::Entry>>& result);
  // Ends an operation: `append(responses)` adds its answer.
  template <typename Append>
  void Complete(Append append);

  storage::Engine& engine_;
  storage::Clock& clock_;
  absl::AnyInvocable<void()> wake_;

  // For the thread that uses this.
  std::vector<Operation> operations_;  // of the request that is being taken
  size_t begun_ = 0;                   // so many of them
  std::string kept_;                   // the request, for those that are left
  v1::SetRequest set_;
  v1::DeleteRequest delete_;
  uint64_t started_ = 0;
  uint64_t completed_at_once_ = 0;
  Responses at_once_;

  mutable storage::Mutex mutex_;
  uint64_t completed_later_ ABSL_GUARDED_BY(mutex_) = 0;
  Responses later_ ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace thermocline::server
