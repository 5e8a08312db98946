#include "storage/sort/field_reader.h"

#include <utility>

#include "storage/sort/csv_fields.h"
#include "storage/sort/json_fields.h"

namespace thermocline::storage::sort {

absl::StatusOr<std::unique_ptr<FieldReader>> NewFieldReader(const FieldShape& shape, std::string_view header,
                                                            std::shared_ptr<JsonMemory> shared) {
  return shape.format == RecordFormat::kCsv ? NewCsvFields(shape, header)
                                            : NewJsonFields(shape.names, std::move(shared));
}

}  // namespace thermocline::storage::sort
