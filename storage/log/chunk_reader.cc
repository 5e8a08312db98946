#include "storage/log/chunk_reader.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace thermocline::storage {
namespace {

constexpr uint32_t kReadBytes = 256 << 10;

}  // namespace

absl::StatusOr<std::optional<std::string_view>> ChunkReader::Next() {
  if (next_ >= used_) return std::nullopt;
  if (memory_ == nullptr) return NextFromFile();
  // In memory, frozen: the committer may still be filling in checksum and horizon, so only the length is
  // looked at.
  uint32_t bytes = 0;
  std::memcpy(&bytes, memory_->data() + next_ + offsetof(ChunkHeader, bytes), sizeof(bytes));
  const std::string_view chunk(memory_->data() + next_, bytes);
  next_ += bytes;
  return chunk;
}

absl::Status VisitRecords(std::string_view chunk, Position position,
                          absl::FunctionRef<absl::Status(Position, const DecodedRecord&)> visit) {
  ChunkHeader header;
  std::memcpy(&header, chunk.data(), sizeof(header));
  uint32_t at = sizeof(header);
  for (uint32_t i = 0; i < header.records(); ++i) {
    const auto decoded = DecodeRecord(chunk.substr(at), position + at, header.base_version);
    if (!decoded) {
      return absl::DataLossError(fmt::format(
          "the record at log position {} does not fit its chunk, although the checksum does", position + at));
    }
    if (absl::Status status = visit(position + at, *decoded); !status.ok()) return status;
    at += decoded->bytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string_view>> ChunkReader::NextFromFile() {
  uint32_t wanted = kReadBytes;
  while (true) {
    const uint32_t at = next_ - buffer_offset_;
    const std::string_view rest =
        at < buffer_.size() ? std::string_view(buffer_).substr(at) : std::string_view();
    ChunkHeader header{};
    if (rest.size() >= sizeof(header)) std::memcpy(&header, rest.data(), sizeof(header));
    if (header.bytes != 0 && header.bytes <= rest.size()) break;
    // Not in the buffer, or not all of it: read from its beginning, and as much as it needs.
    if (at == 0 && buffer_.size() >= std::min(used_ - next_, std::max(wanted, header.bytes))) break;
    wanted = std::max(wanted, header.bytes);
    buffer_.resize(std::min(used_ - next_, wanted));
    buffer_offset_ = next_;
    if (absl::Status status = block_.reader->ReadAt(next_, buffer_); !status.ok()) return status;
  }
  const uint32_t at = next_ - buffer_offset_;
  const ChunkHeader* chunk = ValidChunkAt(buffer_, at, block_.position_of(next_), store_id_);
  if (chunk == nullptr) {
    return absl::DataLossError(
        fmt::format("{}: the chunk at offset {} fails its checksum", block_.path, next_));
  }
  next_ += chunk->bytes;
  return std::string_view(buffer_).substr(at, chunk->bytes);
}

}  // namespace thermocline::storage
