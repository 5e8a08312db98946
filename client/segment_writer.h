#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>

#include "grpcpp/grpcpp.h"

#include "client/segments.h"
#include "client/transport.h"
#include "thermocline/v1/segments.grpc.pb.h"

namespace thermocline {

class SegmentWriter::Impl final : public grpc::ClientWriteReactor<v1::ChangeRequest> {
 public:
  using Calls = v1::Segments::StubInterface::async_interface;
  using Method = void (Calls::*)(grpc::ClientContext*, v1::ChangeResponse*,
                                 grpc::ClientWriteReactor<v1::ChangeRequest>*);

  Impl(transport::Transport& transport, Method method, std::string_view segment,
       const SegmentChangeOptions& options, std::chrono::milliseconds connect_timeout);
  ~Impl() override;

  absl::Status Write(std::span<const uint64_t> ids);
  absl::StatusOr<SegmentChange> Finish();

 private:
  // Sends what is in filling_, when what was sent before has left. After a failure nothing is sent any more.
  absl::Status Send(bool last);
  absl::Status Begin();
  // Waits until the message under way has left, or, if `last`, for the answer.
  absl::Status Await(bool last);
  // Lets the call end; no message may be sent after this.
  void Release();

  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  transport::Transport& transport_;
  const Method method_;
  const std::optional<std::chrono::milliseconds> timeout_;
  const std::chrono::milliseconds connect_timeout_;
  absl::Status failure_;
  bool begun_ = false;

  grpc::ClientContext context_;
  v1::ChangeRequest filling_;
  v1::ChangeRequest leaving_;    // read by gRPC while sending_
  v1::ChangeResponse response_;  // written by gRPC until status_

  std::mutex mutex_;
  std::condition_variable changed_;
  bool sending_ = false;
  bool held_ = false;                   // the call cannot end while it is
  std::optional<absl::Status> status_;  // the call has ended
};

}  // namespace thermocline
