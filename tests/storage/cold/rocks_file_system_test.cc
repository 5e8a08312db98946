// What the file system below RocksDB adds: manifests that end where they were synced, and no change after a
// failed sync.

#include "storage/cold/rocks_file_system.h"

#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/cold/cold_store.h"
#include "storage/system_clock.h"
#include "tests/storage/cold/cold_model.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::storage {
namespace {

using ::testing::HasSubstr;
using testing::SimulatedDisk;

class RocksFileSystemTest : public ::testing::Test {
 protected:
  RocksFileSystemTest() { EXPECT_TRUE(disk_.CreateDirectory("/d").ok()); }

  std::unique_ptr<rocksdb::FSWritableFile> Create(const std::string& path) {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    EXPECT_TRUE(files_.NewWritableFile(path, {}, &file, nullptr).ok());
    return file;
  }

  SimulatedDisk disk_{1};
  RocksFileSystem files_{disk_};
  const rocksdb::IOOptions io_;
};

TEST_F(RocksFileSystemTest, WritesAndReads) {
  const auto file = Create("/d/file");
  ASSERT_TRUE(file->Append("temper", io_, nullptr).ok());
  ASSERT_TRUE(file->Append("ature", io_, nullptr).ok());
  ASSERT_TRUE(file->Sync(io_, nullptr).ok());
  EXPECT_EQ(file->GetFileSize(io_, nullptr), 11u);

  std::unique_ptr<rocksdb::FSRandomAccessFile> random;
  ASSERT_TRUE(files_.NewRandomAccessFile("/d/file", {}, &random, nullptr).ok());
  char memory[100];
  rocksdb::Slice read;
  ASSERT_TRUE(random->Read(6, 100, io_, &read, memory, nullptr).ok());
  EXPECT_EQ(read.ToString(), "ature") << "less at the end";
  ASSERT_TRUE(random->Read(50, 10, io_, &read, memory, nullptr).ok());
  EXPECT_EQ(read.ToString(), "");

  std::unique_ptr<rocksdb::FSSequentialFile> sequential;
  ASSERT_TRUE(files_.NewSequentialFile("/d/file", {}, &sequential, nullptr).ok());
  ASSERT_TRUE(sequential->Skip(2).ok());
  ASSERT_TRUE(sequential->Read(4, io_, &read, memory, nullptr).ok());
  EXPECT_EQ(read.ToString(), "mper");
  ASSERT_TRUE(sequential->Read(100, io_, &read, memory, nullptr).ok());
  EXPECT_EQ(read.ToString(), "ature");

  Create("/d/file");
  uint64_t bytes = 1;
  ASSERT_TRUE(files_.GetFileSize("/d/file", io_, &bytes, nullptr).ok());
  EXPECT_EQ(bytes, 0u) << "replaced";
  EXPECT_TRUE(files_.FileExists("/d/none", io_, nullptr).IsNotFound());
  EXPECT_TRUE(files_.NewSequentialFile("/d/none", {}, &sequential, nullptr).IsPathNotFound());
}

TEST_F(RocksFileSystemTest, AFailedSyncFreezesTheDisk) {
  const auto file = Create("/d/file");
  const auto other = Create("/d/other");
  ASSERT_TRUE(file->Append("x", io_, nullptr).ok());
  disk_.Fail(SimulatedDisk::Operation::kSync);
  EXPECT_TRUE(file->Sync(io_, nullptr).IsIOError());
  EXPECT_THAT(std::string(files_.write_status().message()), HasSubstr("/d/file"));
  for (const rocksdb::IOStatus& refused :
       {other->Append("y", io_, nullptr), other->Sync(io_, nullptr),
        files_.DeleteFile("/d/other", io_, nullptr), files_.RenameFile("/d/other", "/d/new", io_, nullptr)}) {
    EXPECT_THAT(refused.ToString(), HasSubstr("sync /d/file"));
  }
  EXPECT_TRUE(files_.FileExists("/d/other", io_, nullptr).ok());
}

TEST_F(RocksFileSystemTest, AFullDiskDoesNot) {
  const auto file = Create("/d/file");
  disk_.SetCapacity(10);
  EXPECT_TRUE(file->Append("more than ten bytes", io_, nullptr).IsNoSpace());
  EXPECT_TRUE(file->Append("ten bytes.", io_, nullptr).ok());
  EXPECT_EQ(disk_.Contents("/d/file"), "ten bytes.");
}

class ManifestTest : public ::testing::Test {
 protected:
  static constexpr const char* kDirectory = "/cold";

  absl::StatusOr<std::unique_ptr<ColdStore>> Open() {
    return ColdStore::Open({.directory = kDirectory, .memory_bytes = kMinColdMemoryBytes}, disk_);
  }
  std::string Manifest() const {
    std::string current = *disk_.Contents("/cold/CURRENT");
    current.pop_back();
    return fmt::format("{}/{}", kDirectory, current);
  }
  // A store of some batches; a copy of its files can be spoiled and restored.
  void Fill() {
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    for (Version version = 1; version <= 3; ++version) {
      const ColdModel::Records records{{fmt::format("k{}", version), {"value", version, 0}}};
      ASSERT_TRUE(Put(**store, records).ok());
      model_.Put(records);
    }
    ASSERT_TRUE((*store)->Close().ok());
    for (const std::string& path : disk_.Paths()) files_.emplace_back(path, *disk_.Contents(path));
  }
  void Restore() {
    for (const std::string& path : disk_.Paths()) ASSERT_TRUE(disk_.Remove(path).ok());
    for (const auto& [path, bytes] : files_) disk_.SetContents(path, bytes);
  }

  SimulatedDisk disk_{1};
  ColdModel model_;
  std::vector<std::pair<std::string, std::string>> files_;
};

TEST_F(ManifestTest, WhatWasNotSyncedIsCutOff) {
  Fill();
  for (const std::string& tail : {std::string(3000, '\0'), std::string("torn"), std::string(40'000, 'x')}) {
    Restore();
    disk_.SetContents(Manifest(), *disk_.Contents(Manifest()) + tail);
    const auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    ExpectIs(**store, model_);
  }
}

TEST_F(ManifestTest, WhatWasSyncedMustBeThere) {
  Fill();
  const std::string whole = *disk_.Contents(Manifest());
  for (const size_t bytes : {size_t{0}, whole.size() / 2, whole.size() - 1}) {
    Restore();
    disk_.SetContents(Manifest(), whole.substr(0, bytes));
    EXPECT_TRUE(absl::IsDataLoss(Open().status())) << Open().status();
  }
  for (size_t offset = 0; offset < whole.size(); offset += 5) {
    Restore();
    disk_.FlipBit(Manifest(), offset, static_cast<int>(offset % 8));
    EXPECT_TRUE(absl::IsDataLoss(Open().status())) << offset << ": " << Open().status();
  }
}

TEST_F(ManifestTest, DoesWithoutAHorizon) {
  Fill();
  disk_.SetContents("/cold/SYNCED", "");
  const auto store = Open();
  ASSERT_TRUE(store.ok()) << store.status();
  ExpectIs(**store, model_);
}

}  // namespace
}  // namespace thermocline::storage
