#include "storage/cache/record_cache.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <sys/mman.h>
#include <utility>

namespace thermocline::storage {
namespace {

constexpr MemoryBudget::Share kShare = MemoryBudget::Share::kCache;
constexpr uint64_t kSegmentsInMemory = 256;
constexpr uint64_t kMinSegmentBytes = 64 << 10;
constexpr uint64_t kMaxSegmentBytes = 1 << 20;
// A record that takes more than this share of a segment has one of its own.
constexpr uint32_t kLargeShare = 8;
// Records that take more than this share of all memory are not cached.
constexpr uint64_t kTooLargeShare = 32;
// So much of a segment goes, whatever was used of it.
constexpr uint32_t kLeavingShare = 8;
// A wait for latches serves so many segments.
constexpr size_t kLeavingTogether = 8;
// Of all memory, for fingerprints.
constexpr uint64_t kDoorkeeperShare = 128;
constexpr uint64_t kMostDoorkeeperBytes = uint64_t{1} << 33;

constexpr uint32_t Align(uint32_t bytes) {
  return (bytes + CacheEntry::kAlignment - 1) & ~(CacheEntry::kAlignment - 1);
}

uint32_t SegmentBytes(uint64_t memory_bytes) {
  return static_cast<uint32_t>(
      std::clamp(std::bit_floor(memory_bytes / kSegmentsInMemory), kMinSegmentBytes, kMaxSegmentBytes));
}

}  // namespace

class RecordCache::Memory {
 public:
  static std::shared_ptr<Memory> Map(MemoryBudget& budget, uint64_t bytes) {
    constexpr uint64_t kPage = 4096;
    bytes = (bytes + kPage - 1) / kPage * kPage;
    MemoryBudget::Grant grant = budget.Take(kShare, bytes);
    if (!grant) return nullptr;
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return nullptr;
    return std::shared_ptr<Memory>(new Memory(std::move(grant), static_cast<char*>(data), bytes));
  }
  ~Memory() { munmap(data_, bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  char* data() const { return data_; }

 private:
  Memory(MemoryBudget::Grant grant, char* data, uint64_t bytes)
      : grant_(std::move(grant)), data_(data), bytes_(bytes) {}

  const MemoryBudget::Grant grant_;
  char* const data_;
  const uint64_t bytes_;
};

RecordCache::RecordCache(const Collaborators& world)
    : world_(world),
      segment_bytes_(SegmentBytes(world.budget.limit())),
      max_segments_(static_cast<uint32_t>(
          std::min<uint64_t>(CacheEntry::kMaxSegments, world.budget.limit() / segment_bytes_ * kLargeShare))),
      segments_(new Segment[max_segments_ + 1]),
      table_(world.budget, world.budget.limit()) {
  for (uint32_t index = max_segments_; index > 0; --index) free_.push_back(index);
}

RecordCache::~RecordCache() = default;

const char* RecordCache::EntryAt(CacheEntry entry) const {
  return segments_[entry.segment()].data.load(std::memory_order_acquire) + entry.offset();
}

Position RecordCache::PositionAt(CacheEntry entry) const {
  Position position = 0;
  std::memcpy(&position, EntryAt(entry), sizeof(position));
  return position;
}

std::atomic<uint64_t>* RecordCache::Look(Position position, uint64_t hash) const {
  return table_.Find(hash, [&](CacheEntry entry) { return PositionAt(entry) == position; });
}

std::optional<DecodedRecord> RecordCache::Find(Position position, Use use) const {
  CacheEntry entry;
  std::atomic<uint64_t>* const word = table_.Find(HashOfPosition(position), [&](CacheEntry found) {
    entry = found;
    return PositionAt(found) == position;
  });
  if (word == nullptr) return std::nullopt;
  if (use == Use::kCount && entry.uses() < CacheEntry::kMostUses) {
    // If the word has changed meanwhile, one use goes uncounted.
    uint64_t expected = entry.word();
    word->compare_exchange_strong(expected, entry.WithUses(entry.uses() + 1).word(),
                                  std::memory_order_relaxed);
  }
  const uint32_t begin = entry.offset() + kPrefix;
  const uint32_t end = segments_[entry.segment()].bytes.load(std::memory_order_relaxed);
  auto decoded = DecodeRecord({EntryAt(entry) + kPrefix, end - begin}, position, 0);
  if (!decoded) std::abort();  // entries lead to nothing but records
  return decoded;
}

std::shared_ptr<const void> RecordCache::Pin(Position position, std::string_view found) const {
  const std::atomic<uint64_t>* const word = Look(position, HashOfPosition(position));
  if (word == nullptr) return nullptr;
  const CacheEntry entry(word->load(std::memory_order_acquire));
  if (!entry) return nullptr;
  const Segment& segment = segments_[entry.segment()];
  // The entry may have moved since, or another have come: then what was found lies elsewhere.
  const char* const data = segment.data.load(std::memory_order_acquire);
  if (data == nullptr || found.data() < data ||
      found.data() >= data + segment.bytes.load(std::memory_order_relaxed))
    return nullptr;
  segment.pinned.store(true, std::memory_order_relaxed);
  return segment.memory;
}

void RecordCache::Cool(Position position) const {
  std::atomic<uint64_t>* const word = Look(position, HashOfPosition(position));
  if (word == nullptr) return;
  uint64_t expected = word->load(std::memory_order_relaxed);
  if (expected == 0) return;
  word->compare_exchange_strong(expected, CacheEntry(expected).WithUses(0).word(), std::memory_order_relaxed);
}

bool RecordCache::Insert(Position position, const Record& record, uint32_t uses) {
  MutexLock lock(mutex_);
  return InsertLocked(position, record, uses, Evict::kMay);
}

bool RecordCache::InsertLocked(Position position, const Record& record, uint32_t uses, Evict evict) {
  const uint64_t hash = HashOfPosition(position);
  if (Look(position, hash) != nullptr) return true;
  const uint32_t bytes = Align(kPrefix + EncodedBytes(record, position, 0));
  const uint32_t index = SegmentFor(bytes, evict);
  if (index == 0) return false;
  Segment& segment = segments_[index];
  char* const out = segment.data.load(std::memory_order_relaxed) + segment.used;
  std::memcpy(out, &position, sizeof(position));
  EncodeRecord(record, position, 0, out + kPrefix);
  const CacheEntry entry(hash, index, segment.used, std::min(uses, CacheEntry::kMostUses));
  segment.used += bytes;
  return table_.Insert(hash, entry, [this](CacheEntry each) { return HashOf(each); });
}

Doorkeeper* RecordCache::doorkeeper() {
  if (Doorkeeper* made = doorkeeper_.load(std::memory_order_acquire)) return made;
  MutexLock lock(mutex_);
  if (owned_doorkeeper_ == nullptr) {
    const uint64_t bytes = std::min(world_.budget.limit() / kDoorkeeperShare, kMostDoorkeeperBytes);
    // Not much, and needed most when all memory is taken: nobody is asked.
    doorkeeper_memory_ = world_.budget.Take(kShare, bytes);
    if (!doorkeeper_memory_) return nullptr;
    owned_doorkeeper_ = std::make_unique<Doorkeeper>(bytes / sizeof(uint64_t));
    doorkeeper_.store(owned_doorkeeper_.get(), std::memory_order_release);
  }
  return owned_doorkeeper_.get();
}

bool RecordCache::Offer(Position position, const Record& record) {
  Doorkeeper* const door = doorkeeper();
  const bool again = door != nullptr && door->Seen(position);
  if (again) return Insert(position, record, 0);
  if (!growing_.load(std::memory_order_relaxed)) return false;
  MutexLock lock(mutex_);
  return InsertLocked(position, record, 0, Evict::kNever);
}

bool RecordCache::InsertIfRoom(Position position, const Record& record) {
  MutexLock lock(mutex_);
  return InsertLocked(position, record, 0, Evict::kNever);
}

void RecordCache::Move(Position from, Position to, const Record& record) {
  MutexLock lock(mutex_);
  std::atomic<uint64_t>* const word = Look(from, HashOfPosition(from));
  if (word == nullptr) return;
  const uint32_t uses = CacheEntry(word->load(std::memory_order_relaxed)).uses();
  if (InsertLocked(to, record, uses, Evict::kMay)) Cool(from);
}

uint32_t RecordCache::SegmentFor(uint32_t bytes, Evict evict) {
  constexpr auto kFits = [](const Segment& segment, uint32_t more) {
    return segment.used + more <= segment.bytes.load(std::memory_order_relaxed);
  };
  if (bytes > segment_bytes_ / kLargeShare) {
    if (bytes > world_.budget.limit() / kTooLargeShare) return 0;
    uint32_t index = Allocate(bytes);
    for (uint64_t freed = 0;
         evict == Evict::kMay && index == 0 && freed < 2 * uint64_t{bytes} && !fifo_.empty();) {
      Survivors survivors;
      const uint32_t oldest = EvictOldest(survivors);
      freed += segments_[oldest].bytes.load(std::memory_order_relaxed);
      WaitForReaders();
      FreeSegment(oldest);
      PutBack(survivors);
      index = Allocate(bytes);
    }
    // Before the head, which takes more.
    if (index != 0) fifo_.insert(fifo_.end() - (head_ == 0 ? 0 : 1), index);
    return index;
  }
  for (int i = 0; i < 2; ++i) {
    if (head_ != 0 && kFits(segments_[head_], bytes)) return head_;
    if (!NewHead(evict)) return 0;
  }
  return head_ != 0 && kFits(segments_[head_], bytes) ? head_ : 0;
}

// Another segment, or the oldest one emptied but for what was used.
bool RecordCache::NewHead(Evict evict) {
  uint32_t head = Allocate(segment_bytes_);
  growing_.store(head != 0, std::memory_order_relaxed);
  if (head == 0 && (evict == Evict::kNever || fifo_.empty())) return false;
  Survivors survivors;
  if (head != 0) {
    WaitForReaders();
  } else {
    head = EvictOldest(survivors);
    WaitForReaders();
    if (!IsReusable(head)) {
      FreeSegment(head);
      head = Allocate(segment_bytes_);
      if (head == 0) {
        PutBack(survivors);
        return !fifo_.empty();
      }
    }
  }
  BeginHead(head);
  PutBack(survivors);
  return true;
}

bool RecordCache::IsReusable(uint32_t index) const {
  const Segment& segment = segments_[index];
  return !segment.pinned.load(std::memory_order_relaxed) &&
         segment.bytes.load(std::memory_order_relaxed) == segment_bytes_;
}

void RecordCache::BeginHead(uint32_t index) {
  segments_[index].used = 0;
  head_ = index;
  fifo_.push_back(index);
}

// Tables that were replaced go as well.
void RecordCache::WaitForReaders() {
  world_.wait_for_latches();
  table_.FreeRetired();
}

uint32_t RecordCache::Allocate(uint32_t bytes) {
  if (free_.empty() || !world_.may_grow(bytes)) return 0;
  auto memory = Memory::Map(world_.budget, bytes);
  if (memory == nullptr) return 0;
  const uint32_t index = free_.back();
  free_.pop_back();
  Segment& segment = segments_[index];
  segment.used = 0;
  segment.bytes.store(bytes, std::memory_order_relaxed);
  segment.pinned.store(false, std::memory_order_relaxed);
  segment.data.store(memory->data(), std::memory_order_release);
  segment.memory = std::move(memory);
  return index;
}

void RecordCache::FreeSegment(uint32_t index) {
  segments_[index].data.store(nullptr, std::memory_order_relaxed);
  segments_[index].memory.reset();
  free_.push_back(index);
}

template <typename Visit>
void RecordCache::ForEach(const Segment& segment, Visit visit) const {
  const char* const data = segment.data.load(std::memory_order_relaxed);
  for (uint32_t offset = 0; offset < segment.used;) {
    Position position = 0;
    std::memcpy(&position, data + offset, sizeof(position));
    const uint32_t begin = offset + kPrefix;
    const auto decoded = DecodeRecord({data + begin, segment.used - begin}, position, 0);
    if (!decoded) std::abort();  // see Find
    const uint32_t bytes = Align(kPrefix + decoded->bytes);
    visit(position, offset, bytes);
    offset += bytes;
  }
}

// What goes on must leave room for new records: those that were used most, as many as fit.
RecordCache::Bar RecordCache::BarOf(const Segment& segment, uint64_t room) const {
  std::array<uint64_t, CacheEntry::kMostUses + 1> bytes_by_uses{};
  ForEach(segment, [&](Position position, uint32_t /*offset*/, uint32_t bytes) {
    const std::atomic<uint64_t>* const word = Look(position, HashOfPosition(position));
    if (word != nullptr) bytes_by_uses[CacheEntry(word->load(std::memory_order_relaxed)).uses()] += bytes;
  });
  Bar bar = {.uses = CacheEntry::kMostUses, .bytes = room};
  while (bar.uses > 1 && bytes_by_uses[bar.uses] <= bar.bytes) bar.bytes -= bytes_by_uses[bar.uses--];
  return bar;
}

// Who has a segment alone and was used goes to the end of the queue as it is.
void RecordCache::PassLargeOnes() {
  constexpr int kMost = 16;
  for (int i = 0; i < kMost; ++i) {
    const uint32_t index = fifo_.front();
    const Segment& segment = segments_[index];
    if (segment.bytes.load(std::memory_order_relaxed) == segment_bytes_) return;
    const Position position = PositionAt(CacheEntry(0, index, 0, 0));
    std::atomic<uint64_t>* const word = Look(position, HashOfPosition(position));
    if (word == nullptr) return;
    const CacheEntry entry(word->load(std::memory_order_relaxed));
    if (entry.uses() == 0 || entry.segment() != index) return;
    word->store(entry.WithUses(entry.uses() - 1).word(), std::memory_order_release);
    fifo_.pop_front();
    fifo_.insert(fifo_.end() - (head_ == 0 ? 0 : 1), index);
  }
}

uint32_t RecordCache::EvictOldest(Survivors& survivors) {
  PassLargeOnes();
  const uint32_t index = fifo_.front();
  fifo_.pop_front();
  if (index == head_) head_ = 0;
  const auto hash_of = [this](CacheEntry each) { return HashOf(each); };
  const Segment& segment = segments_[index];
  const char* const data = segment.data.load(std::memory_order_relaxed);
  const uint64_t room = segment_bytes_ - segment_bytes_ / kLeavingShare;
  Bar bar = BarOf(segment, room - std::min<uint64_t>(room, survivors.bytes.size()));
  ForEach(segment, [&](Position position, uint32_t offset, uint32_t bytes) {
    const uint64_t hash = HashOfPosition(position);
    const std::atomic<uint64_t>* const word = Look(position, hash);
    if (word == nullptr) return;
    const uint32_t uses =
        table_.Erase(hash, CacheEntry(word->load(std::memory_order_relaxed)), hash_of).uses();
    if (uses < bar.uses || (uses == bar.uses && bytes > bar.bytes)) return;
    if (uses == bar.uses) bar.bytes -= bytes;
    survivors.records.push_back({.position = position, .bytes = bytes, .uses = uses - 1});
    survivors.bytes.append(data + offset, bytes);
  });
  return index;
}

// Into the head, as far as they fit.
void RecordCache::PutBack(const Survivors& survivors) {
  const char* from = survivors.bytes.data();
  for (const Survivors::Entry& entry : survivors.records) {
    if (head_ == 0) return;
    Segment& segment = segments_[head_];
    if (segment.used + entry.bytes > segment.bytes.load(std::memory_order_relaxed)) return;
    std::memcpy(segment.data.load(std::memory_order_relaxed) + segment.used, from, entry.bytes);
    const uint64_t hash = HashOfPosition(entry.position);
    table_.Insert(hash, CacheEntry(hash, head_, segment.used, entry.uses),
                  [this](CacheEntry each) { return HashOf(each); });
    segment.used += entry.bytes;
    from += entry.bytes;
  }
}

void RecordCache::Drain(absl::FunctionRef<void(Position)> visit) {
  MutexLock lock(mutex_);
  for (const uint32_t index : std::exchange(fifo_, {})) {
    ForEach(segments_[index],
            [&](Position position, uint32_t /*offset*/, uint32_t /*bytes*/) { visit(position); });
    FreeSegment(index);
  }
}

uint64_t RecordCache::Shrink(uint64_t bytes) {
  MutexLock lock(mutex_);
  uint64_t freed = 0;
  Survivors survivors;
  uint32_t heir = 0;
  while (freed < bytes && !fifo_.empty()) {
    std::vector<uint32_t> leaving;
    // Tables that get smaller need memory meanwhile: not all at once.
    for (uint64_t more = 0; leaving.size() < kLeavingTogether && freed + more < bytes && !fifo_.empty();) {
      leaving.push_back(EvictOldest(survivors));
      more += segments_[leaving.back()].bytes.load(std::memory_order_relaxed);
    }
    WaitForReaders();
    for (const uint32_t index : leaving) {
      if (heir == 0 && !survivors.records.empty() && IsReusable(index)) {
        heir = index;
        continue;
      }
      freed += segments_[index].bytes.load(std::memory_order_relaxed);
      FreeSegment(index);
    }
  }
  if (heir != 0 && freed < bytes) {
    freed += segment_bytes_;
    FreeSegment(heir);
  } else if (heir != 0) {
    BeginHead(heir);
  }
  PutBack(survivors);
  return freed;
}

}  // namespace thermocline::storage
