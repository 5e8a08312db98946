#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "storage/row_source.h"
#include "storage/source/query.h"
#include "storage/source/socket_wait.h"

namespace thermocline::storage::source {

// Of PostgreSQL, or what speaks as it does. Rows come by COPY (query) TO STDOUT, which is the fastest; a
// query with parameters, or one that COPY does not take (SHOW, EXPLAIN, FETCH), brings them one result each
// (libpq's single-row mode). All in a transaction that may only read. INVALID_ARGUMENT: the URL is none.
// `wait` must outlive it.
absl::StatusOr<std::unique_ptr<Query>> MakePostgresQuery(const SourceLocation& location,
                                                         const SocketWait& wait);

}  // namespace thermocline::storage::source
