#include "storage/log/recovery.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include <fmt/format.h>

#include "storage/log/block_loads.h"
#include "storage/log/block_scan.h"
#include "storage/log/crew.h"

namespace thermocline::storage {
namespace {

// Blocks that are being read while another one is scanned.
constexpr size_t kBlocksAhead = 2;

// Goes through the blocks one by one and keeps the rule of recovery.h. What takes time is done by others:
// files are read ahead, and a block's chunks are scanned by the whole crew.
class Reader {
 public:
  Reader(const LogSource& source, std::vector<uint64_t> sequences, KnownBlocks known,
         const LogVisitor* visitor)
      : source_(source), sequences_(std::move(sequences)), known_(std::move(known)), visitor_(visitor) {}

  absl::StatusOr<RecoveredLog> Read();

 private:
  enum class Header { kValid, kUnfinished };

  bool Listed(uint64_t sequence) const {
    return std::binary_search(source_.roster.sequences.begin(), source_.roster.sequences.end(), sequence);
  }
  // Compacted away.
  bool Gone(uint64_t sequence) const { return sequence < source_.roster.below && !Listed(sequence); }
  absl::Status CheckRoster() const;
  void Start();
  absl::Status ReadBlock(uint64_t sequence);
  absl::Status ReadListed(std::unique_ptr<Block> block, std::string_view bytes, Header header);
  absl::Status TakeKnown(std::unique_ptr<Block> block);
  bool MakeRoom(uint64_t bytes);
  uint64_t spare_bytes() const;
  bool StartLoad(uint64_t sequence);
  void LoadAhead();
  void StopLoadsAhead();
  absl::StatusOr<std::unique_ptr<Block>> Load(uint64_t sequence);
  absl::StatusOr<Header> ReadHeader(Block& block, std::string_view bytes, uint64_t& previous);
  absl::Status CheckPrevious(const Block& block, uint64_t previous, bool has_chunks) const;
  absl::StatusOr<bool> ReadChunks(Block& block, std::string_view bytes);
  absl::Status LookBehind(const Block& block, std::string_view bytes, uint32_t from, Position end);
  absl::Status CheckCleanEnd(const CleanEnd& clean_end);
  absl::Status CheckLength(const Block& block) const;
  absl::Status TooLittleMemory() const;
  absl::Status Lost(const std::string& path, uint64_t offset, std::string_view why) const;
  std::string PathOf(uint64_t sequence) const { return source_.directory + "/" + BlockFileName(sequence); }

  const LogSource& source_;
  const std::vector<uint64_t> sequences_;
  KnownBlocks known_;
  const LogVisitor* const visitor_;
  MemoryBudget::Grant scan_memory_;
  std::optional<Crew> crew_;
  std::optional<BlockScan> scan_;
  std::optional<BlockLoads> loads_;
  size_t ahead_ = 0;  // in sequences_: what is to be loaded next

  RecoveredLog log_;
  std::deque<Block*> resident_;
  std::vector<uint64_t> unfinished_;  // blocks without a valid header
  std::optional<Position> end_;  // where the chunks that count end; absent: every block so far was sealed
};

absl::Status Reader::Lost(const std::string& path, uint64_t offset, std::string_view why) const {
  return absl::DataLossError(
      fmt::format("{} is damaged at offset {}: {}. Nothing was changed. Restore the file from a copy, or the "
                  "directory from a "
                  "backup",
                  path, offset, why));
}

absl::Status Reader::TooLittleMemory() const {
  return absl::ResourceExhaustedError(fmt::format(
      "the memory limit of {} bytes is too small for this store: its index alone takes {}. Raise --memory",
      source_.budget.limit(), source_.budget.used(MemoryBudget::Share::kIndex)));
}

absl::Status Reader::CheckLength(const Block& block) const {
  if (block.file_bytes <= source_.block_bytes) return absl::OkStatus();
  return Lost(block.path, source_.block_bytes, "it is longer than a block of this store");
}

// Threads only where there is something for them to do. Where memory is short they have less of it at a time;
// a single part is about what a record may take, and blocks need the memory more.
void Reader::Start() {
  const bool nothing = std::all_of(sequences_.begin(), sequences_.end(), [this](uint64_t sequence) {
    return Gone(sequence) || known_.contains(sequence);
  });
  size_t parts = BlockScan::PartsFor(source_.budget.limit());
  const auto threads = [&] { return nothing ? 1 : std::min(source_.threads, parts); };
  const auto bytes = [&] { return BlockScan::memory_bytes(parts, threads()); };
  while (parts > 1 && source_.budget.available() < spare_bytes() + bytes()) parts /= 2;
  if (source_.budget.available() >= spare_bytes() + bytes())
    scan_memory_ = source_.budget.Take(MemoryBudget::Share::kCompaction, bytes());
  crew_.emplace(threads());
  scan_.emplace(source_.block_bytes, source_.store_id, parts, *crew_, visitor_);
  loads_.emplace(source_.files);
}

// What a block that is read leaves for the blocks to be written, and for the index, which grows as records
// are visited.
uint64_t Reader::spare_bytes() const {
  return std::max(source_.budget.limit() / 4, uint64_t{3} * source_.block_bytes);
}

// Blocks that have been scanned leave memory until so much is free; the last one of the log stays. False: it
// is still not enough.
bool Reader::MakeRoom(uint64_t bytes) {
  while (source_.budget.available() < bytes && !resident_.empty() && resident_.front() != log_.tail) {
    resident_.front()->resident.store(nullptr, std::memory_order_relaxed);
    resident_.front()->memory.reset();
    resident_.pop_front();
  }
  return source_.budget.available() >= bytes;
}

bool Reader::StartLoad(uint64_t sequence) {
  const uint32_t block_bytes = source_.block_bytes;
  auto block = std::make_unique<Block>(sequence, PathOf(sequence), block_bytes);
  block->memory = BlockMemory::Allocate(source_.budget, block_bytes);
  block->table_memory =
      source_.budget.Take(MemoryBudget::Share::kChunkTables, ChunkTable::bytes_of(block_bytes));
  if (block->memory == nullptr || !block->table_memory) return false;
  loads_->Start(std::move(block));
  return true;
}

void Reader::LoadAhead() {
  for (; ahead_ < sequences_.size() && loads_->count() <= kBlocksAhead; ++ahead_) {
    const uint64_t sequence = sequences_[ahead_];
    if (Gone(sequence) || known_.contains(sequence)) continue;
    if (!MakeRoom(spare_bytes()) || !StartLoad(sequence)) return;
  }
}

void Reader::StopLoadsAhead() {
  const uint64_t last = loads_->last();
  loads_->Take(last).status.IgnoreError();
  ahead_ = std::lower_bound(sequences_.begin(), sequences_.end(), last) - sequences_.begin();
}

// Into the block's memory, which stays resident if there is enough. The same memory as if nothing were read
// ahead.
absl::StatusOr<std::unique_ptr<Block>> Reader::Load(uint64_t sequence) {
  const bool started = loads_->contains(sequence);
  const uint64_t wanted = spare_bytes() - (started ? BlockMemory::bytes_of(source_.block_bytes) : 0);
  while (!MakeRoom(wanted) && loads_->count() > (started ? 1 : 0)) StopLoadsAhead();
  if (!started && !StartLoad(sequence)) return TooLittleMemory();
  ahead_ = std::max<size_t>(
      ahead_, std::upper_bound(sequences_.begin(), sequences_.end(), sequence) - sequences_.begin());
  LoadAhead();
  auto [block, status] = loads_->Take(sequence);
  if (status.ok()) status = CheckLength(*block);
  if (!status.ok()) return status;
  return std::move(block);
}

// kUnfinished: no valid header and nothing behind it; a crash or a full disk came before the block was ready.
absl::StatusOr<Reader::Header> Reader::ReadHeader(Block& block, std::string_view bytes, uint64_t& previous) {
  BlockHeader header{};
  std::memcpy(&header, bytes.data(), std::min(sizeof(header), bytes.size()));
  const std::string_view raw(reinterpret_cast<const char*>(&header), sizeof(header));
  if (header.magic != BlockHeader::kMagic || header.checksum != ChecksumOf(raw, header.store_id)) {
    for (uint32_t at = kFirstChunkOffset; at + sizeof(ChunkHeader) <= bytes.size(); at += kChunkAlignment) {
      if (ValidChunkAt(bytes, at, block.position_of(at), source_.store_id) != nullptr) {
        return Lost(block.path, 0, "its header fails its checksum, and there is data behind it");
      }
    }
    return Header::kUnfinished;
  }
  if (header.store_id != source_.store_id) {
    return absl::FailedPreconditionError(
        fmt::format("{} belongs to another store (id {:016x}, this one is {:016x}): move "
                    "it away",
                    block.path, header.store_id, source_.store_id));
  }
  if (header.format != kFormatVersion) {
    return absl::FailedPreconditionError(
        fmt::format("{} has format {}, this program reads {}", block.path, header.format, kFormatVersion));
  }
  if (header.sequence != block.sequence || header.block_bytes != source_.block_bytes) {
    return Lost(block.path, 0, "its header is that of another block; was it renamed?");
  }
  previous = header.previous;
  block.relocated = header.relocated != 0;
  log_.next_version = std::max(log_.next_version, header.version_ceiling);
  return Header::kValid;
}

absl::Status Reader::CheckPrevious(const Block& block, uint64_t previous, bool has_chunks) const {
  if (previous < std::max<uint64_t>(1, source_.roster.below)) return absl::OkStatus();
  if (!std::binary_search(sequences_.begin(), sequences_.end(), previous)) {
    return absl::DataLossError(
        fmt::format("{} is missing: {} follows it. Nothing was changed. Restore it from a copy",
                    PathOf(previous), block.path));
  }
  if (std::find(unfinished_.begin(), unfinished_.end(), previous) != unfinished_.end()) {
    return Lost(PathOf(previous), 0, "its header is gone, and the next block was made after it");
  }
  // A block is on the disk before the next one is written.
  const auto& garbage = log_.garbage;
  if (has_chunks && std::find(garbage.begin(), garbage.end(), PathOf(previous)) != garbage.end()) {
    return Lost(PathOf(previous), kFirstChunkOffset, "no valid data, but the next block has some");
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadBlock(uint64_t sequence) {
  // Behind the end of the log nothing can be whole that a checkpoint knows: it is read, to say so.
  if (auto known = known_.extract(sequence); !known.empty() && !end_)
    return TakeKnown(std::move(known.mapped()));
  auto loaded = Load(sequence);
  if (!loaded.ok()) return loaded.status();
  std::unique_ptr<Block> block = *std::move(loaded);
  const std::string_view bytes(block->memory->data(), block->file_bytes);
  uint64_t previous = 0;
  auto header = ReadHeader(*block, bytes, previous);
  if (!header.ok()) return header.status();
  if (Listed(sequence)) return ReadListed(std::move(block), bytes, *header);
  if (*header == Header::kValid && block->relocated) {
    log_.garbage.push_back(block->path);
    return absl::OkStatus();
  }
  const Position start = block->position_of(kFirstChunkOffset);
  const bool has_chunks =
      *header == Header::kValid && ValidChunkAt(bytes, kFirstChunkOffset, start, source_.store_id) != nullptr;
  if (*header == Header::kValid) {
    if (absl::Status status = CheckPrevious(*block, previous, has_chunks); !status.ok()) return status;
  }
  if (has_chunks && !end_) {
    auto whole = ReadChunks(*block, bytes);
    if (!whole.ok()) return whole.status();
    log_.end = block->position_of(block->used);
    log_.tail = block.get();
    resident_.push_back(block.get());
    log_.blocks.push_back(std::move(block));
    if (*whole) return absl::OkStatus();
    end_ = log_.end;
    log_.seal_last = true;
    return LookBehind(*log_.tail, bytes, log_.tail->used, *end_);
  }
  log_.garbage.push_back(block->path);
  if (*header == Header::kUnfinished) unfinished_.push_back(sequence);
  return LookBehind(*block, bytes, kFirstChunkOffset, end_.value_or(start));
}

absl::Status Reader::ReadListed(std::unique_ptr<Block> block, std::string_view bytes, Header header) {
  if (header != Header::kValid) return Lost(block->path, 0, "its header fails its checksum");
  auto whole = ReadChunks(*block, bytes);
  if (!whole.ok()) return whole.status();
  if (!*whole) return Lost(block->path, block->used, "no valid chunk stands here");
  if (!block->relocated) log_.end = block->position_of(block->used);
  resident_.push_back(block.get());
  log_.blocks.push_back(std::move(block));
  return absl::OkStatus();
}

absl::Status Reader::TakeKnown(std::unique_ptr<Block> block) {
  block->table_memory =
      source_.budget.Take(MemoryBudget::Share::kChunkTables, ChunkTable::bytes_of(source_.block_bytes));
  if (!block->table_memory) return TooLittleMemory();
  absl::Status status = OpenBlockFile(*block, source_.files);
  if (status.ok()) status = CheckLength(*block);
  if (!status.ok()) return status;
  std::string page(std::min<uint64_t>(block->file_bytes, kPageBytes), '\0');
  if (status = block->reader->ReadAt(0, page); !status.ok()) return status;
  uint64_t previous = 0;
  const bool relocated = block->relocated;
  const auto header = ReadHeader(*block, page, previous);
  if (!header.ok()) return header.status();
  if (*header != Header::kValid || block->relocated != relocated)
    return Lost(block->path, 0, "its header fails its checksum");
  if (block->file_bytes < block->used) {
    return Lost(
        block->path, block->file_bytes,
        fmt::format("it ends here, and had {} bytes when the last checkpoint was written", block->used));
  }
  if (!Listed(block->sequence)) {
    if (relocated) {
      log_.garbage.push_back(block->path);
      return absl::OkStatus();
    }
    if (status = CheckPrevious(*block, previous, /*has_chunks=*/true); !status.ok()) return status;
    log_.tail = block.get();
  }
  if (!relocated) {
    log_.end = block->position_of(block->used);
    log_.on_disk = std::max(log_.on_disk, log_.end);
  }
  log_.blocks.push_back(std::move(block));
  return absl::OkStatus();
}

// False: the chunks end without one that says it is the last.
absl::StatusOr<bool> Reader::ReadChunks(Block& block, std::string_view bytes) {
  if (visitor_ != nullptr) visitor_->begin_block(block.sequence);
  auto found = scan_->Scan(block, bytes);
  if (!found.ok()) return found.status();
  log_.on_disk = std::max(log_.on_disk, found->horizon);
  log_.next_version = std::max(log_.next_version, found->next_version);
  log_.records += block.use.records;
  block.used = found->used;
  block.flushed = found->used;
  block.sealed = true;
  block.resident.store(block.memory->data(), std::memory_order_relaxed);
  return found->whole;
}

// Behind the end there may be torn chunks and whole ones that nobody waited for; none may know of a horizon
// beyond the end.
absl::Status Reader::LookBehind(const Block& block, std::string_view bytes, uint32_t from, Position end) {
  for (uint32_t at = from; at + sizeof(ChunkHeader) <= bytes.size(); at += kChunkAlignment) {
    const ChunkHeader* chunk = ValidChunkAt(bytes, at, block.position_of(at), source_.store_id);
    if (chunk == nullptr || chunk->horizon <= end) continue;
    return Lost(
        PathOf(end / source_.block_bytes), end % source_.block_bytes,
        fmt::format("no valid chunk stands here, but that at offset {} of {} proves that there was one", at,
                    BlockFileName(block.sequence)));
  }
  const size_t torn = bytes.find_last_not_of('\0');
  if (torn != std::string_view::npos && torn >= from) log_.truncated_bytes += torn + 1 - from;
  return absl::OkStatus();
}

absl::Status Reader::CheckCleanEnd(const CleanEnd& clean_end) {
  // Below, the roster says what must be there, and the last appended block may have been compacted away.
  const bool appended = clean_end.position / source_.block_bytes >= source_.roster.below;
  const Position end = appended ? log_.end : clean_end.position;
  if (end < clean_end.position) {
    return Lost(
        PathOf(clean_end.position / source_.block_bytes),
        end / source_.block_bytes == clean_end.position / source_.block_bytes ? end % source_.block_bytes : 0,
        "the log was closed in order, and is shorter now");
  }
  // No crash: no version was given out beyond what the marker says, whatever the headers reserved.
  if (end == clean_end.position && (appended || log_.tail == nullptr)) {
    log_.next_version = clean_end.next_version;
    log_.on_disk = end;
  }
  return absl::OkStatus();
}

absl::Status Reader::CheckRoster() const {
  for (const uint64_t sequence : source_.roster.sequences) {
    if (std::binary_search(sequences_.begin(), sequences_.end(), sequence)) continue;
    return absl::DataLossError(
        fmt::format("{} is missing. Nothing was changed. Restore it from a copy", PathOf(sequence)));
  }
  return absl::OkStatus();
}

absl::StatusOr<RecoveredLog> Reader::Read() {
  absl::Status status = CheckRoster();
  if (!status.ok()) return status;
  Start();
  log_.next_sequence = std::max<uint64_t>(1, source_.roster.below);
  for (const uint64_t sequence : sequences_) {
    if (Gone(sequence)) {
      log_.garbage.push_back(PathOf(sequence));
    } else if (status = ReadBlock(sequence); !status.ok()) {
      return status;
    }
    log_.next_sequence = std::max(log_.next_sequence, sequence + 1);
  }
  if (source_.clean_end) {
    if (status = CheckCleanEnd(*source_.clean_end); !status.ok()) return status;
  }
  return std::move(log_);
}

// Cuts the block's file behind what counts and ends it with an empty last chunk.
absl::Status Seal(Block& block, File& file, uint64_t store_id) {
  ChunkHeader last = {.checksum = 0,
                      .position = block.position_of(block.used),
                      .horizon = block.position_of(block.used),
                      .base_version = block.base_version,
                      .bytes = sizeof(ChunkHeader),
                      .records_last = 1};
  const std::string_view raw(reinterpret_cast<const char*>(&last), sizeof(last));
  last.checksum = ChecksumOf(raw, store_id);
  if (absl::Status status = file.Truncate(block.used); !status.ok()) return status;
  if (absl::Status status = file.WriteAt(block.used, raw); !status.ok()) return status;
  std::memcpy(block.memory->data() + block.used, &last, sizeof(last));
  block.used += sizeof(last);
  block.flushed = block.used;
  block.file_bytes = block.used;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<uint64_t>> ListBlocks(const std::string& directory, FileSystem& files) {
  auto names = files.List(directory);
  if (!names.ok()) return names.status();
  std::vector<uint64_t> sequences;
  for (const std::string& name : *names) {
    const uint64_t sequence = SequenceOfFileName(name);
    if (sequence == 0) {
      return absl::FailedPreconditionError(
          fmt::format("{}/{} is not a file of this store: move it away", directory, name));
    }
    sequences.push_back(sequence);
  }
  std::sort(sequences.begin(), sequences.end());
  return sequences;
}

absl::StatusOr<RecoveredLog> ReadLog(const LogSource& source, KnownBlocks known, const LogVisitor* visitor) {
  auto sequences = ListBlocks(source.directory, source.files);
  if (!sequences.ok()) return sequences.status();
  return Reader(source, *std::move(sequences), std::move(known), visitor).Read();
}

absl::Status FreeGarbage(const RecoveredLog& log, FileSystem& files) {
  for (const std::string& path : log.garbage) {
    auto file = files.Open(path, FileSystem::Mode::kReadWrite);
    if (!file.ok()) return file.status();
    // The header stays: it keeps versions and the sequence number from being used again.
    if (absl::Status status = (*file)->Truncate(kFirstChunkOffset); !status.ok()) return status;
  }
  if (!log.seal_last) return absl::OkStatus();
  auto file = files.Open(log.tail->path, FileSystem::Mode::kReadWrite);
  return file.ok() ? (*file)->Truncate(log.tail->used) : file.status();
}

absl::Status FinishRecovery(const std::string& directory, uint64_t store_id, RecoveredLog& log,
                            FileSystem& files) {
  // The newest first: what is left after a crash must not look as if a block in the middle were missing.
  for (auto path = log.garbage.rbegin(); path != log.garbage.rend(); ++path) {
    if (absl::Status status = files.Remove(*path); !status.ok()) return status;
    if (absl::Status status = files.SyncDirectory(directory); !status.ok()) return status;
  }
  if (log.tail == nullptr) return absl::OkStatus();

  // What a killed process had written may not be on the disk, and if its sync had failed, another sync alone
  // would not bring it there. It was read, so it counts: it is written again, before a later chunk says so.
  Block& block = *log.tail;
  auto file = files.Open(block.path, FileSystem::Mode::kReadWrite);
  if (!file.ok()) return file.status();
  const Position start = block.position_of(0);
  const auto from = static_cast<uint32_t>(std::max(log.on_disk, start + kFirstChunkOffset) - start);
  if (from < block.used) {
    const std::string_view doubtful(block.memory->data() + from, block.used - from);
    if (absl::Status status = (*file)->WriteAt(from, doubtful); !status.ok()) return status;
  }
  if (absl::Status status = (*file)->Sync(); !status.ok() || !log.seal_last) return status;
  // Only now, for the last chunk says that all before it is on the disk.
  if (absl::Status status = Seal(block, **file, store_id); !status.ok()) return status;
  return (*file)->Sync();
}

}  // namespace thermocline::storage
