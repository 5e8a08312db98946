// Readers under latches while others put records in and take memory away.

#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "storage/cache/record_cache.h"
#include "storage/thread_annotations.h"

namespace thermocline::testing {
namespace {

using storage::MemoryBudget;
using storage::Mutex;
using storage::MutexLock;
using storage::Position;
using storage::RecordCache;
using storage::Use;

TEST(RecordCacheThreadsTest, WhatIsFoundIsRightUntilTheLatchIsReleased) {
  constexpr uint64_t kMemory = 4 << 20;
  constexpr Position kPositions = 60'000;
  constexpr size_t kLatches = 16;
  MemoryBudget budget(kMemory);
  std::vector<Mutex> latches(kLatches);
  RecordCache cache({.budget = budget,
                     .may_grow = [&](uint64_t bytes) { return budget.available() >= bytes + (64 << 10); },
                     .wait_for_latches =
                         [&] {
                           for (Mutex& latch : latches) MutexLock lock(latch);
                         }});
  const auto value_at = [](Position position) {
    return std::string(30 + position % 150, static_cast<char>('a' + position % 26));
  };
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> hits{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      while (!stop) {
        const Position position = 1 + random() % kPositions;
        std::shared_ptr<const void> pin;
        std::string_view value;
        {
          MutexLock latch(latches[position % kLatches]);
          const auto found = cache.Find(position, Use::kCount);
          if (!found) continue;
          ASSERT_EQ(found->record.value, value_at(position));
          hits.fetch_add(1, std::memory_order_relaxed);
          if (random() % 64 == 0) pin = cache.Pin(position, found->record.value);
          if (random() % 64 == 0) cache.Cool(position);
          value = found->record.value;
        }
        if (pin == nullptr) continue;
        ASSERT_EQ(value, value_at(position));
      }
    });
  }
  std::thread shrinker([&] {
    while (!stop) {
      cache.Shrink(256 << 10);
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> writers;
  for (uint64_t t = 0; t < 2; ++t) {
    writers.emplace_back([&, t] {
      std::mt19937_64 random(100 + t);
      for (int i = 0; i < 100'000; ++i) {
        const Position position = 1 + random() % kPositions;
        cache.Insert(position, {.key = "k", .value = value_at(position), .version = position}, random() % 3);
        ASSERT_LE(budget.used(MemoryBudget::Share::kCache), kMemory);
      }
    });
  }
  for (std::thread& thread : writers) thread.join();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  shrinker.join();
  EXPECT_GT(hits, 1000u);
}

}  // namespace
}  // namespace thermocline::testing
