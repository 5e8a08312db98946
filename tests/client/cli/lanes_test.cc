#include "client/cli/lanes.h"

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace thermocline::cli {
namespace {

// Completes each batch on a thread of its own, so that batches of different lanes overtake each other.
class SlowServer {
 public:
  ~SlowServer() {
    for (std::thread& thread : threads_) thread.join();
  }

  void Send(std::vector<Record> batch, absl::AnyInvocable<void()> done) {
    threads_.emplace_back([this, batch = std::move(batch), done = std::move(done)]() mutable {
      std::this_thread::sleep_for(std::chrono::microseconds(batch.front().line * 37 % 500));
      {
        std::lock_guard lock(mutex_);
        for (const Record& record : batch) values_[record.key].push_back(record.line);
        largest_ = std::max(largest_, batch.size());
      }
      done();
    });
  }

  std::map<std::string, std::vector<uint64_t>> values_;
  size_t largest_ = 0;

 private:
  std::mutex mutex_;
  std::vector<std::thread> threads_;
};

TEST(Lanes, KeepsTheOrderOfEachKeyAndLosesNothing) {
  SlowServer server;
  {
    Lanes lanes({.lanes = 4, .batch_records = 7, .batch_bytes = 1000},
                [&](auto batch, auto done) { server.Send(std::move(batch), std::move(done)); });
    for (uint64_t i = 0; i < 1000; ++i) lanes.Add({.line = i, .key = std::to_string(i * i % 31)});
    lanes.Drain();
  }
  EXPECT_EQ(server.largest_, 7U);
  size_t records = 0;
  for (const auto& [key, lines] : server.values_) {
    EXPECT_TRUE(std::is_sorted(lines.begin(), lines.end())) << key;
    records += lines.size();
  }
  EXPECT_EQ(records, 1000U);
}

TEST(Lanes, SendsAFullBatchOfBytesAtOnce) {
  SlowServer server;
  Lanes lanes({.lanes = 1, .batch_records = 1000, .batch_bytes = 10},
              [&](auto batch, auto done) { server.Send(std::move(batch), std::move(done)); });
  lanes.Add({.line = 1, .key = "k", .value = "12345678"});
  lanes.Add({.line = 2, .key = "k", .value = "1"});
  lanes.Add({.line = 3, .key = "k", .value = "1234567890"});
  lanes.Drain();
  EXPECT_EQ(server.largest_, 2U);
}

}  // namespace
}  // namespace thermocline::cli
