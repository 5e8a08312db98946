#pragma once

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "storage/clock.h"
#include "storage/engine.h"
#include "thermocline/v1/key_value.pb.h"

namespace thermocline::server {

// BatchGet of key_value.proto, for a request whose own limits have been checked. Contract as
// KeyValueService's methods.
void RunBatchGet(storage::Engine& engine, storage::Clock& clock, const v1::BatchGetRequest& request,
                 v1::BatchGetResponse* response, absl::AnyInvocable<void(absl::Status)> done);

}  // namespace thermocline::server
