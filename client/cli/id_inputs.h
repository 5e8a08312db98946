#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "client/cli/id_reader.h"
#include "client/cli/s3_access.h"
#include "storage/id_source.h"

// Where the ids of a change come from: files and databases.
namespace thermocline::cli {

struct IdInput {
  std::string place;  // a file, "-", s3://bucket/key or the URL of a database
  IdShape shape;      // of a file; a query's column is shape.field, unless it has only one
  std::string query;  // of a database
  std::vector<std::optional<std::string>> parameters;
  std::chrono::milliseconds longest_silence{600'000};  // of a database
};

bool IsDatabase(const IdInput& input);

// Files and objects are opened here, databases when they are first read. NOT_FOUND, PERMISSION_DENIED,
// INVALID_ARGUMENT; for objects as S3Client has them. `s3` must outlive the source.
absl::StatusOr<std::unique_ptr<storage::IdSource>> OpenIds(const IdInput& input, int standard_input,
                                                           S3Access& s3);

// How messages name each of the inputs: short, different from one another, and without passwords.
// "buyers.csv", "db.example/shop", "db.example/shop (query 2)".
std::vector<std::string> ShortNames(const std::vector<IdInput>& inputs);

// How far the sources of these names are: of a single one as ProgressLine() shows it, of several
// "1 200 000 ids  410 000/s: buyers.csv 400 000 rows 140 000/s, db.example/shop 800 000 rows 270 000/s".
// `sent` ids have gone to the server.
std::string InputsLine(const std::vector<std::unique_ptr<storage::IdSource>>& sources,
                       const std::vector<std::string>& names, uint64_t sent,
                       std::chrono::milliseconds elapsed);

}  // namespace thermocline::cli
