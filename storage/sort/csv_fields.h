#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"

#include "storage/sort/field_reader.h"

namespace thermocline::storage::sort {

// See NewFieldReader.
absl::StatusOr<std::unique_ptr<FieldReader>> NewCsvFields(const FieldShape& shape, std::string_view header);

}  // namespace thermocline::storage::sort
