#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/clock.h"
#include "storage/file_system.h"
#include "storage/log/recovery.h"

namespace thermocline::storage {

// What never changes after a store was created. Kept in the file STORE.
struct StoreIdentity {
  uint64_t store_id = 0;   // in every file of the store
  uint64_t hash_seed = 0;  // of the hash of keys: nobody can choose keys that collide
  uint32_t block_bytes = 0;
};

// The files of a data directory:
//
//   LOCK    locked while an engine has the store open
//   STORE   the identity
//   CLEAN   where the log ended; exists only between an orderly Close and the next Open
//   BLOCKS  the roster: which blocks are left, as of the last compaction
//   CHECKPOINT  the index, and where hot records stood; see checkpoint.h
//   log/    the block files
//   cold/   deep cold, a RocksDB; exists once something was moved there
inline constexpr char kLockFile[] = "LOCK";
inline constexpr char kStoreFile[] = "STORE";
inline constexpr char kCleanFile[] = "CLEAN";
inline constexpr char kRosterFile[] = "BLOCKS";
inline constexpr char kLogDirectory[] = "log";
inline constexpr char kColdDirectory[] = "cold";

// Reads the identity, or makes a new one in a directory that has no log yet. Creates the directories.
absl::StatusOr<StoreIdentity> OpenIdentity(const std::string& directory, uint32_t block_bytes,
                                           FileSystem& files, Random& random);

// The clean end, if the store was closed in order. A damaged file counts as none: it only proves less.
absl::StatusOr<std::optional<CleanEnd>> ReadCleanEnd(const std::string& directory, uint64_t store_id,
                                                     FileSystem& files);
absl::Status WriteCleanEnd(const std::string& directory, uint64_t store_id, const CleanEnd& end,
                           FileSystem& files);
// An empty roster if there was no compaction yet. DATA_LOSS if it is damaged: what is in the files cannot be
// told from what was given up then.
absl::StatusOr<Roster> ReadRoster(const std::string& directory, uint64_t store_id, FileSystem& files);
// Durable when it returns, and it appears whole or not at all.
absl::Status WriteRoster(const std::string& directory, uint64_t store_id, const Roster& roster,
                         FileSystem& files);

// Durable when it returns: from then on the log may be written.
absl::Status RemoveCleanEnd(const std::string& directory, FileSystem& files);

}  // namespace thermocline::storage
