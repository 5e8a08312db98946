#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"

#include "client/transport.h"
#include "thermocline/v1/key_value.pb.h"

namespace thermocline::transport {

// The pages of one Scan call, fetched one ahead of the reader. For one thread at a time; must not outlive the
// Transport.
class PageStream {
 public:
  PageStream(Transport& transport, const v1::ScanRequest& request);
  // Cancels the call if it has not ended.
  ~PageStream();

  // The next page; nullopt if the call has ended well; its error if it failed. DEADLINE_EXCEEDED if nothing
  // came until `deadline`.
  absl::StatusOr<std::optional<v1::ScanResponse>> Next(Deadline deadline);

 private:
  class Reactor;
  const std::unique_ptr<Reactor> reactor_;
};

}  // namespace thermocline::transport
