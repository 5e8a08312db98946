#include <algorithm>
#include <bit>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "storage/engine/checkpoint.h"
#include "storage/engine/engine_impl.h"

namespace thermocline::storage {
namespace {

// Blocks that fit into memory: as many as the first, and as the second where blocks are large enough for all
// values.
constexpr uint32_t kBlocksInMemory = 16;
constexpr uint32_t kLargeBlocksInMemory = 32;
constexpr uint64_t kLargeBlockBytes = 2 * kMaxValueBytes;
constexpr uint32_t kMinBlocksInMemory = 4;

// More partitions, fewer waits for a latch; each takes a frame of the index with its first key.
int PartitionBits(uint64_t memory_bytes) {
  return std::clamp(static_cast<int>(std::bit_width(memory_bytes)) - 21, 4, 11);
}

// So many slots of a checkpoint are worth another thread.
constexpr uint64_t kSlotsPerThread = 1 << 20;

}  // namespace

absl::Status Engine::Impl::ChooseBlockBytes(uint32_t& block_bytes) const {
  if (options_.memory_bytes < kMinMemoryBytes) {
    return absl::InvalidArgumentError(fmt::format("the memory limit is {} bytes; it must be at least {}",
                                                  options_.memory_bytes, kMinMemoryBytes));
  }
  if (options_.hash_bits < 1 || options_.hash_bits > 64) {
    return absl::InvalidArgumentError(fmt::format("hash_bits is {}; it must be 1 .. 64", options_.hash_bits));
  }
  block_bytes = options_.block_bytes;
  if (block_bytes == 0) {
    uint64_t chosen = std::bit_floor(options_.memory_bytes / kBlocksInMemory);
    if (chosen > kLargeBlockBytes)
      chosen = std::max(kLargeBlockBytes, std::bit_floor(options_.memory_bytes / kLargeBlocksInMemory));
    block_bytes = static_cast<uint32_t>(std::clamp<uint64_t>(chosen, kMinBlockBytes, kMaxBlockBytes));
  }
  if (!std::has_single_bit(block_bytes) || block_bytes < kMinBlockBytes || block_bytes > kMaxBlockBytes) {
    return absl::InvalidArgumentError(
        fmt::format("the block size is {} bytes; it must be a power of two, {} .. {}", block_bytes,
                    kMinBlockBytes, kMaxBlockBytes));
  }
  return absl::OkStatus();
}

absl::Status Engine::Impl::OpenFiles() {
  uint32_t block_bytes = 0;
  if (absl::Status status = ChooseBlockBytes(block_bytes); !status.ok()) return status;
  if (absl::Status status = world_.files.CreateDirectory(options_.directory); !status.ok()) return status;
  auto lock = world_.files.Lock(options_.directory + "/" + kLockFile);
  if (!lock.ok()) return lock.status();
  lock_ = *std::move(lock);
  auto identity = OpenIdentity(options_.directory, block_bytes, world_.files, world_.random);
  if (!identity.ok()) return identity.status();
  identity_ = *identity;
  const uint64_t needed =
      kMinBlocksInMemory * BlockMemory::bytes_of(identity_.block_bytes) +
      CompactionBatch::memory_bytes(identity_.block_bytes) +
      HashIndex::initial_bytes(PartitionBits(options_.memory_bytes), options_.memory_bytes);
  if (options_.memory_bytes < needed) {
    return absl::InvalidArgumentError(fmt::format(
        "the memory limit is {} bytes; with the block size of {} bytes that this store has, it must be at "
        "least {}",
        options_.memory_bytes, identity_.block_bytes, needed));
  }
  return absl::OkStatus();
}

absl::Status Engine::Impl::Open() {
  const auto start = std::chrono::steady_clock::now();
  if (absl::Status status = OpenFiles(); !status.ok()) return status;
  const std::string& directory = options_.directory;
  auto clean_end = ReadCleanEnd(directory, identity_.store_id, world_.files);
  if (!clean_end.ok()) return clean_end.status();
  auto roster = ReadRoster(directory, identity_.store_id, world_.files);
  if (!roster.ok()) return roster.status();
  cold_ = std::make_unique<DeepCold>(DeepCold::Parts{.directory = directory + "/" + kColdDirectory,
                                                     .store_id = identity_.store_id,
                                                     .block_bytes = identity_.block_bytes,
                                                     .index_bytes = options_.index_bytes,
                                                     .files = world_.files,
                                                     .budget = budget_});
  if (absl::Status status = cold_->OpenIfPresent(); !status.ok()) return status;

  Replayed replayed;
  if (absl::Status status = LoadCheckpoint(*roster, *clean_end, replayed); !status.ok()) return status;
  cache_ = std::make_unique<RecordCache>(
      RecordCache::Collaborators{.budget = budget_,
                                 .may_grow = [this](uint64_t bytes) { return MayCacheGrow(bytes); },
                                 .wait_for_latches = [this] { index_->WaitForLatches(); }});
  heat_ = std::make_unique<Heat>(Heat::Parts{
      .index = *index_, .cache = *cache_, .executor = world_.reads, .hash_of = [this](std::string_view key) {
        return HashOf(key);
      }});
  if (absl::Status status = OpenLog(*roster, *clean_end, replayed); !status.ok()) return status;
  cold_->NoteDemoted(log_->Freeze());
  room_maker_.store(log_.get(), std::memory_order_release);
  if (absl::Status status = OpenCompactor(replayed, *std::move(roster)); !status.ok()) return status;
  if (replayed.checkpoint != nullptr) {
    warm_up_ = std::make_unique<WarmUp>(
        WarmUp::Parts{.index = *index_,
                      .cache = *cache_,
                      .log = *log_,
                      .budget = budget_,
                      .disk = world_.disk,
                      .executor = world_.reads,
                      .hash_of = [this](std::string_view key) { return HashOf(key); }},
        std::move(replayed.checkpoint));
    warm_up_->Start();
  }
  recovery_time_ = std::chrono::steady_clock::now() - start;
  open_ = true;
  return absl::OkStatus();
}

size_t Engine::Impl::RecoveryThreads() const {
  const int wanted = options_.recovery_threads;
  return wanted > 0 ? static_cast<size_t>(wanted) : std::max(1u, std::thread::hardware_concurrency());
}

absl::Status Engine::Impl::OpenLog(const Roster& roster, std::optional<CleanEnd> clean_end,
                                   Replayed& replayed) {
  const std::string log_directory = options_.directory + "/" + kLogDirectory;
  auto recovered = ReplayLog({.directory = log_directory,
                              .store_id = identity_.store_id,
                              .block_bytes = identity_.block_bytes,
                              .roster = roster,
                              .clean_end = clean_end,
                              .files = world_.files,
                              .budget = budget_,
                              .threads = RecoveryThreads()},
                             replayed);
  if (!recovered.ok()) return recovered.status();
  if (absl::Status status = CheckNewest(*recovered, replayed.newest); !status.ok()) return status;
  recovered_records_ = recovered->records;
  truncated_bytes_ = recovered->truncated_bytes;

  if (absl::Status status = RemoveCleanEnd(options_.directory, world_.files); !status.ok()) return status;
  const BlockLog::Config config = {.directory = log_directory,
                                   .store_id = identity_.store_id,
                                   .block_bytes = identity_.block_bytes,
                                   .flush_interval = options_.flush_interval,
                                   .memory_headroom = headroom()};
  auto log = BlockLog::Open(config,
                            {.files = world_.files,
                             .budget = budget_,
                             .commits = world_.commits,
                             .wait_for_latches = [this] { index_->WaitForLatches(); },
                             .before_leaving =
                                 [this](std::shared_ptr<LeavingBlock> block, std::function<void()> done) {
                                   heat_->Copy(std::move(block), std::move(done));
                                 },
                             .shrink_cache = [this](uint64_t bytes) { return cache_->Shrink(bytes); }},
                            *std::move(recovered));
  if (!log.ok()) return log.status();
  log_ = *std::move(log);
  return absl::OkStatus();
}

// The newest record that a slot of the checkpoint points to was on the disk when the checkpoint was finished.
absl::Status Engine::Impl::CheckNewest(const RecoveredLog& log, Position newest) const {
  if (newest == 0) return absl::OkStatus();
  const uint64_t sequence = newest / identity_.block_bytes;
  const auto block = std::find_if(log.blocks.begin(), log.blocks.end(),
                                  [&](const auto& each) { return each->sequence == sequence; });
  const uint64_t offset = newest % identity_.block_bytes;
  if (block != log.blocks.end() && offset < (*block)->used) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("{}/{}/{} is damaged at or before offset {}: a checkpoint proves that a record stood "
                  "there. Nothing was "
                  "changed. Restore the file from a copy, or the directory from a backup",
                  options_.directory, kLogDirectory, BlockFileName(sequence), offset));
}

// What cannot be used is as good as none: all blocks are read then.
absl::Status Engine::Impl::LoadCheckpoint(const Roster& roster, std::optional<CleanEnd> clean_end,
                                          Replayed& replayed) {
  const std::string log_directory = options_.directory + "/" + kLogDirectory;
  auto sequences = ListBlocks(log_directory, world_.files);
  if (!sequences.ok()) return sequences.status();
  std::erase_if(*sequences, [&](uint64_t sequence) {
    return sequence < roster.below &&
           !std::binary_search(roster.sequences.begin(), roster.sequences.end(), sequence);
  });

  // Positions count from the oldest block that stands: the index knows the more of a hash the smaller they
  // are.
  const Position base = sequences->empty() ? 0 : sequences->front() * identity_.block_bytes;
  const int partition_bits = PartitionBits(options_.memory_bytes);
  const auto new_index = [&] { index_ = std::make_unique<HashIndex>(budget_, partition_bits, base); };
  new_index();
  if (!index_->ok()) {
    return absl::ResourceExhaustedError(fmt::format(
        "the system refuses to reserve addresses for an index of up to {} bytes: see ulimit -v, and "
        "vm.overcommit_memory",
        budget_.limit()));
  }
  auto reader = CheckpointReader::Open(options_.directory, identity_, index_->partitions(), world_.files);
  if (absl::IsNotFound(reader.status())) return absl::OkStatus();
  absl::Status status = reader.status();
  if (status.ok()) status = ReadCheckpoint(**reader, *sequences, roster, clean_end, replayed);
  if (status.ok()) replayed.checkpoint = *std::move(reader);
  if (status.ok()) replayed.checkpoint->DropState();
  if (status.ok() || absl::IsResourceExhausted(status)) return status;
  checkpoint_refusal_ = status;
  RemoveCheckpoint(options_.directory, world_.files).IgnoreError();
  replayed = {};
  new_index();
  return absl::OkStatus();
}

absl::Status Engine::Impl::ReadCheckpoint(const CheckpointReader& reader,
                                          const std::vector<uint64_t>& standing, const Roster& roster,
                                          std::optional<CleanEnd> clean_end, Replayed& replayed) {
  const auto stands = [&](uint64_t block) {
    return std::binary_search(standing.begin(), standing.end(), block);
  };
  const CheckpointState& state = reader.state();
  replayed.from_checkpoint = true;
  replayed.exact = clean_end && state.end.position == clean_end->position &&
                   state.end.next_version == clean_end->next_version && state.generation == roster.generation;
  const auto take_block = [&](std::unique_ptr<Block> block) {
    if (!stands(block->sequence)) return absl::OkStatus();
    replayed.blocks.insert(block->sequence);
    replayed.covered.push_back(block->sequence);
    replayed.known[block->sequence] = std::move(block);
    return absl::OkStatus();
  };
  absl::Status status = reader.ReadBlocks(options_.directory + "/" + kLogDirectory, take_block);
  if (!status.ok()) return status;

  uint64_t slots = 0;
  for (const HashIndex::Shape& shape : state.shapes) slots += shape.slots;
  const auto threads = std::clamp<size_t>(slots / kSlotsPerThread, 1, RecoveryThreads());
  std::vector<SlotCounts::Totals> totals(threads);
  std::vector<absl::Status> statuses(threads);
  const auto load = [&](size_t i) {
    const size_t partitions = state.shapes.size();
    statuses[i] = LoadSlots(reader, partitions * i / threads, partitions * (i + 1) / threads, standing,
                            roster.below, replayed.exact, totals[i]);
  };
  std::vector<std::thread> others;
  for (size_t i = 1; i < threads; ++i) others.emplace_back(load, i);
  load(0);
  for (std::thread& other : others) other.join();
  for (const absl::Status& each : statuses) status.Update(each);
  if (!status.ok()) return status;

  for (const SlotCounts::Totals& each : totals) {
    counts_.Add(each);
    recovered_slots_ += each.slots;
    replayed.newest = std::max(replayed.newest, each.newest);
  }
  counts_.Hid(std::max(state.hidden, counts_.unresolved()));
  for (const auto& grave : state.graves) {
    if (stands(grave.dead / identity_.block_bytes)) graves_.Add(grave.hash, grave.dead);
  }
  for (const auto& note : state.grave_notes) {
    if (replayed.known.contains(note.holder) || replayed.exact) replayed.graves.push_back(note);
  }
  for (const Position position : state.buried) {
    if (stands(position / identity_.block_bytes)) buried_.insert(position);
  }
  for (const uint64_t sequence : state.owed) {
    if (stands(sequence)) replayed.owed.push_back(sequence);
  }
  // The last block may be one of those that the checkpoint tells of.
  if (replayed.exact && !replayed.known.contains(state.end.position / identity_.block_bytes)) {
    replayed.end_block = state.end.position / identity_.block_bytes;
    replayed.end_dead_bytes = state.end_dead_bytes;
  }
  return absl::OkStatus();
}

absl::Status Engine::Impl::LoadSlots(const CheckpointReader& reader, size_t first, size_t end,
                                     const std::vector<uint64_t>& standing, uint64_t roster_below, bool exact,
                                     SlotCounts::Totals& totals) {
  const Position bound = standing.empty() ? 0 : (standing.back() + 2) * identity_.block_bytes;
  const absl::Status too_little = absl::ResourceExhaustedError(
      fmt::format("the memory limit of {} bytes is too small for the index of this store: raise --memory",
                  budget_.limit()));
  for (size_t i = first; i < end; ++i) {
    const HashIndex::Shape& shape = reader.state().shapes[i];
    if (shape.slots > 0 && !index_->Prepare(i, shape, bound)) return too_little;
  }
  std::vector<bool> stands(standing.empty() ? 0 : standing.back() + 1);
  for (const uint64_t sequence : standing) stands[sequence] = true;
  std::vector<HashIndex::Entry> entries;
  return reader.ReadSlots(first, end, [&](size_t, std::span<const HashIndex::Entry> stored) {
    entries.clear();
    for (HashIndex::Entry entry : stored) {
      const uint64_t block = entry.slot.position / identity_.block_bytes;
      // What has left the log since then; where it went to is replayed.
      if (block >= stands.size() || !stands[block]) continue;
      // After a crash nobody knows which removals from deep cold are on the disk.
      if (!exact && cold_->exists()) entry.slot.shadow = true;
      totals.Count(entry.slot, block >= roster_below ? entry.slot.position : 0);
      entries.push_back(entry);
    }
    return index_->Fill(entries) ? absl::OkStatus() : too_little;
  });
}

absl::StatusOr<RecoveredLog> Engine::Impl::ReplayLog(const LogSource& source, Replayed& replayed) {
  if (replayed.exact) return ReadLog(source, std::move(replayed.known), /*visitor=*/nullptr);
  Replay replay({.index = *index_,
                 .block_bytes = identity_.block_bytes,
                 .memory_limit = budget_.limit(),
                 .from_checkpoint = replayed.from_checkpoint,
                 .shadows = cold_->exists(),
                 .workers = source.threads,
                 .blocks = replayed.blocks});
  const auto hash_of = [this](std::string_view key) { return HashOf(key); };
  const auto begin_block = [&](uint64_t sequence) { replay.BeginBlock(sequence); };
  const auto visit = [&](size_t worker, std::span<const LoggedRecord> records) {
    return replay.Visit(worker, records);
  };
  const LogVisitor visitor = {.hash_of = hash_of,
                              .prefix_bits = PartitionBits(options_.memory_bytes),
                              .begin_block = begin_block,
                              .visit = visit};
  auto recovered = ReadLog(source, std::move(replayed.known), &visitor);
  if (!recovered.ok()) return recovered;
  Replay::Found found = replay.Take();
  counts_.Add(found.changes);
  replayed.dead_records = std::move(found.dead_records);
  replayed.graves.insert(replayed.graves.end(), found.graves.begin(), found.graves.end());
  buried_.merge(found.buried);
  return recovered;
}

absl::Status Engine::Impl::OpenCompactor(Replayed& replayed, Roster roster) {
  // What a checkpoint tells to be different keys is so; a record that was replayed may be of any of them.
  const auto doubtful = [&](Position position) {
    return !std::binary_search(replayed.covered.begin(), replayed.covered.end(),
                               position / identity_.block_bytes);
  };
  std::sort(replayed.covered.begin(), replayed.covered.end());
  if (!replayed.exact) counts_.Doubted(index_->DoubtGroups(doubtful));
  if (counts_.unresolved() == 0) counts_.NothingHidden();
  log_->MarkDeadIn(replayed.end_block, replayed.end_dead_bytes);
  for (const auto& [sequence, records] : replayed.dead_records) log_->MarkRecordsDeadIn(sequence, records);
  const auto hash_of = [this](std::string_view key) { return HashOf(key); };
  resolver_ = std::make_unique<Resolver>(Resolver::Parts{.index = *index_,
                                                         .log = *log_,
                                                         .chains = chains(),
                                                         .counts = counts_,
                                                         .graves = graves_,
                                                         .cold = *cold_,
                                                         .reads = world_.reads,
                                                         .disk = world_.disk,
                                                         .clock = world_.clock,
                                                         .gate = gate_,
                                                         .hash_of = hash_of});
  const CompactionBatch::Parts batch = {.log_directory = options_.directory + "/" + kLogDirectory,
                                        .store_id = identity_.store_id,
                                        .block_bytes = identity_.block_bytes,
                                        .files = world_.files,
                                        .clock = world_.clock,
                                        .budget = budget_,
                                        .index = *index_,
                                        .log = *log_,
                                        .cache = *cache_,
                                        .counts = counts_,
                                        .graves = graves_,
                                        .cold = *cold_,
                                        .hash_of = hash_of};
  const Checkpointer::Parts checkpoint = {.directory = options_.directory,
                                          .identity = identity_,
                                          .log_bytes = options_.checkpoint_log_bytes,
                                          .files = world_.files,
                                          .budget = budget_,
                                          .index = *index_,
                                          .log = *log_,
                                          .counts = counts_,
                                          .graves = graves_,
                                          .buried = buried_};
  compactor_ = std::make_unique<Compactor>(Compactor::Parts{.batch = batch,
                                                            .directory = options_.directory,
                                                            .background = world_.background,
                                                            .resolver = *resolver_,
                                                            .blind_writes = blind_writes_,
                                                            .checkpoint = checkpoint},
                                           std::move(roster), replayed.covered);
  for (const uint64_t sequence : replayed.owed) compactor_->NoteOwed(sequence);
  for (const auto& grave : replayed.graves) {
    if (log_->Stands(grave.dead * identity_.block_bytes)) {
      compactor_->NoteGrave(grave);
    } else {
      log_->MarkDeadIn(grave.holder, grave.bytes);
    }
  }
  return compactor_->Start();
}

}  // namespace thermocline::storage
