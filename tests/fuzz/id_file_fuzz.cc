// An id file of one block. It is read as a whole, and then piece by piece with the checksums set right, so
// that what lies behind them is reached.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/segment/id_file.h"
#include "storage/segment/id_file_format.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/storage/segment/whole_id_file.h"

namespace {

using namespace thermocline::storage::segment;
using thermocline::fuzz::Require;
using thermocline::testing::DecodableBytes;
using thermocline::testing::ReadBlock;
using thermocline::testing::WholeIdFile;

bool IsAscending(const std::vector<uint64_t>& ids) {
  return std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end();
}

void RequireRefusal(const absl::Status& status) {
  Require(status.code() == absl::StatusCode::kDataLoss, "damage is DATA_LOSS");
  Require(status.message().find("damaged at offset") != std::string::npos,
          "the reader sees it, not the test");
}

void ReadWhole(std::string_view input) {
  const auto file = thermocline::testing::ReadIdFile(input);
  if (file.ok()) {
    Require(IsAscending(file->ids), "ids ascend");
  } else if (file.status().code() != absl::StatusCode::kFailedPrecondition) {
    RequireRefusal(file.status());
  }
}

uint64_t WordAt(std::string_view input, size_t offset) {
  uint64_t word = 0;
  if (input.size() >= offset + sizeof(word)) std::memcpy(&word, &input[offset], sizeof(word));
  return word;
}

// As much as a decoder takes of a block with these bounds.
absl::Status Decode(std::string_view bytes, uint64_t last, uint32_t count, WholeIdFile& file) {
  const BlockEntry block{.first = WordAt(bytes, 8),
                         .last = last,
                         .offset = 0,
                         .checksum = ChecksumOf(bytes),
                         .count = count,
                         .bytes = static_cast<uint32_t>(bytes.size())};
  BlockDecoder decoder("block");
  return ReadBlock(block, bytes, decoder, file);
}

constexpr uint32_t kWideCount = 1 << 20;  // more would take too long

// The bounds and the count are those that come out when they are wide: so that the end is reached.
void ReadAsBlock(std::string_view bytes) {
  WholeIdFile wide;
  RequireRefusal(Decode(bytes, ~uint64_t{0}, kWideCount, wide));
  if (wide.ids.empty()) return;
  Require(IsAscending(wide.ids), "ids ascend");
  WholeIdFile exact;
  const auto count = static_cast<uint32_t>(wide.ids.size());
  const absl::Status status = Decode(bytes, wide.ids.back(), count, exact);
  Require(std::equal(exact.ids.begin(), exact.ids.end(), wide.ids.begin()), "the same ids again");
  if (status.ok()) {
    Require(exact.ids.size() == count, "the count is right");
    // Planted: each block of the corpus begins with an even id.
    Require(!thermocline::fuzz::canary || exact.ids.front() % 2 == 0, "the canary");
  } else {
    RequireRefusal(status);
  }
}

void ReadAsIndex(std::string_view bytes) {
  const DecodableBytes copy(bytes);
  IndexPageEntry page{.first = WordAt(bytes, 0),
                      .offset = uint64_t{1} << 40,
                      .checksum = ChecksumOf(bytes),
                      .blocks = static_cast<uint32_t>(bytes.size() / sizeof(BlockEntry)),
                      .bytes = static_cast<uint32_t>(bytes.size())};
  std::vector<BlockEntry> blocks(page.blocks);
  if (!blocks.empty()) {
    std::memcpy(blocks.data(), bytes.data(), blocks.size() * sizeof(BlockEntry));
    page.last = blocks.back().last;
    page.offset = blocks.back().offset + blocks.back().bytes;
  }
  for (const BlockEntry& block : blocks) page.count += block.count;
  const absl::Status status = ReadIndexPage(copy.span(), page, "page", blocks);
  if (!status.ok()) return RequireRefusal(status);
  for (const BlockEntry& block : blocks) {
    Require(block.bytes <= kMaxBlockBytes && block.offset <= page.offset - block.bytes,
            "blocks lie before it");
  }
}

void ReadAsEnd(std::string_view bytes, uint64_t file_bytes) {
  std::string end(bytes);
  FileFooter footer;
  std::memcpy(&footer, end.data(), sizeof(footer));
  footer.header_checksum = ChecksumOf(BytesOf(MakeHeader(footer.file.number)));
  footer.checksum = ChecksumOf(BytesOf(footer).first(offsetof(FileFooter, checksum)));
  std::memcpy(end.data(), &footer, sizeof(footer));
  const auto read = ReadFooter(DecodableBytes(end).span(), file_bytes, "footer");
  if (!read.ok()) return;
  Require(read->top_offset + read->top_bytes + kFooterBytes == file_bytes, "the top lies before the footer");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = thermocline::fuzz::Input(data, size);
  ReadWhole(input);
  if (size < kHeaderBytes) return 0;
  const std::string_view behind_header = input.substr(kHeaderBytes);
  // What follows the block: the page, the top and the footer.
  constexpr size_t kIndexBytes = sizeof(BlockEntry) + sizeof(IndexPageEntry) + kFooterBytes;
  if (behind_header.size() > kIndexBytes) {
    const size_t bytes = behind_header.size() - kIndexBytes;
    ReadAsBlock(behind_header.substr(0, std::min(bytes / 8 * 8, kMaxBlockBytes)));
    ReadAsIndex(behind_header.substr(bytes, sizeof(BlockEntry)));
    ReadAsIndex(behind_header.substr(0, bytes / sizeof(BlockEntry) * sizeof(BlockEntry)));
  }
  if (size >= kHeaderBytes + kFooterBytes) ReadAsEnd(input.substr(size - kFooterBytes), size);
  return 0;
}
