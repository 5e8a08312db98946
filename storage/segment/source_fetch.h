#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "storage/cancellation.h"
#include "storage/segment/core.h"
#include "storage/segment/expression.h"
#include "storage/segment/id_files.h"

namespace thermocline::storage::segment {

// The ids of a source, sorted, in a file that stays while `pins` does.
struct FetchedSource {
  FileEntry file;  // number 0: there are no ids
  IdFiles::Pins pins;
};

struct SourceFetchOptions {
  bool use_kept = true;  // what was fetched before is good
  std::chrono::milliseconds patience{0};
  Cancellation cancellation;
};

// What was fetched before with the same parameters and is still kept, for as long as a result is.
std::optional<FetchedSource> FindKeptSource(Core& core, const Expression& source);

// That, or what the source yields now, which is kept then. Who asks for the same meanwhile waits for it. The
// source is read on the world's executor `outside`; `done` comes on some executor. Errors are the source's;
// RESOURCE_EXHAUSTED: no memory to sort with.
using SourceFetched = absl::AnyInvocable<void(absl::StatusOr<FetchedSource>)>;
void FetchSource(std::shared_ptr<Core> core, const Expression& source, const SourceFetchOptions& options,
                 SourceFetched done);

}  // namespace thermocline::storage::segment
