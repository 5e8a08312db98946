#include <algorithm>
#include <cstring>
#include <utility>

#include "storage/engine/engine_impl.h"
#include "storage/log/chunk_reader.h"

namespace thermocline::storage {
namespace {

// A page ends after so much of the log, even if nothing in it matched: it holds a thread of the readers.
constexpr uint64_t kMaxLogBytesPerPage = 8 << 20;

constexpr size_t kCursorBytes = 40;

}  // namespace

// Where a scan goes on, and where the log ended when it began: records are met in the order of the log up to
// there. A key whose newest record lies behind that end was written after the beginning; it is returned where
// an older record of it is met. If compaction has taken blocks away since, the older record may be gone: the
// scan then goes on to what is the end by now.
//
// The scan's cursor, as its user holds it:  0 position  8 end  16 record  24 generation  32 XXH3-64 of these,
// seeded with the store's id
struct Engine::Impl::Cursor {
  Position position = 0;  // of a chunk
  Position end = 0;
  uint64_t record = 0;      // records of that chunk that are done
  uint64_t generation = 0;  // of the blocks when the end was chosen
};

std::string Engine::Impl::EncodeCursor(const Cursor& cursor) const {
  std::string bytes(kCursorBytes, '\0');
  std::memcpy(bytes.data() + 8, &cursor, sizeof(cursor));
  const uint64_t checksum = ChecksumOf(bytes, identity_.store_id);
  std::memmove(bytes.data(), bytes.data() + 8, sizeof(cursor));
  std::memcpy(bytes.data() + sizeof(cursor), &checksum, sizeof(checksum));
  return bytes;
}

absl::StatusOr<Engine::Impl::Cursor> Engine::Impl::DecodeCursor(const std::string& cursor) const {
  static_assert(sizeof(Cursor) + sizeof(uint64_t) == kCursorBytes);
  Cursor decoded;
  if (cursor.size() == kCursorBytes) {
    std::memcpy(&decoded, cursor.data(), sizeof(decoded));
    if (EncodeCursor(decoded) == cursor) return decoded;
  }
  return absl::InvalidArgumentError("the cursor is not one that a scan of this store has returned");
}

void Engine::Impl::Scan(const ScanRequest& request, ScanDone done) {
  absl::Status refusal;
  if (request.max_entries == 0)
    refusal = absl::InvalidArgumentError("a scan of no entries: max_entries must be at least 1");
  if (!refusal.ok() || !Enter(refusal)) return done(refusal);
  world_.reads.Run([this, request, done = std::move(done)]() mutable {
    done(ScanFrom(request));
    gate_.Leave();
  });
}

void Engine::Impl::ChooseEnd(Cursor& cursor) {
  cursor.generation = compactor_->generation();
  cursor.end = log_->Freeze();
  index_->WaitForLatches();  // records below the end may still have been in the writing
}

// Moves the cursor to the next block if it stands behind the last chunk of one, or if its block is gone.
// Empty: the end is reached.
Engine::Impl::ScanBlock Engine::Impl::BlockAt(Cursor& cursor) {
  ScanBlock block;
  uint64_t sequence = cursor.position / identity_.block_bytes;
  while (true) {
    {
      HashIndex::Latch latch(*index_, 0);
      block.hold = log_->HoldFrom(sequence);
      if (!block.hold) break;
      if (block.hold->resident.load(std::memory_order_acquire) != nullptr) block.memory = block.hold->memory;
    }
    block.used = log_->used_of(*block.hold);
    const Position first = block.hold->position_of(kFirstChunkOffset);
    if (cursor.position < first) {
      cursor.position = first;
      cursor.record = 0;
    }
    if (cursor.position < block.hold->position_of(block.used)) break;
    sequence = block.hold->sequence + 1;
    block.memory.reset();
  }
  if (!block.hold || cursor.position >= cursor.end) {
    cursor.position = cursor.end;
    cursor.record = 0;
    block.hold = BlockHold();
  }
  return block;
}

absl::StatusOr<ScanPage> Engine::Impl::ScanFrom(const ScanRequest& request) {
  Cursor cursor;
  if (request.cursor.empty()) {
    ChooseEnd(cursor);
  } else if (auto decoded = DecodeCursor(request.cursor); decoded.ok()) {
    cursor = *decoded;
  } else {
    return decoded.status();
  }
  ScanPage page;
  uint64_t scanned = 0;
  size_t bytes = 0;
  bool full = false;
  while (!full && scanned < kMaxLogBytesPerPage) {
    const ScanBlock block = BlockAt(cursor);
    if (!block.hold) {
      if (cursor.generation == compactor_->generation()) break;
      ChooseEnd(cursor);
      continue;
    }
    ChunkReader chunks(*block.hold, block.memory,
                       static_cast<uint32_t>(cursor.position - block.hold->position_of(0)), block.used,
                       identity_.store_id);
    while (!full && scanned < kMaxLogBytesPerPage && cursor.position < cursor.end) {
      auto chunk = chunks.Next();
      if (!chunk.ok()) return chunk.status();
      if (!chunk->has_value()) break;
      if (absl::Status status = ScanChunk(request, **chunk, cursor, page, bytes, full); !status.ok())
        return status;
      if (full) break;
      scanned += (*chunk)->size();
      cursor.position += (*chunk)->size();
      cursor.record = 0;
    }
  }
  page.done = cursor.position >= cursor.end && cursor.generation == compactor_->generation();
  page.cursor = EncodeCursor(cursor);
  return page;
}

absl::Status Engine::Impl::ScanChunk(const ScanRequest& request, std::string_view chunk, Cursor& cursor,
                                     ScanPage& page, size_t& bytes, bool& full) {
  uint64_t next = 0;
  return VisitRecords(chunk, cursor.position, [&](Position position, const DecodedRecord& decoded) {
    const Record& record = decoded.record;
    const uint64_t number = next++;
    if (full || number < cursor.record || record.grave || record.tombstone) return absl::OkStatus();
    if (record.key.substr(0, request.prefix.size()) != request.prefix) return absl::OkStatus();
    std::optional<Entry> entry;
    absl::Status status = Confirm(record, position, cursor.end, entry);
    if (!status.ok() || !entry) return status;
    if (!request.with_values) entry->value = Value();
    const size_t size = record.key.size() + entry->value.view().size();
    full =
        page.items.size() >= request.max_entries || (!page.items.empty() && bytes + size > request.max_bytes);
    if (full) {
      cursor.record = number;
      return absl::OkStatus();
    }
    bytes += size;
    page.items.push_back({std::string(record.key), *std::move(entry)});
    return absl::OkStatus();
  });
}

// Sets `entry` if the record met at `position` is the key's newest, or if the newest will not be met because
// it lies behind the end.
absl::Status Engine::Impl::Confirm(const Record& record, Position position, Position end,
                                   std::optional<Entry>& entry) {
  const uint64_t hash = HashOf(record.key);
  Lookup lookup;
  while (true) {
    {
      HashIndex::Latch latch(*index_, hash);
      const Slots slots = latch.Find();
      if (slots.size() == 1 && slots[0].position == position) {
        // The usual case: what was read here is what counts, so nothing is read again.
        if (IsLive(record)) {
          entry = Entry{Value(std::string(record.value)), record.version, record.expires_at_ms};
        }
        return absl::OkStatus();
      }
      // A newer record of this key, or this key gone; it comes later if at all.
      if (slots.size() == 1 && !slots[0].unresolved && slots[0].position < end) return absl::OkStatus();
      const Lookup::Step step = lookup.Walk(chains(), record.key, slots);
      if (step == Lookup::Step::kAbsent) return absl::OkStatus();
      if (step == Lookup::Step::kFound) {
        if (lookup.position() == position || lookup.position() >= end) entry = EntryOf(lookup);
        return absl::OkStatus();
      }
    }
    if (absl::Status status = ReadForLookup(lookup); !status.ok()) return status;
  }
}

}  // namespace thermocline::storage
