// The client and a real server, with a proxy between them that does harm: to each kind of request as a script
// says, and by chance to many at once, while the server is killed and comes back.

#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/s3_client.h"
#include "tests/storage/object/object_calls.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/s3_server.h"

namespace thermocline::testing {
namespace {

using std::chrono::milliseconds;
using storage::S3Client;
using storage::S3Options;
using ::testing::HasSubstr;

constexpr uint64_t kPartBytes = 5 << 20;

S3Server* const kServer = UseS3Server();

// After each of these, another attempt must do.
const std::vector<Injection>& Passing() {
  static const auto& passing = *new std::vector<Injection>{
      {Fault::kResetBefore},
      {Fault::kResetInRequest, 1000},
      {Fault::kAnswer500},
      {Fault::kAnswer503},
      {Fault::kResetAfter},
      {Fault::kResetInAnswer, 10},
      {Fault::kAnswer500After},
      {Fault::kTruncate, 10},
      {Fault::kTrickle, 50'000, milliseconds(1)},
      {Fault::kStallInAnswer, 10},
      {Fault::kDelay, 0, milliseconds(20)},
      {Fault::kStall},
  };
  return passing;
}

// One kind of request about an object of some size.
struct Target {
  std::string name;
  std::string method;
  std::string path;  // {} is the key
  bool is_large;
};

const std::vector<Target>& Targets() {
  static const auto& targets = *new std::vector<Target>{
      {"put", "PUT", "/{}", false},
      {"begin", "POST", "/{}?uploads", true},
      {"part", "PUT", "/{}?partNumber=2", true},
      {"complete", "POST", "/{}?uploadId", true},
      {"head", "HEAD", "/{}", false},
      {"get", "GET", "/{}", false},
      {"list", "GET", "prefix={}", false},
      {"delete", "DELETE", "/{}", false},
  };
  return targets;
}

class S3FaultsTest : public ::testing::Test {
 protected:
  S3FaultsTest() {
    EXPECT_TRUE(direct_->CreateBucket(bucket_).ok());
    EXPECT_TRUE(client_->Probe(bucket_, "probes/").ok());
  }

  S3Options Options() const {
    S3Options options = kServer->options();
    options.endpoint = "http://" + proxy_->address();
    options.part_bytes = kPartBytes;
    options.memory_bytes = 4 * kPartBytes;
    options.request_deadline = milliseconds(50'000);
    options.attempt_deadline = milliseconds(4'000);
    options.stall_limit = milliseconds(2'000);
    options.retry_wait = milliseconds(300);
    options.max_attempts = 30;
    return options;
  }

  absl::Status Write(const std::string& key, std::string_view bytes) {
    const auto writer = client_->CreateObject(bucket_, key).value();
    if (absl::Status status = AppendAll(*writer, bytes, 300'000); !status.ok()) return status;
    return writer->Finish();
  }
  absl::StatusOr<std::string> Content(S3Client& client, const std::string& key) {
    const auto object = client.OpenObject(bucket_, key);
    if (!object.ok()) return object.status();
    return ReadObject(**object, 0, (*object)->size());
  }
  absl::StatusOr<std::set<std::string>> Keys(S3Client& client, const std::string& prefix) {
    std::set<std::string> keys;
    absl::Status status = client.List(
        bucket_, prefix, [&](const S3Client::Listed& listed) { return keys.insert(listed.key).second; });
    if (!status.ok()) return status;
    return keys;
  }

  // Everything that one does with an object.
  absl::Status LiveThrough(const std::string& key, const std::string& bytes) {
    if (absl::Status status = Write(key, bytes); !status.ok()) return status;
    const absl::StatusOr<std::string> content = Content(*client_, key);
    if (!content.ok()) return content.status();
    EXPECT_TRUE(*content == bytes) << key;
    const absl::StatusOr<std::set<std::string>> keys = Keys(*client_, key);
    if (!keys.ok()) return keys.status();
    EXPECT_THAT(*keys, ::testing::ElementsAre(key));
    if (absl::Status status = client_->Remove(bucket_, key); !status.ok()) return status;
    EXPECT_TRUE(absl::IsNotFound(direct_->OpenObject(bucket_, key).status())) << key;
    return absl::OkStatus();
  }

  void ExpectClear(const absl::Status& status) const {
    EXPECT_THAT(std::string(status.message()), HasSubstr("s3://" + bucket_)) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr("secretsecret")));
  }

  // With the proxy doing no harm any more, and nothing under way but what nobody waits for.
  void ExpectNothingIsLeft() {
    proxy_->Clear();
    for (storage::S3Stats now = client_->stats(); now.active + now.waiting > 0; now = client_->stats()) {
      std::this_thread::yield();
    }
    EXPECT_EQ(client_->stats().buffer_bytes, 0u);
    EXPECT_EQ(client_->stats().buffer_waiters, 0u);
    EXPECT_TRUE(proxy_->AwaitOpen(client_->stats().connections)) << "a connection that the client forgot";
    EXPECT_LE(client_->stats().connections, 32u);
    EXPECT_EQ(direct_->AbortUploadsUnder(bucket_, "").value(), 0u) << "an orphaned upload";
    client_ = nullptr;
    EXPECT_TRUE(proxy_->AwaitOpen(0));
  }

  std::unique_ptr<FaultProxy> proxy_ =
      FaultProxy::Start(kServer->endpoint().substr(sizeof "http://" - 1), 1).value();
  const std::unique_ptr<S3Client> direct_ = S3Client::Open(kServer->options()).value();
  std::unique_ptr<S3Client> client_ = S3Client::Open(Options()).value();
  const std::string bucket_ = FreshBucket();
};

// All of them side by side: those that stall keep nobody waiting.
TEST_F(S3FaultsTest, EveryRequestSurvivesEveryFaultThatPasses) {
  std::vector<std::pair<Target, Injection>> cases;
  for (const Target& target : Targets()) {
    for (const Injection& injection : Passing()) cases.emplace_back(target, injection);
    // Two uploads are begun, and nobody can tell that one is nobody's: the next start sweeps it.
    if (target.name != "begin") cases.emplace_back(target, Injection{Fault::kDuplicate});
  }
  std::atomic<size_t> next = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&] {
      for (size_t at = next++; at < cases.size(); at = next++) {
        const auto& [target, injection] = cases[at];
        const std::string key = fmt::format("{}-{:02}", target.name, at);
        proxy_->Inject({target.method, fmt::format(fmt::runtime(target.path), key)}, injection);
        const absl::Status status =
            LiveThrough(key, ObjectBytes(at, target.is_large ? kPartBytes + 1 : 9999));
        EXPECT_TRUE(status.ok()) << NameOf(injection.fault) << " of " << key << ": " << status;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(proxy_->counts().injected(), cases.size()) << "a script that was about no request";
  ExpectNothingIsLeft();
}

TEST_F(S3FaultsTest, ExpiredCredentialsEndInAClearError) {
  for (const Target& target : Targets()) {
    for (const Fault fault : {Fault::kExpired400, Fault::kExpired403}) {
      const std::string key = fmt::format("{}-{}", target.name, static_cast<int>(fault));
      proxy_->Inject({target.method, fmt::format(fmt::runtime(target.path), key)}, {fault});
      const absl::Status status = LiveThrough(key, ObjectBytes(1, target.is_large ? kPartBytes + 1 : 9999));
      EXPECT_TRUE(absl::IsPermissionDenied(status)) << NameOf(fault) << " of " << key << ": " << status;
      ExpectClear(status);
      EXPECT_THAT(std::string(status.message()), HasSubstr("credentials"));
    }
  }
  ExpectNothingIsLeft();
}

TEST_F(S3FaultsTest, AWrongETagIsNeverAWrongResult) {
  const std::string bytes = ObjectBytes(1, kPartBytes + 1);
  proxy_->Inject({"GET", "/read"}, {Fault::kWrongEtag});
  EXPECT_TRUE(LiveThrough("read", bytes).ok()) << "it is read again";
  proxy_->Inject({"HEAD", "/head"}, {Fault::kWrongEtag});
  const absl::Status head = LiveThrough("head", ObjectBytes(2, 100));
  EXPECT_TRUE(absl::IsDataLoss(head)) << head;
  ExpectClear(head);
  proxy_->Inject({"PUT", "/part?partNumber=1"}, {Fault::kWrongEtag});
  const absl::Status part = LiveThrough("part", bytes);
  EXPECT_FALSE(part.ok());
  ExpectClear(part);
  ExpectNothingIsLeft();
}

// What threads do with objects of their own by chance, and what must be there because of it.
class ByChance {
 public:
  ByChance(uint64_t seed, S3Client& client, std::string bucket)
      : random_(seed), seed_(seed), client_(client), bucket_(std::move(bucket)) {}

  void Step() {
    const std::string key = fmt::format("t{}/{}", seed_, random_() % 12);
    switch (random_() % 8) {
      case 0:
      case 1:
        return Create(key);
      case 2:
        return Remove(key);
      case 3:
        return List();
      default:
        return Read(key);
    }
  }

  // Whatever is known is so, and nothing else is there.
  void Check(S3Client& direct) {
    std::set<std::string> listed;
    ASSERT_TRUE(direct
                    .List(bucket_, fmt::format("t{}/", seed_),
                          [&](const S3Client::Listed& entry) { return listed.insert(entry.key).second; })
                    .ok());
    for (const auto& [key, state] : states_) {
      if (state.known && state.bytes.empty()) {
        EXPECT_FALSE(listed.contains(key)) << key;
      }
      listed.erase(key);
      const auto object = direct.OpenObject(bucket_, key);
      EXPECT_TRUE(object.ok() || absl::IsNotFound(object.status())) << object.status();
      if (state.known) {
        EXPECT_EQ(object.ok(), !state.bytes.empty()) << key;
      }
      if (object.ok()) {
        EXPECT_TRUE(ReadObject(**object, 0, (*object)->size()).value() == state.bytes) << key;
      }
    }
    EXPECT_TRUE(listed.empty()) << *listed.begin();
  }

  const std::vector<absl::Status>& failures() const { return failures_; }
  int done() const { return done_; }

 private:
  struct State {
    std::string bytes;  // empty: there is none
    bool known = true;  // else there may be none
  };

  bool Note(const absl::Status& status) {
    status.ok() ? static_cast<void>(++done_) : failures_.push_back(status);
    return status.ok();
  }

  void Create(const std::string& key) {
    State& state = states_[key];
    if (!state.known) return;
    const bool is_large = random_() % 3 == 0;
    const std::string bytes =
        ObjectBytes(random_(), is_large ? kPartBytes + random_() % 1'000'000 : 1 + random_() % 200'000);
    const auto writer = client_.CreateObject(bucket_, key).value();
    absl::Status status = AppendAll(*writer, bytes, 500'000);
    if (random_() % 8 == 0) return;  // given up
    const bool finishing = status.ok();
    if (finishing) status = writer->Finish();
    if (absl::IsAlreadyExists(status)) {
      EXPECT_FALSE(state.bytes.empty()) << status;
      return;
    }
    EXPECT_TRUE(!status.ok() || state.bytes.empty()) << key << " was overwritten";
    if (!Note(status) && !finishing) return;
    if (state.bytes.empty()) state = {bytes, status.ok()};
  }

  void Remove(const std::string& key) {
    State& state = states_[key];
    if (Note(client_.Remove(bucket_, key))) {
      state = {};
    } else {
      state.known = state.bytes.empty();
    }
  }

  void List() {
    std::set<std::string> listed;
    if (!Note(client_.List(bucket_, fmt::format("t{}/", seed_),
                           [&](const S3Client::Listed& entry) { return listed.insert(entry.key).second; }))) {
      return;
    }
    for (const auto& [key, state] : states_) {
      if (state.known) {
        EXPECT_EQ(listed.contains(key), !state.bytes.empty()) << key;
      }
    }
  }

  void Read(const std::string& key) {
    const State& state = states_[key];
    const auto object = client_.OpenObject(bucket_, key);
    if (absl::IsNotFound(object.status())) {
      EXPECT_TRUE(!state.known || state.bytes.empty()) << object.status();
      return;
    }
    if (!Note(object.status())) return;
    ASSERT_EQ((*object)->size(), state.bytes.size()) << key;
    const size_t offset = random_() % state.bytes.size();
    const size_t bytes = 1 + random_() % (state.bytes.size() - offset);
    const auto read = ReadObject(**object, offset, bytes);
    if (Note(read.status())) {
      EXPECT_TRUE(*read == state.bytes.substr(offset, bytes)) << key;
    }
  }

  std::mt19937_64 random_;
  const uint64_t seed_;
  S3Client& client_;
  const std::string bucket_;
  std::map<std::string, State> states_;
  std::vector<absl::Status> failures_;
  int done_ = 0;
};

// The last, for it kills the server.
TEST_F(S3FaultsTest, ByChanceWhileTheServerIsKilled) {
  std::vector<Injection> faults = Passing();
  faults.push_back({Fault::kWrongEtag});
  proxy_->InjectByChance(0.15, faults);
  std::vector<std::unique_ptr<ByChance>> users;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    users.push_back(std::make_unique<ByChance>(seed, *client_, bucket_));
  }
  std::atomic<int> steps = 0;
  std::vector<std::thread> threads;
  for (const auto& user : users) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i, ++steps) user->Step();
    });
  }
  while (steps < 100) std::this_thread::yield();
  kServer->Kill();
  kServer->Restart();
  while (steps < 200) std::this_thread::yield();
  proxy_->ResetAll();
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(proxy_->counts().injected(), 50u);
  int done = 0;
  int failed = 0;
  for (const auto& user : users) {
    user->Check(*direct_);
    for (const absl::Status& failure : user->failures()) ExpectClear(failure);
    done += user->done();
    failed += static_cast<int>(user->failures().size());
  }
  EXPECT_GT(done, 10 * failed) << "of so many failures: " << failed;
  RecordProperty("failed", failed);
  ExpectNothingIsLeft();
}

}  // namespace
}  // namespace thermocline::testing
