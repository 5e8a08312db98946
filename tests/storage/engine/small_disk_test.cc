// The engine on a real file system that is too small: what a full disk refuses, what goes on meanwhile, and
// that nothing acknowledged is lost over it.

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <sys/mount.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "gtest/gtest.h"
#include <fmt/format.h>
#include <sched.h>

#include "storage/engine.h"
#include "storage/posix_file_system.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/support/temp_directory.h"

namespace thermocline::testing {
namespace {

using storage::Engine;

constexpr uint64_t kDiskBytes = 24 << 20;
constexpr uint32_t kBlockBytes = 64 << 10;
constexpr int kMoreThanFits = 30'000;  // keys

absl::Status WriteProc(const char* path, const std::string& text) {
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  const bool written = file >= 0 && write(file, text.data(), text.size()) == ssize_t(text.size());
  const int error = errno;
  if (file >= 0) close(file);
  return written ? absl::OkStatus() : absl::ErrnoToStatus(error, path);
}

// Lets this process mount what nobody else sees. Where it is not root, it becomes root among its own mounts.
// Threads that are there already stay behind.
absl::Status LeaveNamespaces() {
  const uid_t user = geteuid();
  const gid_t group = getegid();
  if (unshare(CLONE_NEWNS) != 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
      return absl::ErrnoToStatus(errno, "unshare user and mount namespaces");
    absl::Status status = WriteProc("/proc/self/setgroups", "deny");
    status.Update(WriteProc("/proc/self/uid_map", fmt::format("0 {} 1", user)));
    status.Update(WriteProc("/proc/self/gid_map", fmt::format("0 {} 1", group)));
    if (!status.ok()) return status;
  }
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return absl::ErrnoToStatus(errno, "make mounts private");
  return absl::OkStatus();
}

// A tmpfs, as long as this lives.
class SmallDisk {
 public:
  SmallDisk() {
    static const absl::Status alone = LeaveNamespaces();
    status_ = alone;
    if (status_.ok() &&
        mount("tmpfs", path().c_str(), "tmpfs", 0, fmt::format("size={}", kDiskBytes).c_str()) != 0)
      status_ = absl::ErrnoToStatus(errno, "mount a tmpfs");
  }
  ~SmallDisk() {
    if (status_.ok()) umount2(path().c_str(), MNT_DETACH);
  }

  // OK, or why this system does not let it be.
  const absl::Status& status() const { return status_; }
  const std::string& path() const { return directory_.path(); }

  // Takes up so many bytes, or all that is left.
  void Fill(uint64_t bytes = UINT64_MAX) {
    const int file = open(ballast().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    ASSERT_GE(file, 0);
    const std::string page(4096, 'b');
    ssize_t written = 1;
    for (uint64_t taken = 0; taken < bytes && written > 0; taken += page.size())
      written = write(file, page.data(), page.size());
    EXPECT_TRUE(written > 0 || errno == ENOSPC) << errno;
    close(file);
  }
  // Gives it back.
  void Empty() { ASSERT_EQ(unlink(ballast().c_str()), 0); }

 private:
  std::string ballast() const { return directory_.Path("ballast"); }

  TempDirectory directory_;
  absl::Status status_;
};

// Starting from all blocks, and from checkpoints, of which there are many then.
class SmallDiskTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!disk.status().ok()) GTEST_SKIP() << "this system grants no mounts: " << disk.status();
    Open();
  }

  absl::Status TryOpen() {
    engine.reset();
    auto opened = Engine::Open({.directory = disk.path() + "/data",
                                .memory_bytes = (GetParam() ? uint64_t{40} : uint64_t{4}) << 20,
                                .block_bytes = kBlockBytes,
                                .flush_interval = std::chrono::milliseconds(5),
                                .checkpoint_log_bytes = GetParam() ? 2 * kBlockBytes : 0},
                               {files, clock, random, reads, *disk_reads, commits, background});
    if (opened.ok()) engine = *std::move(opened);
    return opened.status();
  }
  void Open() { ASSERT_EQ(TryOpen(), absl::OkStatus()); }

  absl::Status Apply(const storage::Write& write) {
    std::promise<absl::Status> answer;
    engine->Apply(write, [&](const auto& result) { answer.set_value(result.status()); });
    return answer.get_future().get();
  }
  absl::Status Set(int key, const std::string& value) {
    absl::Status status = Apply({.key = KeyAt(key), .value = value});
    if (status.ok()) expected[KeyAt(key)] = value;
    return status;
  }
  absl::Status Delete(int key) {
    absl::Status status = Apply({.key = KeyAt(key)});
    if (status.ok()) expected.erase(KeyAt(key));
    return status;
  }
  absl::StatusOr<std::string> Get(const std::string& key) {
    std::promise<absl::StatusOr<std::string>> answer;
    engine->Get(key, [&](const absl::StatusOr<std::optional<storage::Entry>>& entry) {
      if (!entry.ok()) return answer.set_value(entry.status());
      if (!entry->has_value()) return answer.set_value(absl::NotFoundError(key));
      answer.set_value(std::string((*entry)->value.view()));
    });
    return answer.get_future().get();
  }
  absl::StatusOr<storage::CompactionReport> Compact() {
    std::promise<absl::StatusOr<storage::CompactionReport>> answer;
    engine->Compact([&](auto report) { answer.set_value(std::move(report)); });
    return answer.get_future().get();
  }

  // Sets new keys from number `first` on until one is refused; returns its number.
  int SetUntilRefused(int first) {
    int key = first;
    absl::Status status;
    while (key < first + kMoreThanFits && (status = Set(key, ValueOf(key))).ok()) ++key;
    EXPECT_TRUE(IsWantOfSpace(status)) << status;
    // The draft of a checkpoint may have given way meanwhile.
    if (!GetParam()) {
      EXPECT_TRUE(IsWantOfSpace(engine->Stats().write_status)) << engine->Stats().write_status;
    }
    return key;
  }
  // There is space again: soon, and without a restart, what was refused is taken.
  void AwaitSet(int key) {
    absl::Status status;
    for (int i = 0; i < 1000 && !(status = Set(key, ValueOf(key))).ok(); ++i) {
      ASSERT_TRUE(IsWantOfSpace(status)) << status;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_EQ(status, absl::OkStatus());
    EXPECT_EQ(engine->Stats().write_status, absl::OkStatus());
  }
  void SetKeys(int first, int end, const std::string& addition = "") {
    for (int key = first; key < end; ++key) {
      absl::Status status;
      // Compaction may be behind.
      for (int i = 0; i < 1000 && !(status = Set(key, ValueOf(key) + addition)).ok(); ++i) {
        ASSERT_TRUE(IsWantOfSpace(status)) << status;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      ASSERT_EQ(status, absl::OkStatus()) << key;
    }
  }
  void ExpectAll(int end) {
    for (int i = 0; i < end; ++i) {
      const std::string key = KeyAt(i);
      const auto found = Get(key);
      const auto value = expected.find(key);
      if (value == expected.end()) {
        ASSERT_TRUE(absl::IsNotFound(found.status())) << key << ": " << found.status();
      } else {
        ASSERT_EQ(found.status(), absl::OkStatus()) << key;
        ASSERT_EQ(*found, value->second) << key;
      }
    }
  }
  // There is space for a checkpoint at Close; it is taken away again where starts are to read all blocks.
  void Reopen() {
    ASSERT_EQ(engine->Close(), absl::OkStatus());
    if (!GetParam()) {
      for (const char* file : {"/data/CHECKPOINT", "/data/CLEAN"})
        ASSERT_EQ(unlink((disk.path() + file).c_str()), 0) << file;
    }
    Open();
    const storage::EngineStats stats = engine->Stats();
    EXPECT_EQ(stats.checkpoint_status, absl::OkStatus());
    EXPECT_GE(GetParam() ? stats.recovered_slots : stats.recovered_records, expected.size());
    if (!GetParam()) {
      EXPECT_EQ(stats.recovered_slots, 0u);
    }
  }

  static std::string KeyAt(int number) { return "key" + std::to_string(number); }
  static std::string ValueOf(int number) { return std::to_string(number) + std::string(1000, 'v'); }
  static bool IsWantOfSpace(const absl::Status& status) {
    const auto says = [&](const char* what) { return status.message().find(what) != std::string_view::npos; };
    return absl::IsResourceExhausted(status) && (says(std::strerror(ENOSPC)) || says("kept for deletes"));
  }

  SmallDisk disk;
  storage::PosixFileSystem files;
  storage::SystemClock clock;
  storage::SeededRandom random{1};
  storage::ThreadPool reads{"reads", 2};
  storage::ThreadPool commits{"commits", 1};
  storage::ThreadPool background{"background", 1};
  std::unique_ptr<storage::DiskReads> disk_reads =
      std::move(storage::OpenDiskReads(storage::DiskReadsChoice::kAuto, 2)->reads);
  std::unique_ptr<Engine> engine;
  std::map<std::string, std::string> expected;
};

TEST_P(SmallDiskTest, WritesGoOnWhenSpaceIsBack) {
  disk.Fill(8 << 20);
  const int full = SetUntilRefused(0);
  ASSERT_GT(full, 10'000);
  ExpectAll(full + 1);
  disk.Empty();
  // Also if nobody writes meanwhile.
  for (int i = 0; i < 1000 && !engine->Stats().write_status.ok(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(engine->Stats().write_status, absl::OkStatus());
  AwaitSet(full);
  const int more = full + 4'000;
  SetKeys(full + 1, more);
  SetKeys(0, 1'000, "new");
  ExpectAll(more);

  Reopen();
  ExpectAll(more);
}

TEST_P(SmallDiskTest, FullAgainAndAgain) {
  int end = 0;
  for (int round = 0; round < 4; ++round) {
    disk.Fill(uint64_t{4 - static_cast<uint64_t>(round)} * (4 << 20));
    end = SetUntilRefused(end);
    disk.Empty();
    AwaitSet(end++);
    ExpectAll(end);
  }
  Reopen();
  ExpectAll(end);
}

// What is kept for them is enough for deletes and for compaction, which win more.
TEST_P(SmallDiskTest, CompactionBringsSpaceBack) {
  const int full = SetUntilRefused(0);
  for (int key = 0; key < full; ++key) {
    if (key % 4 == 0) continue;
    absl::Status status;
    for (int i = 0; i < 1000 && !(status = Delete(key)).ok(); ++i) {
      ASSERT_TRUE(IsWantOfSpace(status)) << status;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_EQ(status, absl::OkStatus()) << key;
  }
  const auto report = Compact();
  ASSERT_EQ(report.status(), absl::OkStatus());
  AwaitSet(full);
  const int more = full + full / 4;
  SetKeys(full + 1, more);
  // Nothing but overwrites, of more bytes than there is room for.
  for (const char* round : {"a", "b", "c", "d"}) SetKeys(full, more, round);
  ExpectAll(more);

  Reopen();
  ExpectAll(more);
}

TEST_P(SmallDiskTest, FullAtCloseAndAtOpen) {
  SetKeys(0, 2'000);
  Reopen();
  SetKeys(1'000, 3'000, "new");
  for (int key = 0; key < 3'000; key += 2) ASSERT_EQ(Delete(key), absl::OkStatus());
  disk.Fill(8 << 20);
  const int full = SetUntilRefused(3'000);
  disk.Fill();
  // No room for CLEAN or a checkpoint either.
  ASSERT_EQ(engine->Close(), absl::OkStatus());
  for (int i = 0; i < 2; ++i) {
    disk.Fill();
    const absl::Status status = TryOpen();
    // What an unfinished compaction has left may be room enough.
    if (!status.ok()) {
      ASSERT_TRUE(IsWantOfSpace(status)) << status;
    } else {
      ExpectAll(full + 1);
      ASSERT_EQ(engine->Close(), absl::OkStatus());
    }
  }
  disk.Empty();
  Open();
  ExpectAll(full + 1);
  AwaitSet(full);

  Reopen();
  ExpectAll(full + 1);
}

// It wants a block to go on in, and may have one.
TEST_P(SmallDiskTest, StartsOrSaysWhyNot) {
  disk.Fill(16 << 20);
  const int full = SetUntilRefused(0);
  disk.Fill();
  engine.reset();
  for (int i = 0; i < 3; ++i) {
    const absl::Status status = TryOpen();
    ASSERT_TRUE(IsWantOfSpace(status) || status.ok()) << status;
    if (status.ok()) ExpectAll(full + 1);
  }
  disk.Empty();
  Open();
  ExpectAll(full + 1);
  AwaitSet(full);
}

// Others have filled the disk; the store still has the block that it made ready for the next writes.
TEST_P(SmallDiskTest, StartsOnAFullDiskWithABlockOfItsOwn) {
  SetKeys(0, 2'000);
  Reopen();
  SetKeys(2'000, 2'003);
  disk.Fill();
  ASSERT_EQ(engine->Close(), absl::OkStatus());
  Open();
  ExpectAll(2'003);
  const int full = SetUntilRefused(2'003);
  ExpectAll(full + 1);
  disk.Empty();
  AwaitSet(full);
  ExpectAll(full + 1);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, SmallDiskTest, ::testing::Bool());

}  // namespace
}  // namespace thermocline::testing
