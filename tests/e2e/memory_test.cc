// The memory number holds: ten times as much data is written and read than the server may keep in memory.

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "gtest/gtest.h"
#include <fmt/format.h>

#include "client/client.h"
#include "tests/support/server_process.h"

namespace thermocline::testing {
namespace {

// What README.md promises: code, stacks, gRPC and the allocator's slack.
constexpr uint64_t kConstant = 64 << 20;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kShadowMemory = true;  // its resident size says nothing
#else
constexpr bool kShadowMemory = false;
#endif

std::string KeyOf(uint64_t i) { return fmt::format("key:{}", i); }
std::string ValueOf(uint64_t i) { return fmt::format("{:>{}}", i, 200 + i % 1600); }

TEST(MemoryTest, ResidentMemoryStaysWithinTheNumberAndAConstant) {
  constexpr uint64_t kMemory = 32 << 20;
  const uint64_t keys = kShadowMemory ? 20'000 : 10 * kMemory / 1000;
  auto server = ServerProcess::Start({.flags = {"--memory", "32MiB"}});
  ASSERT_TRUE(server.ok()) << server.status();
  auto connected = Client::Connect({.server = (*server)->address(), .timeout = std::chrono::seconds(60)});
  ASSERT_TRUE(connected.ok()) << connected.status();
  Client& client = **connected;

  std::atomic<bool> watching{true};
  std::atomic<uint64_t> most{0};
  std::thread watcher([&] {
    while (watching) {
      most = std::max(most.load(), (*server)->ResidentBytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });

  uint64_t bytes = 0;
  for (uint64_t i = 0; i < keys; i += 1000) {
    std::vector<Write> writes;
    for (uint64_t j = i; j < std::min(keys, i + 1000); ++j)
      writes.push_back(Write::Set(KeyOf(j), ValueOf(j)));
    for (const Write& write : writes) bytes += write.key.size() + write.value->size();
    for (const auto& result : client.BatchWrite(std::move(writes)))
      ASSERT_TRUE(result.ok()) << result.status();
  }
  std::mt19937_64 random(1);
  for (uint64_t round = 0; round < keys / 1000; ++round) {
    std::vector<std::string> asked;
    std::vector<uint64_t> numbers;
    for (int j = 0; j < 500; ++j) numbers.push_back(random() % keys);
    for (const uint64_t number : numbers) asked.push_back(KeyOf(number));
    const auto answers = client.BatchGet(std::move(asked));
    for (size_t j = 0; j < numbers.size(); ++j) {
      ASSERT_TRUE(answers[j].ok()) << answers[j].status();
      ASSERT_TRUE(answers[j]->has_value() && (*answers[j])->value == ValueOf(numbers[j]))
          << KeyOf(numbers[j]);
    }
  }
  watching = false;
  watcher.join();

  const auto stats = client.Stats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_LE(stats->memory.used_bytes, kMemory);
  RecordProperty("written_bytes", std::to_string(bytes));
  RecordProperty("most_resident_bytes", std::to_string(most.load()));
  if (kShadowMemory) return;
  EXPECT_GE(bytes, 10 * kMemory);
  EXPECT_LE(most.load(), kMemory + kConstant);
}

}  // namespace
}  // namespace thermocline::testing
