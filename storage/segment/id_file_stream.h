#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "storage/object_store.h"
#include "storage/segment/id_file.h"
#include "storage/segment/id_stream.h"
#include "storage/segment/read_context.h"

namespace thermocline::storage::segment {

// An id file that is open, with the top of its index. Immutable.
struct IdFile {
  std::string name;
  std::shared_ptr<Object> object;
  IdFileFooter footer;
  std::vector<IndexPageEntry> pages;

  uint64_t memory_bytes() const {
    return sizeof(IdFile) + name.size() + pages.size() * sizeof(IndexPageEntry);
  }
};

// Opens the files of these names, reading all of them at once. Waits for the store.
absl::StatusOr<std::vector<std::shared_ptr<const IdFile>>> OpenIdFiles(ObjectStore& store,
                                                                       std::span<const std::string> names,
                                                                       ReadContext& context);

// What one stream over a file may allocate, at most 1 MiB: blocks that are read ahead take `window_bytes`, at
// least kMinWindowBytes.
inline constexpr size_t kMinWindowBytes = 64 << 10;
inline constexpr size_t kMaxWindowBytes = 560 << 10;
// Pages of the index: the current one, and those whose blocks are read ahead.
inline constexpr size_t kIndexPagesAtHand = 4;
constexpr size_t IdFileStreamBytes(size_t window_bytes) {
  return window_bytes * 5 / 4 +
         kIndexPagesAtHand * (kMaxIndexPageBytes + kBlocksPerIndexPage * sizeof(BlockEntry)) +
         (2 * kMaxPartIds + kContainerWords) * sizeof(uint64_t);
}
static_assert(IdFileStreamBytes(kMaxWindowBytes) <= 1 << 20);

// The ids of a file. Blocks come as kBlock; those that are wanted are read together (Want), or ahead, the
// further the more of them were expanded one after the other. `counts`: of this stream alone, or nullptr.
std::unique_ptr<IdStream> NewIdFileStream(std::shared_ptr<const IdFile> file, size_t window_bytes,
                                          std::shared_ptr<ReadContext> context,
                                          std::shared_ptr<ReadCounts> counts = nullptr);

}  // namespace thermocline::storage::segment
