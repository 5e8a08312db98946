#include "storage/engine/compactor.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace thermocline::storage {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPollPause{50};

// After a failure: each try costs block numbers, and half a block of the writers'.
constexpr milliseconds kFirstRetry{500};
constexpr milliseconds kLastRetry{300'000};

// Used bytes over living ones: above it writers get no more room than compaction wins.
constexpr double kLimit = 1.26;

// Slots over those that memory allows: from here on records move to the cold store; above the second, writers
// get no more room than that wins.
constexpr double kDemoteFrom = 0.95;
constexpr double kFull = 0.99;

// Writers always get some room, whatever became of a batch.
constexpr double kLeastDemotedPerSecond = 1000;

// Records that move to the cold store in one batch, in blocks.
constexpr uint64_t kDemotedBlocks = 2;

// How often the cold store is looked at for what has expired.
constexpr int kReclaimPolls = 200;

constexpr int kBatchesBetweenIdle = 8;

// Chains resolved per poll when nobody waits for it, and tables of the index looked at for them.
constexpr int kResolutions = 1024;
constexpr int kTables = 4096;

// Through the index, when slots may be unresolved that no list names; the round that is under way may have
// passed some of them.
constexpr int kRounds = 2;

milliseconds PauseAfter(int failures) {
  return std::min<milliseconds>(kFirstRetry * (1 << std::min(failures, 10)), kLastRetry);
}

}  // namespace

Compactor::Compactor(const Parts& parts, Roster roster, std::vector<uint64_t> covered)
    : parts_(parts),
      roster_(std::move(roster)),
      shadows_({.transfer = {.index = parts.batch.index,
                             .log = parts.batch.log,
                             .counts = parts.batch.counts,
                             .cold = parts.batch.cold},
                .store_id = parts.batch.store_id,
                .block_bytes = parts.batch.block_bytes,
                .hash_of = parts.batch.hash_of}),
      checkpointer_(parts.checkpoint, std::move(covered),
                    [gate = gate_, &background = parts.background](absl::AnyInvocable<void()> task) {
                      Post(gate, background, std::move(task));
                    }),
      generation_(roster_.generation) {}

void Compactor::NoteGrave(const CompactionBatch::GraveNote& note) {
  grave_bytes_[note.dead][note.holder] += note.bytes;
}

// Touches no Compactor: one that calls back late may be gone.
void Compactor::Post(const std::shared_ptr<Gate>& gate, Executor& background, absl::AnyInvocable<void()> step,
                     milliseconds delay) {
  auto task = [gate, step = std::move(step)]() mutable {
    if (!gate->Enter()) return;
    step();
    gate->Leave();
  };
  if (delay.count() == 0) {
    background.Run(std::move(task));
  } else {
    background.RunAfter(delay, std::move(task));
  }
}

void Compactor::Schedule(absl::AnyInvocable<void()> step, milliseconds delay) {
  Post(gate_, parts_.background, std::move(step), delay);
}

absl::Status Compactor::Start() {
  memory_ = parts_.batch.budget.Take(MemoryBudget::Share::kCompaction,
                                     CompactionBatch::memory_bytes(parts_.batch.block_bytes));
  if (!memory_) return absl::ResourceExhaustedError("no memory for compaction: raise --memory");
  Schedule([this] { PollAgain(); });
  return absl::OkStatus();
}

void Compactor::Stop() {
  gate_->Close();
  checkpointer_.GiveUp(absl::CancelledError("the store is closing"));
  if (batch_ != nullptr) GiveUpBatch();
  batch_.reset();
  std::vector<Done> waiting;
  {
    MutexLock lock(mutex_);
    waiting.swap(waiting_);
  }
  std::move(forced_by_.begin(), forced_by_.end(), std::back_inserter(waiting));
  forced_by_.clear();
  for (Done& done : waiting) done(absl::UnavailableError("the store is closing"));
}

void Compactor::Compact(Done done) {
  {
    MutexLock lock(mutex_);
    waiting_.push_back(std::move(done));
  }
  Schedule([this] { Poll(); });
}

void Compactor::PollAgain() {
  if (std::exchange(poll_scheduled_, true)) return;
  Schedule(
      [this] {
        poll_scheduled_ = false;
        Poll();
      },
      kPollPause);
}

void Compactor::Poll() {
  PollAgain();
  if (running_.load(std::memory_order_relaxed)) return;
  // Unless a batch has failed, every block that stands counts at the next start.
  if (owed_.empty()) checkpointer_.Poll([this] { return Debts(); });
  parts_.batch.cold.Grow();
  ResolveSome();
  if (forced_by_.empty()) {
    MutexLock lock(mutex_);
    forced_by_.swap(waiting_);
    report_ = {};
    forced_since_ = std::chrono::steady_clock::now();
    forced_below_ = UINT64_MAX;
  }
  if (forced_by_.empty() && std::chrono::steady_clock::now() < not_before_) return;
  auto victims = Victims(!forced_by_.empty());
  if (victims.empty() && !forced_by_.empty()) ServeForced(absl::OkStatus());
  const Aim aim = ChooseAim(!victims.empty());
  demoted_last_ = aim == Aim::kDemote;
  if (demoted_last_) victims = Oldest();
  if (!victims.empty()) {
    Throttle();
    return Begin(aim, victims);
  }
  parts_.batch.log.Throttle(false);
  Idle();
}

// Whose turn it is: when space and memory are both short, they take turns. What is owed is always compacted:
// only the oldest blocks may be demoted.
Compactor::Aim Compactor::ChooseAim(bool debt) {
  if (!owed_.empty() || index_fill() < kDemoteFrom || (debt && demoted_last_)) return Aim::kCompact;
  if (std::chrono::steady_clock::now() < demote_not_before_) return Aim::kCompact;
  const auto made = parts_.batch.cold.Make();
  absl::Status status = made.status();
  // Want of space may be over by now; whoever tries finds out.
  if (made.ok() && *made) status = parts_.batch.cold.store()->Stats().write_status;
  if (!made.ok() || (!status.ok() && !absl::IsResourceExhausted(status))) {
    PutOffDemotion(status);
    return Aim::kCompact;
  }
  return *made ? Aim::kDemote : Aim::kCompact;
}

void Compactor::PutOffDemotion(const absl::Status& status) {
  demote_not_before_ = std::chrono::steady_clock::now() + PauseAfter(demote_failures_++);
  parts_.batch.cold.NoteStatus(status);
}

double Compactor::index_fill() const {
  return static_cast<double>(parts_.batch.counts.slots()) /
         static_cast<double>(parts_.batch.cold.slots_limit());
}

// The log is in the order of age: what was written, or relocated, first is what has been left alone longest.
// And no older record of a key stands before its newest one then, which could be taken for that at the next
// start, when the index does not know the newest one any more.
std::vector<BlockLog::Usage> Compactor::Oldest() const {
  std::vector<BlockLog::Usage> usage = parts_.batch.log.usage(parts_.batch.clock.NowMs());
  uint64_t live = 0;
  size_t count = 0;
  while (count < std::min(usage.size(), kMaxVictims) && live < kDemotedBlocks * parts_.batch.block_bytes) {
    live += usage[count++].live_bytes;
  }
  usage.resize(count);
  return usage;
}

// While a batch is under way.
void Compactor::Throttle() {
  const BlockLog::Counters log = parts_.batch.log.counters();
  const auto live = static_cast<double>(log.record_bytes - std::min(log.dead_bytes, log.record_bytes));
  const bool debt = static_cast<double>(log.record_bytes) > kLimit * live;
  const bool full = demoted_last_ && index_fill() > kFull;
  // As many new slots as become free, if writers go on with records as large as those that are there.
  const double mean = live / static_cast<double>(std::max<uint64_t>(1, parts_.batch.counts.slots()));
  parts_.batch.log.Pace(full ? static_cast<uint64_t>(demoted_per_second_ * mean) : 0);
  parts_.batch.log.Throttle(debt || full);
}

void Compactor::Idle() {
  batches_since_idle_ = 0;
  ReclaimExpired();
  // What fails is met again in the next turn, or by a batch, which says so.
  shadows_.Step().IgnoreError();
}

void Compactor::ReclaimExpired() {
  if (!parts_.batch.cold.exists() || --polls_until_reclaim_ > 0) return;
  const auto reclaimed = parts_.batch.cold.store()->ReclaimExpired(parts_.batch.clock.NowMs(),
                                                                   parts_.batch.cold.transfer_bytes());
  // Each time costs some syncs.
  polls_until_reclaim_ = reclaimed.ok() && !reclaimed->done ? 0 : kReclaimPolls;
}

std::vector<BlockLog::Usage> Compactor::Victims(bool forced) {
  std::vector<BlockLog::Usage> usage = parts_.batch.log.usage(parts_.batch.clock.NowMs());
  if (!owed_.empty()) {
    std::erase_if(usage, [&](const auto& block) {
      return std::find(owed_.begin(), owed_.end(), block.sequence) == owed_.end();
    });
    return usage;
  }
  if (forced && !usage.empty()) {
    forced_below_ = std::min(forced_below_, usage.back().sequence + 1);
    std::erase_if(usage, [&](const auto& block) { return block.sequence >= forced_below_; });
  }
  return ChooseVictims(std::move(usage), {.block_bytes = parts_.batch.block_bytes,
                                          .forced = forced,
                                          .short_of_space = parts_.batch.log.is_short_of_space()});
}

void Compactor::Begin(Aim aim, const std::vector<BlockLog::Usage>& victims) {
  running_.store(true, std::memory_order_relaxed);
  batch_began_ = std::chrono::steady_clock::now();
  // The batch needs that memory.
  shadows_.Flush().IgnoreError();
  std::vector<uint64_t> sequences;
  for (const auto& victim : victims) sequences.push_back(victim.sequence);
  // Oldest first, so that what was written together stays together.
  std::sort(sequences.begin(), sequences.end());
  // What moves to the cold store leaves graves, and what is hot, at most half.
  const uint64_t blocks = NewBlocksFor(victims, parts_.batch.block_bytes) / (aim == Aim::kDemote ? 2 : 1);
  // As many graves as there is room for in another two.
  const auto count = static_cast<uint32_t>((blocks + 3) * numbers_factor_ + 1);
  parts_.batch.log.SetAside(count, [this, gate = gate_, &background = parts_.background, aim, count,
                                    sequences =
                                        std::move(sequences)](absl::StatusOr<uint64_t> first) mutable {
    Post(gate, background,
         [this, aim, count, first = std::move(first), sequences = std::move(sequences)]() mutable {
           if (!first.ok()) return End(first.status());
           end_number_ = *first + count;
           batch_ = std::make_unique<CompactionBatch>(parts_.batch, aim, std::move(sequences), *first, count);
           Step();
         });
  });
}

void Compactor::Step() {
  const CompactionBatch::Work before = batch_->work();
  const auto progress = batch_->Step();
  if (!progress.ok()) {
    if (absl::IsOutOfRange(progress.status())) numbers_factor_ *= 2;
    return End(progress.status());
  }
  Throttle();
  Credit(before);
  switch (*progress) {
    case CompactionBatch::Progress::kMore:
      return Schedule([this] { Step(); });
    case CompactionBatch::Progress::kDoubts:
      return Resolve(batch_->doubts(), &Compactor::Step);
    case CompactionBatch::Progress::kDone:
      return Commit();
  }
}

// Room for writers: as much space as the victims' dead took, so far as they were read just now. (Where it is
// the index that is short, Throttle says how much a second.)
void Compactor::Credit(const CompactionBatch::Work& before) {
  const CompactionBatch::Work& work = batch_->work();
  const uint64_t dropped = work.records_dropped - before.records_dropped;
  const uint64_t moved = work.records_moved - before.records_moved;
  if (demoted_last_ || dropped == 0) return;
  parts_.batch.log.AddCredit((work.bytes_scanned - before.bytes_scanned) * dropped / (dropped + moved));
}

void Compactor::Resolve(std::vector<uint64_t> hashes, void (Compactor::*then)()) {
  struct Pending {
    Mutex mutex;
    size_t left ABSL_GUARDED_BY(mutex);
    absl::Status status ABSL_GUARDED_BY(mutex);
  };
  std::sort(hashes.begin(), hashes.end());
  hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
  auto pending = std::make_shared<Pending>();
  {
    MutexLock lock(pending->mutex);
    pending->left = hashes.size();
  }
  if (hashes.empty()) return (this->*then)();
  for (const uint64_t hash : hashes) {
    parts_.resolver.Resolve(hash, [this, gate = gate_, &background = parts_.background, pending,
                                   then](const absl::Status& status) {
      absl::Status all;
      {
        MutexLock lock(pending->mutex);
        pending->status.Update(status);
        if (--pending->left != 0) return;
        all = pending->status;
      }
      Post(gate, background, [this, all, then] { all.ok() ? (this->*then)() : End(all); });
    });
  }
}

void Compactor::Commit() {
  if (absl::Status status = batch_->Finish(); !status.ok()) {
    if (absl::IsOutOfRange(status)) numbers_factor_ *= 2;
    return End(status);
  }
  Resolve(batch_->late_doubts(), &Compactor::AwaitDisk);
}

void Compactor::AwaitDisk() {
  // What writers appended meanwhile may be what keeps a dropped record dead.
  parts_.batch.log.WhenDurable(
      [this, gate = gate_, &background = parts_.background](const absl::Status& status) {
        Post(gate, background, [this, status] { status.ok() ? Publish() : End(status); });
      });
}

// What stands before what was appended after the numbers had been set aside, without those.
absl::Status Compactor::PublishWithout(const std::vector<uint64_t>& victims) {
  Roster roster = {.generation = roster_.generation + 1, .below = std::max(roster_.below, end_number_)};
  for (const uint64_t sequence : parts_.batch.log.sequences()) {
    const bool victim = std::find(victims.begin(), victims.end(), sequence) != victims.end();
    if (sequence < roster.below && !victim) roster.sequences.push_back(sequence);
  }
  if (absl::Status status = WriteRoster(parts_.directory, parts_.batch.store_id, roster, parts_.batch.files);
      !status.ok()) {
    return status;
  }
  roster_ = std::move(roster);
  generation_.store(roster_.generation, std::memory_order_release);
  return absl::OkStatus();
}

void Compactor::Publish() {
  const std::vector<uint64_t>& victims = batch_->victims();
  if (absl::Status status = PublishWithout(victims); !status.ok()) return End(status);
  parts_.batch.log.Retire(victims,
                          [this, gate = gate_, &background = parts_.background](const absl::Status& status) {
                            Post(gate, background, [this, status] { status.ok() ? Remove() : End(status); });
                          });
}

void Compactor::Remove() {
  for (const auto& note : batch_->work().graves) NoteGrave(note);
  graves_written_.fetch_add(batch_->work().graves.size(), std::memory_order_relaxed);
  for (const uint64_t victim : batch_->victims()) {
    // What cannot be removed is not in the roster: the next start tries again.
    parts_.batch.log.Unlink(victim).IgnoreError();
    const auto graves = grave_bytes_.extract(victim);
    if (graves.empty()) continue;
    for (const auto& [holder, bytes] : graves.mapped()) parts_.batch.log.MarkDeadIn(holder, bytes);
  }
  const CompactionBatch::Work& work = batch_->work();
  blocks_freed_.fetch_add(batch_->victims().size(), std::memory_order_relaxed);
  bytes_freed_.fetch_add(work.bytes_scanned, std::memory_order_relaxed);
  records_moved_.fetch_add(work.records_moved, std::memory_order_relaxed);
  records_demoted_.fetch_add(work.records_demoted, std::memory_order_relaxed);
  records_dropped_.fetch_add(work.records_dropped, std::memory_order_relaxed);
  report_.blocks_freed += batch_->victims().size();
  report_.bytes_scanned += work.bytes_scanned;
  report_.bytes_written += work.bytes_written;
  report_.records_moved += work.records_moved;
  report_.records_dropped += work.records_dropped;
  numbers_factor_ = 1;
  owed_.clear();
  // The old blocks are out of the log, whatever became of their files.
  End(absl::OkStatus());
}

void Compactor::NoteDemotionRate() {
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - batch_began_;
  demoted_per_second_ =
      std::max(kLeastDemotedPerSecond, static_cast<double>(batch_->work().records_demoted) / taken.count());
}

void Compactor::End(const absl::Status& status) {
  if (batch_ != nullptr) bytes_written_.fetch_add(batch_->work().bytes_written, std::memory_order_relaxed);
  if (batch_ != nullptr && !status.ok()) GiveUpBatch();
  if (batch_ != nullptr && status.ok() && demoted_last_) NoteDemotionRate();
  batch_.reset();
  running_.store(false, std::memory_order_relaxed);
  const bool again = status.ok() || absl::IsOutOfRange(status);
  {
    MutexLock lock(mutex_);
    status_ = again ? absl::OkStatus() : status;
  }
  if (again) {
    failures_ = 0;
    if (demoted_last_ && status.ok()) {
      demote_failures_ = 0;
      parts_.batch.cold.NoteStatus(absl::OkStatus());
    }
    // However much there is to do.
    if (++batches_since_idle_ >= kBatchesBetweenIdle) Idle();
    return Poll();
  }
  if (demoted_last_) PutOffDemotion(status);
  not_before_ = std::chrono::steady_clock::now() + PauseAfter(failures_++);
  // Writers must not wait for space that is not being won.
  parts_.batch.log.Throttle(false);
  if (!forced_by_.empty()) ServeForced(status);
}

// What it has moved is in its new blocks and, dead and unnamed, in the victims: those must go together, with
// the next batch.
void Compactor::GiveUpBatch() {
  batch_->GiveUp();
  for (const auto& note : batch_->work().graves) NoteGrave(note);
  const CompactionBatch::Work& work = batch_->work();
  if (work.records_moved + work.records_demoted + work.records_dropped == 0) return;
  for (const uint64_t victim : batch_->victims()) {
    if (std::find(owed_.begin(), owed_.end(), victim) == owed_.end()) owed_.push_back(victim);
  }
  checkpointer_.GiveUp(absl::AbortedError("a compaction has failed meanwhile"));
}

CheckpointState Compactor::Debts() const {
  CheckpointState state = {.generation = roster_.generation, .owed = owed_};
  for (const auto& [dead, holders] : grave_bytes_) {
    for (const auto& [holder, bytes] : holders) state.grave_notes.push_back({dead, holder, bytes});
  }
  return state;
}

absl::Status Compactor::Checkpoint(const CleanEnd& end, const HotSet& hot) {
  memory_ = {};
  // What a batch has copied before it was given up counts from now on, beside what it was copied from.
  if (!owed_.empty()) {
    if (absl::Status status = PublishWithout({}); !status.ok()) return status;
  }
  CheckpointState state = Debts();
  state.end = end;
  state.end_dead_bytes = parts_.batch.log.DeadBytesIn(end.position / parts_.batch.block_bytes);
  return checkpointer_.Write(std::move(state), hot);
}

void Compactor::ServeForced(const absl::Status& status) {
  report_.duration_ms = static_cast<uint64_t>(
      std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - forced_since_).count());
  for (Done& done : std::exchange(forced_by_, {})) {
    if (status.ok()) {
      done(report_);
    } else {
      done(status);
    }
  }
}

// Closes the bounds of the counts, and spares later compactions the reading.
void Compactor::ResolveSome() {
  if (resolving_) return;
  std::vector<uint64_t> hashes = parts_.blind_writes.TakeAll();
  if (parts_.blind_writes.TakeForgotten()) rounds_ = kRounds;
  if (rounds_ > 0 && parts_.batch.counts.unresolved() != 0 && hashes.size() < kResolutions) {
    for (int tables = 0; tables < kTables && hashes.size() < kResolutions; ++tables) {
      const HashIndex::Sweep sweep = parts_.batch.index.SweepUnresolved(resolve_from_);
      if (sweep.unresolved) hashes.push_back(*sweep.unresolved);
      resolve_from_ = sweep.next;
      if (resolve_from_ == 0) {
        --rounds_;
        break;
      }
    }
  }
  if (hashes.empty()) return;
  resolving_ = true;
  struct Pending {
    std::atomic<size_t> left;
    std::atomic<bool> failed{false};
  };
  auto pending = std::make_shared<Pending>(hashes.size());
  for (const uint64_t hash : hashes) {
    const auto resolved = [this, gate = gate_, &background = parts_.background,
                           pending](const absl::Status& status) {
      if (!status.ok()) pending->failed.store(true, std::memory_order_relaxed);
      if (pending->left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
      Post(gate, background, [this, pending] {
        resolving_ = false;
        // For want of room, say: those are looked for.
        if (pending->failed.load(std::memory_order_relaxed)) rounds_ = kRounds;
      });
    };
    parts_.resolver.Resolve(hash, resolved);
  }
}

Compactor::Counters Compactor::counters() const {
  const auto load = [](const auto& counter) { return counter.load(std::memory_order_relaxed); };
  MutexLock lock(mutex_);
  return {.blocks_freed = load(blocks_freed_),
          .bytes_freed = load(bytes_freed_),
          .records_moved = load(records_moved_),
          .records_demoted = load(records_demoted_),
          .records_dropped = load(records_dropped_),
          .graves_written = load(graves_written_),
          .bytes_written = load(bytes_written_),
          .checkpoints = checkpointer_.finished(),
          .running = load(running_),
          .status = status_,
          .checkpoint_status = checkpointer_.status()};
}

}  // namespace thermocline::storage
