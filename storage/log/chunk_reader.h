#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/log/block.h"

namespace thermocline::storage {

// Reads the chunks of one block in order, from memory that the caller has pinned or from the file in large
// reads, verified. Not thread-safe.
class ChunkReader {
 public:
  // Starts at the chunk at `offset`; ends at `used`. `memory` is nullptr for a block that is not resident.
  ChunkReader(const Block& block, std::shared_ptr<const BlockMemory> memory, uint32_t offset, uint32_t used,
              uint64_t store_id)
      : block_(block), memory_(std::move(memory)), next_(offset), used_(used), store_id_(store_id) {}

  // The next chunk, header and all; nullopt at the end of the block. Valid until the next call.
  absl::StatusOr<std::optional<std::string_view>> Next();

 private:
  absl::StatusOr<std::optional<std::string_view>> NextFromFile();

  const Block& block_;
  const std::shared_ptr<const BlockMemory> memory_;
  uint32_t next_;  // offset of the next chunk
  const uint32_t used_;
  const uint64_t store_id_;
  std::string buffer_;
  uint32_t buffer_offset_ = 0;  // where buffer_ stands in the block
};

// Calls `visit` for each record of a chunk that stands at `position`. DATA_LOSS if one does not fit; an error
// of `visit` ends it.
absl::Status VisitRecords(std::string_view chunk, Position position,
                          absl::FunctionRef<absl::Status(Position, const DecodedRecord&)> visit);

}  // namespace thermocline::storage
