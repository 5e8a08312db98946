#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/grpcpp.h"

#include "client/client.h"
#include "client/pipeline.h"
#include "client/transport_types.h"
#include "thermocline/v1/admin.grpc.pb.h"
#include "thermocline/v1/key_value.grpc.pb.h"
#include "thermocline/v1/segments.grpc.pb.h"

// How messages travel between client and server: connection, deadlines, repetition. Private to the client.
namespace thermocline::transport {

// `timeout` from now; bounded, so that no timeout overflows.
Deadline After(std::chrono::milliseconds timeout);

absl::Status ToStatus(const grpc::Status& status);

// Growing pauses between repetitions, each a random part of its bound so that clients do not come back in
// step.
class Backoff {
 public:
  std::chrono::milliseconds Next();

 private:
  static constexpr std::chrono::milliseconds kFirst{20};
  static constexpr std::chrono::milliseconds kLast{1000};
  std::chrono::milliseconds bound_ = kFirst;
};

// Counts the calls that are under way. Thread-safe.
class InFlight {
 public:
  void Enter();
  void Leave();
  void AwaitNone();

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  size_t count_ = 0;
};

// A channel and its calls. Thread-safe. `done` is called exactly once, on a thread of gRPC.
class Transport {
 public:
  // `tls`: nullopt: plain text. INVALID_ARGUMENT for files of it that cannot be read.
  static absl::StatusOr<std::unique_ptr<Transport>> Open(const std::string& server,
                                                         const std::optional<TlsOptions>& tls);
  // Waits until the last `done` has returned.
  ~Transport();

  template <class Response>
  using Done = transport::Done<Response>;

  // Get, Set and Delete travel on a Pipeline, but for large ones. Calls without effect on what the store
  // holds are repeated on UNAVAILABLE until their deadline (or repeat_until, if that is earlier).
  void Get(v1::GetRequest request, Deadline deadline, Done<v1::GetResponse> done);
  void BatchGet(v1::BatchGetRequest request, Deadline deadline, Done<v1::BatchGetResponse> done);
  void Stats(Deadline deadline, Deadline repeat_until, Done<v1::StatsResponse> done);
  void Flush(Deadline deadline, Done<v1::FlushResponse> done);
  void Compact(Deadline deadline, Deadline repeat_until, Done<v1::CompactResponse> done);

  // Writes wait for a connection and are sent once.
  void Set(v1::SetRequest request, Deadline deadline, Done<v1::WriteResponse> done);
  void Delete(v1::DeleteRequest request, Deadline deadline, Done<v1::WriteResponse> done);
  void BatchWrite(v1::BatchWriteRequest request, Deadline deadline, Done<v1::BatchWriteResponse> done);

  // For calls that others make: streams, and those of segments. A unary call counts in in_flight().
  v1::KeyValue::StubInterface& key_value() { return *key_value_; }
  v1::Segments::StubInterface& segments() { return *segments_; }
  InFlight& in_flight() { return in_flight_; }
  // UNAVAILABLE if there is no connection until then. Blocks.
  absl::Status AwaitConnection(Deadline deadline);

 private:
  const std::unique_ptr<v1::KeyValue::StubInterface> key_value_;
  const std::unique_ptr<v1::Admin::StubInterface> admin_;
  const std::unique_ptr<v1::Segments::StubInterface> segments_;
  const std::shared_ptr<grpc::Channel> channel_;
  InFlight in_flight_;
  Pipeline pipeline_;

  explicit Transport(const std::shared_ptr<grpc::Channel>& channel);
  template <class Response>
  Done<Response> Counted(Done<Response> done);
  void SendUnary(Operation operation);
  // On the pipeline, if it carries so many bytes.
  void Carry(size_t bytes, Operation operation);
};

}  // namespace thermocline::transport
