#pragma once

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"
#include "storage/object_store.h"

namespace thermocline::server {

// A new file at `path`, written as `draft` before, which must be in the same file system; nobody has that
// name. Folders of `path` are made where they are missing. Where there is a file already, Finish says
// ALREADY_EXISTS, or replaces it. `before_publish` is called when all is written and the file is about to get
// its name; what it fails with is the failure of Finish. `files` must outlive it.
absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> CreateExportFile(
    storage::FileSystem& files, std::string path, std::string draft, bool replace,
    absl::AnyInvocable<absl::Status()> before_publish);

// Whether there is anything of this name.
absl::StatusOr<bool> PathExists(storage::FileSystem& files, const std::string& path);

}  // namespace thermocline::server
