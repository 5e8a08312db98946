#include "storage/cold/manifest_horizon.h"

#include <charconv>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <xxhash.h>

namespace thermocline::storage::cold {
namespace {

// Disks write sectors as a whole, so a slot is either the old one or the new one.
constexpr uint64_t kSlotDistance = 4096;

// 0 for what is no manifest; RocksDB never numbers one so.
uint64_t NumberOf(std::string_view manifest) {
  uint64_t number = 0;
  if (!manifest.starts_with(ManifestHorizon::kManifestPrefix)) return number;
  manifest.remove_prefix(ManifestHorizon::kManifestPrefix.size());
  std::from_chars(manifest.data(), manifest.data() + manifest.size(), number);
  return number;
}

// The name in RocksDB's file CURRENT; empty if there is none.
absl::StatusOr<std::string> CurrentManifest(FileSystem& files, const std::string& directory) {
  const absl::StatusOr<std::unique_ptr<File>> file =
      files.Open(fmt::format("{}/CURRENT", directory), FileSystem::Mode::kReadWrite);
  if (absl::IsNotFound(file.status())) return std::string();
  if (!file.ok()) return file.status();
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  std::string name(*size, 0);
  if (absl::Status status = (*file)->ReadAt(0, name); !status.ok()) return status;
  while (name.ends_with('\n')) name.pop_back();
  return name;
}

}  // namespace

struct ManifestHorizon::Slot {
  uint64_t manifest;
  uint64_t synced_bytes;
  uint64_t content;   // XXH3 of so many bytes of the manifest
  uint64_t checksum;  // XXH3 of the three before

  uint64_t Checksum() const { return XXH3_64bits(this, offsetof(Slot, checksum)); }
};

void ManifestHorizon::DigestDeleter::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

ManifestHorizon::ManifestHorizon(std::unique_ptr<File> file)
    : file_(std::move(file)), digest_(XXH3_createState()) {
  static_assert(sizeof(Slot) == 32 && offsetof(Slot, synced_bytes) == 8 && offsetof(Slot, content) == 16 &&
                offsetof(Slot, checksum) == 24);
}

absl::StatusOr<std::unique_ptr<ManifestHorizon>> ManifestHorizon::Open(FileSystem& files,
                                                                       const std::string& directory) {
  const std::string path = fmt::format("{}/{}", directory, kFileName);
  absl::StatusOr<std::unique_ptr<File>> file = files.Open(path, FileSystem::Mode::kReadWrite);
  if (absl::IsNotFound(file.status())) file = files.Open(path, FileSystem::Mode::kCreate);
  if (!file.ok()) return file.status();
  // Space for all slots, so that none is wanting later.
  absl::Status status = (*file)->Allocate(kSlotDistance * kSlots);
  if (status.ok()) status = (*file)->Sync();
  if (status.ok()) status = files.SyncDirectory(directory);
  if (!status.ok()) return status;

  const absl::StatusOr<std::string> current = CurrentManifest(files, directory);
  if (!current.ok()) return current.status();
  std::unique_ptr<ManifestHorizon> horizon(new ManifestHorizon(*std::move(file)));
  for (size_t i = 0; i < kSlots; ++i) {
    Slot slot;
    const std::span<char> bytes(reinterpret_cast<char*>(&slot), sizeof slot);
    status = horizon->file_->ReadAt(i * kSlotDistance, bytes);
    if (!status.ok()) return status;
    // A slot that is none says nothing, and RocksDB then judges its manifest alone.
    if (slot.checksum != slot.Checksum() || slot.manifest != NumberOf(*current)) continue;
    horizon->next_slot_ = 1 - i;
    status = Cut(files, fmt::format("{}/{}", directory, *current), slot);
    if (!status.ok()) return status;
  }
  return horizon;
}

absl::Status ManifestHorizon::Cut(FileSystem& files, const std::string& path, const Slot& slot) {
  const absl::StatusOr<std::unique_ptr<File>> manifest = files.Open(path, FileSystem::Mode::kReadWrite);
  if (absl::IsNotFound(manifest.status())) return absl::DataLossError(manifest.status().message());
  if (!manifest.ok()) return manifest.status();
  const absl::StatusOr<uint64_t> size = (*manifest)->Size();
  if (!size.ok()) return size.status();
  if (*size < slot.synced_bytes) {
    return absl::DataLossError(
        fmt::format("{} ends at {}, but {} bytes of it were synced", path, *size, slot.synced_bytes));
  }
  std::string content(slot.synced_bytes, 0);
  if (absl::Status status = (*manifest)->ReadAt(0, content); !status.ok()) return status;
  if (XXH3_64bits(content.data(), content.size()) != slot.content) {
    return absl::DataLossError(fmt::format("checksum mismatch in the first {} bytes of {}", *size, path));
  }
  if (*size == slot.synced_bytes) return absl::OkStatus();
  absl::Status status = (*manifest)->Truncate(slot.synced_bytes);
  return status.ok() ? (*manifest)->Sync() : status;
}

void ManifestHorizon::Append(std::string_view manifest, std::string_view data) {
  if (const uint64_t number = NumberOf(manifest); number != number_) {
    if (number_ != 0) next_slot_ = 1 - next_slot_;
    number_ = number;
    bytes_ = 0;
    XXH3_64bits_reset(digest_.get());
  }
  bytes_ += data.size();
  XXH3_64bits_update(digest_.get(), data.data(), data.size());
}

absl::Status ManifestHorizon::Advance() {
  Slot slot{number_, bytes_, XXH3_64bits_digest(digest_.get()), 0};
  slot.checksum = slot.Checksum();
  const std::string_view bytes(reinterpret_cast<const char*>(&slot), sizeof slot);
  absl::Status status = file_->WriteAt(next_slot_ * kSlotDistance, bytes);
  return status.ok() ? file_->Sync() : status;
}

}  // namespace thermocline::storage::cold
