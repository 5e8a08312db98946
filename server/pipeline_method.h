#pragma once

#include <memory>

#include "server/rpc/exchange.h"
#include "server/service/key_value.h"

namespace thermocline::server {

// KeyValue.Pipeline as a method of server/rpc. The service must outlive it and every call.
std::unique_ptr<rpc::Method> NewPipelineMethod(KeyValueService& service);

}  // namespace thermocline::server
