#include "storage/object/cache/chunk_disk.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <utility>

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace thermocline::storage::object_cache {
namespace {

constexpr uint32_t kMostFiles = 128;
constexpr uint32_t kFewestSlotsPerFile = 16;
// The lock, and what file systems round up.
constexpr uint64_t kSpareBytes = 16 << 10;

// The index: a header, then an IndexEntry for each slot that holds something, in the order of the slots. All
// numbers are little-endian.
struct IndexHeader {
  uint64_t checksum;  // XXH3-64 of the rest of the file
  uint64_t magic;     // kMagic
  uint32_t format;    // kFormat
  uint32_t chunk_bytes;
  uint32_t slots_per_file;
  uint32_t entries;

  static constexpr uint64_t kMagic = 0x5844494843434854;  // "THCCHIDX"
  static constexpr uint32_t kFormat = 1;
};
static_assert(sizeof(IndexHeader) == 32);

struct IndexEntry {
  uint64_t object;
  uint64_t checksum;
  uint32_t chunk;
  uint32_t slot_uses;  // slot << 2 | uses
};
static_assert(sizeof(IndexEntry) == 24);

constexpr uint32_t kMostSlots = UINT32_MAX >> 2;
constexpr size_t kEntriesAtOnce = 8192;

// The checksum of a file that is read or written in pieces.
class Digest {
 public:
  Digest() { XXH3_64bits_reset(&state_); }
  void Add(const void* bytes, size_t size) { XXH3_64bits_update(&state_, bytes, size); }
  void AddHeader(const IndexHeader& header) {
    Add(reinterpret_cast<const char*>(&header) + sizeof(header.checksum),
        sizeof(header) - sizeof(header.checksum));
  }
  uint64_t Get() const { return XXH3_64bits_digest(&state_); }

 private:
  XXH3_state_t state_;
};

template <typename T>
std::string_view BytesOf(const T* values, size_t count) {
  return {reinterpret_cast<const char*>(values), count * sizeof(T)};
}

template <typename T>
std::span<char> WritableBytesOf(T* values, size_t count) {
  return {reinterpret_cast<char*>(values), count * sizeof(T)};
}

// A power of two, so that the slots stay where they are when the cache gets a bit larger or smaller.
uint32_t SlotsPerFile(uint32_t max_slots) {
  return std::max(kFewestSlotsPerFile, std::bit_ceil(max_slots / kMostFiles + 1));
}

}  // namespace

uint32_t ChunkDisk::SlotsIn(uint64_t disk_bytes, uint32_t chunk_bytes) {
  constexpr uint64_t kOverhead = kSpareBytes + 2 * sizeof(IndexHeader);
  if (disk_bytes <= kOverhead) return 0;
  const uint64_t slots = (disk_bytes - kOverhead) / (chunk_bytes + 2 * sizeof(IndexEntry));
  return static_cast<uint32_t>(std::min<uint64_t>(slots, kMostSlots));
}

ChunkDisk::ChunkDisk(std::string directory, uint32_t max_slots, uint32_t chunk_bytes, FileSystem& files)
    : directory_(std::move(directory)),
      max_slots_(max_slots),
      chunk_bytes_(chunk_bytes),
      slots_per_file_(SlotsPerFile(max_slots)),
      files_(files),
      open_((max_slots + slots_per_file_ - 1) / slots_per_file_) {}

ChunkDisk::~ChunkDisk() = default;

std::string ChunkDisk::PathOf(uint32_t file) const {
  return fmt::format("{}/chunks-{:03}", directory_, file);
}

uint32_t ChunkDisk::SlotsOfFile(uint32_t file) const {
  return std::min(slots_per_file_, max_slots_ - file * slots_per_file_);
}

absl::StatusOr<std::unique_ptr<ChunkDisk>> ChunkDisk::Open(const std::string& directory, uint32_t max_slots,
                                                           uint32_t chunk_bytes, FileSystem& files) {
  std::unique_ptr<ChunkDisk> disk(new ChunkDisk(directory, max_slots, chunk_bytes, files));
  if (absl::Status status = files.CreateDirectory(directory); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<FileLock>> lock = files.Lock(directory + "/LOCK");
  if (!lock.ok()) return lock.status();
  disk->lock_ = *std::move(lock);
  if (absl::Status status = disk->RemoveStrangers(); !status.ok()) return status;
  for (uint32_t file = 0; file < disk->open_.size(); ++file) {
    absl::StatusOr<std::unique_ptr<File>> taken = disk->TakeOver(file);
    if (!taken.ok()) {
      // Grow makes it anew, and those behind it.
      for (uint32_t behind = file + 1; behind < disk->open_.size(); ++behind)
        files.Remove(disk->PathOf(behind)).IgnoreError();
      break;
    }
    disk->open_[file] = *std::move(taken);
    disk->slots_ += disk->SlotsOfFile(file);
  }
  return disk;
}

// Files of a cache that was larger would count, and so does an index that was never finished.
absl::Status ChunkDisk::RemoveStrangers() {
  absl::StatusOr<std::vector<std::string>> names = files_.List(directory_);
  if (!names.ok()) return names.status();
  std::set<std::string> ours;
  for (uint32_t file = 0; file < open_.size(); ++file) ours.insert(PathOf(file));
  for (const std::string& name : *names) {
    const std::string path = directory_ + "/" + name;
    if (name != "INDEX.new" && (!name.starts_with("chunks-") || ours.contains(path))) continue;
    if (absl::Status status = files_.Remove(path); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<File>> ChunkDisk::TakeOver(uint32_t file) {
  absl::StatusOr<std::unique_ptr<File>> opened = files_.Open(PathOf(file), FileSystem::Mode::kReadWrite);
  if (!opened.ok()) return opened;
  const absl::StatusOr<uint64_t> size = (*opened)->Size();
  absl::Status status = size.status();
  if (status.ok() && *size > BytesOfFile(file)) status = (*opened)->Truncate(BytesOfFile(file));
  if (status.ok() && *size < BytesOfFile(file)) status = (*opened)->Allocate(BytesOfFile(file));
  if (status.ok()) return opened;
  opened->reset();
  files_.Remove(PathOf(file)).IgnoreError();
  return status;
}

absl::Status ChunkDisk::Grow(uint32_t seen) {
  MutexLock lock(grow_mutex_);
  if (slots() != seen || seen == max_slots_) return absl::OkStatus();
  const uint32_t file = seen / slots_per_file_;
  // One that could not be taken over may still be there.
  if (absl::Status removed = files_.Remove(PathOf(file)); !removed.ok() && !absl::IsNotFound(removed))
    return removed;
  absl::StatusOr<std::unique_ptr<File>> made = files_.Open(PathOf(file), FileSystem::Mode::kCreate);
  if (!made.ok()) return made.status();
  if (absl::Status status = (*made)->Allocate(BytesOfFile(file)); !status.ok()) {
    made->reset();
    files_.Remove(PathOf(file)).IgnoreError();
    return status;
  }
  open_[file] = *std::move(made);
  slots_.store(seen + SlotsOfFile(file), std::memory_order_release);
  return absl::OkStatus();
}

absl::Status ChunkDisk::SaveIndex(const ChunkTable& table) {
  const std::string draft = IndexPath() + ".new";
  if (absl::Status removed = files_.Remove(draft); !removed.ok() && !absl::IsNotFound(removed))
    return removed;
  absl::StatusOr<std::unique_ptr<File>> file = files_.Open(draft, FileSystem::Mode::kCreate);
  if (!file.ok()) return file.status();
  absl::Status status = WriteIndex(table, **file);
  if (status.ok()) status = (*file)->Sync();
  if (status.ok()) status = files_.Rename(draft, IndexPath());
  if (status.ok()) return files_.SyncDirectory(directory_);
  file->reset();
  files_.Remove(draft).IgnoreError();
  return status;
}

absl::Status ChunkDisk::WriteIndex(const ChunkTable& table, File& file) {
  IndexHeader header = {
      0, IndexHeader::kMagic, IndexHeader::kFormat, chunk_bytes_, slots_per_file_, table.chunks()};
  Digest digest;
  digest.AddHeader(header);
  uint64_t offset = sizeof(header);
  std::vector<IndexEntry> piece;
  for (uint32_t slot = 0; slot < table.usable(); ++slot) {
    if (const auto content = table.At(slot); content.has_value()) {
      piece.push_back({content->id.object, content->checksum, content->id.chunk, slot << 2 | content->uses});
    }
    if (piece.size() < kEntriesAtOnce && slot + 1 < table.usable()) continue;
    digest.Add(piece.data(), piece.size() * sizeof(IndexEntry));
    const std::string_view bytes = BytesOf(piece.data(), piece.size());
    if (absl::Status status = file.WriteAt(offset, bytes); !status.ok()) return status;
    offset += bytes.size();
    piece.clear();
  }
  header.checksum = digest.Get();
  return file.WriteAt(0, BytesOf(&header, 1));
}

void ChunkDisk::LoadIndex(ChunkTable& table) {
  if (!ReadIndex(table)) table.Clear();
  const absl::StatusOr<std::unique_ptr<File>> file = files_.Open(IndexPath(), FileSystem::Mode::kReadWrite);
  if (!file.ok()) return;
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  const bool fits = size.ok() && *size <= sizeof(IndexHeader) + uint64_t{max_slots_} * sizeof(IndexEntry);
  if (!fits) files_.Remove(IndexPath()).IgnoreError();
}

bool ChunkDisk::ReadIndex(ChunkTable& table) {
  absl::StatusOr<std::unique_ptr<File>> file = files_.Open(IndexPath(), FileSystem::Mode::kReadWrite);
  IndexHeader header;
  if (!file.ok() || !(*file)->ReadAt(0, WritableBytesOf(&header, 1)).ok()) return false;
  if (header.magic != IndexHeader::kMagic || header.format != IndexHeader::kFormat) return false;
  if (header.chunk_bytes != chunk_bytes_ || header.slots_per_file != slots_per_file_) return false;
  Digest digest;
  digest.AddHeader(header);
  uint64_t offset = sizeof(header);
  uint64_t next_slot = 0;
  std::vector<IndexEntry> piece;
  for (uint64_t left = header.entries; left > 0; left -= piece.size()) {
    piece.resize(std::min<uint64_t>(left, kEntriesAtOnce));
    const std::span<char> bytes = WritableBytesOf(piece.data(), piece.size());
    if (!(*file)->ReadAt(offset, bytes).ok()) return false;
    digest.Add(bytes.data(), bytes.size());
    offset += bytes.size();
    for (const IndexEntry& entry : piece) {
      const uint32_t slot = entry.slot_uses >> 2;
      if (slot < next_slot || entry.object == 0) return false;
      next_slot = uint64_t{slot} + 1;
      if (slot >= table.usable()) continue;
      table.Restore(slot, {{entry.object, entry.chunk}, entry.checksum, entry.slot_uses & 3});
    }
  }
  return digest.Get() == header.checksum;
}

}  // namespace thermocline::storage::object_cache
