#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"

struct XXH3_state_s;

namespace thermocline::storage::cold {

// What of the manifests of a RocksDB is known to be synced, in a file beside them: README.md draws it.
//
// A manifest is a log of changes, and of what was appended but not synced a crash may leave anything. RocksDB
// cannot tell that from corruption: it refuses a manifest whose last change is torn, and takes one whose last
// change has a wrong length, or is gone, for a shorter one. With the horizon, what lies behind it is cut off
// (nobody was ever told that it happened), and everything before it must be there to the last bit.
//
// For one thread at a time, and for manifests that are written one after the other.
class ManifestHorizon {
 public:
  static constexpr std::string_view kFileName = "SYNCED";
  static constexpr std::string_view kManifestPrefix = "MANIFEST-";

  // Cuts the current manifest, if there is one, at its horizon. Only for the holder of the database's lock.
  // DATA_LOSS if the manifest is not what was synced.
  static absl::StatusOr<std::unique_ptr<ManifestHorizon>> Open(FileSystem& files,
                                                               const std::string& directory);

  // `data` has been appended to `manifest`, a name without directory.
  void Append(std::string_view manifest, std::string_view data);
  // All that was appended has been synced. The horizon is durable when this returns.
  absl::Status Advance();

 private:
  struct Slot;
  struct DigestDeleter {
    void operator()(XXH3_state_s* state) const;
  };
  static constexpr size_t kSlots = 2;  // the current manifest's must stay while the next one is being written

  explicit ManifestHorizon(std::unique_ptr<File> file);

  static absl::Status Cut(FileSystem& files, const std::string& path, const Slot& slot);

  const std::unique_ptr<File> file_;
  size_t next_slot_ = 0;
  // Of the manifest that is being written.
  uint64_t number_ = 0;
  uint64_t bytes_ = 0;
  const std::unique_ptr<XXH3_state_s, DigestDeleter> digest_;  // of its bytes
};

}  // namespace thermocline::storage::cold
