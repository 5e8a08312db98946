// The S3 store against a real server: what every object store must do, and what is its own.

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/object_store.h"
#include "storage/s3_client.h"
#include "tests/storage/object/object_calls.h"
#include "tests/storage/object/object_store_conformance.h"
#include "tests/support/s3_server.h"

namespace thermocline::testing {
namespace {

using storage::ObjectStore;
using storage::ObjectWriter;
using storage::OpenS3Store;
using storage::S3Abilities;
using storage::S3Client;
using storage::S3Options;
using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;

S3Server* const kServer = UseS3Server();

std::string NewBucket(S3Client& client) {
  std::string bucket = FreshBucket();
  EXPECT_TRUE(client.CreateBucket(bucket).ok());
  return bucket;
}

class OnS3 {
 public:
  ObjectStore& store() { return *store_; }

 private:
  std::unique_ptr<S3Client> client_ = S3Client::Open(kServer->options()).value();
  std::unique_ptr<ObjectStore> store_ =
      OpenS3Store(*client_, NewBucket(*client_), "some/objects", "me").value();
};

INSTANTIATE_TYPED_TEST_SUITE_P(S3, ObjectStoreConformance, OnS3);

class S3StoreTest : public ::testing::Test {
 protected:
  static S3Options Options() {
    S3Options options = kServer->options();
    options.part_bytes = 5 * kMiB;
    options.memory_bytes = 20 * kMiB;
    return options;
  }

  absl::Status Write(const std::string& key, std::string_view bytes, bool replace = false) {
    const auto writer = client_->CreateObject(bucket_, key, replace).value();
    if (absl::Status status = AppendAll(*writer, bytes, 300'000); !status.ok()) return status;
    return writer->Finish();
  }
  absl::StatusOr<std::string> Content(const std::string& key) {
    const auto object = client_->OpenObject(bucket_, key);
    if (!object.ok()) return object.status();
    return ReadObject(**object, 0, (*object)->size());
  }
  uint64_t Uploads() { return client_->AbortUploadsUnder(bucket_, "").value(); }

  std::unique_ptr<S3Client> client_ = S3Client::Open(Options()).value();
  const std::string bucket_ = NewBucket(*client_);
};

TEST_F(S3StoreTest, TellsWhatTheServerCanDo) {
  const S3Abilities abilities = client_->Probe(bucket_, "p/").value();
  EXPECT_TRUE(abilities.conditional_read);
  EXPECT_TRUE(abilities.batch_delete);
  EXPECT_TRUE(abilities.lists_uploads);
  std::string words;
  for (const std::string& word : abilities.words) words += word + "\n";
  EXPECT_EQ(words.empty(), abilities.conditional_put && abilities.conditional_complete) << words;
  RecordProperty("words", words);
  int left = 0;
  EXPECT_TRUE(client_->List(bucket_, "", [&](S3Client::Listed) { return ++left > 0; }).ok());
  EXPECT_EQ(left, 0) << "the probe cleans up";
  EXPECT_EQ(Uploads(), 0u);
  const absl::Status none = client_->Probe("no-such-bucket", "").status();
  EXPECT_TRUE(absl::IsNotFound(none)) << none;
  EXPECT_THAT(std::string(none.message()), HasSubstr("create the bucket"));
}

TEST_F(S3StoreTest, LargeObjectsInParts) {
  for (const uint64_t bytes : {5 * kMiB - 1, 5 * kMiB, 5 * kMiB + 1, 33 * kMiB + 7}) {
    const std::string key = fmt::format("large/{}", bytes);
    const std::string content = ObjectBytes(bytes, bytes);
    ASSERT_TRUE(Write(key, content).ok());
    EXPECT_TRUE(Content(key).value() == content) << bytes;
    const absl::Status again = Write(key, content);
    EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  }
  EXPECT_EQ(Uploads(), 0u) << "a refused upload is aborted";
  EXPECT_EQ(client_->stats().buffer_bytes, 0u);
}

TEST_F(S3StoreTest, ReplacesWhenTold) {
  ASSERT_TRUE(Write("a", "one").ok());
  const auto open = client_->OpenObject(bucket_, "a").value();
  EXPECT_TRUE(Write("a", "two", true).ok());
  EXPECT_EQ(Content("a").value(), "two");
  ASSERT_TRUE(Write("a", ObjectBytes(1, 6 * kMiB), true).ok());
  const absl::Status old = ReadObject(*open, 0, 3).status();
  EXPECT_TRUE(absl::IsDataLoss(old)) << old;
  ASSERT_TRUE(client_->Remove(bucket_, "a").ok());
  const absl::Status gone = ReadObject(*open, 0, 3).status();
  EXPECT_TRUE(absl::IsNotFound(gone)) << gone;
}

TEST_F(S3StoreTest, AnAbandonedUploadLeavesNothing) {
  {
    const auto writer = client_->CreateObject(bucket_, "x/abandoned").value();
    ASSERT_TRUE(AppendAll(*writer, ObjectBytes(1, 12 * kMiB), kMiB).ok());
  }
  EXPECT_EQ(Uploads(), 0u);
  EXPECT_TRUE(absl::IsNotFound(Content("x/abandoned").status()));
}

TEST_F(S3StoreTest, AStoreSweepsWhatACrashLeft) {
  // The writer outlives its server, so nothing is aborted; a client of a process that died.
  auto dying = S3Client::Open(Options()).value();
  auto writer = dying->CreateObject(bucket_, "p/OBJECTS/left").value();
  auto elsewhere = client_->CreateObject(bucket_, "p/q/OBJECTS/other").value();
  ASSERT_TRUE(AppendAll(*writer, ObjectBytes(1, 6 * kMiB), kMiB).ok());
  ASSERT_TRUE(AppendAll(*elsewhere, ObjectBytes(1, 6 * kMiB), kMiB).ok());
  const auto store = OpenS3Store(*client_, bucket_, "p", "me").value();
  EXPECT_FALSE(writer->Finish().ok()) << "its upload is gone";
  EXPECT_TRUE(elsewhere->Finish().ok()) << "of another prefix, below this one";
  writer.reset();
  EXPECT_EQ(ListObjects(*store).value(), Listing());
  EXPECT_EQ(Uploads(), 0u);
}

TEST_F(S3StoreTest, OneOwnerOfAPrefix) {
  auto store = OpenS3Store(*client_, bucket_, "p/", "data directory 1").value();
  ASSERT_TRUE(WriteObject(*store, "a", "one").ok());
  const absl::Status other = OpenS3Store(*client_, bucket_, "p", "data directory 2").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(other)) << other;
  EXPECT_THAT(std::string(other.message()), HasSubstr(bucket_ + "/p/OWNER"));
  EXPECT_THAT(std::string(other.message()), HasSubstr("data directory 1"));
  store.reset();
  store = OpenS3Store(*client_, bucket_, "p", "data directory 1").value();
  EXPECT_EQ(ListObjects(*store).value(), (Listing{{"a", 3}}));
  const auto above = OpenS3Store(*client_, bucket_, "", "data directory 2").value();
  EXPECT_EQ(ListObjects(*above).value(), Listing()) << "prefixes may be nested";
  for (const std::string prefix : {"/", "a//b", "A", "../x", ".x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(OpenS3Store(*client_, bucket_, prefix, "me").status())) << prefix;
  }
}

TEST_F(S3StoreTest, ListsAndRemovesMoreThanAPage) {
  std::vector<std::string> keys;
  for (int i = 0; i < 1100; ++i) keys.push_back(fmt::format("many/{:04}", i));
  std::atomic<size_t> next = 0;
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (size_t at = next++; at < keys.size(); at = next++) {
        if (!Write(keys[at], "x", true).ok()) ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(failed, 0);
  ASSERT_TRUE(Write("other", "x").ok());
  const auto list = [&](const std::string& prefix) {
    std::vector<std::string> listed;
    EXPECT_TRUE(client_
                    ->List(bucket_, prefix,
                           [&](S3Client::Listed entry) {
                             listed.push_back(entry.key);
                             return true;
                           })
                    .ok());
    return listed;
  };
  EXPECT_EQ(list("many/"), keys);
  ASSERT_TRUE(client_->RemoveAll(bucket_, keys).ok());
  EXPECT_EQ(list(""), std::vector<std::string>{"other"});
  EXPECT_TRUE(client_->RemoveAll(bucket_, {"none", "neither & <\"nor\">"}).ok());
}

TEST_F(S3StoreTest, KeysOfAnyKind) {
  for (const std::string key :
       {"a b", "a+b", "a&b=c", "caf\u00e9", "a/../b", "a//b", "%41", "?x", "#y", "\"q\"", "~"}) {
    ASSERT_TRUE(Write(key, key).ok()) << key;
    EXPECT_EQ(Content(key).value(), key);
    std::vector<std::string> listed;
    EXPECT_TRUE(client_
                    ->List(bucket_, key,
                           [&](S3Client::Listed entry) {
                             listed.push_back(entry.key);
                             return true;
                           })
                    .ok());
    EXPECT_EQ(listed, std::vector<std::string>{key});
    EXPECT_TRUE(client_->RemoveAll(bucket_, {key}).ok());
    EXPECT_TRUE(absl::IsNotFound(client_->OpenObject(bucket_, key).status())) << key;
  }
}

TEST_F(S3StoreTest, OneOfTwoMultipartWritersGetsAName) {
  for (int round = 0; round < 3; ++round) {
    const std::string key = fmt::format("race/{}", round);
    absl::Status statuses[2];
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&, i] { statuses[i] = Write(key, ObjectBytes(i, 6 * kMiB + i)); });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_NE(statuses[0].ok(), statuses[1].ok()) << statuses[0] << statuses[1];
    const int winner = statuses[0].ok() ? 0 : 1;
    EXPECT_TRUE(absl::IsAlreadyExists(statuses[1 - winner]));
    EXPECT_TRUE(Content(key).value() == ObjectBytes(winner, 6 * kMiB + winner));
  }
  EXPECT_EQ(Uploads(), 0u);
}

// More uploads at a time than there is memory for, all of them held open by threads.
TEST_F(S3StoreTest, UploadsShareTheMemoryInLine) {
  constexpr int kUploads = 10;
  std::atomic<uint64_t> most = 0;
  std::atomic<bool> over = false;
  std::thread watch([&] {
    while (!over) most = std::max(most.load(), client_->stats().buffer_bytes);
  });
  std::vector<std::thread> threads;
  std::atomic<int> failed = 0;
  for (int i = 0; i < kUploads; ++i) {
    threads.emplace_back([&, i] {
      if (!Write(fmt::format("u/{}", i), ObjectBytes(i, 16 * kMiB + i)).ok()) ++failed;
    });
  }
  for (std::thread& thread : threads) thread.join();
  over = true;
  watch.join();
  EXPECT_EQ(failed, 0);
  EXPECT_LE(most, 20 * kMiB);
  EXPECT_GE(most, 10 * kMiB) << "or it shows little";
  EXPECT_EQ(client_->stats().buffer_bytes, 0u);
  for (int i = 0; i < kUploads; ++i) {
    EXPECT_TRUE(Content(fmt::format("u/{}", i)).value() == ObjectBytes(i, 16 * kMiB + i));
  }
}

TEST_F(S3StoreTest, AnUploadWithoutMemoryFailsInTime) {
  S3Options options = Options();
  options.memory_bytes = 10 * kMiB;
  options.memory_patience = std::chrono::milliseconds(50);
  const auto client = S3Client::Open(options).value();
  std::vector<std::unique_ptr<ObjectWriter>> holders;
  for (int i = 0; i < 2; ++i) {
    holders.push_back(client->CreateObject(bucket_, fmt::format("h/{}", i)).value());
    ASSERT_TRUE(holders.back()->Append(std::string(100'000, 'x')).ok());
  }
  const auto small = client->CreateObject(bucket_, "small").value();
  ASSERT_TRUE(small->Append(std::string(60'000, 'x')).ok());
  EXPECT_TRUE(small->Finish().ok()) << "small ones need none of it";
  const auto large = client->CreateObject(bucket_, "large").value();
  const absl::Status refused = large->Append(std::string(100'000, 'x'));
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  for (const auto& holder : holders) EXPECT_TRUE(holder->Finish().ok());
}

TEST_F(S3StoreTest, ManyReadsAtOnce) {
  const std::string content = ObjectBytes(1, 4 * kMiB);
  ASSERT_TRUE(Write("object", content).ok());
  const auto object = client_->OpenObject(bucket_, "object").value();
  constexpr size_t kReads = 1000;
  constexpr size_t kBytes = 4096;
  std::string out(kReads * kBytes, '?');
  std::atomic<size_t> left = kReads;
  std::atomic<size_t> failed = 0;
  std::promise<void> all;
  for (size_t i = 0; i < kReads; ++i) {
    object->Read(i * kBytes, std::span(out).subspan(i * kBytes, kBytes), [&](absl::Status status) {
      if (!status.ok()) ++failed;
      if (--left == 0) all.set_value();
    });
  }
  EXPECT_LE(client_->stats().connections, 32u);
  all.get_future().get();
  EXPECT_EQ(failed, 0u);
  EXPECT_TRUE(out == content.substr(0, out.size()));
  EXPECT_LE(client_->stats().connections, 32u);
  EXPECT_EQ(client_->stats().active, 0u);
}

TEST_F(S3StoreTest, ErrorsSayWhatToDo) {
  S3Options options = Options();
  options.credentials->secret = "not-the-secret";
  const auto client = S3Client::Open(options).value();
  const absl::Status refused = client->List(bucket_, "", [](S3Client::Listed) { return true; });
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("s3://" + bucket_));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("SignatureDoesNotMatch"));
  EXPECT_THAT(std::string(refused.message()), ::testing::Not(HasSubstr("not-the-secret")));
  EXPECT_TRUE(absl::IsPermissionDenied(client->OpenObject(bucket_, "x").status()));
  EXPECT_TRUE(absl::IsNotFound(client_->OpenObject(bucket_, "x").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client_->OpenObject("Not a bucket", "x").status()));
  EXPECT_TRUE(client_->CreateBucket(bucket_).ok()) << "it is ours";
}

// The last: for half a minute a server that came back waits for the one that was killed before it makes a
// bucket.
TEST_F(S3StoreTest, SurvivesARestartOfTheServer) {
  const std::string content = ObjectBytes(3, 12 * kMiB);
  ASSERT_TRUE(Write("object", content).ok());
  const auto object = client_->OpenObject(bucket_, "object").value();
  const auto writer = client_->CreateObject(bucket_, "another").value();
  ASSERT_TRUE(AppendAll(*writer, content.substr(0, 6 * kMiB), kMiB).ok());
  kServer->Kill();
  std::string out(content.size(), '?');
  std::promise<absl::Status> read;
  object->Read(0, std::span(out), [&](absl::Status status) { read.set_value(std::move(status)); });
  std::thread restart([] { kServer->Restart(); });
  const absl::Status appended = AppendAll(*writer, content.substr(6 * kMiB), kMiB);
  const absl::Status finished = appended.ok() ? writer->Finish() : appended;
  restart.join();
  const absl::Status status = read.get_future().get();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(out == content);
  EXPECT_TRUE(finished.ok()) << finished;
  EXPECT_TRUE(Content("another").value() == content);
  EXPECT_GT(client_->stats().retries, 0u);
  EXPECT_TRUE(client_->stats().seconds_since_failure.has_value());
  EXPECT_EQ(Uploads(), 0u);
}

}  // namespace
}  // namespace thermocline::testing
