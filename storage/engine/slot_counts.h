#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

#include "storage/index/ordered_table.h"

namespace thermocline::storage {

// Slots of the index by what they stand for. Whoever changes a slot says so under its latch. Thread-safe.
class SlotCounts {
 public:
  // Of many slots, counted by one thread.
  struct Totals {
    int64_t slots = 0, unresolved = 0, shadows = 0, live_heads = 0, hidden = 0;
    uint64_t newest = 0;  // of the positions given to Count

    // As SlotCounts::Changed.
    void Change(const std::optional<Slot>& from, const std::optional<Slot>& to) {
      slots += to.has_value() - from.has_value();
      unresolved += (to && to->unresolved) - (from && from->unresolved);
      shadows += (to && to->shadow) - (from && from->shadow);
      live_heads += (to && !to->tombstone) - (from && !from->tombstone);
    }

    void Count(const Slot& slot, uint64_t position) {
      newest = std::max(newest, position);
      ++slots;
      unresolved += slot.unresolved;
      shadows += slot.shadow;
      live_heads += !slot.tombstone;
    }
    void Add(const Totals& other) {
      slots += other.slots;
      unresolved += other.unresolved;
      shadows += other.shadows;
      live_heads += other.live_heads;
      hidden += other.hidden;
      newest = std::max(newest, other.newest);
    }
  };

  void Changed(const std::optional<Slot>& from, const std::optional<Slot>& to) {
    Totals change;
    change.Change(from, to);
    Add(change);
  }
  void Add(const Totals& totals) {
    Add(slots_, totals.slots);
    Add(unresolved_, totals.unresolved);
    Add(shadows_, totals.shadows);
    Add(live_heads_, totals.live_heads);
    Add(hidden_, totals.hidden);
  }
  // A record has displaced one that nobody compared, or such a chain has been resolved.
  void Hid(uint64_t records = 1) { Add(hidden_, static_cast<int64_t>(records)); }
  void Revealed() { Add(hidden_, -1); }
  void NothingHidden() { hidden_.store(0, std::memory_order_relaxed); }
  void Doubted(uint64_t slots) {
    Add(unresolved_, static_cast<int64_t>(slots));
    Add(hidden_, static_cast<int64_t>(slots));
  }

  // So many records are about to be in the cold store as well as in the index, or are not any more.
  void Moving(int64_t records) { Add(moving_, records); }

  uint64_t slots() const { return Load(slots_); }
  uint64_t unresolved() const { return Load(unresolved_); }
  uint64_t shadows() const { return Load(shadows_); }
  uint64_t hidden() const { return Load(hidden_); }
  // At most so many keys have an entry in the cold store that counts for nothing: the index has a newer
  // record.
  uint64_t shadowed_max() const {
    return Load(shadows_) + Load(moving_) + (unresolved() == 0 ? 0 : Load(hidden_));
  }
  // Of the index alone. An unresolved slot may be a second one of its key.
  uint64_t live_min() const { return Load(live_heads_) - std::min(Load(live_heads_), unresolved()); }
  // Behind each record that was displaced blindly there may be another key; without unresolved slots nothing
  // is behind anything.
  uint64_t live_max() const { return Load(live_heads_) + (unresolved() == 0 ? 0 : Load(hidden_)); }

 private:
  static void Add(std::atomic<int64_t>& counter, int64_t n) {
    if (n != 0) counter.fetch_add(n, std::memory_order_relaxed);
  }
  static uint64_t Load(const std::atomic<int64_t>& counter) {
    return static_cast<uint64_t>(std::max<int64_t>(0, counter.load(std::memory_order_relaxed)));
  }

  std::atomic<int64_t> slots_{0};
  std::atomic<int64_t> unresolved_{0};
  std::atomic<int64_t> shadows_{0};
  std::atomic<int64_t> moving_{0};
  std::atomic<int64_t> live_heads_{0};  // slots whose newest record is not a tombstone
  std::atomic<int64_t> hidden_{0};
};

}  // namespace thermocline::storage
