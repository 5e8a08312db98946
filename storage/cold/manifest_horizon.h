#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"

namespace thermocline::storage::cold {

// Up to where the manifests of a RocksDB are known to be synced, in a file beside them: README.md draws it.
//
// A manifest is a log of changes, and of what was appended but not synced a crash may leave anything. RocksDB
// cannot tell that from corruption: it refuses a manifest whose last change is torn, and takes one that has
// lost its end for a shorter one. With the horizon, what lies behind it is cut off (nobody was ever told that
// it happened) and everything before it must be there.
//
// For one thread at a time.
class ManifestHorizon {
 public:
  static constexpr std::string_view kFileName = "SYNCED";
  static constexpr std::string_view kManifestPrefix = "MANIFEST-";

  // Cuts the current manifest, if there is one, at its horizon. Only for the holder of the database's lock.
  // DATA_LOSS if the manifest ends before.
  static absl::StatusOr<std::unique_ptr<ManifestHorizon>> Open(FileSystem& files,
                                                               const std::string& directory);

  // Durable when it returns. `manifest` is a name without directory.
  absl::Status Set(std::string_view manifest, uint64_t synced_bytes);

 private:
  struct Slot;
  explicit ManifestHorizon(std::unique_ptr<File> file) : file_(std::move(file)) {}

  absl::Status Load();
  absl::Status CutAt(FileSystem& files, const std::string& path, uint64_t synced_bytes) const;

  const std::unique_ptr<File> file_;
  // Two, since the current manifest's must stay while the next one is being written.
  std::array<std::optional<std::pair<uint64_t, uint64_t>>, 2> horizons_;  // manifest number, bytes
  size_t last_ = 0;                                                       // the slot written last
};

}  // namespace thermocline::storage::cold
