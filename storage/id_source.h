#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

#include "storage/row_source.h"

namespace thermocline::storage {

// Ids that come from somewhere, in any order and more than once. For one thread at a time, but for what says
// otherwise.
class IdSource {
 public:
  virtual ~IdSource() = default;

  // What is wrong with a row, and its number (the first is 1). True: skip the row. False: it is an error.
  using Reject = absl::FunctionRef<bool(uint64_t row, std::string_view problem)>;

  // Waits for ids; at least one, none at the end. Valid until the next call. Errors are those of what the ids
  // come from, and INVALID_ARGUMENT for a row that is no id; the same comes from then on.
  virtual absl::StatusOr<std::span<const uint64_t>> Next(Reject skip) = 0;
  // Every row must be an id.
  absl::StatusOr<std::span<const uint64_t>> Next() {
    return Next([](uint64_t, std::string_view) { return false; });
  }

  // Ends a waiting Next() soon, with CANCELLED, and all that follow. From any thread. Idempotent.
  virtual void Cancel() = 0;

  // How many rows have come. From any thread.
  virtual uint64_t rows() const = 0;

  // As errors name it.
  virtual const std::string& name() const = 0;
};

// An id as people write it: decimal digits only. nullopt for anything else, and beyond 64 bits.
std::optional<uint64_t> ReadId(std::string_view text);

// The ids of a query: its column `column`, or the only one it has, whatever that is called. INVALID_ARGUMENT
// if it has several and none, or more than one, of that name.
std::unique_ptr<IdSource> MakeIdSource(std::unique_ptr<RowSource> rows, std::string column = "id");

}  // namespace thermocline::storage
