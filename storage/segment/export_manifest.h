#pragma once

#include <cstdint>
#include <string>

#include "storage/segments.h"

namespace thermocline::storage::segment {

// The JSON that lies beside the object of an export (README.md, "Exports").
std::string ExportManifest(const SegmentExportResult& result, const SegmentExportOptions& options,
                           uint64_t created_at_ms);

}  // namespace thermocline::storage::segment
