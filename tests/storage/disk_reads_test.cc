// What all DiskReads must do, asked of each over real files and over the simulated disk; and what only some
// have.

#include "storage/disk_reads.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <errno.h>
#include <functional>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <memory>
#include <random>
#include <string>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/executor_reads.h"
#include "storage/posix_file_system.h"
#include "storage/thread_annotations.h"
#include "storage/uring_reads.h"
#include "tests/support/manual_executor.h"
#include "tests/support/simulated_disk.h"
#include "tests/support/temp_directory.h"

namespace thermocline::storage {
namespace {

using ::testing::HasSubstr;
using testing::ManualExecutor;
using testing::SimulatedDisk;
using testing::TempDirectory;
using Mode = FileSystem::Mode;

// Fewer slots than reads, so that most of the reads queue up.
constexpr uint32_t kDepth = 8;

class RealFiles {
 public:
  FileSystem& files() { return files_; }
  std::string root() const { return directory_.path(); }

 private:
  TempDirectory directory_;
  PosixFileSystem files_;
};

class SimulatedFiles {
 public:
  SimulatedFiles() { EXPECT_TRUE(disk_.CreateDirectory(root()).ok()); }
  SimulatedDisk& disk() { return disk_; }
  FileSystem& files() { return disk_; }
  std::string root() const { return "/simulated/root"; }

 private:
  SimulatedDisk disk_{1};
};

class ByUring {
 public:
  ByUring() {
    absl::StatusOr<std::unique_ptr<UringReads>> reads = UringReads::Create(kDepth);
    refusal_ = reads.status();
    if (reads.ok()) reads_ = *std::move(reads);
  }
  absl::Status refusal() const { return refusal_; }
  DiskReads& reads() { return *reads_; }
  void Run() {}
  void Close() { reads_.reset(); }

 private:
  absl::Status refusal_;
  std::unique_ptr<DiskReads> reads_;
};

class ByThreads {
 public:
  absl::Status refusal() const { return absl::OkStatus(); }
  DiskReads& reads() { return *reads_; }
  void Run() {}
  void Close() { reads_.reset(); }

 private:
  std::unique_ptr<DiskReads> reads_ = OpenDiskReads(DiskReadsChoice::kThreads, 4).value().reads;
};

class ByHand {
 public:
  absl::Status refusal() const { return absl::OkStatus(); }
  DiskReads& reads() { return *reads_; }
  void Run() { executor_.RunUntilIdle(); }
  void Close() {
    Run();
    reads_.reset();
  }

 private:
  ManualExecutor executor_{7};
  std::unique_ptr<DiskReads> reads_ = std::make_unique<ExecutorReads>(executor_);
};

template <typename Files, typename Reader>
struct Place {
  Files files;
  Reader reader;
};

// Counts what has been submitted and not completed.
class Outstanding {
 public:
  void Add(int64_t count) {
    MutexLock lock(mutex_);
    count_ += count;
    if (count_ == 0) zero_.NotifyAll();
  }
  void AwaitNone() {
    MutexLock lock(mutex_);
    while (count_ != 0) zero_.Wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar zero_;
  int64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
};

std::string Pattern(size_t bytes) {
  std::string pattern(bytes, 0);
  for (size_t i = 0; i < bytes; ++i) pattern[i] = static_cast<char>(i * 131 + i / 251 + i / 65'521);
  return pattern;
}

// Memory for a read that begins `shift` bytes after a page does, with a byte before and after that must stay.
class Target {
 public:
  Target(size_t shift, size_t bytes) : memory_(bytes + 3 * kPage, kUntouched), bytes_(bytes) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    begin_ = (address / kPage + 1) * kPage - address + shift;
  }

  std::span<char> span() { return std::span(memory_).subspan(begin_, bytes_); }
  std::string_view view() const { return std::string_view(memory_).substr(begin_, bytes_); }
  bool edges_untouched() const {
    return memory_[begin_ - 1] == kUntouched && memory_[begin_ + bytes_] == kUntouched;
  }

 private:
  static constexpr size_t kPage = 4096;
  static constexpr char kUntouched = '?';

  std::string memory_;
  size_t bytes_;
  size_t begin_;
};

template <typename WherePlaced>
class DiskReadsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!place_.reader.refusal().ok()) GTEST_SKIP() << place_.reader.refusal();
  }

  DiskReads& reads() { return place_.reader.reads(); }
  std::string Path(const std::string& name) const { return place_.files.root() + "/" + name; }

  // A synced file of this content, read past the page cache or through it.
  std::unique_ptr<File> Make(const std::string& name, std::string_view content, Mode mode) {
    auto file = place_.files.files().Open(Path(name), Mode::kCreate);
    EXPECT_TRUE(file.ok()) << file.status();
    EXPECT_TRUE((*file)->WriteAt(0, content).ok());
    EXPECT_TRUE((*file)->Sync().ok());
    return Open(Path(name), mode);
  }
  std::unique_ptr<File> Open(const std::string& path, Mode mode) {
    auto file = place_.files.files().Open(path, mode);
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

  // Until all that was submitted has completed.
  void Await(Outstanding& outstanding) {
    place_.reader.Run();
    outstanding.AwaitNone();
  }

  absl::Status Read(File& file, uint64_t offset, std::span<char> out) {
    Outstanding outstanding;
    outstanding.Add(1);
    absl::Status result = absl::UnknownError("not completed");
    reads().Submit({&file, offset, out, [&](absl::Status status) {
                      result = std::move(status);
                      outstanding.Add(-1);
                    }});
    Await(outstanding);
    return result;
  }

  WherePlaced place_;
};

using Places = ::testing::Types<Place<RealFiles, ByUring>, Place<RealFiles, ByThreads>,
                                Place<SimulatedFiles, ByUring>, Place<SimulatedFiles, ByHand>>;
TYPED_TEST_SUITE(DiskReadsTest, Places);

TYPED_TEST(DiskReadsTest, AnyOffsetLengthAndMemory) {
  const std::string content = Pattern(3'500'000);
  for (const Mode mode : {Mode::kReadWrite, Mode::kReadDirect}) {
    const auto file = this->Make(fmt::format("file{}", static_cast<int>(mode)), content, mode);
    for (const size_t offset : {0, 1, 512, 4095, 4096, 1'000'000}) {
      for (const size_t bytes : {0, 1, 512, 4096, 4097, 20'480, 1'048'576, 2'200'000}) {
        for (const size_t shift : {0, 511}) {
          Target target(shift, bytes);
          ASSERT_TRUE(this->Read(*file, offset, target.span()).ok()) << offset << " " << bytes;
          ASSERT_TRUE(target.view() == std::string_view(content).substr(offset, bytes))
              << offset << " " << bytes << " " << shift;
          ASSERT_TRUE(target.edges_untouched()) << offset << " " << bytes << " " << shift;
        }
      }
    }
  }
}

TYPED_TEST(DiskReadsTest, ThousandsAtOnceFromSeveralThreads) {
  const std::string content = Pattern(3'000'001);
  const auto direct = this->Make("direct", content, Mode::kReadDirect);
  const auto cached = this->Make("cached", content, Mode::kReadWrite);
  Outstanding outstanding;
  const auto submit = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<DiskRead> batch;
    for (int i = 0; i < 1000; ++i) {
      const size_t largest = i % 100 == 0 ? 1 << 20 : size_t{1} << random() % 15;
      const size_t bytes = 1 + random() % largest;
      const uint64_t offset =
          (random() % (content.size() - bytes)) & (random() % 2 == 0 ? ~uint64_t{4095} : ~uint64_t{0});
      auto target = std::make_unique<Target>(random() % 3 == 0 ? random() % 4096 : 0, bytes);
      const std::span<char> out = target->span();
      batch.push_back({random() % 2 == 0 ? direct.get() : cached.get(), offset, out,
                       [&, offset, target = std::move(target)](const absl::Status& status) {
                         EXPECT_TRUE(status.ok()) << status;
                         EXPECT_TRUE(target->view() ==
                                     std::string_view(content).substr(offset, target->view().size()));
                         EXPECT_TRUE(target->edges_untouched());
                         outstanding.Add(-1);
                       }});
      if (random() % 8 != 0 && i != 999) continue;
      outstanding.Add(static_cast<int64_t>(batch.size()));
      this->reads().SubmitAll(batch);
      batch.clear();
    }
  };
  std::vector<std::thread> threads;
  for (uint64_t seed = 1; seed <= 4; ++seed) threads.emplace_back(submit, seed);
  for (std::thread& thread : threads) thread.join();
  this->Await(outstanding);
}

// Each read finds the reader idle: a wake-up that gets lost would end this.
TYPED_TEST(DiskReadsTest, OneAtATime) {
  const std::string content = Pattern(10'000);
  const auto file = this->Make("file", content, Mode::kReadDirect);
  for (int i = 0; i < 1000; ++i) {
    char byte = 0;
    ASSERT_TRUE(this->Read(*file, i, {&byte, 1}).ok());
    ASSERT_EQ(byte, content[i]);
  }
}

TYPED_TEST(DiskReadsTest, BeyondTheEndNamesFileAndOffset) {
  for (const size_t length : {0, 5000, 8192, 1'048'576}) {
    for (const Mode mode : {Mode::kReadWrite, Mode::kReadDirect}) {
      const std::string name = fmt::format("file{}-{}", length, static_cast<int>(mode));
      const auto file = this->Make(name, Pattern(length), mode);
      for (const auto& [offset, bytes] : {std::pair<uint64_t, size_t>{0, length + 1},
                                          {length, 1},
                                          {length / 2, length},
                                          {length + 5000, 4096},
                                          {length, 4096},
                                          {uint64_t{1} << 40, 100},
                                          {0, length + 3'000'000}}) {
        if (offset + bytes <= length) continue;
        Target target(0, bytes);
        const absl::Status status = this->Read(*file, offset, target.span());
        EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
        EXPECT_THAT(std::string(status.message()),
                    HasSubstr(fmt::format("{} bytes at offset {} of {}", bytes, offset, this->Path(name))));
        EXPECT_TRUE(target.edges_untouched());
      }
      char byte;
      EXPECT_FALSE(this->Read(*file, UINT64_MAX, {&byte, 1}).ok());
    }
  }
}

TYPED_TEST(DiskReadsTest, NeverCompletesInsideSubmit) {
  const auto file = this->Make("file", Pattern(10'000), Mode::kReadDirect);
  thread_local bool submitting = false;
  Outstanding outstanding;
  const std::function<void(int)> submit = [&](int more) {
    submitting = true;
    for (const size_t bytes : {0, 1, 4096, 20'000}) {
      outstanding.Add(1);
      auto target = std::make_unique<Target>(0, bytes);
      const std::span<char> out = target->span();
      this->reads().Submit(
          {file.get(), 0, out, [&, more, target = std::move(target)](const absl::Status& status) {
             EXPECT_FALSE(submitting);
             EXPECT_EQ(status.ok(), target->view().size() < 20'000) << status;
             if (more > 0) submit(more - 1);
             outstanding.Add(-1);
           }});
    }
    submitting = false;
  };
  submit(4);
  this->Await(outstanding);
}

TYPED_TEST(DiskReadsTest, CompletionsSubmitMore) {
  const std::string content = Pattern(100'000);
  const auto file = this->Make("file", content, Mode::kReadDirect);
  struct Chain {
    uint64_t offset;
    int left = 50;
    char bytes[2] = {};
  };
  Outstanding outstanding;
  std::vector<Chain> chains(100);
  const std::function<void(Chain&)> step = [&](Chain& chain) {
    this->reads().Submit({file.get(), chain.offset, chain.bytes, [&](const absl::Status& status) {
                            EXPECT_TRUE(status.ok()) << status;
                            EXPECT_EQ(std::string_view(chain.bytes, 2), content.substr(chain.offset, 2));
                            chain.offset = (chain.offset + 7'919) % 99'999;
                            if (--chain.left > 0) {
                              step(chain);
                            } else {
                              outstanding.Add(-1);
                            }
                          }});
  };
  outstanding.Add(static_cast<int64_t>(chains.size()));
  for (size_t i = 0; i < chains.size(); ++i) {
    chains[i].offset = i * 997;
    step(chains[i]);
  }
  this->Await(outstanding);
}

TYPED_TEST(DiskReadsTest, DestructionWaitsForWhatIsUnderWay) {
  const auto file = this->Make("file", Pattern(100'000), Mode::kReadDirect);
  DiskReads& reads = this->reads();
  std::atomic<int> completed = 0;
  std::vector<char> memory(1000);
  const auto held = std::make_shared<int>();
  std::vector<DiskRead> batch;
  for (size_t i = 0; i < memory.size(); ++i) {
    const std::span<char> out = std::span(memory).subspan(i, 1);
    batch.push_back({file.get(), i, out, [&, i, out, held](const absl::Status&) {
                       ++completed;
                       reads.Submit({file.get(), i, out, [&, held](const absl::Status&) { ++completed; }});
                     }});
  }
  reads.SubmitAll(batch);
  this->place_.reader.Close();
  EXPECT_EQ(completed, 2000);
  EXPECT_EQ(held.use_count(), 1) << "what completions hold is given up";
}

// Failures as told, of files that the system does not know.
template <typename WherePlaced>
class FailingDiskReadsTest : public DiskReadsTest<WherePlaced> {};

using SimulatedPlaces = ::testing::Types<Place<SimulatedFiles, ByUring>, Place<SimulatedFiles, ByHand>>;
TYPED_TEST_SUITE(FailingDiskReadsTest, SimulatedPlaces);

TYPED_TEST(FailingDiskReadsTest, AFailureIsThatOfOneRead) {
  const auto file = this->Make("file", Pattern(100), Mode::kReadDirect);
  this->place_.files.disk().Fail(SimulatedDisk::Operation::kRead, 4);
  Outstanding outstanding;
  std::vector<char> memory(10);
  std::vector<absl::Status> results(memory.size());
  for (size_t i = 0; i < memory.size(); ++i) {
    outstanding.Add(1);
    this->reads().Submit({file.get(), i, std::span(memory).subspan(i, 1),
                          [&outstanding, &result = results[i]](absl::Status status) {
                            result = std::move(status);
                            outstanding.Add(-1);
                          }});
  }
  this->Await(outstanding);
  EXPECT_EQ(std::ranges::count_if(results, &absl::IsUnavailable), 1);
  EXPECT_EQ(std::ranges::count_if(results, [](const absl::Status& status) { return status.ok(); }), 9);
}

// What the system itself does not do smoothly.
template <typename WherePlaced>
class RealDiskReadsTest : public DiskReadsTest<WherePlaced> {};

using RealPlaces = ::testing::Types<Place<RealFiles, ByUring>, Place<RealFiles, ByThreads>>;
TYPED_TEST_SUITE(RealDiskReadsTest, RealPlaces);

TYPED_TEST(RealDiskReadsTest, AFailedReadNamesFileAndOffset) {
  // Nothing is mapped at the beginning of a process.
  const auto file = this->Open("/proc/self/mem", Mode::kReadWrite);
  std::string out(100, 0);
  const absl::Status status = this->Read(*file, 16, out);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(std::string(status.message()),
            "cannot read 100 bytes at offset 16 of /proc/self/mem: Input/output error");
}

TYPED_TEST(RealDiskReadsTest, ShortReadsGoOn) {
  // procfs hands out a page at a time.
  const auto file = this->Open("/proc/kallsyms", Mode::kReadDirect);
  std::string expected(50'000, 0);
  if (!file->ReadAt(0, expected).ok()) GTEST_SKIP() << "no long file in procfs";
  std::string out(expected.size(), 0);
  ASSERT_TRUE(this->Read(*file, 0, out).ok());
  EXPECT_TRUE(out == expected);
}

TEST(ReadRingTest, DrivenByAnEventLoop) {
  auto ring = ReadRing::Create(2);
  if (!ring.ok()) GTEST_SKIP() << ring.status();
  TempDirectory directory;
  PosixFileSystem files;
  const std::string content = Pattern(100'000);
  ASSERT_TRUE(files.Open(directory.Path("file"), Mode::kCreate).value()->WriteAt(0, content).ok());
  const auto file = files.Open(directory.Path("file"), Mode::kReadDirect).value();

  const int event = ::eventfd(0, 0);
  ASSERT_TRUE((*ring)->SignalTo(event).ok());
  int completed = 0;
  std::string out(20, 0);
  for (size_t i = 0; i < out.size(); ++i) {
    (*ring)->Add({file.get(), i * 4096, std::span(out).subspan(i, 1), [&](const absl::Status& status) {
                    EXPECT_TRUE(status.ok()) << status;
                    ++completed;
                  }});
  }
  EXPECT_EQ(completed, 0);
  EXPECT_EQ((*ring)->pending(), out.size());
  while (true) {
    (*ring)->Enter(ReadRing::Wait::kNo);
    (*ring)->Complete();
    if ((*ring)->pending() == 0) break;
    (*ring)->Enter(ReadRing::Wait::kNo);
    eventfd_t signals;
    ASSERT_EQ(::eventfd_read(event, &signals), 0);
  }
  EXPECT_EQ(completed, 20);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], content[i * 4096]);
  ::close(event);
}

TEST(ReadRingTest, AnInterruptBeforeTheWaitEndsIt) {
  auto ring = ReadRing::Create(2);
  if (!ring.ok()) GTEST_SKIP() << ring.status();
  for (int i = 0; i < 3; ++i) {
    (*ring)->Interrupt();
    (*ring)->Enter(ReadRing::Wait::kYes);
    (*ring)->Complete();
  }
}

TEST(ExecutorReadsTest, NobodyWaitsForWhatTheExecutorDropped) {
  SimulatedFiles disk;
  ManualExecutor executor(1);
  auto file = disk.files().Open(disk.root() + "/file", Mode::kCreate).value();
  ExecutorReads reads(executor);
  reads.Submit({file.get(), 0, {}, [](const absl::Status&) { ADD_FAILURE() << "it was dropped"; }});
  EXPECT_EQ(executor.Drop(), 1u);
}

// Has the system refuse io_uring to this thread and those it starts from now on.
void RefuseUring(int error) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),  // the number of the system call
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, static_cast<uint32_t>(SECCOMP_RET_ERRNO | error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {.len = std::size(program), .filter = program};
  ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter), 0);
}

TEST(OpenDiskReadsTest, ThreadsWhereUringIsRefused) {
  for (const auto& [error, code] : {std::pair{EPERM, absl::StatusCode::kUnavailable},
                                    {ENOSYS, absl::StatusCode::kUnimplemented},
                                    {ENOMEM, absl::StatusCode::kUnavailable}}) {
    std::thread([error = error, code = code] {
      RefuseUring(error);
      const auto opened = OpenDiskReads(DiskReadsChoice::kAuto, 2);
      ASSERT_TRUE(opened.ok()) << opened.status();
      EXPECT_EQ(opened->reads->name(), "threads");
      EXPECT_EQ(opened->refusal.code(), code);
      EXPECT_THAT(std::string(opened->refusal.message()), HasSubstr(::strerror(error)));
      EXPECT_EQ(OpenDiskReads(DiskReadsChoice::kIoUring, 2).status().code(), code);
    }).join();
  }
}

TEST(OpenDiskReadsTest, TakesWhatWasChosen) {
  const auto threads = OpenDiskReads(DiskReadsChoice::kThreads, 2);
  ASSERT_TRUE(threads.ok()) << threads.status();
  EXPECT_EQ(threads->reads->name(), "threads");
  EXPECT_TRUE(threads->refusal.ok());

  const auto chosen = OpenDiskReads(DiskReadsChoice::kAuto, 2);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->reads->name(), chosen->refusal.ok() ? "io_uring" : "threads");
}

}  // namespace
}  // namespace thermocline::storage
