// What a sort does when the disk, the output or the user does not play along.

#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/record_sort.h"
#include "tests/storage/sort/sort_run.h"

namespace thermocline::storage {
namespace {

using ::testing::HasSubstr;
using testing::SimulatedDisk;
using testing::SortRun;

const std::string& Numbers() {
  static const std::string& text = *[] {
    auto* numbers = new std::string;
    for (uint32_t i = 0; i < 250'000; ++i)
      *numbers += fmt::format("{{\"k\":{},\"filling\":\"{}\"}}\n", i * 2654435761U, std::string(60, 'x'));
    return numbers;
  }();
  return text;
}

SortOptions ByK() { return {.keys = {"k"}, .memory_bytes = kMinSortBytes, .threads = 2}; }

TEST(RecordSortFaults, AFullDiskLeavesNothingBehind) {
  SortRun run;
  run.disk.SetCapacity(5 << 20);
  EXPECT_EQ(run.Sort(Numbers(), ByK()).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(RecordSortFaults, AFailingDiskIsToldOf) {
  for (const auto operation :
       {SimulatedDisk::Operation::kWrite, SimulatedDisk::Operation::kSync, SimulatedDisk::Operation::kRead}) {
    for (const uint64_t nth : {1, 4}) {
      SortRun run;
      run.disk.Fail(operation, nth, SimulatedDisk::Repeat::kForGood);
      EXPECT_EQ(run.Sort(Numbers(), ByK()).status().code(), absl::StatusCode::kUnavailable);
    }
  }
}

TEST(RecordSortFaults, AnOutputThatFailsEndsIt) {
  SortRun run;
  testing::TextWriter output;
  output.FailAfter(1 << 20, absl::CancelledError("nobody reads"));
  run.output = &output;
  EXPECT_EQ(run.Sort(Numbers(), ByK()).status().code(), absl::StatusCode::kCancelled);
}

TEST(RecordSortFaults, CancelledBeforeItBegins) {
  SortRun run;
  run.progress.cancelled = true;
  EXPECT_EQ(run.Sort(Numbers(), ByK()).status().code(), absl::StatusCode::kCancelled);
}

// Cancels, or damages runs, when a part of the input has been read.
class Meddler : public ByteReader {
 public:
  Meddler(std::string_view text, std::function<void()> meddle) : reader_(text), meddle_(std::move(meddle)) {}

  absl::StatusOr<size_t> Read(std::span<char> out) override {
    absl::StatusOr<size_t> count = reader_.Read(out);
    if (count.ok() && *count == 0) meddle_();
    return count;
  }
  std::optional<uint64_t> size() const override { return std::nullopt; }

 private:
  testing::TextReader reader_;
  const std::function<void()> meddle_;
};

TEST(RecordSortFaults, CancelledWhileRunsExist) {
  SimulatedDisk disk(1);
  ThreadPool pool("reads", 2);
  ExecutorReads reads(pool);
  const auto store = *OpenDirectoryStore("/runs", disk, reads);
  SortProgress progress;
  Meddler input(Numbers(), [&] { progress.cancelled = true; });
  testing::TextWriter output;
  EXPECT_TRUE(absl::IsCancelled(SortRecords(input, output, *store, ByK(), progress).status()));
  EXPECT_FALSE(output.finished());
  EXPECT_THAT(disk.Paths(), ::testing::ElementsAre("/runs/LOCK"));
}

TEST(RecordSortFaults, ADamagedRunIsNeverPutOut) {
  SimulatedDisk disk(1);
  ThreadPool pool("reads", 2);
  ExecutorReads reads(pool);
  const auto store = *OpenDirectoryStore("/runs", disk, reads);
  SortProgress progress;
  Meddler input(Numbers(), [&] {
    bool found = false;
    for (const std::string& path : disk.Paths()) {
      if (path.find("/run-") == std::string::npos) continue;
      disk.FlipBit(path, 1000);
      found = true;
    }
    EXPECT_TRUE(found);
  });
  testing::TextWriter output;
  const absl::Status status = SortRecords(input, output, *store, ByK(), progress).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("checksum"));
}

TEST(ByteStream, AFileAppearsAsAWhole) {
  SimulatedDisk disk(1);
  ASSERT_TRUE(disk.CreateDirectory("/out").ok());
  disk.SetContents("/out/a", "old");
  {
    auto writer = CreateFileWriter(disk, "/out/a");
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->Append("new").ok());
    EXPECT_EQ(disk.Contents("/out/a"), "old");
  }
  EXPECT_THAT(disk.Paths(), ::testing::ElementsAre("/out/a"));
  auto writer = CreateFileWriter(disk, "/out/a");
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Append("new").ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  disk.Crash();
  EXPECT_EQ(disk.Contents("/out/a"), "new");
  EXPECT_THAT(disk.Paths(), ::testing::ElementsAre("/out/a"));
}

TEST(ByteStream, AnObjectIsReadInOrder) {
  SimulatedDisk disk(1);
  ThreadPool pool("reads", 3);
  ExecutorReads reads(pool);
  const auto store = *OpenDirectoryStore("/objects", disk, reads);
  const std::string& text = Numbers();
  auto writer = store->Create("numbers");
  ASSERT_TRUE(writer.ok() && (*writer)->Append(text).ok() && (*writer)->Finish().ok());
  const auto reader = NewObjectReader(*store->Open("numbers"), 100'003, 3);
  EXPECT_EQ(reader->size(), text.size());
  std::string read;
  std::vector<char> buffer(70'001);
  for (;;) {
    const absl::StatusOr<size_t> count = reader->Read(buffer);
    ASSERT_TRUE(count.ok());
    if (*count == 0) break;
    read.append(buffer.data(), *count);
  }
  EXPECT_TRUE(read == text);
  // One that is given up in the middle waits for its reads.
  const auto left = NewObjectReader(*store->Open("numbers"), 100'003, 3);
  EXPECT_TRUE(left->Read(buffer).ok());
}

}  // namespace
}  // namespace thermocline::storage
