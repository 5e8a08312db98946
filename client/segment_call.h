#pragma once

#include <functional>
#include <future>
#include <utility>

#include "absl/status/statusor.h"

#include "client/call.h"
#include "client/segment_stream.h"
#include "client/transport.h"

namespace thermocline {

// Makes a unary call and waits for its end.
template <class Request, class Response>
absl::StatusOr<Response> AwaitCall(transport::Transport& transport,
                                   void (SegmentCalls::*method)(grpc::ClientContext*, const Request*,
                                                                Response*, std::function<void(grpc::Status)>),
                                   Request request, transport::Repetition repetition,
                                   transport::Deadline deadline) {
  std::promise<absl::StatusOr<Response>> promise;
  transport::Start<SegmentCalls, Request, Response>(
      transport.in_flight(), transport.segments().async(), method, std::move(request), repetition, deadline,
      [&promise](absl::StatusOr<Response> response) { promise.set_value(std::move(response)); });
  return promise.get_future().get();
}

}  // namespace thermocline
