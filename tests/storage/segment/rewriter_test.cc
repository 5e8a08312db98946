// A rewrite in the background and changes of the same segment, when both want most of the memory.

#include <future>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "storage/posix_file_system.h"
#include "storage/segments.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/storage/segment/memory_objects.h"
#include "tests/storage/segment/segment_store.h"
#include "tests/support/temp_directory.h"

namespace thermocline::storage {
namespace {

std::vector<uint64_t> Ids(uint64_t first, size_t count) {
  std::vector<uint64_t> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

// The change has the lock of the name and waits for the memory of the rewrite, which then wants the lock.
TEST(RewriterTest, KeepsNobodyWaitingForItsMemory) {
  const testing::TempDirectory directory;
  PosixFileSystem files;
  SystemClock clock;
  testing::MemoryObjects objects;
  ThreadPool executor("query", 4);
  ThreadPool changes("change", 2);
  SegmentsOptions options;
  options.directory = directory.Path("segments");
  options.memory_bytes = kMinSegmentMemoryBytes;
  auto segments = Segments::Open(options, {files, clock, objects, executor, changes, executor, {}}).value();
  const auto add = [&](uint64_t first, size_t count, bool counted) {
    return testing::Change(*segments, "a", SegmentChange::kAdd, Ids(first, count), counted);
  };
  ASSERT_TRUE(add(0, 200'000, false).ok());
  objects.HoldReads(true);
  ASSERT_TRUE(add(1'000'000, 200'000, false).ok());                // two files: to be rewritten as one
  while (objects.CompleteReads() == 0) std::this_thread::yield();  // it has its memory
  auto counted = std::async(std::launch::async, [&] { return add(199'990, 20, true); });
  while (segments->Stats().changes_waiting == 0) std::this_thread::yield();
  while (segments->Stats().rewrites == 0 &&
         counted.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    objects.CompleteReads();
    std::this_thread::yield();
  }
  objects.HoldReads(false);
  while (counted.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    objects.CompleteReads();
    std::this_thread::yield();
  }
  const auto result = counted.get();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->changed, 10u);
}

}  // namespace
}  // namespace thermocline::storage
