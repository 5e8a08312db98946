#include "storage/segment/id_file.h"

#include <algorithm>
#include <cstring>
#include <string>

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include "storage/segment/id_file_format.h"

namespace thermocline::storage::segment {
namespace {

// Whether so many different ids can lie between these bounds.
bool CanHold(uint64_t first, uint64_t last, uint64_t count) {
  return count >= 1 && first <= last && count - 1 <= last - first;
}

std::span<const char> Before(const auto& whole, size_t bytes) { return BytesOf(whole).first(bytes); }

bool IsSound(const IdFileFooter& file, uint64_t file_bytes) {
  const uint64_t top_end = file_bytes - kFooterBytes;
  if (file.top_offset % 8 != 0 || file.top_offset < kHeaderBytes || file.top_offset > top_end) return false;
  if (file.top_bytes != top_end - file.top_offset || file.top_bytes % sizeof(IndexPageEntry) != 0)
    return false;
  const uint64_t pages = file.top_bytes / sizeof(IndexPageEntry);
  if (pages == 0) {
    return file.blocks == 0 && file.count == 0 && file.first == 0 && file.last == 0 &&
           file.top_offset == kHeaderBytes;
  }
  return file.blocks > (pages - 1) * kBlocksPerIndexPage && file.blocks <= pages * kBlocksPerIndexPage &&
         file.blocks <= file.count && CanHold(file.first, file.last, file.count);
}

}  // namespace

uint64_t ChecksumOf(std::span<const char> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

absl::Status Damaged(std::string_view name, uint64_t offset, std::string_view what) {
  return absl::DataLossError(fmt::format("{}: damaged at offset {}: {}", name, offset, what));
}

FileHeader MakeHeader(uint64_t number) {
  FileHeader header{
      .magic = FileHeader::kMagic, .version = kIdFileVersion, .zero = 0, .number = number, .checksum = 0};
  header.checksum = ChecksumOf(Before(header, offsetof(FileHeader, checksum)));
  return header;
}

absl::Status ReadHeader(std::span<const char> bytes, const IdFileFooter& footer, std::string_view name) {
  const FileHeader expected = MakeHeader(footer.number);
  if (bytes.size() != sizeof(expected) || std::memcmp(bytes.data(), &expected, sizeof(expected)) != 0) {
    return Damaged(name, 0, "the header is not the one that was written");
  }
  return absl::OkStatus();
}

absl::StatusOr<IdFileFooter> ReadFooter(std::span<const char> bytes, uint64_t file_bytes,
                                        std::string_view name) {
  if (bytes.size() != kFooterBytes || file_bytes < kHeaderBytes + kFooterBytes) {
    return Damaged(name, 0, fmt::format("{} bytes are too few for an id file", file_bytes));
  }
  const uint64_t offset = file_bytes - kFooterBytes;
  FileFooter footer;
  std::memcpy(&footer, bytes.data(), sizeof(footer));
  if (footer.magic != FileFooter::kMagic) return Damaged(name, offset, "no footer of an id file");
  if (footer.version != kIdFileVersion) {
    return absl::FailedPreconditionError(
        fmt::format("{}: an id file of format {}, but this program reads format {}", name, footer.version,
                    kIdFileVersion));
  }
  if (footer.checksum != ChecksumOf(Before(footer, offsetof(FileFooter, checksum)))) {
    return Damaged(name, offset, "the footer fails its checksum");
  }
  if (footer.zero != 0 || file_bytes % 8 != 0 ||
      footer.header_checksum != ChecksumOf(BytesOf(MakeHeader(footer.file.number))) ||
      !IsSound(footer.file, file_bytes)) {
    return Damaged(name, offset, "the footer contradicts itself or the length of the file");
  }
  return footer.file;
}

absl::StatusOr<std::vector<IndexPageEntry>> ReadTop(std::span<const char> bytes, const IdFileFooter& footer,
                                                    std::string_view name) {
  if (bytes.size() != footer.top_bytes || ChecksumOf(bytes) != footer.top_checksum) {
    return Damaged(name, footer.top_offset, "the top of the index fails its checksum");
  }
  std::vector<IndexPageEntry> pages(bytes.size() / sizeof(IndexPageEntry));
  if (!pages.empty()) std::memcpy(pages.data(), bytes.data(), pages.size() * sizeof(IndexPageEntry));

  uint64_t end = kHeaderBytes;
  uint64_t blocks = footer.blocks;
  uint64_t count = footer.count;
  const IndexPageEntry* previous = nullptr;
  for (const IndexPageEntry& page : pages) {
    const bool in_place = page.offset % 8 == 0 && page.offset >= end && page.offset <= footer.top_offset &&
                          page.bytes <= footer.top_offset - page.offset;
    const bool whole = page.blocks == std::min<uint64_t>(blocks, kBlocksPerIndexPage) &&
                       page.bytes == page.blocks * sizeof(BlockEntry);
    const bool blocks_fit = in_place && page.offset - end >= page.blocks * sizeof(SectionHeader) &&
                            page.offset - end <= page.blocks * kMaxBlockBytes;
    const bool in_order = previous == nullptr ? page.first == footer.first : page.first > previous->last;
    if (!whole || !blocks_fit || !in_order || !CanHold(page.first, page.last, page.count) ||
        page.count < page.blocks || page.count > count) {
      return Damaged(name, footer.top_offset + (&page - pages.data()) * sizeof(page),
                     "an entry of the index contradicts others");
    }
    end = page.offset + page.bytes;
    blocks -= page.blocks;
    count -= page.count;
    previous = &page;
  }
  if (end != footer.top_offset || blocks != 0 || count != 0 ||
      (previous != nullptr && previous->last != footer.last)) {
    return Damaged(name, footer.top_offset, "the top of the index contradicts the footer");
  }
  return pages;
}

absl::Status ReadIndexPage(std::span<const char> bytes, const IndexPageEntry& page, std::string_view name,
                           std::vector<BlockEntry>& blocks) {
  if (bytes.size() != page.bytes || bytes.size() != page.blocks * sizeof(BlockEntry) || bytes.empty() ||
      ChecksumOf(bytes) != page.checksum) {
    return Damaged(name, page.offset, "a page of the index fails its checksum");
  }
  blocks.resize(page.blocks);
  std::memcpy(blocks.data(), bytes.data(), bytes.size());

  uint64_t bytes_of_blocks = 0;
  for (const BlockEntry& block : blocks) bytes_of_blocks += block.bytes;
  // The sum of less than 2^32 numbers of 32 bits does not wrap.
  if (bytes_of_blocks > page.offset - std::min<uint64_t>(page.offset, kHeaderBytes)) {
    return Damaged(name, page.offset, "a page of the index has more blocks than there is room for");
  }
  uint64_t offset = page.offset - bytes_of_blocks;
  uint64_t count = page.count;
  const BlockEntry* previous = nullptr;
  for (const BlockEntry& block : blocks) {
    const bool in_place = block.offset == offset && block.bytes % 8 == 0 &&
                          block.bytes >= sizeof(SectionHeader) && block.bytes <= kMaxBlockBytes;
    const bool in_order = previous == nullptr ? block.first == page.first : block.first > previous->last;
    if (!in_place || !in_order || !CanHold(block.first, block.last, block.count) || block.count > count) {
      return Damaged(name, page.offset + (&block - blocks.data()) * sizeof(block),
                     "an entry of the index contradicts others");
    }
    offset += block.bytes;
    count -= block.count;
    previous = &block;
  }
  if (count != 0 || previous == nullptr || previous->last != page.last) {
    return Damaged(name, page.offset, "a page of the index contradicts the top of the index");
  }
  return absl::OkStatus();
}

}  // namespace thermocline::storage::segment
