#pragma once

#include <string_view>

#include "server/rpc/exchange.h"
#include "server/service/segments.h"

namespace thermocline::server {

// Adds the methods of Segments as methods of server/rpc. `service_name` is what clients call it. The service
// must outlive them and every call.
void AddSegmentsMethods(std::string_view service_name, SegmentsService& service, rpc::Methods& methods);

}  // namespace thermocline::server
