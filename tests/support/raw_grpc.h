#pragma once

#include <memory>
#include <string>
#include <vector>

#include "grpcpp/channel.h"
#include "grpcpp/support/status.h"

namespace thermocline::testing {

// Calls `method` ("/package.Service/Method") with one message and no generated code, as stock tools do: for
// the health and reflection services, whose stubs Debian does not ship. Appends each message of the answer to
// `answers`. Waits at most 30 seconds.
grpc::Status RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                     const std::string& message, std::vector<std::string>* answers);

}  // namespace thermocline::testing
