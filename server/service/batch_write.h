#pragma once

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "storage/clock.h"
#include "storage/engine.h"
#include "thermocline/v1/key_value.pb.h"

namespace thermocline::server {

// BatchWrite of key_value.proto, for a request whose own limits have been checked. Contract as
// KeyValueService's methods.
void RunBatchWrite(storage::Engine& engine, storage::Clock& clock, const v1::BatchWriteRequest& request,
                   v1::BatchWriteResponse* response, absl::AnyInvocable<void(absl::Status)> done);

}  // namespace thermocline::server
