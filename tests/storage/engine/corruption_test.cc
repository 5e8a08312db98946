// Bytes that change, vanish or do not belong: an error that names them, or data that is all there. Never
// silence.

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/storage/engine/simulated_store.h"

namespace thermocline::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr char kFirst[] = "data/log/0000000000000001.block";
constexpr char kSecond[] = "data/log/0000000000000002.block";

class CorruptionTest : public ::testing::Test {
 protected:
  CorruptionTest() : store(7) {
    EXPECT_EQ(store.Open(), absl::OkStatus());
    for (int i = 0; i < 150; ++i) {
      const std::string key = "key" + std::to_string(i);
      written[key] = std::string(i % 10 == 0 ? 9000 : 500, static_cast<char>('a' + i % 26)) + key;
      EXPECT_TRUE(store.Set(key, written[key]).ok());
    }
  }

  void CloseInOrder() { ASSERT_EQ(store.Close(), absl::OkStatus()); }

  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const std::string& path : store.disk.Paths()) {
      if (path.starts_with("data/log/")) files[path] = *store.disk.Contents(path);
    }
    return files;
  }

  // The store opens with everything in it, or refuses and changes nothing.
  void ExpectNoSilence(const std::string& what) {
    const auto before = Files();
    const absl::Status status = store.Open();
    if (!status.ok()) {
      EXPECT_THAT(status.code(), AnyOf(absl::StatusCode::kDataLoss, absl::StatusCode::kFailedPrecondition))
          << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("data/")) << "names the file";
      EXPECT_EQ(Files(), before) << what;
      return;
    }
    for (const auto& [key, value] : written) {
      const std::string found = store.Read(key);
      EXPECT_TRUE(found == value || found.starts_with("DATA_LOSS"))
          << what << " gave a wrong value of " << key;
      refused_reads += found != value;
    }
    store.Crash();
  }

  SimulatedStore store;
  std::map<std::string, std::string> written;
  int refused_reads = 0;
};

// Where all blocks are read the store mostly does not open; with a checkpoint it opens, and says so when what
// is damaged is read.
class FlippedBitTest : public CorruptionTest, public ::testing::WithParamInterface<bool> {};

INSTANTIATE_TEST_SUITE_P(Checkpoint, FlippedBitTest, ::testing::Bool());

TEST_P(FlippedBitTest, IsFoundWhereverItIs) {
  CloseInOrder();
  const auto checkpoint = store.disk.Contents("data/CHECKPOINT");
  ASSERT_TRUE(checkpoint);
  if (!GetParam()) {
    ASSERT_EQ(store.disk.Remove("data/CHECKPOINT"), absl::OkStatus());
  }
  const auto files = Files();
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    auto file = files.begin();
    std::advance(file, store.random.Next() % files.size());
    const uint64_t offset = store.random.Next() % file->second.size();
    SimulatedDisk& disk = store.disk;
    const auto clean = disk.Contents("data/CLEAN");
    disk.FlipBit(file->first, offset, static_cast<int>(store.random.Next() % 8));
    ExpectNoSilence(file->first + " with a bit flipped at " + std::to_string(offset));
    refused += store.engine == nullptr && disk.Contents("data/CLEAN") == clean;
    for (const std::string& path : disk.Paths()) {
      if (path.starts_with("data/log/") && !files.contains(path)) {
        ASSERT_EQ(disk.Remove(path), absl::OkStatus());
      }
    }
    for (const auto& [path, bytes] : files) disk.SetContents(path, bytes);
    disk.SetContents("data/CLEAN", *clean);
    if (GetParam()) disk.SetContents("data/CHECKPOINT", *checkpoint);
  }
  EXPECT_GT(refused, GetParam() ? 10 : 100);
  EXPECT_EQ(refused_reads > 10, GetParam()) << refused_reads;
}

TEST_F(CorruptionTest, AFlippedBitInTheIdentityIsFound) {
  CloseInOrder();
  for (uint64_t offset = 0; offset < 40; ++offset) {
    store.disk.FlipBit("data/STORE", offset);
    ExpectNoSilence("STORE");
    EXPECT_EQ(store.engine, nullptr) << "offset " << offset;
    store.disk.FlipBit("data/STORE", offset);
  }
  EXPECT_EQ(store.Open(), absl::OkStatus());
}

TEST_F(CorruptionTest, ADamagedCleanMarkerProvesLess) {
  CloseInOrder();
  store.disk.FlipBit("data/CLEAN", 9);
  ASSERT_EQ(store.Open(), absl::OkStatus());
  for (const auto& [key, value] : written) EXPECT_EQ(store.Read(key), value);
}

TEST_F(CorruptionTest, AfterACrashDamageBelowTheHorizonIsStillFound) {
  store.Crash();
  for (const uint64_t offset : {0u, 4096u, 4140u, 20'000u, 60'000u}) {
    store.disk.FlipBit(kFirst, offset);
    ExpectNoSilence("offset " + std::to_string(offset));
    EXPECT_EQ(store.engine, nullptr) << "offset " << offset;
    store.disk.FlipBit(kFirst, offset);
  }
}

TEST_F(CorruptionTest, ATruncatedBlockIsFound) {
  CloseInOrder();
  const auto files = Files();
  const std::string clean = *store.disk.Contents("data/CLEAN");
  for (const auto& [path, bytes] : files) {
    for (const size_t size : {size_t{0}, size_t{63}, size_t{5000}, bytes.size() / 2}) {
      if (size >= bytes.size()) continue;
      store.disk.SetContents(path, bytes.substr(0, size));
      // The last file is the block made ready for what comes next: nothing is in it yet, and nothing is lost.
      ExpectNoSilence(path + " truncated");
      if (path <= kSecond) {
        EXPECT_EQ(store.disk.Contents(path), bytes.substr(0, size)) << "opened without it";
      }
      for (const auto& [other, contents] : files) store.disk.SetContents(other, contents);
      store.disk.SetContents("data/CLEAN", clean);
    }
  }
}

TEST_F(CorruptionTest, AMissingBlockIsFound) {
  CloseInOrder();
  for (const char* path : {kFirst, kSecond}) {
    const std::string bytes = *store.disk.Contents(path);
    ASSERT_EQ(store.disk.Remove(path), absl::OkStatus());
    const absl::Status status = store.Open();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(path) + " is missing"));
    store.disk.SetContents(path, bytes);
  }
  ASSERT_EQ(store.disk.Remove("data/STORE"), absl::OkStatus());
  EXPECT_THAT(store.Open().ToString(), HasSubstr("DATA_LOSS: data/STORE is missing"));
}

TEST_F(CorruptionTest, TheLastBlockMissingAfterACrashIsFound) {
  store.RunUntilIdle();
  store.Crash();
  const auto files = Files();
  ASSERT_GE(files.size(), 3u);
  const std::string newest = std::prev(files.end(), 2)->first;  // the very last was made ready and is empty
  ASSERT_EQ(store.disk.Remove(newest), absl::OkStatus());
  EXPECT_THAT(store.Open().ToString(), HasSubstr(newest + " is missing"));
}

TEST_F(CorruptionTest, AnEmptiedBlockIsFoundAfterACrash) {
  store.RunUntilIdle();
  store.Crash();
  const auto files = Files();
  ASSERT_GE(files.size(), 3u);
  const std::string newest = std::prev(files.end(), 2)->first;  // the very last was made ready and is empty
  for (const std::string& bytes : {std::string(), std::string(64 << 10, '\0')}) {
    store.disk.SetContents(newest, bytes);
    EXPECT_THAT(store.Open().ToString(), HasSubstr(newest + " is damaged at offset 0"));
  }
}

TEST_F(CorruptionTest, FilesOfOthersAreRefused) {
  CloseInOrder();
  store.disk.SetContents("data/log/notes.txt", "hello");
  EXPECT_THAT(store.Open().ToString(), HasSubstr("data/log/notes.txt is not a file of this store"));
  ASSERT_EQ(store.disk.Remove("data/log/notes.txt"), absl::OkStatus());

  SimulatedStore other(8);
  ASSERT_EQ(other.Open(), absl::OkStatus());
  ASSERT_TRUE(other.Set("a", "1").ok());
  const std::string original = *store.disk.Contents(kSecond);
  store.disk.SetContents(kSecond, *other.disk.Contents(kFirst));
  EXPECT_THAT(store.Open().ToString(), HasSubstr("belongs to another store"));
  store.disk.SetContents(kSecond, *store.disk.Contents(kFirst));
  EXPECT_THAT(store.Open().ToString(), HasSubstr("was it renamed?"));
  store.disk.SetContents(kSecond, original);
  EXPECT_EQ(store.Open(), absl::OkStatus());
}

TEST_F(CorruptionTest, AColdReadOfADamagedChunkFailsAndOthersGoOn) {
  const std::string filler(16 << 10, 'f');
  for (int i = 0; i < 600; ++i) ASSERT_TRUE(store.Set("filler" + std::to_string(i), filler).ok());
  const size_t at = store.disk.Contents(kFirst)->find(written["key10"]);
  ASSERT_NE(at, std::string::npos);
  store.disk.FlipBit(kFirst, at + 100);
  EXPECT_THAT(store.Read("key10"),
              AnyOf(HasSubstr("DATA_LOSS: data/log/0000000000000001.block: a chunk fails its checksum")));
  EXPECT_EQ(store.Read("key20"), written["key20"]);
  EXPECT_TRUE(store.Set("key10", "mended").ok());
  EXPECT_EQ(store.Read("key10"), "mended");
  storage::ScanRequest request = {.max_entries = 10'000, .max_bytes = 100 << 20};
  EXPECT_EQ(store.Scan(request).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace thermocline::testing
