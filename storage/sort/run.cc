#include "storage/sort/run.h"

#include <utility>

#include "storage/sort/record_text.h"
#include "storage/varint.h"

namespace thermocline::storage::sort {
namespace {

class RunReader : public SortedRecords {
 public:
  RunReader(std::unique_ptr<BlockReader> blocks, bool stores_keys, bool descending)
      : blocks_(std::move(blocks)), stores_keys_(stores_keys), descending_(descending) {}

  absl::StatusOr<bool> Next(SortedRecord& record) override {
    if (rest_.empty()) {
      const absl::StatusOr<std::string_view> block = blocks_->Next();
      if (!block.ok()) return block.status();
      if (block->empty()) return false;
      rest_ = *block;
    }
    uint64_t key_bytes = 0;
    uint64_t text_bytes = 0;
    if ((stores_keys_ && !GetVarint(rest_, key_bytes)) || !GetVarint(rest_, text_bytes) ||
        key_bytes > rest_.size() || text_bytes > rest_.size() - key_bytes) {
      return blocks_->Damaged("a record reaches beyond its block");
    }
    record.text = rest_.substr(key_bytes, text_bytes);
    record.key = stores_keys_ ? rest_.substr(0, key_bytes) : WithoutBreak(record.text);
    record.prefix = PrefixOf(record.key, descending_);
    rest_.remove_prefix(key_bytes + text_bytes);
    return true;
  }

 private:
  const std::unique_ptr<BlockReader> blocks_;
  const bool stores_keys_;
  const bool descending_;
  std::string_view rest_;  // of the block
};

}  // namespace

RunWriter::RunWriter(std::unique_ptr<BlockWriter> file, size_t block_bytes, bool stores_keys)
    : file_(std::move(file)), block_bytes_(block_bytes), stores_keys_(stores_keys) {
  block_.reserve(block_bytes);
  block_.resize(sizeof(BlockHeader));
}

absl::StatusOr<std::unique_ptr<RunWriter>> RunWriter::Create(ObjectStore& store, std::string name,
                                                             size_t block_bytes, bool stores_keys) {
  absl::StatusOr<std::unique_ptr<BlockWriter>> file = BlockWriter::Create(store, std::move(name));
  if (!file.ok()) return file.status();
  return std::unique_ptr<RunWriter>(new RunWriter(*std::move(file), block_bytes, stores_keys));
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
  return absl::OkStatus();
}

absl::Status RunWriter::WriteBlock() {
  absl::Status status = file_->Append(block_);
  block_.resize(sizeof(BlockHeader));
  // The memory of one long record is not kept.
  if (block_.capacity() > 2 * block_bytes_) block_.shrink_to_fit();
  return status;
}

absl::StatusOr<BlockFile> RunWriter::Finish() {
  if (block_.size() > sizeof(BlockHeader)) {
    if (absl::Status status = WriteBlock(); !status.ok()) return status;
  }
  return file_->Finish();
}

absl::StatusOr<std::unique_ptr<SortedRecords>> OpenRun(ObjectStore& store, const BlockFile& run,
                                                       uint64_t window_bytes, bool stores_keys,
                                                       bool descending) {
  absl::StatusOr<std::unique_ptr<BlockReader>> blocks = BlockReader::Open(store, run, window_bytes);
  if (!blocks.ok()) return blocks.status();
  return std::make_unique<RunReader>(*std::move(blocks), stores_keys, descending);
}

}  // namespace thermocline::storage::sort
