#include "storage/segment/id_file_stream.h"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "fmt/format.h"

#include "storage/segment/kernels.h"

namespace thermocline::storage::segment {
namespace {

// The end of a file is read at once, with its footer and, of most, the top of the index.
constexpr uint64_t kTailBytes = 32 << 10;
constexpr size_t kMaxExtentBytes = 128 << 10;
// So many blocks that were expanded one after the other make it likely that more will be.
constexpr uint64_t kSequential = 4;

size_t ExtentBytes(size_t window_bytes) { return std::min(kMaxExtentBytes, window_bytes / 4); }

// Blocks have ordinals: those of a page are numbered on from kBlocksPerIndexPage times its index.
constexpr uint64_t OrdinalOf(size_t page, size_t block) { return page * kBlocksPerIndexPage + block; }

class IdFileStream final : public IdStream {
 public:
  IdFileStream(std::shared_ptr<const IdFile> file, size_t window_bytes, std::shared_ptr<ReadContext> context,
               std::shared_ptr<ReadCounts> counts)
      : file_(std::move(file)),
        window_bytes_(std::clamp(window_bytes, kMinWindowBytes, kMaxWindowBytes)),
        context_(std::move(context)),
        counts_(std::move(counts)),
        decoder_(file_->name) {}

  absl::Status Next(Part& part) override {
    if (!failure_.ok()) return failure_;
    absl::StatusOr<bool> has_part = Advance(part);
    if (!has_part.ok()) return failure_ = has_part.status();
    if (*has_part) return absl::OkStatus();
    context_->SetBlocked();
    part = Part{Part::Kind::kPending};
    return absl::OkStatus();
  }

  void Expand() override {
    state_ = State::kExpanding;
    run_ = ordinal() == last_expanded_ + 1 ? run_ + 1 : 0;
    last_expanded_ = ordinal();
    wanted_done_ = FirstAtLeast(wanted_, wanted_done_, block().first);
    ReadAhead();
  }

  void SkipTo(uint64_t id) override {
    from_ = std::max(from_, id);
    decoder_.SkipTo(from_);
  }

  void Want(std::span<const uint64_t> ids) override {
    // Where one block after the other is wanted anyway, they are read in larger pieces.
    if (run_ >= kSequential) {
      wanted_.clear();
      wanted_done_ = 0;
      return;
    }
    wanted_.assign(ids.begin(), ids.end());
    wanted_done_ = 0;
    ReadAhead();
  }

 private:
  enum class State { kBetween, kPresented, kExpanding, kDecoding };

  struct Page {
    size_t index = SIZE_MAX;
    bool read = false;  // and taken apart
    std::shared_ptr<PendingRead> bytes = std::make_shared<PendingRead>();
    std::vector<BlockEntry> blocks;
  };

  // Consecutive blocks that are read at once.
  struct Extent {
    uint64_t first = 0;  // ordinal
    uint64_t end = 0;
    uint64_t offset = 0;
    size_t bytes = 0;
    std::shared_ptr<PendingRead> read;
  };

  const std::vector<IndexPageEntry>& pages() const { return file_->pages; }
  uint64_t ordinal() const { return OrdinalOf(page_, block_); }
  const BlockEntry& block() const { return page_slots_[page_ % kIndexPagesAtHand].blocks[block_]; }

  // The next part. False: it has to be waited for.
  absl::StatusOr<bool> Advance(Part& part) {
    for (;;) {
      switch (state_) {
        case State::kDecoding: {
          absl::StatusOr<bool> more = decoder_.Next(part);
          if (!more.ok() || *more) return more;
          LeaveBlock();
          break;
        }
        case State::kExpanding: {
          if (block().last < from_) {
            context_->CountPassed(1);
            LeaveBlock();
            break;
          }
          absl::StatusOr<bool> begun = BeginBlock();
          if (!begun.ok() || !*begun) return begun;
          break;
        }
        case State::kPresented:
          context_->CountPassed(1);
          LeaveBlock();
          break;
        case State::kBetween: {
          if (!FindPage()) {
            part = Part();
            return true;
          }
          absl::StatusOr<bool> loaded = LoadPage(page_);
          if (!loaded.ok() || !*loaded) return loaded;
          if (!FindBlock()) break;
          if (wanted_done_ < wanted_.size()) ReadWanted();
          part = Part{Part::Kind::kBlock, block().count, block().first, block().last, nullptr, nullptr};
          state_ = State::kPresented;
          return true;
        }
      }
    }
  }

  void LeaveBlock() {
    state_ = State::kBetween;
    ++block_;
  }

  // Goes to the page of the next block. False: there is none.
  bool FindPage() {
    while (page_ < pages().size() && (block_ >= pages()[page_].blocks || pages()[page_].last < from_)) {
      context_->CountPassed(pages()[page_].blocks - std::min<size_t>(block_, pages()[page_].blocks));
      ++page_;
      block_ = 0;
    }
    return page_ < pages().size();
  }

  // Goes to the next block that may hold ids of interest. False: it is of a later page.
  bool FindBlock() {
    const std::vector<BlockEntry>& blocks = page_slots_[page_ % kIndexPagesAtHand].blocks;
    const auto found = std::partition_point(blocks.begin() + static_cast<ptrdiff_t>(block_), blocks.end(),
                                            [&](const BlockEntry& each) { return each.last < from_; });
    const size_t index = found - blocks.begin();
    context_->CountPassed(index - block_);
    block_ = index;
    DropExtents();
    return block_ < blocks.size();
  }

  // True: the page is in its slot, taken apart.
  absl::StatusOr<bool> LoadPage(size_t index) {
    Page& page = page_slots_[index % kIndexPagesAtHand];
    if (page.index != index) {
      // A read that nobody waits for any more keeps its own memory.
      if (!page.bytes->done()) page.bytes = std::make_shared<PendingRead>();
      page.index = index;
      page.read = false;
      page.blocks.clear();
      Read(pages()[index].offset, pages()[index].bytes, page.bytes);
    }
    if (page.read) return true;
    if (!page.bytes->done()) return false;
    absl::Status status = page.bytes->status();
    if (status.ok()) status = ReadIndexPage(page.bytes->bytes(), pages()[index], file_->name, page.blocks);
    if (!status.ok()) return status;
    return page.read = true;
  }

  // Begins to decode the block that was presented. False: its bytes have to be waited for.
  absl::StatusOr<bool> BeginBlock() {
    ReadAhead();
    Extent& extent = extents_.front();
    if (!extent.read->done()) return false;
    if (!extent.read->status().ok()) return extent.read->status();
    const std::span<const char> bytes =
        extent.read->bytes().subspan(block().offset - extent.offset, block().bytes);
    if (absl::Status status = decoder_.Begin(block(), bytes); !status.ok()) return status;
    decoder_.SkipTo(from_);
    context_->CountRead();
    if (counts_ != nullptr) counts_->blocks_read.fetch_add(1, std::memory_order_relaxed);
    state_ = State::kDecoding;
    return true;
  }

  // Reads what comes, as far as the window reaches; at least the block that is to be expanded.
  void ReadAhead() {
    DropExtents();
    if (state_ == State::kExpanding && (extents_.empty() || extents_.front().first > ordinal())) {
      // It was not foreseen. What was foreseen comes later, or never.
      while (!extents_.empty()) Discard(extents_.back()), extents_.pop_back();
      ahead_ = ordinal();
      AddExtent(page_, block_, 1);
    }
    wanted_done_ < wanted_.size() ? ReadWanted() : ReadFollowing();
  }

  // The more blocks were expanded one after the other, the more follow.
  void ReadFollowing() {
    if (state_ != State::kExpanding) return;
    const size_t target = std::min(window_bytes_, kMaxBlockBytes << std::min<uint64_t>(run_, 8));
    while (run_ > 0 && window_used_ + kMaxBlockBytes <= target) {
      size_t page = ahead_ / kBlocksPerIndexPage;
      size_t block = ahead_ % kBlocksPerIndexPage;
      if (page < pages().size() && block >= pages()[page].blocks) ++page, block = 0;
      if (!IsAtHand(page)) return;
      const size_t extent_bytes = std::min(ExtentBytes(window_bytes_), target - window_used_);
      AddExtent(page, block, std::max<size_t>(1, extent_bytes / kMaxBlockBytes));
    }
  }

  // Blocks that may hold wanted ids, and no others.
  void ReadWanted() {
    uint64_t next = std::max(ahead_, ordinal());
    size_t wanted = wanted_done_;
    while (window_used_ + kMaxBlockBytes <= window_bytes_) {
      size_t page = next / kBlocksPerIndexPage;
      size_t block = next % kBlocksPerIndexPage;
      while (page < pages().size() &&
             (block >= pages()[page].blocks || pages()[page].last < wanted_[wanted])) {
        ++page;
        block = 0;
      }
      if (!IsAtHand(page)) return LoadWantedPages(page + 1, wanted);
      const std::vector<BlockEntry>& blocks = page_slots_[page % kIndexPagesAtHand].blocks;
      const auto found =
          std::partition_point(blocks.begin() + static_cast<ptrdiff_t>(block), blocks.end(),
                               [&](const BlockEntry& each) { return each.last < wanted_[wanted]; });
      block = found - blocks.begin();
      next = OrdinalOf(page, block);
      if (found == blocks.end()) continue;
      if (found->first > wanted_[wanted]) {
        wanted = FirstAtLeast(wanted_, wanted, found->first);
        if (wanted == wanted_.size()) return;
        continue;
      }
      AddExtent(page, block, 1);
      ++next;
      wanted = FirstAtLeast(wanted_, wanted, found->last);
      if (wanted < wanted_.size() && wanted_[wanted] == found->last) ++wanted;
      if (wanted == wanted_.size()) return;
    }
  }

  // Begins to read the entries of blocks that will be wanted, from `page` on.
  void LoadWantedPages(size_t page, size_t wanted) {
    for (; page < pages().size() && page < page_ + kIndexPagesAtHand; ++page) {
      wanted = FirstAtLeast(wanted_, wanted, pages()[page].first);
      if (wanted == wanted_.size()) return;
      if (wanted_[wanted] <= pages()[page].last) static_cast<void>(IsAtHand(page));
    }
  }

  // Whether the entries of a page are known; begins to read them if it is one of the next.
  bool IsAtHand(size_t page) {
    if (page >= pages().size() || page >= page_ + kIndexPagesAtHand || page < page_) return false;
    const absl::StatusOr<bool> loaded = LoadPage(page);
    return loaded.ok() && *loaded;  // a failure is met again when the page is needed
  }

  // Begins to read up to `count` blocks.
  void AddExtent(size_t page, size_t block, size_t count) {
    const std::vector<BlockEntry>& blocks = page_slots_[page % kIndexPagesAtHand].blocks;
    const size_t end = std::min(block + count, blocks.size());
    Extent extent;
    extent.first = OrdinalOf(page, block);
    extent.end = OrdinalOf(page, end);
    extent.offset = blocks[block].offset;
    extent.bytes = blocks[end - 1].offset + blocks[end - 1].bytes - extent.offset;
    extent.read = TakeFree(extent.bytes);
    window_used_ += extent.bytes;
    ahead_ = extent.end;
    Read(extent.offset, extent.bytes, extent.read);
    extents_.push_back(std::move(extent));
  }

  void Read(uint64_t offset, size_t bytes, const std::shared_ptr<PendingRead>& read) {
    if (counts_ != nullptr) counts_->bytes_read.fetch_add(bytes, std::memory_order_relaxed);
    context_->Read(file_->object, offset, bytes, read);
  }

  std::shared_ptr<PendingRead> TakeFree(size_t bytes) {
    for (std::shared_ptr<PendingRead>& read : free_) {
      if (read->capacity() < bytes || read->capacity() > 2 * bytes) continue;
      std::swap(read, free_.back());
      std::shared_ptr<PendingRead> taken = std::move(free_.back());
      free_.pop_back();
      return taken;
    }
    return std::make_shared<PendingRead>();
  }

  void Discard(Extent& extent) {
    if (!extent.read->done()) {
      abandoned_.push_back(std::move(extent));
      return;
    }
    window_used_ -= extent.bytes;
    free_.clear();
    free_.push_back(std::move(extent.read));
  }

  // Lets go of what lies before the block at hand.
  void DropExtents() {
    while (!extents_.empty() && extents_.front().end <= ordinal()) {
      Discard(extents_.front());
      extents_.pop_front();
    }
    std::erase_if(abandoned_, [&](Extent& extent) {
      if (!extent.read->done()) return false;
      window_used_ -= extent.bytes;
      return true;
    });
  }

  const std::shared_ptr<const IdFile> file_;
  const size_t window_bytes_;
  const std::shared_ptr<ReadContext> context_;
  const std::shared_ptr<ReadCounts> counts_;
  absl::Status failure_;

  State state_ = State::kBetween;
  size_t page_ = 0;
  size_t block_ = 0;  // of the page: the one at hand, or the next
  uint64_t from_ = 0;
  std::array<Page, kIndexPagesAtHand> page_slots_;  // by the index of the page

  std::deque<Extent> extents_;     // ascending
  std::vector<Extent> abandoned_;  // still being read
  std::vector<std::shared_ptr<PendingRead>> free_;
  size_t window_used_ = 0;
  uint64_t ahead_ = 0;  // the ordinal after the last extent
  uint64_t run_ = 0;    // blocks that were expanded one after the other
  uint64_t last_expanded_ = UINT64_MAX - 1;
  std::vector<uint64_t> wanted_;
  size_t wanted_done_ = 0;

  BlockDecoder decoder_;
};

}  // namespace

namespace {

// The end of a file, and then the top of its index if that was not all of it.
struct Opening {
  IdFile file;
  std::shared_ptr<PendingRead> tail = std::make_shared<PendingRead>();
  std::shared_ptr<PendingRead> top = std::make_shared<PendingRead>();
  bool top_is_apart = false;
};

void AwaitRead(const PendingRead& read, ReadContext& context) {
  for (;;) {
    const uint64_t seen = context.completed();
    if (read.done()) return;
    context.Await(seen);
  }
}

absl::Status BeginOpening(ObjectStore& store, Opening& opening, ReadContext& context) {
  IdFile& file = opening.file;
  absl::StatusOr<std::unique_ptr<Object>> object = store.Open(file.name);
  if (absl::IsNotFound(object.status())) {
    return absl::DataLossError(
        fmt::format("the id file {} is missing: {}", file.name, std::string(object.status().message())));
  }
  if (!object.ok()) return object.status();
  file.object = *std::move(object);
  const uint64_t size = file.object->size();
  if (size < kFooterBytes) {
    return absl::DataLossError(
        fmt::format("the id file {} is damaged: it has only {} bytes", file.name, size));
  }
  const uint64_t tail = std::min(size, kTailBytes);
  context.Read(file.object, size - tail, tail, opening.tail);
  return absl::OkStatus();
}

absl::Status ContinueOpening(Opening& opening, ReadContext& context) {
  IdFile& file = opening.file;
  AwaitRead(*opening.tail, context);
  if (!opening.tail->status().ok()) return opening.tail->status();
  const std::span<const char> tail = opening.tail->bytes();
  const uint64_t size = file.object->size();
  absl::StatusOr<IdFileFooter> footer = ReadFooter(tail.last(kFooterBytes), size, file.name);
  if (!footer.ok()) return footer.status();
  file.footer = *footer;
  opening.top_is_apart = footer->top_offset < size - tail.size();
  if (opening.top_is_apart) context.Read(file.object, footer->top_offset, footer->top_bytes, opening.top);
  return absl::OkStatus();
}

absl::Status EndOpening(Opening& opening, ReadContext& context) {
  IdFile& file = opening.file;
  AwaitRead(*opening.top, context);
  if (!opening.top->status().ok()) return opening.top->status();
  const std::span<const char> tail = opening.tail->bytes();
  const std::span<const char> top =
      opening.top_is_apart
          ? opening.top->bytes()
          : tail.subspan(file.footer.top_offset - (file.object->size() - tail.size()), file.footer.top_bytes);
  absl::StatusOr<std::vector<IndexPageEntry>> pages = ReadTop(top, file.footer, file.name);
  if (!pages.ok()) return pages.status();
  file.pages = *std::move(pages);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::shared_ptr<const IdFile>>> OpenIdFiles(ObjectStore& store,
                                                                       std::span<const std::string> names,
                                                                       ReadContext& context) {
  std::vector<Opening> openings(names.size());
  absl::Status status;
  for (size_t i = 0; i < names.size() && status.ok(); ++i) {
    openings[i].file.name = names[i];
    status = BeginOpening(store, openings[i], context);
  }
  for (size_t i = 0; i < names.size() && status.ok(); ++i) status = ContinueOpening(openings[i], context);
  std::vector<std::shared_ptr<const IdFile>> files;
  for (size_t i = 0; i < names.size() && status.ok(); ++i) {
    status = EndOpening(openings[i], context);
    if (status.ok()) files.push_back(std::make_shared<const IdFile>(std::move(openings[i].file)));
  }
  if (!status.ok()) return status;
  return files;
}

std::unique_ptr<IdStream> NewIdFileStream(std::shared_ptr<const IdFile> file, size_t window_bytes,
                                          std::shared_ptr<ReadContext> context,
                                          std::shared_ptr<ReadCounts> counts) {
  context->counts().blocks.fetch_add(file->footer.blocks, std::memory_order_relaxed);
  return std::make_unique<IdFileStream>(std::move(file), window_bytes, std::move(context), std::move(counts));
}

}  // namespace thermocline::storage::segment
