#pragma once

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "storage/executor.h"
#include "storage/segments.h"
#include "thermocline/v1/segments.pb.h"

namespace thermocline::server {

// One call of Segments.Add, Remove or Load: takes its messages, one at a time, and makes its answer. If it is
// destroyed before, which may happen at any time, nothing has changed, unless Finish was doing it already.
//
// Each method calls `done` once, during the call or later on any thread, unless this is destroyed before; not
// before that. Request and response must live as long as `done`.
class SegmentChanger {
 public:
  using Done = absl::AnyInvocable<void(absl::Status)>;

  // Both must outlive every operation.
  SegmentChanger(storage::Segments& segments, storage::Executor& executor, storage::SegmentChange change);
  ~SegmentChanger();

  void Take(const v1::ChangeRequest& request, Done done);
  void Finish(v1::ChangeResponse* response, Done done);

 private:
  struct State;

  absl::Status CheckName(const v1::ChangeRequest& request);

  storage::Segments& segments_;
  storage::Executor& executor_;
  const storage::SegmentChange change_;
  std::string name_;  // empty: no message has come
  std::shared_ptr<State> state_;
};

}  // namespace thermocline::server
