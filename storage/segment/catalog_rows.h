#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "storage/segment/catalog.h"

// How the catalog's rows are written: a format byte, then unsigned LEB128 numbers in the order of the
// structs' members; lists begin with their length, texts with the number of their bytes.
namespace thermocline::storage::segment {

std::string EncodeSegment(const SegmentEntry& entry);
std::string EncodeResult(const ResultEntry& entry);

// DATA_LOSS: it is no such row. FAILED_PRECONDITION: of a later format.
absl::StatusOr<SegmentEntry> DecodeSegment(std::string_view row);
absl::StatusOr<ResultEntry> DecodeResult(std::string_view row);

}  // namespace thermocline::storage::segment
