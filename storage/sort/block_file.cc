#include "storage/sort/block_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace thermocline::storage::sort {
namespace {

static_assert(sizeof(BlockHeader) == 16);

uint64_t ChecksumOf(std::string_view block) {
  block.remove_prefix(sizeof(uint64_t));
  return XXH3_64bits(block.data(), block.size());
}

}  // namespace

BlockWriter::BlockWriter(std::unique_ptr<ObjectWriter> object, std::string name)
    : object_(std::move(object)) {
  file_.name = std::move(name);
}

absl::StatusOr<std::unique_ptr<BlockWriter>> BlockWriter::Create(ObjectStore& store, std::string name) {
  absl::StatusOr<std::unique_ptr<ObjectWriter>> object = store.Create(name);
  if (!object.ok()) return object.status();
  return std::unique_ptr<BlockWriter>(new BlockWriter(*std::move(object), std::move(name)));
}

absl::Status BlockWriter::Append(std::string& block) {
  const auto size = static_cast<uint32_t>(block.size());
  BlockHeader header{.number = static_cast<uint32_t>(file_.block_bytes.size()),
                     .bytes = static_cast<uint32_t>(size - sizeof(BlockHeader))};
  std::memcpy(block.data(), &header, sizeof(header));
  header.checksum = ChecksumOf(block);
  std::memcpy(block.data(), &header, sizeof(header));
  file_.block_bytes.push_back(size);
  file_.largest_block = std::max(file_.largest_block, size);
  file_.bytes += size;
  return object_->Append(block);
}

absl::StatusOr<BlockFile> BlockWriter::Finish() {
  if (absl::Status status = object_->Finish(); !status.ok()) return status;
  return std::move(file_);
}

BlockReader::BlockReader(std::unique_ptr<Object> object, const BlockFile& file, uint64_t window_bytes)
    : object_(std::move(object)),
      file_(file),
      window_bytes_(std::max<uint64_t>(window_bytes, file.largest_block)) {
  for (Window& window : windows_) {
    window.memory = Pages(std::max<uint64_t>(1, std::min(window_bytes_, file.bytes)));
    Fetch(window);
  }
}

BlockReader::~BlockReader() {
  for (Window& window : windows_) Await(window).IgnoreError();
}

absl::StatusOr<std::unique_ptr<BlockReader>> BlockReader::Open(ObjectStore& store, const BlockFile& file,
                                                               uint64_t window_bytes) {
  absl::StatusOr<std::unique_ptr<Object>> object = store.Open(file.name);
  if (!object.ok()) return object.status();
  if ((*object)->size() != file.bytes) {
    return absl::DataLossError(
        fmt::format("run {} has {} bytes instead of {}", file.name, (*object)->size(), file.bytes));
  }
  return std::unique_ptr<BlockReader>(new BlockReader(*std::move(object), file, window_bytes));
}

absl::Status BlockReader::Damaged(std::string_view what) const {
  return absl::DataLossError(fmt::format("run {}, block {}: {}", file_.name, block_, what));
}

void BlockReader::Fetch(Window& window) {
  window.bytes = 0;
  window.taken = 0;
  while (next_fetched_ < file_.block_bytes.size() &&
         window.bytes + file_.block_bytes[next_fetched_] <= window_bytes_) {
    window.bytes += file_.block_bytes[next_fetched_++];
  }
  if (window.bytes == 0) return;
  {
    MutexLock lock(window.mutex);
    window.pending = true;
  }
  const uint64_t offset = std::exchange(offset_, offset_ + window.bytes);
  object_->Read(offset, window.memory.span().first(window.bytes), [&window](absl::Status status) {
    MutexLock lock(window.mutex);
    window.status = std::move(status);
    window.pending = false;
    window.completed.NotifyAll();
  });
}

absl::Status BlockReader::Await(Window& window) {
  MutexLock lock(window.mutex);
  while (window.pending) window.completed.Wait(window.mutex);
  return window.status;
}

absl::StatusOr<std::string_view> BlockReader::Next() {
  if (block_ == file_.block_bytes.size()) return std::string_view();
  if (Window& window = windows_[current_]; window.taken == window.bytes) {
    Fetch(window);
    current_ ^= 1;
  }
  Window& window = windows_[current_];
  if (absl::Status status = Await(window); !status.ok()) return status;
  const std::string_view block(window.memory.data() + window.taken, file_.block_bytes[block_]);
  BlockHeader header;
  std::memcpy(&header, block.data(), sizeof(header));
  if (header.checksum != ChecksumOf(block) || header.number != block_ ||
      header.bytes != block.size() - sizeof(header)) {
    return Damaged("its checksum does not fit; is the disk of the runs sound?");
  }
  window.taken += block.size();
  ++block_;
  return block.substr(sizeof(header));
}

}  // namespace thermocline::storage::sort
