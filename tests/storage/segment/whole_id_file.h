#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/segment/id_file.h"
#include "storage/segment/kernels.h"

namespace thermocline::testing {

// A copy of some bytes in memory of its own that is aligned, and ends where the slack of decoding ends.
class DecodableBytes {
 public:
  explicit DecodableBytes(std::string_view bytes)
      : size_(bytes.size()), words_((bytes.size() + storage::segment::kDecodeSlackBytes + 7) / 8, ~0ull) {
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(words_.data()));
  }
  std::span<const char> span() const { return {reinterpret_cast<const char*>(words_.data()), size_}; }

 private:
  const size_t size_;
  std::vector<uint64_t> words_;
};

// Everything that lies in an id file, read as a check of the whole file would.
struct WholeIdFile {
  storage::segment::IdFileFooter footer;
  std::vector<storage::segment::IndexPageEntry> pages;
  std::vector<storage::segment::BlockEntry> blocks;
  std::vector<uint64_t> ids;
  size_t id_parts = 0;
  size_t bitmap_parts = 0;
};

// What a part says of itself must be so: DATA_LOSS if not, for that is how it is seen.
inline absl::Status TakePart(const storage::segment::Part& part, WholeIdFile& file) {
  using storage::segment::Part;
  const size_t before = file.ids.size();
  if (part.kind == Part::Kind::kIds) {
    if (part.count > storage::segment::kMaxPartIds) return absl::DataLossError("a part has too many ids");
    file.ids.insert(file.ids.end(), part.ids, part.ids + part.count);
    ++file.id_parts;
  } else if (part.kind == Part::Kind::kBitmap) {
    std::vector<uint64_t> listed(storage::segment::CountWords(part.words) + 8);
    listed.resize(storage::segment::ListWords(part.words, part.container(), listed.data()));
    file.ids.insert(file.ids.end(), listed.begin(), listed.end());
    ++file.bitmap_parts;
  } else {
    return absl::DataLossError("a part of an unexpected kind");
  }
  const auto added = std::span(file.ids).subspan(before);
  if (added.size() != part.count || added.empty()) return absl::DataLossError("a wrong count");
  if (added.front() != part.first || added.back() != part.last) return absl::DataLossError("wrong bounds");
  return absl::OkStatus();
}

inline absl::Status ReadBlock(const storage::segment::BlockEntry& block, std::string_view bytes,
                              storage::segment::BlockDecoder& decoder, WholeIdFile& file) {
  const DecodableBytes copy(bytes);
  if (absl::Status status = decoder.Begin(block, copy.span()); !status.ok()) return status;
  for (;;) {
    storage::segment::Part part;
    const absl::StatusOr<bool> found = decoder.Next(part);
    if (!found.ok()) return found.status();
    if (!*found) return absl::OkStatus();
    if (absl::Status status = TakePart(part, file); !status.ok()) return status;
  }
}

inline absl::Status ReadBlocks(std::string_view bytes, uint64_t from, WholeIdFile& file) {
  namespace segment = storage::segment;
  segment::BlockDecoder decoder("file");
  decoder.SkipTo(from);
  for (const segment::IndexPageEntry& page : file.pages) {
    const DecodableBytes page_bytes(bytes.substr(page.offset, page.bytes));
    std::vector<segment::BlockEntry> blocks;
    if (absl::Status status = segment::ReadIndexPage(page_bytes.span(), page, "file", blocks); !status.ok()) {
      return status;
    }
    for (const segment::BlockEntry& block : blocks) {
      const std::string_view block_bytes = bytes.substr(block.offset, block.bytes);
      if (absl::Status status = ReadBlock(block, block_bytes, decoder, file); !status.ok()) return status;
      file.blocks.push_back(block);
    }
  }
  return absl::OkStatus();
}

// With `from`, parts with lower ids may be missing.
inline absl::StatusOr<WholeIdFile> ReadIdFile(std::string_view bytes, uint64_t from = 0) {
  namespace segment = storage::segment;
  WholeIdFile file;
  const size_t footer_bytes = std::min(bytes.size(), segment::kFooterBytes);
  const DecodableBytes end(bytes.substr(bytes.size() - footer_bytes));
  auto footer = segment::ReadFooter(end.span(), bytes.size(), "file");
  if (!footer.ok()) return footer.status();
  file.footer = *footer;
  const DecodableBytes header(bytes.substr(0, segment::kHeaderBytes));
  if (absl::Status status = segment::ReadHeader(header.span(), *footer, "file"); !status.ok()) return status;
  const DecodableBytes top(bytes.substr(footer->top_offset, footer->top_bytes));
  auto pages = segment::ReadTop(top.span(), *footer, "file");
  if (!pages.ok()) return pages.status();
  file.pages = *std::move(pages);
  if (absl::Status status = ReadBlocks(bytes, from, file); !status.ok()) return status;
  if (from == 0 && file.ids.size() != footer->count) return absl::DataLossError("a wrong count");
  return file;
}

}  // namespace thermocline::testing
