// The real server, killed with SIGKILL at random moments under concurrent SYNC writers. After each restart
// every acknowledged write is there, and no value that nobody wrote.

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "gtest/gtest.h"
#include <fmt/format.h>

#include "client/client.h"
#include "tests/support/server_process.h"

namespace thermocline::testing {
namespace {

using Value = std::optional<std::string>;  // nullopt: the key is absent

// One writer's keys: nobody else writes them, so it knows what they may hold.
class Writer {
 public:
  explicit Writer(int number) : number_(number), random_(static_cast<unsigned>(number)) {}

  // Writes until the server is gone.
  void WriteUntilKilled(const std::string& server) {
    auto client = Client::Connect({.server = server});
    if (!client.ok()) return;
    for (bool alive = true; alive;) {
      const std::string key = fmt::format("{}:{}", number_, random_() % 40);
      Value value;
      if (random_() % 8 != 0) {
        const size_t sizes[] = {0, 50, 50, 50, 3000, 60'000};
        value = fmt::format("{}{}", std::string(sizes[random_() % 6], '.'), ++writes_);
      }
      candidates_[key].push_back(value);
      const auto result = value ? (*client)->Set(key, *value) : (*client)->Delete(key);
      alive = result.ok();
      if (!alive) continue;
      candidates_[key].assign(1, value);
      ++acknowledged_;
    }
  }

  // What is found becomes what is known.
  void Check(Client& client) {
    for (auto& [key, allowed] : candidates_) {
      const auto entry = client.Get(key, {.timeout = std::chrono::seconds(30)});
      ASSERT_TRUE(entry.ok()) << entry.status();
      const Value found = entry->has_value() ? Value((*entry)->value) : std::nullopt;
      ASSERT_NE(std::find(allowed.begin(), allowed.end(), found), allowed.end())
          << key << " is " << (found ? found->substr(found->find_last_of('.') + 1) : "absent")
          << ", last acknowledged: "
          << (allowed[0] ? allowed[0]->substr(allowed[0]->find_last_of('.') + 1) : "absent");
      allowed.assign(1, found);
    }
  }

  uint64_t acknowledged() const { return acknowledged_; }

 private:
  const int number_;
  std::mt19937 random_;
  uint64_t writes_ = 0;
  uint64_t acknowledged_ = 0;
  // What a key may hold after a crash: first the last value known, then what was written and not
  // acknowledged.
  struct Candidates : std::vector<Value> {
    Candidates() : std::vector<Value>(1) {}
  };
  std::map<std::string, Candidates> candidates_;
};

TEST(KillTest, NothingAcknowledgedIsLost) {
  constexpr int kRounds = 20;
  constexpr int kWriters = 6;
  // So little memory that blocks are sealed and leave it all the time.
  auto server = ServerProcess::Start({.flags = {"--memory", "4MiB", "--block-size", "64KiB"}});
  ASSERT_TRUE(server.ok()) << server.status();
  std::vector<Writer> writers;
  for (int i = 0; i < kWriters; ++i) writers.emplace_back(i);
  std::mt19937 random(1);
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::thread> threads;
    for (Writer& writer : writers)
      threads.emplace_back([&] { writer.WriteUntilKilled((*server)->address()); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + random() % 400));
    (*server)->Kill();
    for (std::thread& thread : threads) thread.join();

    const absl::Status restarted = (*server)->Restart();
    ASSERT_TRUE(restarted.ok()) << restarted << "\n" << (*server)->Log();
    auto client = Client::Connect({.server = (*server)->address()});
    ASSERT_TRUE(client.ok()) << client.status();
    for (Writer& writer : writers) writer.Check(**client);
    if (HasFatalFailure()) FAIL() << "in round " << round;
  }
  uint64_t acknowledged = 0;
  for (const Writer& writer : writers) acknowledged += writer.acknowledged();
  EXPECT_GT(acknowledged, 100u) << "hardly anything was written";
  RecordProperty("acknowledged", std::to_string(acknowledged));
  EXPECT_EQ((*server)->Terminate(), 0);
}

}  // namespace
}  // namespace thermocline::testing
