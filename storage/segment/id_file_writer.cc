#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "storage/segment/id_file.h"
#include "storage/segment/id_file_format.h"
#include "storage/segment/kernels.h"

namespace thermocline::storage::segment {
namespace {

constexpr size_t kPieceBytes = 128 << 10;  // of what is appended to the object at once

// A packed section is not begun where there is room for less: it would be a part of its own for a few ids.
constexpr size_t kMinPackedRoom = 512;
constexpr size_t kMinPackedIds = 128;

// Fewer ids of a container are packed without a look at what else they could be.
constexpr size_t kMinChoiceIds = 8;

constexpr size_t kBitmapSectionBytes = sizeof(SectionHeader) + kBitmapBytes;

constexpr size_t RunsSectionBytes(size_t runs) {
  return sizeof(SectionHeader) + PaddedBytes(runs * sizeof(Run));
}

std::string_view TextOf(std::span<const char> bytes) { return {bytes.data(), bytes.size()}; }

// How many bytes a packed section takes while it grows.
class PackedSize {
 public:
  void Add(uint64_t id) {
    if (count_++ > 0) {
      if (in_group_ == kPackedGroup) {
        full_groups_ += 1 + PackedBytes(kPackedGroup, bits_);
        in_group_ = 0;
        bits_ = 0;
      }
      ++in_group_;
      bits_ = std::max<unsigned>(bits_, std::bit_width(id - last_ - 1));
    }
    last_ = id;
  }

  size_t count() const { return count_; }
  // What it takes at most when one more id is added.
  size_t max_bytes() const {
    return sizeof(SectionHeader) + PaddedBytes(full_groups_ + 2 * (1 + PackedBytes(kPackedGroup, 64)));
  }
  size_t bytes() const {
    if (count_ == 0) return 0;
    const size_t open_group = in_group_ == 0 ? 0 : 1 + PackedBytes(in_group_, bits_);
    return sizeof(SectionHeader) + PaddedBytes(full_groups_ + open_group);
  }

 private:
  size_t count_ = 0;
  uint64_t last_ = 0;
  size_t full_groups_ = 0;  // their bytes
  size_t in_group_ = 0;
  unsigned bits_ = 0;
};

// Blocks, index pages, top and footer of a file.
class FileSink {
 public:
  FileSink(std::unique_ptr<ObjectWriter> object, uint64_t number)
      : object_(std::move(object)), header_(MakeHeader(number)) {
    piece_.reserve(kPieceBytes + kMaxIndexPageBytes);
    entries_.reserve(kBlocksPerIndexPage);
    Emit(BytesOf(header_));
  }

  void AddBlock(BlockEntry entry, std::span<const char> bytes) {
    entry.offset = this->bytes();
    entry.bytes = static_cast<uint32_t>(bytes.size());
    entry.checksum = ChecksumOf(bytes);
    entries_.push_back(entry);
    Emit(bytes);
    if (entries_.size() == kBlocksPerIndexPage) AddPage();
  }

  absl::StatusOr<IdFileSummary> Finish() {
    if (!entries_.empty()) AddPage();
    AddTopAndFooter();
    if (status_.ok()) status_ = object_->Append(piece_);
    if (status_.ok()) status_ = object_->Finish();
    if (!status_.ok()) return status_;
    return IdFileSummary{.count = file_.count,
                         .first = file_.first,
                         .last = file_.last,
                         .blocks = file_.blocks,
                         .bytes = bytes()};
  }

  uint64_t bytes() const { return appended_ + piece_.size(); }
  const absl::Status& status() const { return status_; }

 private:
  void Emit(std::span<const char> bytes) {
    piece_.append(bytes.data(), bytes.size());
    if (piece_.size() < kPieceBytes) return;
    if (status_.ok()) status_ = object_->Append(piece_);
    appended_ += piece_.size();
    piece_.clear();
  }

  void AddPage() {
    const std::span<const char> bytes(reinterpret_cast<const char*>(entries_.data()),
                                      entries_.size() * sizeof(BlockEntry));
    IndexPageEntry page{.first = entries_.front().first,
                        .last = entries_.back().last,
                        .offset = this->bytes(),
                        .checksum = ChecksumOf(bytes),
                        .blocks = static_cast<uint32_t>(entries_.size()),
                        .bytes = static_cast<uint32_t>(bytes.size())};
    for (const BlockEntry& entry : entries_) page.count += entry.count;
    if (pages_.empty()) file_.first = page.first;
    file_.last = page.last;
    file_.count += page.count;
    file_.blocks += page.blocks;
    pages_.push_back(page);
    Emit(bytes);
    entries_.clear();
  }

  void AddTopAndFooter() {
    XXH3_state_t top;
    XXH3_64bits_reset(&top);
    file_.top_offset = bytes();
    for (const IndexPageEntry& page : pages_) {
      XXH3_64bits_update(&top, &page, sizeof(page));
      Emit(BytesOf(page));
    }
    file_.number = header_.number;
    file_.top_bytes = bytes() - file_.top_offset;
    file_.top_checksum = XXH3_64bits_digest(&top);
    FileFooter footer{.file = file_,
                      .header_checksum = ChecksumOf(BytesOf(header_)),
                      .version = kIdFileVersion,
                      .zero = 0,
                      .checksum = 0,
                      .magic = FileFooter::kMagic};
    footer.checksum = ChecksumOf(BytesOf(footer).first(offsetof(FileFooter, checksum)));
    Emit(BytesOf(footer));
  }

  const std::unique_ptr<ObjectWriter> object_;
  const FileHeader header_;
  absl::Status status_;
  std::string piece_;  // not appended yet
  uint64_t appended_ = 0;
  std::vector<BlockEntry> entries_;   // of the page that is not written yet
  std::deque<IndexPageEntry> pages_;  // a vector would be copied when it grows
  IdFileFooter file_;
};

// Cuts sections into blocks.
class BlockBuilder {
 public:
  explicit BlockBuilder(FileSink& sink) : sink_(sink) {
    block_.reserve(kMaxBlockBytes);
    pending_.reserve(kMaxPartIds);
  }

  void AddPacked(uint64_t id) {
    if (!pending_.empty() && block_.size() + size_.max_bytes() <= kMaxBlockBytes &&
        packed_in_block_ + pending_.size() < kMaxPartIds) {
      size_.Add(id);
      pending_.push_back(id);
      return;
    }
    PackedSize size = size_;
    size.Add(id);
    if (block_.size() + size.bytes() > kMaxBlockBytes || packed_in_block_ + size.count() > kMaxPartIds) {
      CloseBlock();
      size = {};
      size.Add(id);
    } else if (pending_.empty() && (kMaxBlockBytes - block_.size() < kMinPackedRoom ||
                                    kMaxPartIds - packed_in_block_ < kMinPackedIds)) {
      CloseBlock();
    }
    size_ = size;
    pending_.push_back(id);
  }

  // What the section would take if ids were packed that follow: add them to it.
  PackedSize packed() const { return size_; }

  void AddSection(SectionKind kind, uint64_t container, uint32_t count, uint64_t first, uint64_t last,
                  std::span<const char> payload) {
    WritePending();
    const size_t bytes = sizeof(SectionHeader) + PaddedBytes(payload.size());
    if (block_.size() + bytes > kMaxBlockBytes) CloseBlock();
    Begin(kind, container, count, first, last);
    block_.append(payload.data(), payload.size());
    Pad();
  }

  void CloseBlock() {
    WritePending();
    if (block_.empty()) return;
    sink_.AddBlock(entry_, block_);
    block_.clear();
    entry_ = {};
    packed_in_block_ = 0;
  }

  uint64_t bytes() const { return block_.size() + size_.bytes(); }

 private:
  void Begin(SectionKind kind, uint64_t section_first, uint32_t count, uint64_t first, uint64_t last) {
    if (block_.empty()) entry_.first = first;
    entry_.last = last;
    entry_.count += count;
    const SectionHeader header{.kind = kind, .zeros = {}, .count = count, .first = section_first};
    block_.append(TextOf(BytesOf(header)));
  }

  void Pad() { block_.resize(PaddedBytes(block_.size()), '\0'); }

  void WritePending() {
    if (pending_.empty()) return;
    const size_t count = pending_.size();
    Begin(SectionKind::kPacked, pending_.front(), static_cast<uint32_t>(count), pending_.front(),
          pending_.back());
    size_t widths = block_.size();
    block_.resize(widths + PackedGroups(count));
    for (size_t at = 1; at < count; at += kPackedGroup) {
      const size_t size = std::min(count - at, kPackedGroup);
      uint64_t values[kPackedGroup];
      uint64_t all = 0;
      for (size_t i = 0; i < size; ++i) all |= values[i] = pending_[at + i] - pending_[at + i - 1] - 1;
      const auto bits = static_cast<unsigned>(std::bit_width(all));
      block_[widths++] = static_cast<char>(bits);
      const size_t end = block_.size();
      block_.resize(end + PackedBytes(size, bits));
      PackBits(values, size, bits, &block_[end]);
    }
    Pad();
    packed_in_block_ += count;
    pending_.clear();
    size_ = {};
  }

  FileSink& sink_;
  std::string block_;
  BlockEntry entry_;            // of what is in `block_`
  size_t packed_in_block_ = 0;  // ids of packed sections there
  std::vector<uint64_t> pending_;
  PackedSize size_;  // of `pending_`
};

}  // namespace

// Collects the ids of one container, and then chooses how to write them.
class IdFileWriter::Impl {
 public:
  Impl(std::unique_ptr<ObjectWriter> object, uint64_t number)
      : sink_(std::move(object), number), blocks_(sink_) {
    list_.reserve(kMaxPartIds + 8);
  }

  absl::Status Add(std::span<const uint64_t> ids) {
    if (ids.empty()) return sink_.status();
    bool ascending = total_ == 0 || ids.front() > last_;
    for (size_t i = 1; i < ids.size(); ++i) ascending &= ids[i] > ids[i - 1];
    if (!ascending) std::abort();  // the contract
    last_ = ids.back();
    total_ += ids.size();
    while (!ids.empty()) {
      EnterContainer(ContainerOf(ids.front()));
      if (collected_ == 0) ids = ids.subspan(AddLonelyIds(ids));
      EnterContainer(ContainerOf(ids.front()));
      const uint64_t container_end = container_ | (kContainerIds - 1);
      size_t here = ids.size();
      if (ids.back() > container_end) here = FirstAtLeast(ids, 0, container_end + 1);
      Collect(ids.first(here));
      ids = ids.subspan(here);
    }
    return sink_.status();
  }

  absl::Status AddBitmap(const Part& part) {
    const uint64_t* const words = part.words;
    const uint64_t count = CountWords(words);
    if (count == 0 || count != part.count) std::abort();                         // the contract
    if (total_ > 0 && LowestId(words, part.container()) <= last_) std::abort();  // the contract
    last_ = HighestId(words, part.container());
    total_ += count;

    EnterContainer(part.container());
    UseBitmap();
    for (size_t i = 0; i < kContainerWords; ++i) words_[i] |= words[i];
    collected_ += count;
    return sink_.status();
  }

  absl::StatusOr<IdFileSummary> Finish() {
    CloseContainer();
    blocks_.CloseBlock();
    return sink_.Finish();
  }

  uint64_t count() const { return total_; }
  uint64_t bytes() const { return sink_.bytes() + blocks_.bytes(); }

 private:
  void EnterContainer(uint64_t container) {
    if (container == container_) return;
    CloseContainer();
    container_ = container;
  }

  // Packs ids that come first and have no other in their container, which need no choice. Returns how many.
  size_t AddLonelyIds(std::span<const uint64_t> ids) {
    size_t lonely = 0;
    while (lonely + 1 < ids.size() && ContainerOf(ids[lonely]) != ContainerOf(ids[lonely + 1])) {
      blocks_.AddPacked(ids[lonely++]);
    }
    return lonely;
  }

  void Collect(std::span<const uint64_t> ids) {
    if (!in_bitmap_ && collected_ + ids.size() > kMaxPartIds) UseBitmap();
    if (in_bitmap_) {
      for (const uint64_t id : ids) SetBit(words_, id);
    } else {
      list_.insert(list_.end(), ids.begin(), ids.end());
    }
    collected_ += ids.size();
  }

  void UseBitmap() {
    for (const uint64_t id : list_) SetBit(words_, id);
    list_.clear();
    in_bitmap_ = true;
  }

  void UseList() {
    list_.resize(collected_ + 8);
    ListWords(words_, container_, list_.data());
    list_.resize(collected_);
    ClearBitmap();
  }

  void ClearBitmap() {
    std::fill_n(words_, kContainerWords, 0);
    in_bitmap_ = false;
  }

  void CloseContainer() {
    if (collected_ == 0) return;
    if (in_bitmap_ && collected_ <= kMaxPartIds) UseList();
    Write(Choose());
    if (in_bitmap_) ClearBitmap();
    list_.clear();
    collected_ = 0;
  }

  SectionKind Choose() const {
    if (collected_ < kMinChoiceIds) return SectionKind::kPacked;
    // What comes between packed ids costs them a header.
    const size_t runs = RunsSectionBytes(CountRuns()) + sizeof(SectionHeader);
    const SectionKind other = runs < kBitmapSectionBytes ? SectionKind::kRuns : SectionKind::kBitmap;
    // Set operations are fastest on bitmaps: where there are many ids, less than a quarter is no reason.
    const size_t bitmap = collected_ < kMaxPartIds ? kBitmapSectionBytes : kBitmapSectionBytes / 4 * 3;
    return IsPackedBelow(std::min(runs, bitmap)) ? SectionKind::kPacked : other;
  }

  // Whether packing the ids takes less than so many bytes.
  bool IsPackedBelow(size_t limit) const {
    PackedSize size = blocks_.packed();
    const size_t end = size.bytes() + limit;
    size_t added = 0;
    const auto fits = [&](uint64_t id) {
      size.Add(id);
      return ++added % kPackedGroup != 0 || size.bytes() < end;
    };
    return VisitIds(fits) && size.bytes() < end;
  }

  // Until `visit` returns false.
  template <typename Visit>
  bool VisitIds(Visit visit) const {
    if (!in_bitmap_) return std::all_of(list_.begin(), list_.end(), visit);
    for (size_t i = 0; i < kContainerWords; ++i) {
      for (uint64_t word = words_[i]; word != 0; word &= word - 1) {
        if (!visit(container_ + 64 * i + std::countr_zero(word))) return false;
      }
    }
    return true;
  }

  size_t CountRuns() const {
    size_t runs = 0;
    if (in_bitmap_) {
      uint64_t carry = 0;
      for (const uint64_t word : words_) {
        runs += std::popcount(word & ~(word << 1 | carry));
        carry = word >> 63;
      }
      return runs;
    }
    for (size_t i = 0; i < list_.size(); ++i) runs += i == 0 || list_[i] != list_[i - 1] + 1;
    return runs;
  }

  void Write(SectionKind kind) {
    if (kind == SectionKind::kPacked) {
      VisitIds([this](uint64_t id) {
        blocks_.AddPacked(id);
        return true;
      });
    } else if (kind == SectionKind::kRuns) {
      WriteRuns();
    } else {
      if (!in_bitmap_) UseBitmap();
      AddSection(kind, {reinterpret_cast<const char*>(words_), kBitmapBytes});
    }
  }

  void WriteRuns() {
    Run runs[kBitmapBytes / sizeof(Run)];
    size_t count = 0;
    uint64_t next = 0;  // that would prolong the last run
    VisitIds([&](uint64_t id) {
      if (count > 0 && id == next) {
        ++runs[count - 1].more;
      } else {
        runs[count++] = {.first = static_cast<uint16_t>(id), .more = 0};
      }
      next = id + 1;
      return true;
    });
    AddSection(SectionKind::kRuns, {reinterpret_cast<const char*>(runs), count * sizeof(Run)});
  }

  void AddSection(SectionKind kind, std::span<const char> payload) {
    const uint64_t first = in_bitmap_ ? LowestId(words_, container_) : list_.front();
    const uint64_t last = in_bitmap_ ? HighestId(words_, container_) : list_.back();
    blocks_.AddSection(kind, container_, static_cast<uint32_t>(collected_), first, last, payload);
  }

  static_assert(2 * kMaxPartIds * sizeof(uint64_t) + kPieceBytes + 2 * kMaxIndexPageBytes + kMaxBlockBytes +
                    2 * kBitmapBytes <
                kMemoryBytes);
  FileSink sink_;
  BlockBuilder blocks_;
  uint64_t total_ = 0;
  uint64_t last_ = 0;

  // Of the container that is being collected; the ids are in one of the two.
  uint64_t container_ = 0;
  size_t collected_ = 0;
  bool in_bitmap_ = false;
  std::vector<uint64_t> list_;
  uint64_t words_[kContainerWords] = {};  // zeros unless in use
};

IdFileWriter::IdFileWriter(std::unique_ptr<ObjectWriter> object, uint64_t number)
    : impl_(std::make_unique<Impl>(std::move(object), number)) {}
IdFileWriter::~IdFileWriter() = default;

absl::Status IdFileWriter::Add(std::span<const uint64_t> ids) { return impl_->Add(ids); }

absl::Status IdFileWriter::Add(const Part& part) {
  if (part.kind == Part::Kind::kIds) return impl_->Add(part.list());
  if (part.kind == Part::Kind::kBitmap) return impl_->AddBitmap(part);
  std::abort();  // the contract
}

uint64_t IdFileWriter::count() const { return impl_->count(); }
uint64_t IdFileWriter::bytes() const { return impl_->bytes(); }

absl::StatusOr<IdFileSummary> IdFileWriter::Finish() { return impl_->Finish(); }

}  // namespace thermocline::storage::segment
