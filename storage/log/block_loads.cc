#include "storage/log/block_loads.h"

#include <algorithm>
#include <span>
#include <utility>

namespace thermocline::storage {
namespace {

// Of a file at a time: a read past the page cache may need as much memory again.
constexpr uint64_t kReadBytes = 1 << 20;

}  // namespace

absl::Status OpenBlockFile(Block& block, FileSystem& files) {
  auto file = files.Open(block.path, FileSystem::Mode::kReadDirect);
  if (!file.ok()) return file.status();
  auto size = (*file)->Size();
  if (!size.ok()) return size.status();
  block.file_bytes = *size;
  block.reader = *std::move(file);
  return absl::OkStatus();
}

absl::Status BlockLoads::Read(Block& block) const {
  if (absl::Status status = OpenBlockFile(block, files_); !status.ok()) return status;
  if (block.file_bytes > block.bytes) return absl::OkStatus();
  for (uint64_t at = 0; at < block.file_bytes; at += kReadBytes) {
    const std::span<char> out(block.memory->data() + at, std::min(kReadBytes, block.file_bytes - at));
    if (absl::Status status = block.reader->ReadAt(at, out); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void BlockLoads::Start(std::unique_ptr<Block> block) {
  const uint64_t sequence = block->sequence;
  Load* const load = loads_.emplace(sequence, std::make_unique<Load>()).first->second.get();
  load->block = std::move(block);
  thread_.Run([this, load] {
    absl::Status status = Read(*load->block);
    MutexLock lock(mutex_);
    load->status = std::move(status);
    load->done = true;
    read_.NotifyOne();
  });
}

BlockLoads::Loaded BlockLoads::Take(uint64_t sequence) {
  const auto found = loads_.find(sequence);
  const std::unique_ptr<Load> load = std::move(found->second);
  loads_.erase(found);
  MutexLock lock(mutex_);
  while (!load->done) read_.Wait(mutex_);
  return {std::move(load->block), std::move(load->status)};
}

}  // namespace thermocline::storage
