#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "absl/status/status.h"

#include "storage/file_system.h"
#include "storage/log/block.h"
#include "storage/thread_annotations.h"
#include "storage/thread_pool.h"

namespace thermocline::storage {

// Opens a block's file, to read it past the page cache, and looks how long it is.
absl::Status OpenBlockFile(Block& block, FileSystem& files);

// Reads the files of blocks into their memory, one after the other, on a thread of its own. One thread asks.
class BlockLoads {
 public:
  explicit BlockLoads(FileSystem& files) : files_(files), thread_("recovery-read", 1) {}
  // Waits for those that were started.
  ~BlockLoads() = default;

  // The block has memory. A file that is longer than a block is opened and not read.
  void Start(std::unique_ptr<Block> block);
  bool contains(uint64_t sequence) const { return loads_.contains(sequence); }
  size_t count() const { return loads_.size(); }
  // The largest sequence number of those that were started and not taken. Requires that there is one.
  uint64_t last() const { return loads_.rbegin()->first; }

  struct Loaded {
    std::unique_ptr<Block> block;
    absl::Status status;  // of the file
  };
  // Waits for a load that was started.
  Loaded Take(uint64_t sequence);

 private:
  struct Load {
    std::unique_ptr<Block> block;
    absl::Status status;
    bool done = false;
  };

  absl::Status Read(Block& block) const;

  FileSystem& files_;
  std::map<uint64_t, std::unique_ptr<Load>> loads_;  // status and done: under mutex_
  Mutex mutex_;
  CondVar read_;
  ThreadPool thread_;  // the last: ends first
};

}  // namespace thermocline::storage
