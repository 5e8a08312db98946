#include "storage/cold/manifest_horizon.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <span>

#include <fmt/format.h>
#include <xxhash.h>

namespace thermocline::storage::cold {
namespace {

// Disks write sectors as a whole, so a slot is either the old one or the new one.
constexpr uint64_t kSlotBytes = 4096;

// 0 for what is no manifest; RocksDB never numbers one so.
uint64_t NumberOf(std::string_view manifest) {
  uint64_t number = 0;
  if (!manifest.starts_with(ManifestHorizon::kManifestPrefix)) return number;
  manifest.remove_prefix(ManifestHorizon::kManifestPrefix.size());
  std::from_chars(manifest.data(), manifest.data() + manifest.size(), number);
  return number;
}

// All of a small file; empty if there is none.
absl::StatusOr<std::string> ReadSmall(FileSystem& files, const std::string& path) {
  absl::StatusOr<std::unique_ptr<File>> file = files.Open(path, FileSystem::Mode::kReadWrite);
  if (absl::IsNotFound(file.status())) return std::string();
  if (!file.ok()) return file.status();
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  std::string bytes(std::min<uint64_t>(*size, 4096), 0);
  if (absl::Status status = (*file)->ReadAt(0, bytes); !status.ok()) return status;
  return bytes;
}

}  // namespace

struct ManifestHorizon::Slot {
  uint64_t manifest;
  uint64_t synced_bytes;
  uint64_t checksum;  // XXH3 of what is before

  uint64_t Checksum() const { return XXH3_64bits(this, offsetof(Slot, checksum)); }
};

absl::StatusOr<std::unique_ptr<ManifestHorizon>> ManifestHorizon::Open(FileSystem& files,
                                                                       const std::string& directory) {
  static_assert(sizeof(Slot) == 24 && offsetof(Slot, synced_bytes) == 8 && offsetof(Slot, checksum) == 16);
  const std::string path = fmt::format("{}/{}", directory, kFileName);
  absl::StatusOr<std::unique_ptr<File>> file = files.Open(path, FileSystem::Mode::kReadWrite);
  if (absl::IsNotFound(file.status())) file = files.Open(path, FileSystem::Mode::kCreate);
  if (!file.ok()) return file.status();
  std::unique_ptr<ManifestHorizon> horizon(new ManifestHorizon(*std::move(file)));
  if (absl::Status status = horizon->Load(); !status.ok()) return status;
  if (absl::Status status = files.SyncDirectory(directory); !status.ok()) return status;

  absl::StatusOr<std::string> current = ReadSmall(files, fmt::format("{}/CURRENT", directory));
  if (!current.ok()) return current.status();
  while (current->ends_with('\n')) current->pop_back();
  for (size_t i = 0; i < horizon->horizons_.size(); ++i) {
    const auto& known = horizon->horizons_[i];
    if (!known || known->first != NumberOf(*current)) continue;
    horizon->last_ = i;
    absl::Status cut = horizon->CutAt(files, fmt::format("{}/{}", directory, *current), known->second);
    if (!cut.ok()) return cut;
  }
  return horizon;
}

absl::Status ManifestHorizon::Load() {
  // Space for both slots, so that none is wanting later.
  if (absl::Status status = file_->Allocate(kSlotBytes * horizons_.size()); !status.ok()) return status;
  if (absl::Status status = file_->Sync(); !status.ok()) return status;
  for (size_t i = 0; i < horizons_.size(); ++i) {
    Slot slot;
    const std::span<char> bytes(reinterpret_cast<char*>(&slot), sizeof slot);
    if (absl::Status status = file_->ReadAt(i * kSlotBytes, bytes); !status.ok()) return status;
    // A slot that is none says nothing, and RocksDB then judges its manifest alone.
    if (slot.checksum == slot.Checksum()) horizons_[i] = {slot.manifest, slot.synced_bytes};
  }
  return absl::OkStatus();
}

absl::Status ManifestHorizon::CutAt(FileSystem& files, const std::string& path, uint64_t synced_bytes) const {
  absl::StatusOr<std::unique_ptr<File>> manifest = files.Open(path, FileSystem::Mode::kReadWrite);
  if (!manifest.ok()) return manifest.status();
  const absl::StatusOr<uint64_t> size = (*manifest)->Size();
  if (!size.ok()) return size.status();
  if (*size < synced_bytes) {
    return absl::DataLossError(
        fmt::format("{} ends at {}, but {} bytes of it were synced", path, *size, synced_bytes));
  }
  if (*size == synced_bytes) return absl::OkStatus();
  absl::Status status = (*manifest)->Truncate(synced_bytes);
  return status.ok() ? (*manifest)->Sync() : status;
}

absl::Status ManifestHorizon::Set(std::string_view manifest, uint64_t synced_bytes) {
  Slot slot{NumberOf(manifest), synced_bytes, 0};
  slot.checksum = slot.Checksum();
  const auto& last = horizons_[last_];
  if (last && last->first != slot.manifest) last_ = 1 - last_;
  const std::string_view bytes(reinterpret_cast<const char*>(&slot), sizeof slot);
  if (absl::Status status = file_->WriteAt(last_ * kSlotBytes, bytes); !status.ok()) return status;
  if (absl::Status status = file_->Sync(); !status.ok()) return status;
  horizons_[last_] = {slot.manifest, slot.synced_bytes};
  return absl::OkStatus();
}

}  // namespace thermocline::storage::cold
