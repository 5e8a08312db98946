#include "storage/sort/run.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/base/thread_annotations.h"
#include <fmt/format.h>

#include "storage/sort/record_text.h"
#include "storage/thread_annotations.h"
#include "storage/varint.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace thermocline::storage::sort {
namespace {

static_assert(sizeof(BlockHeader) == 16);

uint64_t ChecksumOf(std::string_view block) { return XXH3_64bits(block.data() + 8, block.size() - 8); }

class RunReader : public SortedRecords {
 public:
  RunReader(std::unique_ptr<Object> object, const Run& run, uint64_t window_bytes, bool stores_keys,
            bool descending)
      : object_(std::move(object)),
        run_(run),
        window_bytes_(std::max<uint64_t>(window_bytes, run.largest_block)),
        stores_keys_(stores_keys),
        descending_(descending) {
    for (Window& window : windows_) {
      window.memory = Pages(window_bytes_);
      Fetch(window);
    }
  }

  ~RunReader() override {
    for (Window& window : windows_) Await(window).IgnoreError();
  }

  absl::StatusOr<bool> Next(SortedRecord& record) override {
    while (rest_.empty()) {
      const absl::StatusOr<bool> more = NextBlock();
      if (!more.ok() || !*more) return more;
    }
    uint64_t key_bytes = 0;
    uint64_t text_bytes = 0;
    if ((stores_keys_ && !GetVarint(rest_, key_bytes)) || !GetVarint(rest_, text_bytes) ||
        key_bytes > rest_.size() || text_bytes > rest_.size() - key_bytes) {
      return Damaged("a record reaches beyond its block");
    }
    record.text = rest_.substr(key_bytes, text_bytes);
    record.key = stores_keys_ ? rest_.substr(0, key_bytes) : WithoutBreak(record.text);
    record.prefix = PrefixOf(record.key, descending_);
    rest_.remove_prefix(key_bytes + text_bytes);
    return true;
  }

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

  absl::Status Damaged(std::string_view what) const {
    return absl::DataLossError(fmt::format("run {}, block {}: {}", run_.name, block_, what));
  }

  void Fetch(Window& window) {
    window.bytes = 0;
    window.taken = 0;
    while (next_fetched_ < run_.block_bytes.size() &&
           window.bytes + run_.block_bytes[next_fetched_] <= window_bytes_) {
      window.bytes += run_.block_bytes[next_fetched_++];
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

  static absl::Status Await(Window& window) {
    MutexLock lock(window.mutex);
    while (window.pending) window.completed.Wait(window.mutex);
    return window.status;
  }

  // Sets rest_ to the records of the next block.
  absl::StatusOr<bool> NextBlock() {
    if (block_ == run_.block_bytes.size()) return false;
    Window* window = &windows_[current_];
    if (window->taken == window->bytes && window->taken > 0) {
      Fetch(*window);
      current_ ^= 1;
      window = &windows_[current_];
    }
    if (absl::Status status = Await(*window); !status.ok()) return status;
    const std::string_view block(window->memory.data() + window->taken, run_.block_bytes[block_]);
    BlockHeader header;
    std::memcpy(&header, block.data(), sizeof(header));
    if (header.checksum != ChecksumOf(block) || header.number != block_ ||
        header.bytes != block.size() - sizeof(header)) {
      return Damaged("its checksum does not fit; is the disk of the runs sound?");
    }
    window->taken += block.size();
    ++block_;
    rest_ = block.substr(sizeof(header));
    return true;
  }

  const std::unique_ptr<Object> object_;
  const Run& run_;
  const uint64_t window_bytes_;
  const bool stores_keys_;
  const bool descending_;
  size_t next_fetched_ = 0;  // block
  uint64_t offset_ = 0;      // of it
  std::array<Window, 2> windows_;
  size_t current_ = 0;  // window
  size_t block_ = 0;    // the next one
  std::string_view rest_;
};

}  // namespace

RunWriter::RunWriter(std::unique_ptr<ObjectWriter> object, std::string name, size_t block_bytes,
                     bool stores_keys)
    : object_(std::move(object)), block_bytes_(block_bytes), stores_keys_(stores_keys) {
  run_.name = std::move(name);
  block_.reserve(block_bytes);
  block_.resize(sizeof(BlockHeader));
}

absl::StatusOr<std::unique_ptr<RunWriter>> RunWriter::Create(ObjectStore& store, std::string name,
                                                             size_t block_bytes, bool stores_keys) {
  absl::StatusOr<std::unique_ptr<ObjectWriter>> object = store.Create(name);
  if (!object.ok()) return object.status();
  return std::unique_ptr<RunWriter>(
      new RunWriter(*std::move(object), std::move(name), block_bytes, stores_keys));
}

absl::Status RunWriter::Add(const SortedRecord& record) {
  const size_t bytes = 2 * kMaxVarintBytes + record.text.size() + (stores_keys_ ? record.key.size() : 0);
  if (block_.size() + bytes > block_bytes_ && block_.size() > sizeof(BlockHeader)) {
    if (absl::Status status = WriteBlock(); !status.ok()) return status;
  }
  char lengths[2 * kMaxVarintBytes];
  char* end = stores_keys_ ? PutVarint(lengths, record.key.size()) : lengths;
  end = PutVarint(end, record.text.size());
  block_.append(lengths, end);
  if (stores_keys_) block_ += record.key;
  block_ += record.text;
  ++run_.records;
  return absl::OkStatus();
}

absl::Status RunWriter::WriteBlock() {
  BlockHeader header{.number = static_cast<uint32_t>(run_.block_bytes.size()),
                     .bytes = static_cast<uint32_t>(block_.size() - sizeof(BlockHeader))};
  std::memcpy(block_.data(), &header, sizeof(header));
  header.checksum = ChecksumOf(block_);
  std::memcpy(block_.data(), &header, sizeof(header));
  const auto size = static_cast<uint32_t>(block_.size());
  run_.block_bytes.push_back(size);
  run_.largest_block = std::max(run_.largest_block, size);
  run_.bytes += size;
  absl::Status status = object_->Append(block_);
  block_.resize(sizeof(BlockHeader));
  // The memory of one long record is not kept.
  if (block_.capacity() > 2 * block_bytes_) block_.shrink_to_fit();
  return status;
}

absl::StatusOr<Run> RunWriter::Finish() {
  absl::Status status = block_.size() > sizeof(BlockHeader) ? WriteBlock() : absl::OkStatus();
  if (status.ok()) status = object_->Finish();
  if (!status.ok()) return status;
  return std::move(run_);
}

uint64_t LeastReadBytes(const Run& run) { return 2 * uint64_t{run.largest_block}; }

absl::StatusOr<std::unique_ptr<SortedRecords>> OpenRun(ObjectStore& store, const Run& run,
                                                       uint64_t window_bytes, bool stores_keys,
                                                       bool descending) {
  absl::StatusOr<std::unique_ptr<Object>> object = store.Open(run.name);
  if (!object.ok()) return object.status();
  if ((*object)->size() != run.bytes) {
    return absl::DataLossError(
        fmt::format("run {} has {} bytes instead of {}", run.name, (*object)->size(), run.bytes));
  }
  return std::make_unique<RunReader>(*std::move(object), run, window_bytes, stores_keys, descending);
}

}  // namespace thermocline::storage::sort
