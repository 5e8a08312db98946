#include "storage/engine/compaction_batch.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "storage/log/cold_read.h"

namespace thermocline::storage {
namespace {

constexpr uint64_t kSliceBytes = 512 << 10;
constexpr size_t kMostDoubts = 4096;

// A new block ends early when the moves into it take a third of a block's bytes: that is memory.
constexpr uint64_t kMovesShare = 3;

}  // namespace

uint64_t CompactionBatch::memory_bytes(uint32_t block_bytes) {
  return block_bytes / kMovesShare + 2 * std::min<uint64_t>(kSliceBytes, block_bytes);
}

uint64_t CompactionBatch::most_records(uint32_t block_bytes) {
  return block_bytes / kMovesShare / sizeof(Move);
}

CompactionBatch::CompactionBatch(const Parts& parts, Aim aim, std::vector<uint64_t> victims, uint64_t first,
                                 uint64_t count)
    : parts_(parts),
      aim_(aim),
      victims_(std::move(victims)),
      next_number_(first),
      end_number_(first + count),
      cold_takes_writes_(!parts.cold.exists() || parts.cold.store()->Stats().write_status.ok()),
      transfer_({.index = parts.index, .log = parts.log, .counts = parts.counts, .cold = parts.cold}) {}

absl::StatusOr<CompactionBatch::Progress> CompactionBatch::Step() {
  doubtful_hashes_.clear();
  for (Doubt& doubt : std::exchange(doubts_, {})) {
    const auto decoded = DecodeRecord(doubt.bytes, doubt.position, doubt.base_version);
    absl::Status status = Judge(doubt.position, *decoded, doubt.base_version);
    if (status.ok()) status = FlushIfFull();
    if (!status.ok()) return status;
  }
  uint64_t scanned = 0;
  const uint64_t slice = std::min<uint64_t>(kSliceBytes, parts_.block_bytes);
  // Many doubts together: their reads go to the disk at the same time.
  while (scanned < slice && doubts_.size() < kMostDoubts) {
    if (chunks_ == nullptr) {
      auto opened = OpenNextVictim();
      if (!opened.ok()) return opened.status();
      if (!*opened) return doubts_.empty() ? Progress::kDone : Progress::kDoubts;
    }
    auto chunk = chunks_->Next();
    if (!chunk.ok()) return chunk.status();
    if (!chunk->has_value()) {
      chunks_.reset();
      continue;
    }
    ChunkHeader header;
    std::memcpy(&header, (*chunk)->data(), sizeof(header));
    const auto judge = [&](Position position, const DecodedRecord& decoded) {
      return Judge(position, decoded, header.base_version);
    };
    if (absl::Status status = VisitRecords(**chunk, chunk_position_, judge); !status.ok()) return status;
    if (absl::Status status = FlushIfFull(); !status.ok()) return status;
    chunk_position_ += header.bytes;
    scanned += header.bytes;
    work_.bytes_scanned += header.bytes;
  }
  return doubts_.empty() ? Progress::kMore : Progress::kDoubts;
}

absl::StatusOr<bool> CompactionBatch::OpenNextVictim() {
  if (next_victim_ == victims_.size()) {
    victim_ = BlockHold();
    return false;
  }
  std::shared_ptr<const BlockMemory> memory;
  {
    HashIndex::Latch latch(parts_.index, 0);
    victim_ = parts_.log.HoldFrom(victims_[next_victim_++]);
    if (victim_->resident.load(std::memory_order_acquire) != nullptr) memory = victim_->memory;
  }
  chunk_position_ = victim_->position_of(kFirstChunkOffset);
  chunks_ = std::make_unique<ChunkReader>(*victim_, std::move(memory), kFirstChunkOffset,
                                          parts_.log.used_of(*victim_), parts_.store_id);
  return true;
}

absl::Status CompactionBatch::Judge(Position position, const DecodedRecord& decoded, uint64_t base_version) {
  std::optional<uint64_t> doubtful;
  if (absl::Status status = Judged(position, decoded, doubtful); !status.ok()) return status;
  if (!doubtful) return absl::OkStatus();
  // It is judged again when the chains of that hash are resolved.
  Doubt doubt = {position, base_version, std::string(decoded.bytes, '\0')};
  EncodeRecord(decoded.record, position, base_version, doubt.bytes.data());
  doubts_.push_back(std::move(doubt));
  doubtful_hashes_.push_back(*doubtful);
  return absl::OkStatus();
}

// What lives is copied, what is dead is dropped, and so is a delete.
absl::Status CompactionBatch::Judged(Position position, const DecodedRecord& decoded,
                                     std::optional<uint64_t>& doubtful) {
  const Record& record = decoded.record;
  if (record.grave) {
    return StandsAfterwards(record.displaced) ? Bury(HashOfGrave(record), record.displaced)
                                              : absl::OkStatus();
  }
  const uint64_t hash = parts_.hash_of(record.key);
  const bool expired = record.expires_at_ms != 0 && record.expires_at_ms <= parts_.clock.NowMs();
  bool ends = record.tombstone || expired;
  std::optional<Slot> own;
  {
    HashIndex::Latch latch(parts_.index, hash);
    const Slots slots = latch.Find();
    bool unresolved = false;
    for (const Slot& slot : slots) {
      unresolved |= slot.unresolved;
      if (slot.position == position) own = slot;
    }
    // As long as the cold store cannot drop what it has of the key, what supersedes that has to stay.
    if (own && own->shadow && !cold_takes_writes_) ends = false;
    // A lone head is the newest of its key whatever stands behind it, and keeps its link to that, unless that
    // goes as well.
    const bool moves = own && slots.size() == 1 && !ends && aim_ == Aim::kCompact;
    const bool keeps_link = parts_.log.Stands(record.link()) == StandsAfterwards(record.link());
    if (unresolved && !(moves && keeps_link)) doubtful = hash;
  }
  if (doubtful) return absl::OkStatus();
  if (own && !ends && aim_ == Aim::kDemote && cold_takes_writes_ && !StaysAsHot(position, hash))
    return Demote(position, record, hash, doubtful);
  if (own && !ends) {
    if (!record.unresolved || own->unresolved) return Relocate(position, record, hash, own->unresolved);
    // Its chain is resolved, but the keys were never compared: the copy names nothing.
    if (absl::Status status = BuryDisplaced(record, hash, doubtful); !status.ok() || doubtful) return status;
    Record unlinked = record;
    unlinked.displaced = 0;
    unlinked.behind = 0;
    return Relocate(position, unlinked, hash, false);
  }
  if (absl::Status status = BuryDisplaced(record, hash, doubtful); !status.ok() || doubtful) return status;
  ++work_.records_dropped;
  if (own && own->shadow) {
    transfer_.Forget(position, record, hash);
  } else if (own) {
    Forget(hash, position);
  }
  return absl::OkStatus();
}

absl::Status CompactionBatch::Demote(Position from, const Record& record, uint64_t hash,
                                     std::optional<uint64_t>& doubtful) {
  if (absl::Status status = BuryDisplaced(record, hash, doubtful); !status.ok() || doubtful) return status;
  transfer_.Demote(from, record, hash);
  ++work_.records_demoted;
  return absl::OkStatus();
}

// At most half of them, or nothing would be won where all that the index holds is hot.
bool CompactionBatch::StaysAsHot(Position position, uint64_t hash) const {
  if (work_.records_moved >= work_.records_demoted || next_number_ + 1 >= end_number_) return false;
  HashIndex::Latch latch(parts_.index, hash);
  return parts_.log.UsesOf(position) > 1 || parts_.cache.Find(position, Use::kIgnore).has_value();
}

absl::Status CompactionBatch::FlushIfFull() {
  return transfer_.full() ? transfer_.Flush(late_doubts_) : absl::OkStatus();
}

// Takes the slot of a delete, or of what has expired, out of the index, if it is still there.
void CompactionBatch::Forget(uint64_t hash, Position head) {
  HashIndex::Latch latch(parts_.index, hash);
  for (const Slot& slot : latch.Find()) {
    if (slot.position != head) continue;
    latch.Erase(head);
    parts_.counts.Changed(slot, std::nullopt);
    if (!slot.tombstone) parts_.log.MarkDead(head, 0);
    return;
  }
}

absl::Status CompactionBatch::Relocate(Position from, Record record, uint64_t hash, bool unresolved) {
  // Also if the chain has been resolved: the keys of the two records were never compared, and the next start
  // must not believe so.
  record.unresolved = record.unresolved && unresolved && StandsAfterwards(record.link());
  record.deep = record.deep && record.unresolved;
  if (!record.unresolved) record.behind = 0;
  if (!StandsAfterwards(record.displaced)) record.displaced = std::exchange(record.behind, 0);
  const bool linked = record.displaced != 0;
  const auto to = Write(record);
  if (!to.ok()) return to.status();
  KeepHot(from, *to, record, hash);
  moves_.push_back({.hash = hash, .from = from, .linked = linked, .to = *to});
  ++work_.records_moved;
  return absl::OkStatus();
}

// Before anybody can ask for the copy.
void CompactionBatch::KeepHot(Position from, Position to, const Record& record, uint64_t hash) {
  uint32_t uses = 0;
  {
    HashIndex::Latch latch(parts_.index, hash);
    uses = parts_.log.UsesOf(from);
  }
  if (uses > 1) {
    parts_.cache.Insert(to, record, 0);
  } else {
    parts_.cache.Move(from, to, record);
  }
}

// A record is dropped: what it had superseded must stay dead.
absl::Status CompactionBatch::BuryDisplaced(const Record& record, uint64_t hash,
                                            std::optional<uint64_t>& doubtful) {
  const Position dead = record.displaced;
  if (dead == 0 || !StandsAfterwards(dead)) return absl::OkStatus();
  if (!record.unresolved || record.behind != 0) return Bury(hash, dead);
  // It may be another key's, and live.
  const auto its_hash = HashAt(dead);
  if (!its_hash.ok()) return its_hash.status();
  {
    HashIndex::Latch latch(parts_.index, *its_hash);
    bool unresolved = false;
    for (const Slot& slot : latch.Find()) {
      if (slot.position == dead) return absl::OkStatus();
      unresolved |= slot.unresolved;
    }
    if (unresolved) doubtful = *its_hash;
  }
  return doubtful ? absl::OkStatus() : Bury(*its_hash, dead);
}

absl::StatusOr<uint64_t> CompactionBatch::HashAt(Position position) {
  ColdRead read;
  {
    HashIndex::Latch latch(parts_.index, 0);
    if (const auto resident = parts_.log.Resident(position)) return parts_.hash_of(resident->record.key);
    read.Aim(parts_.log.Hold(position), position);
  }
  if (absl::Status status = read.Now(parts_.store_id); !status.ok()) return status;
  return parts_.hash_of(read.chunk()->RecordAt(position)->record.key);
}

absl::Status CompactionBatch::Bury(uint64_t hash, Position dead) {
  const auto position = Write({.key = GraveKey(hash), .displaced = dead, .grave = true});
  if (!position.ok()) return position.status();
  const uint64_t bytes =
      EncodedBytes({.key = GraveKey(hash), .displaced = dead, .grave = true}, *position, 0);
  work_.graves.push_back({dead / parts_.block_bytes, *position / parts_.block_bytes, bytes});
  return absl::OkStatus();
}

bool CompactionBatch::StandsAfterwards(Position position) const {
  const uint64_t block = position / parts_.block_bytes;
  return position != 0 && parts_.log.Stands(position) &&
         std::find(victims_.begin(), victims_.end(), block) == victims_.end();
}

absl::StatusOr<Position> CompactionBatch::Write(const Record& record) {
  const uint64_t most_moves = most_records(parts_.block_bytes);
  while (true) {
    if (output_ != nullptr && moves_.size() < most_moves) {
      auto position = output_->Append(record);
      if (!position.ok()) return position.status();
      if (position->has_value()) return **position;
    }
    if (output_ != nullptr) {
      if (absl::Status status = FinishOutput(); !status.ok()) return status;
    }
    if (absl::Status status = OpenOutput(); !status.ok()) return status;
  }
}

absl::Status CompactionBatch::OpenOutput() {
  if (next_number_ + (finishing_ ? 0 : 1) >= end_number_)
    return absl::OutOfRangeError("more lives in the blocks than was estimated");
  auto output = RelocatedBlock::Create({.directory = parts_.log_directory,
                                        .store_id = parts_.store_id,
                                        .block_bytes = parts_.block_bytes,
                                        .sequence = next_number_++},
                                       parts_.files, parts_.budget);
  if (!output.ok()) return output.status();
  output_ = *std::move(output);
  return absl::OkStatus();
}

absl::Status CompactionBatch::FinishOutput() {
  const std::unique_ptr<RelocatedBlock> output = std::move(output_);
  auto block = output->Finish();
  const std::vector<Move> moves = std::exchange(moves_, {});
  if (!block.ok()) return block.status();
  work_.bytes_written += (*block)->used;
  parts_.log.Add(*std::move(block));
  for (const Move& move : moves) Install(move);
  return absl::OkStatus();
}

void CompactionBatch::Install(const Move& move) {
  HashIndex::Latch latch(parts_.index, move.hash);
  const Slots slots = latch.Find();
  for (const Slot& slot : slots) {
    if (slot.position != move.from) continue;
    latch.ReserveReplace(move.to);
    Slot moved = slot;
    moved.position = move.to;
    moved.unresolved = slot.unresolved && (move.linked || slots.size() > 1);
    latch.Replace(slot.position, moved);
    parts_.counts.Changed(slot, moved);
    parts_.log.MarkDead(move.from, 0);
    return;
  }
  // Superseded meanwhile, or displaced by a record that did not look whose it was: resolving that chain will
  // find the original, and copy it again if it is the newest of its key.
  if (std::any_of(slots.begin(), slots.end(), [](const Slot& slot) { return slot.unresolved; }))
    late_doubts_.push_back(move.hash);
  parts_.graves.Add(move.hash, move.to);
  parts_.log.MarkDead(move.to, 0);
}

void CompactionBatch::GiveUp() {
  for (const GraveList::Grave& grave : taken_) parts_.graves.Add(grave.hash, grave.dead);
  taken_.clear();
}

absl::Status CompactionBatch::Finish() {
  finishing_ = true;
  if (absl::Status status = transfer_.Flush(late_doubts_); !status.ok()) return status;
  taken_ = parts_.graves.TakeAll();
  for (const GraveList::Grave& grave : taken_) {
    if (grave.dead / parts_.block_bytes >= end_number_) {
      // A grave stands behind what it buries: the next batch's turn.
      parts_.graves.Add(grave.hash, grave.dead);
    } else if (StandsAfterwards(grave.dead)) {
      if (absl::Status status = Bury(grave.hash, grave.dead); !status.ok()) return status;
    }
  }
  if (output_ == nullptr) return absl::OkStatus();
  if (output_->empty()) {
    output_.reset();
    return absl::OkStatus();
  }
  return FinishOutput();
}

}  // namespace thermocline::storage
