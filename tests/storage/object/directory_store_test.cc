// The directory store: what every object store must do, and what is its own.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/executor_reads.h"
#include "storage/object_store.h"
#include "storage/posix_file_system.h"
#include "storage/thread_pool.h"
#include "tests/storage/object/object_calls.h"
#include "tests/storage/object/object_store_conformance.h"
#include "tests/support/simulated_disk.h"
#include "tests/support/temp_directory.h"

namespace thermocline::testing {
namespace {

using storage::ExecutorReads;
using storage::ObjectStore;
using storage::OpenDirectoryStore;
using storage::PosixFileSystem;
using storage::ThreadPool;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Operation = SimulatedDisk::Operation;

class OnPosix {
 public:
  ObjectStore& store() { return *store_; }

 private:
  TempDirectory directory_;
  PosixFileSystem files_;
  ThreadPool threads_{"read", 2};
  ExecutorReads reads_{threads_};
  std::unique_ptr<ObjectStore> store_ =
      OpenDirectoryStore(directory_.Path("some/objects"), files_, reads_).value();
};

class OnSimulatedDisk {
 public:
  ObjectStore& store() { return *store_; }

 private:
  SimulatedDisk disk_{1};
  ThreadPool threads_{"read", 2};
  ExecutorReads reads_{threads_};
  std::unique_ptr<ObjectStore> store_ = OpenDirectoryStore("/some/objects", disk_, reads_).value();
};

INSTANTIATE_TYPED_TEST_SUITE_P(Posix, ObjectStoreConformance, OnPosix);
INSTANTIATE_TYPED_TEST_SUITE_P(SimulatedDisk, ObjectStoreConformance, OnSimulatedDisk);

// Shows whoever wants to know the moment when a name is there, and not yet durable.
class WatchedDisk : public storage::FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<storage::File>> Open(const std::string& path, Mode mode) override {
    return disk_.Open(path, mode);
  }
  absl::Status CreateDirectory(const std::string& path) override { return disk_.CreateDirectory(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override { return disk_.List(path); }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return disk_.Rename(from, to);
  }
  absl::Status Remove(const std::string& path) override { return disk_.Remove(path); }
  absl::Status SyncDirectory(const std::string& directory) override {
    if (before_sync) before_sync();
    return disk_.SyncDirectory(directory);
  }
  absl::StatusOr<uint64_t> AvailableBytes(const std::string& path) override {
    return disk_.AvailableBytes(path);
  }
  absl::StatusOr<std::unique_ptr<storage::FileLock>> Lock(const std::string& path) override {
    return disk_.Lock(path);
  }

  std::function<void()> before_sync;
  const SimulatedDisk& disk() const { return disk_; }

 private:
  SimulatedDisk disk_{1};
};

TEST(DirectoryStoreOnWatchedDiskTest, NobodySeesWhatIsNotDurable) {
  WatchedDisk disk;
  ThreadPool threads("read", 1);
  ExecutorReads reads(threads);
  const auto store = OpenDirectoryStore("/dir", disk, reads).value();
  int looks = 0;
  disk.before_sync = [&] {
    if (!disk.disk().Contents("/dir/object").has_value()) return;
    ++looks;
    EXPECT_TRUE(absl::IsNotFound(store->Open("object").status()));
    EXPECT_EQ(ListObjects(*store).value(), Listing());
  };
  ASSERT_TRUE(WriteObject(*store, "object", "content").ok());
  EXPECT_EQ(looks, 1);
  EXPECT_EQ(ListObjects(*store).value(), (Listing{{"object", 7}}));
}

class DirectoryStoreTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<ObjectStore>> Open() { return OpenDirectoryStore("/dir", disk_, reads_); }

  SimulatedDisk disk_{1};
  ThreadPool threads_{"read", 2};
  ExecutorReads reads_{threads_};
};

TEST_F(DirectoryStoreTest, ObjectsAreFilesOfTheirNames) {
  const auto store = Open().value();
  ASSERT_TRUE(WriteObject(*store, "a", "one").ok());
  ASSERT_TRUE(WriteObject(*store, "b/c.x", "two").ok());
  const auto unfinished = store->Create("d").value();
  EXPECT_THAT(disk_.Paths(), ElementsAre("/dir/LOCK", "/dir/UNFINISHED/2", "/dir/a", "/dir/b/c.x"));
  EXPECT_EQ(disk_.Contents("/dir/b/c.x"), "two");
}

TEST_F(DirectoryStoreTest, OneStoreAtATime) {
  auto store = Open().value();
  const absl::Status second = Open().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(second)) << second;
  EXPECT_THAT(std::string(second.message()), HasSubstr("/dir/LOCK"));
  ASSERT_TRUE(WriteObject(*store, "a", "one").ok());
  store.reset();
  EXPECT_EQ(ContentOf(*Open().value(), "a").value(), "one");
}

TEST_F(DirectoryStoreTest, RemovesWhatWasLeftUnfinished) {
  ASSERT_TRUE(WriteObject(*Open().value(), "a", "one").ok());
  disk_.SetContents("/dir/UNFINISHED/0", "half of an ob");
  disk_.SetContents("/dir/UNFINISHED/17", "");
  const auto store = Open().value();
  EXPECT_THAT(disk_.Paths(), ElementsAre("/dir/LOCK", "/dir/a"));
  EXPECT_EQ(ListObjects(*store).value(), (Listing{{"a", 3}}));
  EXPECT_TRUE(WriteObject(*store, "b", "two").ok());
}

TEST_F(DirectoryStoreTest, IgnoresWhatIsNotItsOwn) {
  for (const std::string path :
       {"/dir/README.md", "/dir/.hidden", "/dir/Upper/x", "/dir/a/NOT", "/dir/a/b"}) {
    disk_.SetContents(path, "x");
  }
  const auto store = Open().value();
  EXPECT_EQ(ListObjects(*store).value(), (Listing{{"a/b", 1}}));
  EXPECT_EQ(disk_.Paths().size(), 6u) << "they are still there, and LOCK";
}

template <typename Place>
class FoldersTest : public ::testing::Test {
 protected:
  Place place_;
};
using Places = ::testing::Types<OnPosix, OnSimulatedDisk>;
TYPED_TEST_SUITE(FoldersTest, Places);

TYPED_TEST(FoldersTest, NoObjectIsAFolder) {
  ObjectStore& store = this->place_.store();
  ASSERT_TRUE(WriteObject(store, "folder/sub/object", "one").ok());
  ASSERT_TRUE(WriteObject(store, "object", "two").ok());
  for (const std::string name :
       {"folder", "folder/sub", "object/below", "object/far/below", "folder/sub/object/x"}) {
    const absl::Status created = store.Create(name).status();
    EXPECT_TRUE(absl::IsInvalidArgument(created)) << name << ": " << created;
    const absl::Status opened = store.Open(name).status();
    EXPECT_TRUE(absl::IsNotFound(opened)) << name << ": " << opened;
    EXPECT_TRUE(store.Remove(name).ok()) << name;
  }
  // Both are free when they begin.
  const auto object = store.Create("x").value();
  const auto below = store.Create("x/y").value();
  ASSERT_TRUE(below->Finish().ok());
  const absl::Status late = object->Finish();
  EXPECT_TRUE(absl::IsInvalidArgument(late)) << late;
  EXPECT_EQ(ListObjects(store).value(), (Listing{{"folder/sub/object", 3}, {"object", 3}, {"x/y", 0}}));
}

TEST_F(DirectoryStoreTest, WritesInPiecesAndSyncsOnce) {
  const auto store = Open().value();
  const SimulatedDisk::Counts before = disk_.counts();
  const auto writer = store->Create("a").value();
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(writer->Append(std::string(100, 'x')).ok());
  EXPECT_EQ(disk_.counts().writes - before.writes, 3u);
  EXPECT_EQ(disk_.counts().written_bytes - before.written_bytes, 3u << 18);
  ASSERT_TRUE(writer->Append(std::string(1'000'000, 'x')).ok());
  EXPECT_EQ(disk_.counts().writes - before.writes, 7u);
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_EQ(disk_.counts().writes - before.writes, 8u);
  EXPECT_EQ(disk_.counts().syncs - before.syncs, 1u);
  EXPECT_EQ(disk_.counts().directory_syncs - before.directory_syncs, 1u);
}

TEST_F(DirectoryStoreTest, AFullDiskLeavesNothingBehind) {
  const auto store = Open().value();
  ASSERT_TRUE(WriteObject(*store, "a", std::string(1000, 'a')).ok());
  const uint64_t used = disk_.used_bytes();
  disk_.SetCapacity(used + (1 << 20));
  {
    const auto writer = store->Create("b").value();
    EXPECT_TRUE(writer->Append(std::string(1 << 20, 'b')).ok());
    const absl::Status full = writer->Append(std::string(1 << 20, 'b'));
    EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  }
  EXPECT_EQ(disk_.used_bytes(), used);
  {
    const auto writer = store->Create("b").value();
    EXPECT_TRUE(writer->Append(std::string((1 << 20) + 1, 'b')).ok());
    const absl::Status full = writer->Finish();
    EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  }
  EXPECT_EQ(disk_.used_bytes(), used);
  EXPECT_EQ(ListObjects(*store).value(), (Listing{{"a", 1000}}));
  EXPECT_TRUE(WriteObject(*store, "b", std::string(1 << 20, 'b')).ok());
}

TEST_F(DirectoryStoreTest, AFailureLeavesNothingBehind) {
  for (const Operation operation : {Operation::kWrite, Operation::kSync, Operation::kSyncDirectory}) {
    const auto store = Open().value();
    ASSERT_TRUE(WriteObject(*store, "folder/a", "one").ok());
    disk_.Fail(operation);
    const absl::Status failed = WriteObject(*store, "folder/b", "two");
    EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
    EXPECT_THAT(disk_.Paths(), ElementsAre("/dir/LOCK", "/dir/folder/a"));
    EXPECT_EQ(ListObjects(*store).value(), (Listing{{"folder/a", 3}}));
    EXPECT_TRUE(WriteObject(*store, "folder/b", "two").ok());
    ASSERT_TRUE(store->Remove("folder/a").ok() && store->Remove("folder/b").ok());
  }
}

TEST_F(DirectoryStoreTest, ReadsThatFail) {
  const auto store = Open().value();
  ASSERT_TRUE(WriteObject(*store, "a", std::string(1000, 'a')).ok());
  const auto object = store->Open("a").value();
  disk_.Fail(Operation::kRead);
  const absl::Status failed = ReadObject(*object, 0, 10).status();
  EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
  EXPECT_EQ(ReadObject(*object, 0, 10).value(), "aaaaaaaaaa");

  disk_.SetContents("/dir/a", "short");
  EXPECT_EQ(ReadObject(*object, 0, 5).value(), "short");
  const absl::Status lost = ReadObject(*object, 0, 6).status();
  EXPECT_TRUE(absl::IsDataLoss(lost)) << lost;
  EXPECT_THAT(std::string(lost.message()), HasSubstr("object a is shorter than it was"));
}

TEST(DirectoryStoreOnPosixTest, AFileThatCannotBeOpenedIsNotMissing) {
  const TempDirectory directory;
  PosixFileSystem files;
  ThreadPool threads("read", 1);
  ExecutorReads reads(threads);
  const auto store = OpenDirectoryStore(directory.path(), files, reads).value();
  // A link to itself, which the system refuses to follow for anybody.
  std::filesystem::create_directory(directory.Path("a"));
  std::filesystem::create_symlink("b", directory.Path("a/b"));
  const absl::Status status = store->Open("a/b").status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

}  // namespace
}  // namespace thermocline::testing
