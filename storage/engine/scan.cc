#include <algorithm>
#include <cstring>
#include <utility>

#include "storage/engine/engine_impl.h"
#include "storage/log/chunk_reader.h"

namespace thermocline::storage {
namespace {

// A page ends after so much of the log, even if nothing in it matched: it holds a thread of the readers.
constexpr uint64_t kMaxLogBytesPerPage = 8 << 20;

// A page that deep cold changes under is read again: it should be short.
constexpr size_t kMaxDeepEntriesPerPage = 256;

}  // namespace

// Where a scan goes on. First it meets records in the order of the log, up to where the log ended when it
// began. A key whose newest record lies behind that end was written after the beginning; it is returned where
// an older record of it is met. If compaction has taken blocks away since, the older record may be gone: the
// scan then goes on to what is the end by now.
//
// Then it meets deep cold in the order of the keys. A key that came back into the log meanwhile, and left
// deep cold before the scan met it there, stands behind the end: so the scan goes through the rest of the log
// once more, and again through deep cold should anything from behind the end have been demoted by then.
//
// The scan's cursor, as its user holds it:  0 position  8 end  16 record  24 generation  32 stage
// 40 deep end  48 the last key of deep cold; and at the end XXH3-64 of these, seeded with the store's id
struct Engine::Impl::Cursor {
  enum Stage : uint64_t { kLog, kDeep, kRest };
  struct Fixed {
    Position position = 0;  // of a chunk
    Position end = 0;
    uint64_t record = 0;      // records of that chunk that are done
    uint64_t generation = 0;  // of the blocks when the end was chosen
    uint64_t stage = kLog;
    Position deep_end = 0;  // of the log, when deep cold was begun
  };
  static_assert(sizeof(Fixed) == 48);

  Fixed at;
  std::string key;
};

std::string Engine::Impl::EncodeCursor(const Cursor& cursor) const {
  // A checksum covers what follows it.
  std::string bytes(sizeof(uint64_t) + sizeof(Cursor::Fixed), '\0');
  std::memcpy(bytes.data() + sizeof(uint64_t), &cursor.at, sizeof(cursor.at));
  bytes += cursor.key;
  const uint64_t checksum = ChecksumOf(bytes, identity_.store_id);
  bytes.erase(0, sizeof(checksum));
  bytes.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  return bytes;
}

absl::StatusOr<Engine::Impl::Cursor> Engine::Impl::DecodeCursor(const std::string& cursor) const {
  constexpr size_t kLeast = sizeof(Cursor::Fixed) + sizeof(uint64_t);
  Cursor decoded;
  if (cursor.size() >= kLeast) {
    std::memcpy(&decoded.at, cursor.data(), sizeof(decoded.at));
    decoded.key = cursor.substr(sizeof(decoded.at), cursor.size() - kLeast);
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
  cursor.at.generation = compactor_->generation();
  cursor.at.end = log_->Freeze();
  index_->WaitForLatches();  // records below the end may still have been in the writing
}

// Moves the cursor to the next block if it stands behind the last chunk of one, or if its block is gone.
// Empty: the end is reached.
Engine::Impl::ScanBlock Engine::Impl::BlockAt(Cursor& cursor) {
  ScanBlock block;
  uint64_t sequence = cursor.at.position / identity_.block_bytes;
  while (true) {
    {
      HashIndex::Latch latch(*index_, 0);
      block.hold = log_->HoldFrom(sequence);
      if (!block.hold) break;
      if (block.hold->resident.load(std::memory_order_acquire) != nullptr) block.memory = block.hold->memory;
    }
    block.used = log_->used_of(*block.hold);
    const Position first = block.hold->position_of(kFirstChunkOffset);
    if (cursor.at.position < first) {
      cursor.at.position = first;
      cursor.at.record = 0;
    }
    if (cursor.at.position < block.hold->position_of(block.used)) break;
    sequence = block.hold->sequence + 1;
    block.memory.reset();
  }
  if (!block.hold || cursor.at.position >= cursor.at.end) {
    cursor.at.position = cursor.at.end;
    cursor.at.record = 0;
    block.hold = BlockHold();
  }
  return block;
}

absl::StatusOr<ScanPage> Engine::Impl::ScanFrom(const ScanRequest& request) {
  Cursor cursor;
  if (request.cursor.empty()) {
    ChooseEnd(cursor);
  } else if (auto decoded = DecodeCursor(request.cursor); decoded.ok()) {
    cursor = *std::move(decoded);
  } else {
    return decoded.status();
  }
  ScanPage page;
  absl::Status status =
      cursor.at.stage == Cursor::kDeep ? ScanDeep(request, cursor, page) : ScanLog(request, cursor, page);
  if (!status.ok()) return status;
  page.cursor = EncodeCursor(cursor);
  return page;
}

absl::Status Engine::Impl::ScanLog(const ScanRequest& request, Cursor& cursor, ScanPage& page) {
  uint64_t scanned = 0;
  size_t bytes = 0;
  bool full = false;
  while (!full && scanned < kMaxLogBytesPerPage) {
    const ScanBlock block = BlockAt(cursor);
    if (!block.hold) {
      if (cursor.at.generation == compactor_->generation()) break;
      ChooseEnd(cursor);
      continue;
    }
    ChunkReader chunks(*block.hold, block.memory,
                       static_cast<uint32_t>(cursor.at.position - block.hold->position_of(0)), block.used,
                       identity_.store_id);
    while (!full && scanned < kMaxLogBytesPerPage && cursor.at.position < cursor.at.end) {
      auto chunk = chunks.Next();
      if (!chunk.ok()) return chunk.status();
      if (!chunk->has_value()) break;
      if (absl::Status status = ScanChunk(request, **chunk, cursor, page, bytes, full); !status.ok())
        return status;
      if (full) break;
      scanned += (*chunk)->size();
      cursor.at.position += (*chunk)->size();
      cursor.at.record = 0;
    }
  }
  if (cursor.at.position < cursor.at.end || cursor.at.generation != compactor_->generation())
    return absl::OkStatus();
  page.done =
      !cold_->exists() || (cursor.at.stage == Cursor::kRest && cold_->demoted_below() <= cursor.at.deep_end);
  if (page.done) return absl::OkStatus();
  cursor.at.stage = Cursor::kDeep;
  cursor.at.deep_end = cursor.at.end;
  cursor.key.clear();
  return absl::OkStatus();
}

// What the log has of a key, dead or alive, is met there.
absl::Status Engine::Impl::ScanDeep(const ScanRequest& request, Cursor& cursor, ScanPage& page) {
  while (true) {
    if (!cold_->exists())
      return absl::InvalidArgumentError("the cursor is not one that a scan of this store has returned");
    const uint64_t changes = cold_->changes();
    auto deep = cold_->store()->Scan({.after_key = cursor.key,
                                      .prefix = request.prefix,
                                      .max_entries = std::min(request.max_entries, kMaxDeepEntriesPerPage),
                                      .max_bytes = request.max_bytes});
    if (!deep.ok()) return deep.status();
    page.items.clear();
    for (ColdScanPage::Item& item : deep->items) {
      bool in_log = false;
      if (absl::Status status = IsInLog(item.key, in_log); !status.ok()) return status;
      ColdEntry& entry = item.entry;
      const bool live = entry.expires_at_ms == 0 || entry.expires_at_ms > world_.clock.NowMs();
      if (in_log || !live) continue;
      Value value = request.with_values ? Value(std::move(entry.value)) : Value();
      page.items.push_back({item.key, {std::move(value), entry.version, entry.expires_at_ms}});
    }
    // After an entry was read here, what made it out of date may have left the log, together with it or in
    // its place.
    if (cold_->changes() != changes) continue;
    if (!deep->items.empty()) cursor.key = deep->items.back().key;
    if (!deep->done) return absl::OkStatus();
    cursor.at.stage = Cursor::kRest;
    ChooseEnd(cursor);
    return absl::OkStatus();
  }
}

absl::Status Engine::Impl::IsInLog(std::string_view key, bool& in_log) {
  const uint64_t hash = HashOf(key);
  Lookup lookup;
  while (true) {
    {
      HashIndex::Latch latch(*index_, hash);
      const Lookup::Step step = lookup.Walk(chains(), key, latch.Find(), latch.erasures());
      in_log = step == Lookup::Step::kFound;
      if (step != Lookup::Step::kRead) return absl::OkStatus();
    }
    if (absl::Status status = ReadForLookup(lookup); !status.ok()) return status;
  }
}

absl::Status Engine::Impl::ScanChunk(const ScanRequest& request, std::string_view chunk, Cursor& cursor,
                                     ScanPage& page, size_t& bytes, bool& full) {
  uint64_t next = 0;
  return VisitRecords(chunk, cursor.at.position, [&](Position position, const DecodedRecord& decoded) {
    const Record& record = decoded.record;
    const uint64_t number = next++;
    if (full || number < cursor.at.record || record.grave || record.tombstone) return absl::OkStatus();
    if (record.key.substr(0, request.prefix.size()) != request.prefix) return absl::OkStatus();
    std::optional<Entry> entry;
    absl::Status status = Confirm(record, position, cursor.at.end, entry);
    if (!status.ok() || !entry) return status;
    if (!request.with_values) entry->value = Value();
    const size_t size = record.key.size() + entry->value.view().size();
    full =
        page.items.size() >= request.max_entries || (!page.items.empty() && bytes + size > request.max_bytes);
    if (full) {
      cursor.at.record = number;
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
      const Lookup::Step step = lookup.Walk(chains(), record.key, slots, latch.erasures());
      if (step == Lookup::Step::kFound) {
        if (lookup.position() == position || lookup.position() >= end) entry = EntryOf(lookup);
        return absl::OkStatus();
      }
      if (step != Lookup::Step::kRead) return absl::OkStatus();
    }
    if (absl::Status status = ReadForLookup(lookup); !status.ok()) return status;
  }
}

}  // namespace thermocline::storage
