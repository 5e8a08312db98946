#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "storage/sort/field_reader.h"

namespace thermocline::storage::sort {

// See NewFieldReader.
absl::StatusOr<std::unique_ptr<FieldReader>> NewJsonFields(const std::vector<std::string>& names,
                                                           std::shared_ptr<JsonMemory> shared);

}  // namespace thermocline::storage::sort
