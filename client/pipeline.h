#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "client/transport_types.h"
#include "thermocline/v1/key_value.grpc.pb.h"

namespace thermocline::transport {

// One operation on its way: what is asked, and who waits for the answer.
struct Operation {
  bool is_read() const { return message.has_get(); }
  void Fail(const absl::Status& status);

  v1::PipelineRequest::Operation message;
  Deadline deadline;
  std::variant<Done<v1::GetResponse>, Done<v1::WriteResponse>> done;
};

// Carries the operations of all threads over one stream (KeyValue.Pipeline): what is there when the stream
// can take a message, goes in it. A lone operation leaves at once; many share the cost of one message.
//
// Reads whose stream breaks, or that the server answers with UNAVAILABLE, are sent again until their
// deadline. Writes wait for a stream and are sent once.
//
// Bounded: with kMaxOperations or kMaxBytes under way, whoever submits another waits, but for a `done`, which
// must not. Thread-safe.
class Pipeline {
 public:
  static constexpr size_t kMaxOperations = 4096;
  static constexpr size_t kMaxBytes = 16 << 20;

  // `unary` takes what the stream does not carry: operations whose answer is too large for it, and all if the
  // server has no such stream.
  Pipeline(v1::KeyValue::StubInterface& stub, std::function<void(Operation)> unary);
  // Nothing may be under way.
  ~Pipeline();

  // Whether the stream carries an operation with this many bytes of key and value.
  static bool Carries(size_t bytes);

  void Submit(Operation operation);

 private:
  class Stream;
  using Clock = std::chrono::system_clock;

  struct UnderWay {
    Operation operation;
    size_t bytes = 0;
    bool sent = false;
    Deadline again = Deadline::min();     // a read that rests until then, if that is later than now
    std::chrono::milliseconds pause{20};  // the next rest's bound
    absl::Status last;                    // what a read was told when it was sent before
  };

  // What to do outside of the lock: completions, and what goes to `unary`.
  class Deferred;

  // Of streams, with what happened to them.
  void OnEstablished();
  void OnWritten();
  void OnAnswers(v1::PipelineResponse& response);
  void OnBroken(const absl::Status& status);

  // With mutex_ locked by `lock`:
  void AwaitRoom(std::unique_lock<std::mutex>& lock, size_t bytes, Deadline deadline);
  void Send(std::unique_lock<std::mutex>& lock);
  void GatherMessage();
  void EndSent(Deferred& deferred);
  void Answer(v1::PipelineResponse::Answer& answer, Deferred& deferred);
  UnderWay Take(uint64_t id);
  void WakeTimerAt(Deadline time);

  void RunTimer();
  void SweepAt(Deadline now, Deferred& deferred);

  v1::KeyValue::StubInterface& stub_;
  const std::function<void(Operation)> unary_;

  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable stream_gone_;
  std::condition_variable timer_changed_;

  // All guarded by mutex_.
  absl::flat_hash_map<uint64_t, std::unique_ptr<UnderWay>> under_way_;
  std::deque<uint64_t> queue_;  // to be sent; some may have ended meanwhile
  size_t bytes_ = 0;
  uint64_t next_id_ = 1;
  Stream* stream_ = nullptr;  // which is gone already if ending_
  bool ending_ = false;
  bool established_ = false;
  bool writing_ = false;
  v1::PipelineRequest message_;  // while writing_
  Deadline open_again_ = Deadline::min();
  std::chrono::milliseconds open_pause_{20};
  absl::Status last_failure_;  // of a stream
  bool unsupported_ = false;
  Deadline timer_at_ = Deadline::max();
  bool stopping_ = false;

  std::thread timer_;  // last: it uses the others
};

}  // namespace thermocline::transport
