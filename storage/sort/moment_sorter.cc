#include "storage/sort/moment_sorter.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "storage/varint.h"

namespace thermocline::storage::sort {
namespace {

constexpr size_t kBlockBytes = 32 << 10;
constexpr uint64_t kMaxWindowBytes = 1 << 20;
constexpr uint64_t kSignBit = uint64_t{1} << 63;
constexpr size_t kSmall = 1024;

// Radix sort by bytes, those that are the same in all numbers passed over. The result is in `numbers`.
void SortWords(std::span<uint64_t> numbers, std::span<uint64_t> scratch) {
  if (numbers.size() < kSmall) return std::sort(numbers.begin(), numbers.end());
  std::array<std::array<size_t, 256>, 8> counts{};
  for (const uint64_t number : numbers) {
    for (size_t byte = 0; byte < 8; ++byte) ++counts[byte][(number >> (8 * byte)) & 0xff];
  }
  std::span<uint64_t> from = numbers;
  std::span<uint64_t> to = scratch;
  for (size_t byte = 0; byte < 8; ++byte) {
    std::array<size_t, 256>& count = counts[byte];
    if (count[(from[0] >> (8 * byte)) & 0xff] == numbers.size()) continue;
    size_t sum = 0;
    for (size_t& each : count) sum += std::exchange(each, sum);
    for (const uint64_t number : from) to[count[(number >> (8 * byte)) & 0xff]++] = number;
    std::swap(from, to);
  }
  if (from.data() != numbers.data()) std::copy(from.begin(), from.end(), numbers.begin());
}

class SortedWords : public MomentStream {
 public:
  explicit SortedWords(std::span<const uint64_t> words) : words_(words) {}

  absl::StatusOr<bool> Next(Moments& next) override {
    if (at_ == words_.size()) return false;
    const size_t begin = at_++;
    while (at_ < words_.size() && words_[at_] == words_[begin]) ++at_;
    next = {static_cast<int64_t>(words_[begin] ^ kSignBit), at_ - begin};
    return true;
  }

 private:
  const std::span<const uint64_t> words_;
  size_t at_ = 0;
};

// A block is pairs of the difference to the number before (that of the block before, at first 0) and a count.
class RunStream : public MomentStream {
 public:
  explicit RunStream(std::unique_ptr<BlockReader> blocks) : blocks_(std::move(blocks)) {}

  absl::StatusOr<bool> Next(Moments& next) override {
    if (rest_.empty()) {
      const absl::StatusOr<std::string_view> block = blocks_->Next();
      if (!block.ok()) return block.status();
      if (block->empty()) return false;
      rest_ = *block;
    }
    uint64_t difference = 0;
    uint64_t count = 0;
    if (!GetVarint(rest_, difference) || !GetVarint(rest_, count) || count == 0)
      return blocks_->Damaged("a number reaches beyond its block");
    last_ += difference;
    next = {static_cast<int64_t>(last_ ^ kSignBit), count};
    return true;
  }

 private:
  const std::unique_ptr<BlockReader> blocks_;
  std::string_view rest_;
  uint64_t last_ = 0;
};

class Merged : public MomentStream {
 public:
  static absl::StatusOr<std::unique_ptr<MomentStream>> Open(
      std::vector<std::unique_ptr<MomentStream>> streams) {
    auto merged = std::make_unique<Merged>();
    for (auto& stream : streams) {
      Source source{.stream = std::move(stream)};
      const absl::StatusOr<bool> more = source.stream->Next(source.head);
      if (!more.ok()) return more.status();
      if (*more) merged->heap_.push_back(std::move(source));
    }
    std::make_heap(merged->heap_.begin(), merged->heap_.end(), Later);
    return merged;
  }

  absl::StatusOr<bool> Next(Moments& next) override {
    if (heap_.empty()) return false;
    next = {heap_.front().head.at, 0};
    while (!heap_.empty() && heap_.front().head.at == next.at) {
      next.count += heap_.front().head.count;
      const absl::StatusOr<bool> more = heap_.front().stream->Next(heap_.front().head);
      if (!more.ok()) return more.status();
      if (*more) {
        SiftDown();
      } else {
        std::pop_heap(heap_.begin(), heap_.end(), Later);
        heap_.pop_back();
      }
    }
    return true;
  }

 private:
  struct Source {
    std::unique_ptr<MomentStream> stream;
    Moments head;
  };

  static bool Later(const Source& a, const Source& b) { return a.head.at > b.head.at; }

  // The first one has grown.
  void SiftDown() {
    for (size_t at = 0, child = 1; child < heap_.size(); child = 2 * at + 1) {
      if (child + 1 < heap_.size() && Later(heap_[child], heap_[child + 1])) ++child;
      if (!Later(heap_[at], heap_[child])) return;
      std::swap(heap_[at], heap_[child]);
      at = child;
    }
  }

  std::vector<Source> heap_;
};

uint64_t MaxRuns(uint64_t memory_bytes) {
  return std::max<uint64_t>(2, memory_bytes / (2 * (kBlockBytes + 64)));
}

}  // namespace

MomentSorter::MomentSorter(ObjectStore& store, std::string prefix, uint64_t memory_bytes)
    : store_(store),
      prefix_(std::move(prefix)),
      memory_bytes_(std::max(memory_bytes, kMinBytes) - (512 << 10)),
      capacity_(memory_bytes_ / (2 * sizeof(uint64_t))),
      max_runs_(MaxRuns(memory_bytes_)),
      memory_(2 * capacity_ * sizeof(uint64_t)) {}

MomentSorter::~MomentSorter() { RemoveRuns(); }

void MomentSorter::RemoveRuns() {
  for (const auto& run : runs_) store_.Remove(run->name).IgnoreError();
  runs_.clear();
}

void MomentSorter::SortNumbers() { SortWords({numbers(), count_}, {numbers() + capacity_, count_}); }

absl::Status MomentSorter::Spill() {
  SortNumbers();
  SortedWords words({numbers(), count_});
  if (absl::Status status = WriteRun(words); !status.ok()) return status;
  count_ = 0;
  return runs_.size() < max_runs_ ? absl::OkStatus() : MergeRuns();
}

absl::Status MomentSorter::WriteRun(MomentStream& stream) {
  auto writer = BlockWriter::Create(store_, fmt::format("{}{}", prefix_, next_name_++));
  if (!writer.ok()) return writer.status();
  std::string block(sizeof(BlockHeader), '\0');
  uint64_t last = 0;
  Moments next;
  for (;;) {
    const absl::StatusOr<bool> more = stream.Next(next);
    if (!more.ok()) return more.status();
    if (!*more) break;
    const uint64_t word = static_cast<uint64_t>(next.at) ^ kSignBit;
    char bytes[2 * kMaxVarintBytes];
    block.append(bytes, PutVarint(PutVarint(bytes, word - std::exchange(last, word)), next.count));
    if (block.size() + sizeof(bytes) <= kBlockBytes) continue;
    if (absl::Status status = (*writer)->Append(block); !status.ok()) return status;
    block.resize(sizeof(BlockHeader));
  }
  if (block.size() > sizeof(BlockHeader)) {
    if (absl::Status status = (*writer)->Append(block); !status.ok()) return status;
  }
  absl::StatusOr<BlockFile> run = (*writer)->Finish();
  if (!run.ok()) return run.status();
  runs_.push_back(std::make_unique<BlockFile>(*std::move(run)));
  return absl::OkStatus();
}

// The memory of the numbers is free meanwhile.
absl::Status MomentSorter::MergeRuns() {
  memory_ = Pages();
  const size_t before = runs_.size();
  {
    absl::StatusOr<std::unique_ptr<MomentStream>> merged = OpenRuns();
    if (!merged.ok()) return merged.status();
    if (absl::Status status = WriteRun(**merged); !status.ok()) return status;
  }
  std::unique_ptr<BlockFile> all = std::move(runs_.back());
  runs_.resize(before);
  RemoveRuns();
  runs_.push_back(std::move(all));
  memory_ = Pages(2 * capacity_ * sizeof(uint64_t));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<MomentStream>> MomentSorter::OpenRuns() {
  const uint64_t window = std::min(kMaxWindowBytes, memory_bytes_ / std::max<size_t>(1, runs_.size()) / 2);
  std::vector<std::unique_ptr<MomentStream>> streams;
  for (const auto& run : runs_) {
    absl::StatusOr<std::unique_ptr<BlockReader>> blocks = BlockReader::Open(store_, *run, window);
    if (!blocks.ok()) return blocks.status();
    streams.push_back(std::make_unique<RunStream>(*std::move(blocks)));
  }
  return Merged::Open(std::move(streams));
}

absl::StatusOr<std::unique_ptr<MomentStream>> MomentSorter::Finish() {
  if (runs_.empty()) {
    SortNumbers();
    return std::make_unique<SortedWords>(std::span<const uint64_t>(numbers(), count_));
  }
  if (count_ > 0) {
    if (absl::Status status = Spill(); !status.ok()) return status;
  }
  memory_ = Pages();
  return OpenRuns();
}

}  // namespace thermocline::storage::sort
