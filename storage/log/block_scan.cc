#include "storage/log/block_scan.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "storage/log/chunk_reader.h"

namespace thermocline::storage {
namespace {

// A part is no larger, unless a single chunk is; none has more records, however small they are.
constexpr uint32_t kPartBytes = 128 << 10;
constexpr uint32_t kPartRecords = 704;
// Of a small block as well there are several.
constexpr uint32_t kPartsInBlock = 16;
// In a round: more, fewer waits of all for the slowest.
constexpr uint64_t kMinParts = 4;
constexpr uint64_t kMaxParts = 96;
constexpr uint64_t kMemoryOfPart = 8 << 20;  // of the limit

constexpr int kMaxShareBits = 6;

LoggedRecord LoggedOf(const LogVisitor& visitor, Position position, const DecodedRecord& decoded) {
  const Record& record = decoded.record;
  return {.hash = record.grave ? HashOfGrave(record) : visitor.hash_of(record.key),
          .position = position,
          .displaced = record.displaced,
          .bytes = decoded.bytes,
          .tombstone = record.tombstone,
          .unresolved = record.unresolved,
          .grave = record.grave};
}

// What stands at the offset, if it may be a chunk; nothing is verified.
bool LooksLikeChunk(const Block& block, std::string_view bytes, uint32_t offset, ChunkHeader& header) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(header)) return false;
  std::memcpy(&header, bytes.data() + offset, sizeof(header));
  return header.position == block.position_of(offset) && header.bytes >= sizeof(header) &&
         header.bytes <= bytes.size() - offset;
}

}  // namespace

BlockScan::BlockScan(uint32_t block_bytes, uint64_t store_id, size_t parts, Crew& crew,
                     const LogVisitor* visitor)
    : store_id_(store_id),
      part_bytes_(std::min(kPartBytes, block_bytes / kPartsInBlock)),
      crew_(crew),
      visitor_(visitor),
      share_bits_(visitor == nullptr ? 0 : std::min(visitor->prefix_bits, kMaxShareBits)),
      group_bits_(visitor == nullptr ? 0 : visitor->prefix_bits - share_bits_),
      decoded_(crew.threads()),
      visited_(shares()) {
  for (Round* const round : {&reading_, &visiting_}) round->parts.resize(parts);
}

size_t BlockScan::PartsFor(uint64_t memory_limit) {
  return std::clamp(memory_limit / kMemoryOfPart, kMinParts, kMaxParts);
}

// Of two rounds, of one that is being visited once more, and of what each thread decodes.
uint64_t BlockScan::memory_bytes(size_t parts, size_t threads) {
  return (3 * parts + threads) * kPartRecords * sizeof(LoggedRecord);
}

absl::StatusOr<BlockScan::Found> BlockScan::Scan(Block& block, std::string_view bytes) {
  Found found;
  absl::Status status;
  reading_.at_end = false;
  do {
    Cut(block, bytes, found.used, reading_);
    Work(block, bytes);
    for (const absl::Status& each : visited_) {
      // All say the same, and stand before what is being read.
      if (!each.ok()) return each;
    }
    Count(reading_, block, found, status);
    std::swap(reading_, visiting_);
    reading_.at_end = visiting_.at_end;
  } while (visiting_.count > 0);
  if (!status.ok()) return status;
  return found;
}

// The headers that stand where chunks should begin are believed for now: who reads a part finds out.
void BlockScan::Cut(const Block& block, std::string_view bytes, uint32_t from, Round& round) const {
  uint32_t next = from;
  for (round.count = 0; round.count < round.parts.size() && !round.at_end; ++round.count) {
    Part& part = round.parts[round.count];
    part.begin = next;
    uint64_t records = 0;
    while (!round.at_end && next - part.begin < part_bytes_) {
      ChunkHeader header;
      if (!LooksLikeChunk(block, bytes, next, header)) {
        // To be found missing.
        part.end = next + 1;
        round.at_end = true;
        break;
      }
      if (next > part.begin && records + header.records() > kPartRecords) break;
      records += header.records();
      next += header.bytes;
      part.end = next;
      round.at_end = header.last();
    }
  }
}

void BlockScan::Work(const Block& block, std::string_view bytes) {
  const size_t visits = visiting_.count > 0 ? shares() : 0;
  crew_.Run(visits + reading_.count, [&](size_t worker, size_t number) {
    if (number < visits) {
      visited_[number] = VisitShare(worker, number);
    } else {
      ReadPart(block, bytes, worker, reading_.parts[number - visits]);
    }
  });
}

void BlockScan::ReadPart(const Block& block, std::string_view bytes, size_t worker, Part& part) {
  part.found = {.used = part.begin};
  part.chunks.clear();
  part.use = {};
  part.status = absl::OkStatus();
  std::vector<LoggedRecord>& records = decoded_[worker];
  records.clear();
  while (part.found.used < part.end && !part.found.whole) {
    const uint32_t offset = part.found.used;
    const ChunkHeader* const chunk = ValidChunkAt(bytes, offset, block.position_of(offset), store_id_);
    if (chunk == nullptr) break;
    part.base_version = chunk->base_version;
    part.chunks.push_back(offset);
    part.found.horizon = std::max(part.found.horizon, chunk->horizon);
    part.status = ReadChunk(bytes.substr(offset, chunk->bytes), block.position_of(offset), records, part);
    if (!part.status.ok()) break;
    part.found.whole = chunk->last();
    part.found.used += chunk->bytes;
  }
  if (visitor_ != nullptr) Spread(records, part);
}

absl::Status BlockScan::ReadChunk(std::string_view chunk, Position position,
                                  std::vector<LoggedRecord>& records, Part& part) const {
  const size_t before = records.size();
  const auto visit = [&](Position at, const DecodedRecord& decoded) {
    part.found.next_version = std::max(part.found.next_version, decoded.record.version + 1);
    part.use.Count(decoded.record, decoded.bytes);
    if (visitor_ != nullptr) records.push_back(LoggedOf(*visitor_, at, decoded));
    return absl::OkStatus();
  };
  absl::Status status = VisitRecords(chunk, position, visit);
  if (!status.ok()) records.resize(before);
  return status;
}

// Into the part, sorted by their shares.
void BlockScan::Spread(const std::vector<LoggedRecord>& records, Part& part) const {
  part.ends.assign(shares(), 0);
  for (const LoggedRecord& record : records) ++part.ends[ShareOf(record.hash)];
  uint32_t end = 0;
  for (uint32_t& each : part.ends) end += std::exchange(each, end);
  // Where a share begins becomes where it ends.
  part.records.resize(records.size());
  for (const LoggedRecord& record : records) part.records[part.ends[ShareOf(record.hash)]++] = record;
}

absl::Status BlockScan::VisitShare(size_t worker, size_t share) {
  const auto records_in = [share](const Part& part) {
    const uint32_t begin = share == 0 ? 0 : part.ends[share - 1];
    return std::span<const LoggedRecord>(part.records).subspan(begin, part.ends[share] - begin);
  };
  const std::span<const Part> parts(visiting_.parts.data(), visiting_.count);
  std::vector<uint32_t> ends(size_t{1} << group_bits_, 0);
  for (const Part& part : parts) {
    for (const LoggedRecord& record : records_in(part)) ++ends[GroupOf(record.hash)];
  }
  uint32_t end = 0;
  for (uint32_t& each : ends) end += std::exchange(each, end);
  std::vector<LoggedRecord> sorted(end);
  for (const Part& part : parts) {
    for (const LoggedRecord& record : records_in(part)) sorted[ends[GroupOf(record.hash)]++] = record;
  }
  const std::span<const LoggedRecord> all(sorted);
  uint32_t begin = 0;
  for (const uint32_t group_end : ends) {
    if (group_end == begin) continue;
    absl::Status status = visitor_->visit(worker, all.subspan(begin, group_end - begin));
    if (!status.ok()) return status;
    begin = group_end;
  }
  return absl::OkStatus();
}

// Adds up the parts in their order, and drops those behind the first place where no chunk stands.
void BlockScan::Count(Round& round, Block& block, Found& found, absl::Status& status) {
  for (size_t i = 0; i < round.count; ++i) {
    const Part& part = round.parts[i];
    for (const uint32_t offset : part.chunks) block.chunks.Add(offset);
    if (!part.chunks.empty()) block.base_version = part.base_version;
    block.use.Add(part.use);
    found.used = part.found.used;
    found.whole = part.found.whole;
    found.horizon = std::max(found.horizon, part.found.horizon);
    found.next_version = std::max(found.next_version, part.found.next_version);
    status = part.status;
    if (part.found.used == part.end && !part.found.whole) continue;
    round.count = i + 1;
    round.at_end = true;
  }
}

}  // namespace thermocline::storage
