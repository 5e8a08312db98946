#include "storage/log/relocation.h"

#include <cstring>

#include <fmt/format.h>

namespace thermocline::storage {
namespace {

constexpr uint32_t kWriteBytes = 256 << 10;

}  // namespace

RelocatedBlock::RelocatedBlock(const Place& place, FileSystem& files)
    : place_(place),
      files_(files),
      block_(std::make_unique<Block>(place.sequence, place.directory + "/" + BlockFileName(place.sequence),
                                     place.block_bytes, /*is_relocated=*/true)) {}

RelocatedBlock::~RelocatedBlock() {
  // What stays behind is in no roster, and recovery removes it.
  if (!finished_ && file_ != nullptr) files_.Remove(block_->path).IgnoreError();
}

absl::StatusOr<std::unique_ptr<RelocatedBlock>> RelocatedBlock::Create(const Place& place, FileSystem& files,
                                                                       MemoryBudget& budget) {
  std::unique_ptr<RelocatedBlock> created(new RelocatedBlock(place, files));
  if (absl::Status status = created->WriteHeader(budget); !status.ok()) return status;
  return created;
}

absl::Status RelocatedBlock::WriteHeader(MemoryBudget& budget) {
  block_->table_memory =
      budget.Take(MemoryBudget::Share::kChunkTables, ChunkTable::bytes_of(place_.block_bytes));
  if (!block_->table_memory)
    return absl::ResourceExhaustedError("no memory for another block's table of chunks");
  auto file = files_.Open(block_->path, FileSystem::Mode::kCreate);
  if (!file.ok()) return file.status();
  file_ = *std::move(file);
  absl::Status status = file_->Allocate(place_.block_bytes);
  if (status.ok()) status = file_->WriteAt(0, EncodeBlockHeader(*block_, 0, place_.store_id));
  // Before any data: what a crash leaves must be known for what it is.
  if (status.ok()) status = file_->Sync();
  if (status.ok()) status = files_.SyncDirectory(place_.directory);
  return status;
}

absl::StatusOr<std::optional<Position>> RelocatedBlock::Append(const Record& record) {
  if (block_->use.records == 0) block_->base_version = record.version;
  while (true) {
    const uint32_t at = chunk_start_ != 0 ? cursor_ : cursor_ + sizeof(ChunkHeader);
    const uint32_t bytes = EncodedBytes(record, block_->position_of(at), block_->base_version);
    if (chunk_start_ != 0) {
      if (const auto end = ChunkEndBefore(chunk_start_, at, bytes);
          end && *end + sizeof(ChunkHeader) <= block_->bytes) {
        CloseChunk(*end, /*last=*/false);
        if (buffer_.size() >= kWriteBytes) {
          if (absl::Status status = WriteOut(); !status.ok()) return status;
        }
        continue;
      }
    }
    if (uint64_t{AlignChunk(at + bytes)} + sizeof(ChunkHeader) > block_->bytes) return std::nullopt;
    if (chunk_start_ == 0) OpenChunk();
    const Position position = block_->position_of(cursor_);
    cursor_ += bytes;
    buffer_.resize(cursor_ - buffer_start_);
    EncodeRecord(record, position, block_->base_version, this->at(cursor_ - bytes));
    ++chunk_records_;
    block_->use.Count(record, bytes);
    return position;
  }
}

void RelocatedBlock::OpenChunk() {
  block_->chunks.Add(cursor_);
  chunk_start_ = cursor_;
  chunk_records_ = 0;
  cursor_ += sizeof(ChunkHeader);
  buffer_.resize(cursor_ - buffer_start_);
}

void RelocatedBlock::CloseChunk(uint32_t padded_end, bool last) {
  cursor_ = padded_end;
  buffer_.resize(cursor_ - buffer_start_, '\0');
  ChunkHeader header = {.checksum = 0,
                        .position = block_->position_of(chunk_start_),
                        .horizon = 0,
                        .base_version = block_->base_version,
                        .bytes = padded_end - chunk_start_,
                        .records_last = chunk_records_ << 1 | (last ? 1 : 0)};
  std::memcpy(at(chunk_start_), &header, sizeof(header));
  header.checksum = ChecksumOf({at(chunk_start_), header.bytes}, place_.store_id);
  std::memcpy(at(chunk_start_), &header, sizeof(header));
  chunk_start_ = 0;
}

absl::Status RelocatedBlock::WriteOut() {
  absl::Status status = file_->WriteAt(buffer_start_, buffer_);
  buffer_start_ = cursor_;
  buffer_.clear();
  return status;
}

absl::StatusOr<std::unique_ptr<Block>> RelocatedBlock::Finish() {
  if (chunk_start_ == 0) OpenChunk();
  CloseChunk(AlignChunk(cursor_), /*last=*/true);
  absl::Status status = WriteOut();
  if (status.ok()) status = file_->Truncate(cursor_);
  if (status.ok()) status = file_->Sync();
  if (!status.ok()) return status;
  auto reader = files_.Open(block_->path, FileSystem::Mode::kReadDirect);
  if (!reader.ok()) return reader.status();
  block_->reader = *std::move(reader);
  block_->used = cursor_;
  block_->flushed = cursor_;
  block_->file_bytes = cursor_;
  block_->sealed = true;
  finished_ = true;
  return std::move(block_);
}

}  // namespace thermocline::storage
