#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"
#include "storage/sort/pages.h"
#include "storage/thread_annotations.h"

// What did not fit in memory: objects of blocks, each a BlockHeader and its bytes. They do not outlive the
// process that has written them: where the blocks lie is kept in memory.
namespace thermocline::storage::sort {

struct BlockHeader {
  uint64_t checksum = 0;  // XXH3 of what follows
  uint32_t number = 0;    // of the block in its file
  uint32_t bytes = 0;     // of the block, without this header
};

struct BlockFile {
  std::string name;
  uint64_t bytes = 0;
  uint32_t largest_block = 0;         // its bytes, the header included
  std::vector<uint32_t> block_bytes;  // likewise, of each block
};

// For one thread at a time.
class BlockWriter {
 public:
  static absl::StatusOr<std::unique_ptr<BlockWriter>> Create(ObjectStore& store, std::string name);

  // `block` begins with sizeof(BlockHeader) bytes for the header.
  absl::Status Append(std::string& block);
  absl::StatusOr<BlockFile> Finish();

 private:
  BlockWriter(std::unique_ptr<ObjectWriter> object, std::string name);

  const std::unique_ptr<ObjectWriter> object_;
  BlockFile file_;
};

// Reads blocks in windows of several, one of them while the blocks of another are taken. For one thread at a
// time.
class BlockReader {
 public:
  // Takes 2 * `window_bytes`, or LeastBytes if that is more. `store` and `file` must outlive it.
  static absl::StatusOr<std::unique_ptr<BlockReader>> Open(ObjectStore& store, const BlockFile& file,
                                                           uint64_t window_bytes);
  static uint64_t LeastBytes(const BlockFile& file) { return 2 * uint64_t{file.largest_block}; }

  ~BlockReader();

  // The next block without its header, valid until the next call; empty at the end. Waits for the store.
  // DATA_LOSS: not what was written.
  absl::StatusOr<std::string_view> Next();

  // The failure of a block that Next has returned, whose bytes make no sense.
  absl::Status Damaged(std::string_view what) const;

 private:
  // Consecutive blocks.
  struct Window {
    Pages memory;
    size_t bytes = 0;  // 0: there are no more
    size_t taken = 0;
    Mutex mutex;
    CondVar completed;
    bool pending ABSL_GUARDED_BY(mutex) = false;
    absl::Status status ABSL_GUARDED_BY(mutex);
  };

  BlockReader(std::unique_ptr<Object> object, const BlockFile& file, uint64_t window_bytes);
  void Fetch(Window& window);
  static absl::Status Await(Window& window);

  const std::unique_ptr<Object> object_;
  const BlockFile& file_;
  const uint64_t window_bytes_;
  size_t next_fetched_ = 0;  // block
  uint64_t offset_ = 0;      // of it
  std::array<Window, 2> windows_;
  size_t current_ = 0;  // window
  size_t block_ = 0;    // the next one
};

}  // namespace thermocline::storage::sort
