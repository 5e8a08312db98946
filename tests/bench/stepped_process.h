#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace thermocline::bench {

// A process of its own that works step by step and is stopped (SIGSTOP) in between, with all its threads:
// what is measured of one does not contain what another does in the background. Not thread-safe; start it
// before any thread. From then on Ctrl-C ends only such processes: whoever waits for one cleans up.
class SteppedProcess {
 public:
  // Hands over the result of a step; returns when the next one is wanted.
  using Yield = absl::FunctionRef<void(std::string_view result)>;
  using Body = absl::AnyInvocable<absl::Status(Yield yield)>;

  // Forks. Runs `body` in the child once the first step is wanted.
  static absl::StatusOr<std::unique_ptr<SteppedProcess>> Start(Body body);

  // Kills the process if it has not ended.
  ~SteppedProcess();
  SteppedProcess(const SteppedProcess&) = delete;
  SteppedProcess& operator=(const SteppedProcess&) = delete;

  // Lets it work up to its next result; nullopt: the body has returned. ABORTED with the body's error, or
  // with what the process died of.
  absl::StatusOr<std::optional<std::string>> Next();

 private:
  SteppedProcess(pid_t child, int commands, int results);

  absl::Status Died();

  pid_t child_;  // 0: has ended
  int commands_;
  int results_;
};

}  // namespace thermocline::bench
