#include "storage/engine/store_files.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "storage/log/format.h"

namespace thermocline::storage {
namespace {

// STORE:  0 checksum  8 magic  16 format  20 block bytes  24 store id  32 hash seed
struct StoreRecord {
  uint64_t checksum;  // XXH3-64 of the rest
  uint64_t magic;
  uint32_t format;
  uint32_t block_bytes;
  uint64_t store_id;
  uint64_t hash_seed;

  static constexpr uint64_t kMagic = 0x45524f54534d4854;  // "THMSTORE"
};
static_assert(sizeof(StoreRecord) == 40);

// CLEAN:  0 checksum  8 end of the log  16 next version
struct CleanRecord {
  uint64_t checksum;  // XXH3-64, seeded with the store's id, of the rest
  uint64_t position;
  uint64_t next_version;
};
static_assert(sizeof(CleanRecord) == 24);

// BLOCKS:  this header, then the sequence numbers, 4 bytes each
struct RosterHeader {
  uint64_t checksum;  // XXH3-64, seeded with the store's id, of the rest, sequence numbers included
  uint64_t generation;
  uint64_t below;
  uint64_t count;
};
static_assert(sizeof(RosterHeader) == 32);

template <typename T>
std::string_view Raw(const T& record) {
  return {reinterpret_cast<const char*>(&record), sizeof(record)};
}

// nullopt if the file does not exist; shorter files are filled up with zeros, which no checksum accepts.
template <typename T>
absl::StatusOr<std::optional<T>> ReadRecord(const std::string& path, FileSystem& files) {
  auto file = files.Open(path, FileSystem::Mode::kReadWrite);
  if (absl::IsNotFound(file.status())) return std::nullopt;
  if (!file.ok()) return file.status();
  auto size = (*file)->Size();
  if (!size.ok()) return size.status();
  T record{};
  char* const out = reinterpret_cast<char*>(&record);
  if (absl::Status status = (*file)->ReadAt(0, {out, std::min<uint64_t>(*size, sizeof(T))}); !status.ok())
    return status;
  return record;
}

// Appears whole or not at all.
absl::Status WriteWhole(const std::string& directory, const std::string& name, std::string_view bytes,
                        FileSystem& files) {
  const std::string path = directory + "/" + name;
  const std::string draft = path + ".new";
  if (absl::Status status = files.Remove(draft); !status.ok() && !absl::IsNotFound(status)) return status;
  auto file = files.Open(draft, FileSystem::Mode::kCreate);
  if (!file.ok()) return file.status();
  absl::Status status = (*file)->WriteAt(0, bytes);
  if (status.ok()) status = (*file)->Sync();
  if (status.ok()) status = files.Rename(draft, path);
  if (status.ok()) status = files.SyncDirectory(directory);
  return status;
}

absl::StatusOr<StoreIdentity> CreateIdentity(const std::string& directory, uint32_t block_bytes,
                                             FileSystem& files, Random& random) {
  const std::string log_directory = directory + "/" + kLogDirectory;
  auto blocks = files.List(log_directory);
  if (!blocks.ok()) return blocks.status();
  if (!blocks->empty()) {
    return absl::DataLossError(
        fmt::format("{}/{} is missing, but {} holds {}: without it the log cannot be read. Restore it from a "
                    "copy, or choose an empty "
                    "directory",
                    directory, kStoreFile, log_directory, blocks->front()));
  }
  StoreRecord record = {.checksum = 0,
                        .magic = StoreRecord::kMagic,
                        .format = kFormatVersion,
                        .block_bytes = block_bytes,
                        .store_id = random.Next() | 1,
                        .hash_seed = random.Next()};
  record.checksum = ChecksumOf(Raw(record), 0);
  // The directory `log` is made durable with it.
  if (absl::Status status = WriteWhole(directory, kStoreFile, Raw(record), files); !status.ok())
    return status;
  return StoreIdentity{record.store_id, record.hash_seed, record.block_bytes};
}

}  // namespace

absl::StatusOr<StoreIdentity> OpenIdentity(const std::string& directory, uint32_t block_bytes,
                                           FileSystem& files, Random& random) {
  const std::string path = directory + "/" + kStoreFile;
  if (absl::Status status = files.CreateDirectory(directory + "/" + kLogDirectory); !status.ok())
    return status;
  auto record = ReadRecord<StoreRecord>(path, files);
  if (!record.ok()) return record.status();
  if (!record->has_value()) return CreateIdentity(directory, block_bytes, files, random);
  const StoreRecord& stored = **record;
  if (stored.magic != StoreRecord::kMagic) {
    return absl::FailedPreconditionError(fmt::format("{} is not the identity of a Thermocline store", path));
  }
  if (stored.checksum != ChecksumOf(Raw(stored), 0)) {
    return absl::DataLossError(fmt::format("{} fails its checksum: restore it from a copy", path));
  }
  if (stored.format != kFormatVersion) {
    return absl::FailedPreconditionError(
        fmt::format("{} has format {}, this program reads {}", path, stored.format, kFormatVersion));
  }
  return StoreIdentity{stored.store_id, stored.hash_seed, stored.block_bytes};
}

absl::StatusOr<std::optional<CleanEnd>> ReadCleanEnd(const std::string& directory, uint64_t store_id,
                                                     FileSystem& files) {
  auto record = ReadRecord<CleanRecord>(directory + "/" + kCleanFile, files);
  if (!record.ok()) return record.status();
  if (!record->has_value()) return std::nullopt;
  const CleanRecord& stored = **record;
  if (stored.checksum != ChecksumOf(Raw(stored), store_id)) return std::nullopt;
  return CleanEnd{stored.position, stored.next_version};
}

absl::Status WriteCleanEnd(const std::string& directory, uint64_t store_id, const CleanEnd& end,
                           FileSystem& files) {
  CleanRecord record = {.checksum = 0, .position = end.position, .next_version = end.next_version};
  record.checksum = ChecksumOf(Raw(record), store_id);
  return WriteWhole(directory, kCleanFile, Raw(record), files);
}

absl::StatusOr<Roster> ReadRoster(const std::string& directory, uint64_t store_id, FileSystem& files) {
  const std::string path = directory + "/" + kRosterFile;
  auto file = files.Open(path, FileSystem::Mode::kReadWrite);
  if (absl::IsNotFound(file.status())) return Roster();
  if (!file.ok()) return file.status();
  auto size = (*file)->Size();
  if (!size.ok()) return size.status();
  std::string bytes(*size, '\0');
  if (absl::Status status = (*file)->ReadAt(0, bytes); !status.ok()) return status;
  RosterHeader header{};
  std::memcpy(&header, bytes.data(), std::min(sizeof(header), bytes.size()));
  const bool whole = bytes.size() >= sizeof(header) &&
                     header.count == (bytes.size() - sizeof(header)) / sizeof(uint32_t) &&
                     header.checksum == ChecksumOf(bytes, store_id);
  if (!whole) return absl::DataLossError(fmt::format("{} fails its checksum: restore it from a copy", path));
  Roster roster = {.generation = header.generation, .below = header.below};
  for (uint64_t i = 0; i < header.count; ++i) {
    uint32_t sequence = 0;
    std::memcpy(&sequence, &bytes[sizeof(header) + i * sizeof(sequence)], sizeof(sequence));
    roster.sequences.push_back(sequence);
  }
  return roster;
}

absl::Status WriteRoster(const std::string& directory, uint64_t store_id, const Roster& roster,
                         FileSystem& files) {
  RosterHeader header = {.checksum = 0,
                         .generation = roster.generation,
                         .below = roster.below,
                         .count = roster.sequences.size()};
  std::string bytes(Raw(header));
  for (const uint64_t sequence : roster.sequences) bytes += Raw(static_cast<uint32_t>(sequence));
  header.checksum = ChecksumOf(bytes, store_id);
  std::memcpy(bytes.data(), &header.checksum, sizeof(header.checksum));
  return WriteWhole(directory, kRosterFile, bytes, files);
}

absl::Status RemoveCleanEnd(const std::string& directory, FileSystem& files) {
  absl::Status status = files.Remove(directory + "/" + kCleanFile);
  if (!status.ok() && !absl::IsNotFound(status)) return status;
  // Also if it is gone: a process that was killed may have removed it, or renamed STORE, without this.
  return files.SyncDirectory(directory);
}

}  // namespace thermocline::storage
