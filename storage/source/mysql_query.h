#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "storage/row_source.h"
#include "storage/source/query.h"
#include "storage/source/socket_wait.h"

namespace thermocline::storage::source {

// Of MariaDB or MySQL. Rows come unbuffered, in the text protocol; a query with parameters is prepared and
// executed by SQL's PREPARE and EXECUTE, and its rows come likewise. The session may only read.
// INVALID_ARGUMENT: the URL is none. `wait` must outlive it.
absl::StatusOr<std::unique_ptr<Query>> MakeMysqlQuery(const SourceLocation& location, const SocketWait& wait);

}  // namespace thermocline::storage::source
