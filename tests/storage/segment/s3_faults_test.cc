// Segments whose id files lie in a real S3 server, behind a proxy that does harm by chance: each call does
// what it should or says why it does not, and nothing that was acknowledged is lost.

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/cached_store.h"
#include "storage/executor_reads.h"
#include "storage/posix_file_system.h"
#include "storage/s3_client.h"
#include "storage/segments.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/storage/segment/random_ids.h"
#include "tests/storage/segment/segment_store.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/s3_server.h"
#include "tests/support/temp_directory.h"

namespace thermocline::storage {
namespace {

using std::chrono::milliseconds;
using testing::Await;
using testing::Fault;
using ::testing::HasSubstr;
using Ids = std::set<uint64_t>;

testing::S3Server* const kServer = testing::UseS3Server();

// `true`: with the cache.
class SegmentsS3FaultsTest : public ::testing::TestWithParam<bool> {
 protected:
  SegmentsS3FaultsTest() {
    options_.directory = directory_.Path("segments");
    // While no rewrite succeeds, the layers to be counted become more.
    options_.memory_bytes = 4 * kMinSegmentMemoryBytes;
    options_.max_recent = 500;
    options_.min_result_work_bytes = 1;
    OpenAll();
  }
  ~SegmentsS3FaultsTest() override { CloseAll(); }

  // One for all: for half a minute, a server that came back makes none.
  static std::string Bucket() {
    static const std::string& bucket = *new std::string(testing::FreshBucket());
    static const absl::Status made = S3Client::Open(kServer->options()).value()->CreateBucket(bucket);
    EXPECT_TRUE(made.ok()) << made;
    return bucket;
  }
  static std::string NextPrefix() {
    static int prefixes = 0;
    return fmt::format("segments-{}/", ++prefixes);
  }

  void OpenAll() {
    S3Options options = kServer->options();
    options.endpoint = "http://" + proxy_->address();
    options.part_bytes = 5 << 20;
    options.memory_bytes = 20 << 20;
    options.request_deadline = milliseconds(4'000);
    options.attempt_deadline = milliseconds(1'500);
    options.stall_limit = milliseconds(1'000);
    options.retry_wait = milliseconds(50);
    options.max_attempts = 3;  // so that some calls fail
    client_ = S3Client::Open(options).value();
    s3_ = OpenS3Store(*client_, bucket_, prefix_, "me").value();
    ObjectStore* store = s3_.get();
    if (GetParam()) {
      const CachedStoreOptions cache = {.directory = directory_.Path("cache"),
                                        .disk_bytes = 1 << 20,
                                        .memory_bytes = 8 << 20,
                                        .chunk_bytes = 16 << 10};
      cache_ = OpenCachedStore(*s3_, cache, files_, reads_, writes_).value();
      store = cache_.get();
    }
    executor_ = std::make_unique<ThreadPool>("query", 3);
    auto opened = Segments::Open(options_, {files_, clock_, *store, *executor_, *executor_, *executor_, {}});
    ASSERT_TRUE(opened.ok()) << opened.status();
    segments_ = *std::move(opened);
  }

  // Nothing may be left: no memory, no upload, no connection.
  void CloseAll() {
    proxy_->Clear();
    segments_ = nullptr;
    executor_ = nullptr;
    cache_ = nullptr;
    for (S3Stats now = client_->stats(); now.active + now.waiting > 0; now = client_->stats()) {
      std::this_thread::yield();
    }
    EXPECT_EQ(client_->stats().buffer_bytes, 0u);
    EXPECT_EQ(client_->AbortUploadsUnder(bucket_, prefix_).value(), 0u);
    s3_ = nullptr;
    client_ = nullptr;
    EXPECT_TRUE(proxy_->AwaitOpen(0)) << "a leaked connection";
  }

  void ExpectClear(const absl::Status& status) {
    ++failures_;
    const bool names_object = status.message().find("s3://" + bucket_) != absl::string_view::npos ||
                              status.message().find("ids/") != absl::string_view::npos;
    EXPECT_TRUE(names_object) << status;
    EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsPermissionDenied(status) || absl::IsDataLoss(status) ||
                absl::IsInvalidArgument(status))
        << status;
  }

  void ChangeSome() {
    const std::string name = fmt::format("x{}", random_() % 4);
    const Ids ids = testing::RandomIds(random_, 1 + random_() % (random_() % 2 == 0 ? 60'000 : 600));
    const std::vector<uint64_t> list(ids.begin(), ids.end());
    const uint64_t kind = random_() % 4;
    const SegmentChange change = kind == 0   ? SegmentChange::kRemove
                                 : kind == 1 ? SegmentChange::kReplace
                                             : SegmentChange::kAdd;
    const auto changed = testing::Change(*segments_, name, change, list, random_() % 2 == 0);
    if (!changed.ok()) return ExpectClear(changed.status());
    if (kind == 1) model_[name].clear();
    if (kind == 0 && !model_.contains(name)) return;
    Ids& all = model_[name];
    for (const uint64_t id : ids)
      kind == 0 ? static_cast<void>(all.erase(id)) : static_cast<void>(all.insert(id));
  }

  void AskSome() {
    if (model_.size() < 2) return;
    auto at = model_.begin();
    std::advance(at, random_() % model_.size());
    const auto& [name, ids] = *at;
    std::vector<uint64_t> wanted(ids.begin(), ids.end());
    std::string text = name;
    if (random_() % 2 == 0) {
      const auto& [first, others] = *model_.begin();
      text = fmt::format("{} & {}", name, first);
      std::erase_if(wanted, [&others = others](uint64_t id) { return !others.contains(id); });
    }
    const auto found = testing::Query(*segments_, text, {}, random_() % 2 == 0);
    if (!found.ok()) return ExpectClear(found.status());
    ++answers_;
    ASSERT_TRUE(*found == wanted) << text;
  }

  void ExpectTheModel() {
    for (const auto& [name, ids] : model_) {
      const auto found = testing::Query(*segments_, name, {.use_kept_result = false, .keep_result = false});
      ASSERT_TRUE(found.ok()) << name << ": " << found.status();
      ASSERT_TRUE(Ids(found->begin(), found->end()) == ids) << name;
    }
    const auto none = Await<absl::StatusOr<std::vector<SegmentInfo>>>(
        [&](auto done) { segments_->List("", "", 100, std::move(done)); });
    for (const SegmentInfo& info : *none) EXPECT_TRUE(model_.contains(info.name)) << info.name;
  }

  uint64_t Objects() {
    uint64_t objects = 0;
    EXPECT_TRUE(s3_->List("", [&](const ObjectStore::Listed&) { return ++objects > 0; }).ok());
    return objects;
  }

  std::mt19937_64 random_{1};
  testing::TempDirectory directory_;
  PosixFileSystem files_;
  SystemClock clock_;
  SegmentsOptions options_;
  const std::string bucket_ = Bucket();
  const std::string prefix_ = NextPrefix();
  const std::unique_ptr<testing::FaultProxy> proxy_ =
      testing::FaultProxy::Start(kServer->endpoint().substr(sizeof "http://" - 1), 1).value();
  std::unique_ptr<S3Client> client_;
  std::unique_ptr<ObjectStore> s3_;
  ThreadPool writes_{"cache-write", 1};
  ThreadPool read_threads_{"cache-read", 1};
  ExecutorReads reads_{read_threads_};
  std::unique_ptr<CachedStore> cache_;
  std::unique_ptr<ThreadPool> executor_;
  std::unique_ptr<Segments> segments_;
  std::map<std::string, Ids> model_;
  int failures_ = 0;
  int answers_ = 0;
};

TEST_P(SegmentsS3FaultsTest, NoWrongAnswerAndNothingLost) {
  const std::vector<testing::Injection> faults = {
      {Fault::kResetBefore},
      {Fault::kResetInRequest, 1000},
      {Fault::kAnswer500},
      {Fault::kAnswer503},
      {Fault::kExpired400},
      {Fault::kExpired403},
      {Fault::kResetAfter},
      {Fault::kResetInAnswer, 100},
      {Fault::kAnswer500After},
      {Fault::kTruncate, 100},
      {Fault::kWrongEtag},
      {Fault::kTrickle, 20'000, milliseconds(1)},
      {Fault::kDelay, 0, milliseconds(5)},
      {Fault::kDuplicate},
  };
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    proxy_->InjectByChance(round == 2 ? 0.4 : 0.2, faults);
    proxy_->Inject({"", "", 20}, {Fault::kStall});
    proxy_->Inject({"GET", "/ids/", 30}, {Fault::kStallInAnswer, 100});
    for (int step = 0; step < 40; ++step) {
      ASSERT_NO_FATAL_FAILURE(ChangeSome());
      ASSERT_NO_FATAL_FAILURE(AskSome());
    }
    proxy_->Clear();
    ASSERT_NO_FATAL_FAILURE(ExpectTheModel()) << "what failed on the way must not stay";
    CloseAll();
    ASSERT_NO_FATAL_FAILURE(OpenAll());
    const SegmentsStats stats = segments_->Stats();
    EXPECT_LE(Objects(), stats.id_files + stats.kept_results) << "orphans";
    ASSERT_NO_FATAL_FAILURE(ExpectTheModel());
  }
  EXPECT_GT(failures_, 0) << "or it shows little";
  EXPECT_GT(answers_, failures_);
}

TEST_P(SegmentsS3FaultsTest, TheServerIsKilledAndComesBack) {
  for (int step = 0; step < 20; ++step) ChangeSome();
  kServer->Kill();
  for (int step = 0; step < 4; ++step) {
    ChangeSome();
    ASSERT_NO_FATAL_FAILURE(AskSome());
  }
  kServer->Restart();
  ASSERT_NO_FATAL_FAILURE(ExpectTheModel());
}

INSTANTIATE_TEST_SUITE_P(Cache, SegmentsS3FaultsTest, ::testing::Bool());

}  // namespace
}  // namespace thermocline::storage
