#pragma once

#include <string_view>

#include "storage/row_source.h"

namespace thermocline::storage::source {

// Adds the row that a line of PostgreSQL's COPY text format is, without the newline at its end. False if it
// does not have the columns of the batch, which then has part of a row.
bool AddCopyRow(std::string_view line, RowBatch& batch);

}  // namespace thermocline::storage::source
