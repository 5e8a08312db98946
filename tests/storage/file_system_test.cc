// What every FileSystem must do, asked of the real one and of the simulated one; and what only the real one
// has.

#include "storage/file_system.h"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/posix_file_system.h"
#include "tests/support/simulated_disk.h"
#include "tests/support/temp_directory.h"

namespace thermocline::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::SimulatedDisk;
using testing::TempDirectory;

class OnPosix {
 public:
  FileSystem& files() { return files_; }
  std::string root() const { return directory_.path(); }

 private:
  TempDirectory directory_;
  PosixFileSystem files_;
};

class OnSimulatedDisk {
 public:
  OnSimulatedDisk() { EXPECT_TRUE(disk_.CreateDirectory(root()).ok()); }
  FileSystem& files() { return disk_; }
  std::string root() const { return "/simulated/root"; }

 private:
  SimulatedDisk disk_{1};
};

std::string Pattern(size_t bytes) {
  std::string pattern(bytes, 0);
  for (size_t i = 0; i < bytes; ++i) pattern[i] = static_cast<char>(i * 131 + i / 251);
  return pattern;
}

absl::StatusOr<std::string> Read(File& file, uint64_t offset, size_t bytes) {
  std::string out(bytes, '?');
  absl::Status status = file.ReadAt(offset, std::span(out));
  if (!status.ok()) return status;
  return out;
}

template <typename Place>
class FileSystemTest : public ::testing::Test {
 protected:
  FileSystem& files() { return place_.files(); }
  std::string Path(const std::string& name) const { return place_.root() + "/" + name; }

  std::unique_ptr<File> Create(const std::string& name, std::string_view content = {}) {
    auto file = files().Open(Path(name), FileSystem::Mode::kCreate);
    EXPECT_TRUE(file.ok()) << file.status();
    EXPECT_TRUE((*file)->WriteAt(0, content).ok());
    return *std::move(file);
  }

  std::string Content(const std::string& name) {
    auto file = files().Open(Path(name), FileSystem::Mode::kReadWrite);
    if (!file.ok()) return file.status().ToString();
    return Read(**file, 0, (*file)->Size().value()).value();
  }

  Place place_;
};

using Places = ::testing::Types<OnPosix, OnSimulatedDisk>;
TYPED_TEST_SUITE(FileSystemTest, Places);

TYPED_TEST(FileSystemTest, ReadsWhatWasWritten) {
  const auto file = this->Create("file");
  ASSERT_TRUE(file->WriteAt(3, "temperature").ok());
  ASSERT_TRUE(file->WriteAt(8, "RAT").ok());

  EXPECT_EQ(file->Size().value(), 14u);
  EXPECT_EQ(Read(*file, 3, 11).value(), "tempeRATure");
  EXPECT_EQ(Read(*file, 0, 3).value(), std::string(3, '\0'));
  EXPECT_EQ(Read(*file, 14, 0).value(), "");
}

TYPED_TEST(FileSystemTest, OneFileSeenThroughTwoHandles) {
  const auto writer = this->Create("file", "before");
  const auto reader = this->files().Open(this->Path("file"), FileSystem::Mode::kReadWrite).value();
  ASSERT_TRUE(writer->WriteAt(0, "behind").ok());
  EXPECT_EQ(Read(*reader, 0, 6).value(), "behind");
  ASSERT_TRUE(reader->WriteAt(0, "wr").ok());
  EXPECT_EQ(Read(*writer, 0, 6).value(), "wrhind");
}

TYPED_TEST(FileSystemTest, ReadBeyondTheEndNamesFileAndOffset) {
  const auto file = this->Create("short", "0123456789");
  for (const auto& [offset, bytes] : {std::pair<uint64_t, size_t>{0, 11}, {9, 2}, {10, 1}, {5000, 8000}}) {
    const absl::Status status = Read(*file, offset, bytes).status();
    EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(this->Path("short")));
    EXPECT_THAT(std::string(status.message()), HasSubstr(fmt::format("offset {}", offset)));
  }
}

TYPED_TEST(FileSystemTest, DirectReadsOfAnyOffsetAndLength) {
  const std::string content = Pattern(20'000);
  ASSERT_TRUE(this->Create("file", content)->Sync().ok());
  const auto file = this->files().Open(this->Path("file"), FileSystem::Mode::kReadDirect).value();
  for (const size_t offset : {0, 1, 511, 512, 4095, 4096, 4097, 8192, 19'000}) {
    for (const size_t bytes : {0, 1, 511, 4096, 5000, 8192, 11'808}) {
      if (offset + bytes > content.size()) continue;
      EXPECT_EQ(Read(*file, offset, bytes).value(), content.substr(offset, bytes)) << offset << " " << bytes;
    }
  }
  EXPECT_EQ(Read(*file, 0, 20'000).value(), content);
  EXPECT_EQ(file->Size().value(), 20'000u);
}

TYPED_TEST(FileSystemTest, DirectReadsIntoAlignedMemory) {
  const std::string content = Pattern(12'288);
  ASSERT_TRUE(this->Create("file", content)->Sync().ok());
  const auto file = this->files().Open(this->Path("file"), FileSystem::Mode::kReadDirect).value();
  alignas(4096) char memory[8192];
  ASSERT_TRUE(file->ReadAt(4096, memory).ok());
  EXPECT_EQ(std::string_view(memory, sizeof memory), std::string_view(content).substr(4096));
  const absl::Status beyond = file->ReadAt(8192, memory);
  EXPECT_TRUE(absl::IsOutOfRange(beyond)) << beyond;
}

TYPED_TEST(FileSystemTest, DirectReadsBeyondTheEnd) {
  ASSERT_TRUE(this->Create("file", Pattern(5000))->Sync().ok());
  const auto file = this->files().Open(this->Path("file"), FileSystem::Mode::kReadDirect).value();
  for (const auto& [offset, bytes] :
       {std::pair<uint64_t, size_t>{0, 5001}, {4999, 2}, {5000, 1}, {9000, 10}}) {
    const absl::Status status = Read(*file, offset, bytes).status();
    EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(fmt::format("{} bytes at offset {} ", bytes, offset)));
  }
}

TYPED_TEST(FileSystemTest, DirectHandlesDoNotWrite) {
  this->Create("file", "content");
  const auto file = this->files().Open(this->Path("file"), FileSystem::Mode::kReadDirect).value();
  EXPECT_FALSE(file->WriteAt(0, "x").ok());
  EXPECT_FALSE(file->Truncate(0).ok());
  EXPECT_FALSE(file->Allocate(100).ok());
  EXPECT_EQ(this->Content("file"), "content");
}

TYPED_TEST(FileSystemTest, OpensOnlyWhatExistsAndCreatesOnlyWhatDoesNot) {
  for (const auto mode : {FileSystem::Mode::kReadWrite, FileSystem::Mode::kReadDirect}) {
    const absl::Status status = this->files().Open(this->Path("none"), mode).status();
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(this->Path("none")));
  }
  this->Create("file", "kept");
  const absl::Status again = this->files().Open(this->Path("file"), FileSystem::Mode::kCreate).status();
  EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  EXPECT_EQ(this->Content("file"), "kept");

  const absl::Status nowhere = this->files().Open(this->Path("no/file"), FileSystem::Mode::kCreate).status();
  EXPECT_TRUE(absl::IsNotFound(nowhere)) << nowhere;
}

TYPED_TEST(FileSystemTest, AllocateGrowsWithZerosAndKeepsContent) {
  const auto file = this->Create("file", "content");
  ASSERT_TRUE(file->Allocate(10'000).ok());
  EXPECT_EQ(file->Size().value(), 10'000u);
  EXPECT_EQ(Read(*file, 0, 8).value(), std::string("content\0", 8));
  EXPECT_EQ(Read(*file, 9'990, 10).value(), std::string(10, '\0'));

  ASSERT_TRUE(file->Allocate(10).ok()) << "never shrinks";
  ASSERT_TRUE(file->Allocate(0).ok());
  EXPECT_EQ(file->Size().value(), 10'000u);
}

TYPED_TEST(FileSystemTest, TruncateCutsAndExtends) {
  const auto file = this->Create("file", "content");
  ASSERT_TRUE(file->Truncate(3).ok());
  EXPECT_EQ(this->Content("file"), "con");
  ASSERT_TRUE(file->Truncate(5).ok());
  EXPECT_EQ(this->Content("file"), std::string("con\0\0", 5));
  EXPECT_TRUE(file->Sync().ok());
}

TYPED_TEST(FileSystemTest, CreatesDirectoriesWithTheirParents) {
  ASSERT_TRUE(this->files().CreateDirectory(this->Path("a/b/c")).ok());
  ASSERT_TRUE(this->files().CreateDirectory(this->Path("a/b/c")).ok());
  ASSERT_TRUE(this->files().CreateDirectory(this->Path("a/b/d/")).ok());
  EXPECT_THAT(this->files().List(this->Path("a")).value(), ElementsAre("b"));
  EXPECT_THAT(this->files().List(this->Path("a/b")).value(), ElementsAre("c", "d"));
  this->Create("a/b/c/file");
  EXPECT_THAT(this->files().List(this->Path("a/b/c/")).value(), ElementsAre("file"));
}

TYPED_TEST(FileSystemTest, CreatesNoDirectoryInPlaceOfAFile) {
  this->Create("file");
  for (const std::string name : {"file", "file/below"}) {
    EXPECT_FALSE(this->files().CreateDirectory(this->Path(name)).ok());
    EXPECT_FALSE(this->files().List(this->Path(name)).ok());
  }
}

TYPED_TEST(FileSystemTest, ListsSortedNames) {
  ASSERT_TRUE(this->files().CreateDirectory(this->Path("dir/sub")).ok());
  for (const std::string name : {"10", "9", "x.log"}) this->Create("dir/" + name);
  EXPECT_THAT(this->files().List(this->Path("dir")).value(), ElementsAre("10", "9", "sub", "x.log"));
  EXPECT_THAT(this->files().List(this->Path("dir/sub")).value(), IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(this->files().List(this->Path("none")).status()));
  for (const std::string name : {"dir/10", "dir/10/below"}) {
    const absl::Status file = this->files().List(this->Path(name)).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(file)) << file;
  }
}

TYPED_TEST(FileSystemTest, RenameReplaces) {
  const auto file = this->Create("new", "new content");
  this->Create("old", "old content");
  ASSERT_TRUE(this->files().Rename(this->Path("new"), this->Path("old")).ok());
  EXPECT_EQ(this->Content("old"), "new content");
  EXPECT_TRUE(absl::IsNotFound(this->files().Open(this->Path("new"), FileSystem::Mode::kReadWrite).status()));
  ASSERT_TRUE(file->WriteAt(0, "NEW").ok()) << "an open file goes along";
  EXPECT_EQ(this->Content("old"), "NEW content");

  const absl::Status missing = this->files().Rename(this->Path("none"), this->Path("old"));
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_EQ(this->Content("old"), "NEW content");
}

TYPED_TEST(FileSystemTest, RenamesToAnotherDirectory) {
  ASSERT_TRUE(this->files().CreateDirectory(this->Path("dir/sub")).ok());
  this->Create("file", "content");
  ASSERT_TRUE(this->files().Rename(this->Path("file"), this->Path("dir/file")).ok());
  EXPECT_EQ(this->Content("dir/file"), "content");
  EXPECT_THAT(this->files().List(this->Path(".")).value(), ElementsAre("dir"));

  const absl::Status nowhere = this->files().Rename(this->Path("dir/file"), this->Path("none/file"));
  EXPECT_TRUE(absl::IsNotFound(nowhere)) << nowhere;
  EXPECT_FALSE(this->files().Rename(this->Path("dir/file"), this->Path("dir/sub")).ok());
  EXPECT_EQ(this->Content("dir/file"), "content");
}

TYPED_TEST(FileSystemTest, RemovedFilesStayReadableWhileOpen) {
  const auto file = this->Create("file", "content");
  ASSERT_TRUE(this->files().Remove(this->Path("file")).ok());
  EXPECT_TRUE(absl::IsNotFound(this->files().Remove(this->Path("file"))));
  EXPECT_EQ(Read(*file, 0, 7).value(), "content");
  EXPECT_THAT(this->files().List(this->Path(".")).value(), IsEmpty());
}

TYPED_TEST(FileSystemTest, SyncsDirectories) {
  EXPECT_TRUE(this->files().SyncDirectory(this->Path(".")).ok());
  EXPECT_TRUE(absl::IsNotFound(this->files().SyncDirectory(this->Path("none"))));
}

TYPED_TEST(FileSystemTest, TellsHowMuchFits) {
  const auto before = this->files().AvailableBytes(this->Path("."));
  ASSERT_TRUE(before.ok()) << before.status();
  const auto file = this->Create("file", std::string(1 << 20, 'x'));
  ASSERT_TRUE(file->Sync().ok());
  // Others may use the same disk.
  EXPECT_GT(*before, uint64_t{1} << 20);
}

TYPED_TEST(FileSystemTest, OneHolderOfALock) {
  auto held = this->files().Lock(this->Path("LOCK"));
  ASSERT_TRUE(held.ok()) << held.status();
  const absl::Status second = this->files().Lock(this->Path("LOCK")).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(second)) << second;
  EXPECT_THAT(std::string(second.message()), HasSubstr(this->Path("LOCK")));
  EXPECT_TRUE(this->files().Lock(this->Path("OTHER")).ok());

  held->reset();
  EXPECT_TRUE(this->files().Lock(this->Path("LOCK")).ok());
  EXPECT_THAT(this->files().List(this->Path(".")).value(), ElementsAre("LOCK", "OTHER"));
  EXPECT_TRUE(absl::IsNotFound(this->files().Lock(this->Path("no/LOCK")).status()));
}

class PosixFileSystemTest : public FileSystemTest<OnPosix> {};

TEST_F(PosixFileSystemTest, LockNamesItsHolderAndDiesWithIt) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto held = files().Lock(Path("LOCK"));
    const char ok = held.ok() ? '1' : '0';
    if (::write(ready[1], &ok, 1) == 1) ::pause();
    ::_exit(0);
  }
  char ok = 0;
  ASSERT_EQ(::read(ready[0], &ok, 1), 1);
  ASSERT_EQ(ok, '1');
  const absl::Status refused = files().Lock(Path("LOCK")).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr(fmt::format("process {}", child)));

  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(files().Lock(Path("LOCK")).ok());
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(PosixFileSystemTest, AFileTooLargeForTheSystemIsAFullDisk) {
  const auto file = Create("file");
  const absl::Status status = file->Allocate(uint64_t{1} << 60);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("reserve 1152921504606846976 bytes"));
}

TEST_F(PosixFileSystemTest, AFullDeviceIsAFullDisk) {
  // /dev/full refuses every write with ENOSPC.
  const auto full = files().Open("/dev/full", FileSystem::Mode::kReadWrite);
  ASSERT_TRUE(full.ok()) << full.status();
  const absl::Status status = (*full)->WriteAt(0, "x");
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(std::string(status.message()),
            "cannot write 1 bytes at offset 0 of /dev/full: No space left on device");
}

TEST_F(PosixFileSystemTest, ForbiddenFiles) {
  Create("file");
  std::filesystem::permissions(Path("file"), std::filesystem::perms::none);
  constexpr uid_t kNobody = 65534;
  const uid_t me = ::geteuid();
  ASSERT_TRUE(me != 0 || ::seteuid(kNobody) == 0) << "root may do everything, so be somebody else";
  const absl::Status status = files().Open(Path("file"), FileSystem::Mode::kReadWrite).status();
  ASSERT_TRUE(me != 0 || ::seteuid(me) == 0);
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
}

TEST_F(PosixFileSystemTest, ReadsThroughThePageCacheWhereDirectReadsAreRefused) {
  // procfs refuses O_DIRECT.
  ASSERT_LT(::open("/proc/self/stat", O_RDONLY | O_DIRECT), 0);
  const auto file = files().Open("/proc/self/stat", FileSystem::Mode::kReadDirect);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(Read(**file, 0, 4).ok());
}

}  // namespace
}  // namespace thermocline::storage
