#include "storage/log/block.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <sys/mman.h>

#include <fmt/format.h>

namespace thermocline::storage {

namespace {

// A chunk is closed at the end of a page if no more than this is lost, so that a cold get reads one page;
// otherwise when it has kChunkTarget bytes.
constexpr uint32_t kMaxPadding = 128;
constexpr uint32_t kChunkTarget = 4096;

constexpr size_t kHugePage = 2 << 20;

// Where a block is large enough, of huge pages, if the system has them: it is faulted in and given back in a
// fraction of the time.
char* Map(size_t bytes) {
  const size_t spare = bytes < kHugePage ? 0 : kHugePage;
  void* const mapped =
      mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(mapped);
  if (spare == 0) return begin;
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  if (before != 0) munmap(begin, before);
  if (before != spare) munmap(begin + before + bytes, spare - before);
  madvise(begin + before, bytes, MADV_HUGEPAGE);
  return begin + before;
}

}  // namespace

std::optional<uint32_t> ChunkEndBefore(uint32_t chunk_start, uint32_t at, uint32_t bytes) {
  const uint32_t padding = (kPageBytes - at % kPageBytes) % kPageBytes;
  if (bytes > padding && padding <= kMaxPadding) return at + padding;
  if (at - chunk_start >= kChunkTarget) return AlignChunk(at);
  return std::nullopt;
}

void BlockUse::Count(const Record& record, uint32_t bytes) {
  ++records;
  record_bytes += bytes;
  CountExpiry(record, bytes);
}

void BlockUse::CountExpiry(const Record& record, uint32_t bytes) {
  if (record.expires_at_ms == 0) return;
  expiring_bytes += bytes;
  first_expiry_ms = std::min(first_expiry_ms, record.expires_at_ms);
  last_expiry_ms = std::max(last_expiry_ms, record.expires_at_ms);
}

void BlockUse::Add(const BlockUse& other) {
  records += other.records;
  record_bytes += other.record_bytes;
  expiring_bytes += other.expiring_bytes;
  first_expiry_ms = std::min(first_expiry_ms, other.first_expiry_ms);
  last_expiry_ms = std::max(last_expiry_ms, other.last_expiry_ms);
}

uint64_t BlockUse::ExpiredBytes(uint64_t now_ms) const {
  if (expiring_bytes == 0 || now_ms < first_expiry_ms) return 0;
  if (now_ms >= last_expiry_ms) return expiring_bytes;
  const double share = static_cast<double>(now_ms - first_expiry_ms + 1) /
                       static_cast<double>(last_expiry_ms - first_expiry_ms + 1);
  return static_cast<uint64_t>(static_cast<double>(expiring_bytes) * share);
}

std::shared_ptr<BlockMemory> BlockMemory::Allocate(MemoryBudget& budget, uint32_t bytes) {
  MemoryBudget::Grant grant = budget.Take(MemoryBudget::Share::kBlocks, bytes_of(bytes));
  if (!grant) return nullptr;
  char* const data = Map(bytes);
  if (data == nullptr) return nullptr;
  return std::shared_ptr<BlockMemory>(new BlockMemory(std::move(grant), data, bytes));
}

BlockMemory::~BlockMemory() { munmap(data_, bytes_); }

bool BlockMemory::AnyUse(uint32_t begin, uint32_t end) const {
  for (uint32_t granule = begin / kGranule; granule * kGranule < end;) {
    const auto [word, shift] = UsesAt(granule * kGranule);
    const uint64_t rest = word->load(std::memory_order_relaxed) >> shift;
    const uint32_t granules =
        std::min(kGranulesPerWord - shift / 2, (end - granule * kGranule + kGranule - 1) / kGranule);
    if (granules == kGranulesPerWord ? rest != 0 : (rest & ((uint64_t{1} << 2 * granules) - 1)) != 0)
      return true;
    granule += granules;
  }
  return false;
}

bool ChunkTable::Assign(std::string_view bytes) {
  if (bytes.size() != raw().size()) return false;
  std::memcpy(pages_.data(), bytes.data(), bytes.size());
  return true;
}

absl::StatusOr<DecodedRecord> ColdChunk::RecordAt(Position at) const {
  if (at >= position + sizeof(ChunkHeader) && at < position + bytes.size()) {
    const std::string_view in = std::string_view(bytes).substr(at - position);
    if (auto decoded = DecodeRecord(in, at, base_version)) return *decoded;
  }
  return absl::DataLossError(fmt::format("no record stands at log position {}", at));
}

ChunkTable::Range ChunkTable::Around(uint32_t offset, uint32_t used) const {
  Range range = {kFirstChunkOffset, used};
  for (uint32_t page = offset / kPageBytes; page > 0; --page) {
    const auto [first, last] = pages_[page];
    if (first == kNone || page * kPageBytes + first > offset) continue;
    range.begin = page * kPageBytes + (page * kPageBytes + last <= offset ? last : first);
    break;
  }
  for (uint32_t page = offset / kPageBytes; page < pages_.size(); ++page) {
    const auto [first, last] = pages_[page];
    if (first == kNone || page * kPageBytes + last <= offset) continue;
    range.end = std::min(used, page * kPageBytes + (page * kPageBytes + first > offset ? first : last));
    break;
  }
  return range;
}

namespace {

absl::Status Damaged(const Block& block, std::string_view what, Position position) {
  return absl::DataLossError(
      fmt::format("{}: {} around offset {}", block.path, what, position - block.position_of(0)));
}

}  // namespace

absl::StatusOr<ChunkTable::Range> Block::RangeAround(Position position) const {
  const auto offset = static_cast<uint32_t>(position - position_of(0));
  if (offset < kFirstChunkOffset || offset >= used) return Damaged(*this, "no chunk", position);
  return chunks.Around(offset, used);
}

absl::Status Block::ReadFailure(Position position, const absl::Status& status) const {
  return absl::IsOutOfRange(status) ? Damaged(*this, "the file ends too early", position) : status;
}

absl::StatusOr<ColdChunk> Block::ChunkIn(std::string bytes_read, uint32_t begin, Position position,
                                         uint64_t store_id) const {
  const auto offset = static_cast<uint32_t>(position - position_of(0));
  const auto end = static_cast<uint32_t>(begin + bytes_read.size());
  // Several small chunks may begin in one page; walk to the one that holds the record.
  uint32_t at = begin;
  while (true) {
    ChunkHeader header;
    if (end - at < sizeof(header)) return Damaged(*this, "a broken chunk header", position);
    std::memcpy(&header, &bytes_read[at - begin], sizeof(header));
    if (header.bytes < sizeof(header) || header.bytes > end - at)
      return Damaged(*this, "a broken chunk header", position);
    if (at + header.bytes > offset) break;
    at += header.bytes;
  }
  const ChunkHeader* chunk = ValidChunkAt(bytes_read, at - begin, position_of(at), store_id);
  if (chunk == nullptr) return Damaged(*this, "a chunk fails its checksum", position);
  ColdChunk cold{.bytes = {}, .position = position_of(at), .base_version = chunk->base_version};
  const uint32_t chunk_bytes = chunk->bytes;
  bytes_read.erase(0, at - begin);
  bytes_read.resize(chunk_bytes);
  cold.bytes = std::move(bytes_read);
  return cold;
}

std::string EncodeBlockHeader(const Block& block, uint64_t previous, uint64_t store_id) {
  BlockHeader header = {.magic = BlockHeader::kMagic,
                        .format = kFormatVersion,
                        .block_bytes = block.bytes,
                        .store_id = store_id,
                        .sequence = block.sequence,
                        .previous = previous,
                        .version_ceiling = block.version_ceiling,
                        .relocated = block.relocated ? 1U : 0U};
  header.checksum = ChecksumOf({reinterpret_cast<const char*>(&header), sizeof(header)}, store_id);
  std::string page(kFirstChunkOffset, '\0');
  std::memcpy(page.data(), &header, sizeof(header));
  return page;
}

const ChunkHeader* ValidChunkAt(std::string_view block_bytes, uint32_t offset, Position position,
                                uint64_t store_id) {
  if (offset % kChunkAlignment != 0 || offset + sizeof(ChunkHeader) > block_bytes.size()) return nullptr;
  const auto* header = reinterpret_cast<const ChunkHeader*>(block_bytes.data() + offset);
  if (header->position != position || header->bytes < sizeof(ChunkHeader)) return nullptr;
  if (header->bytes % kChunkAlignment != 0 || header->bytes > block_bytes.size() - offset) return nullptr;
  const uint64_t checksum = ChecksumOf(block_bytes.substr(offset, header->bytes), store_id);
  return checksum == header->checksum ? header : nullptr;
}

std::string BlockFileName(uint64_t sequence) { return fmt::format("{:016}.block", sequence); }

uint64_t SequenceOfFileName(std::string_view name) {
  uint64_t sequence = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), sequence);
  return error == std::errc() && BlockFileName(sequence) == name ? sequence : 0;
}

}  // namespace thermocline::storage
