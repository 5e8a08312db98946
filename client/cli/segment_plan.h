#pragma once

#include <string>

#include "nlohmann/json.hpp"

#include "client/segments.h"

namespace thermocline::cli {

// The plan as a tree with its numbers beside it, for people:
//
//   step               ids                   blocks       bytes    memory
//   intersection       ~900 (0..1 000)                          128.0 KiB
//   ├─ city:ny, file   1 000                     12    12.0 KiB  64.0 KiB
//   └─ bought, file    5 000                     50    50.0 KiB  64.0 KiB
std::string DrawPlan(const SegmentPlan& plan);

// With the names of proto/thermocline/v1/segments.proto.
nlohmann::ordered_json ToJson(const SegmentPlan& plan);

}  // namespace thermocline::cli
