// Exports of segments, against std::set: formats, manifests, failures, cancellation at any time, memory.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <openssl/sha.h>

#include "storage/posix_file_system.h"
#include "storage/segment/id_lines.h"
#include "storage/segments.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/storage/segment/memory_objects.h"
#include "tests/storage/segment/segment_store.h"
#include "tests/storage/segment/whole_id_file.h"
#include "tests/support/manual_executor.h"
#include "tests/support/temp_directory.h"

namespace thermocline::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::set<uint64_t>;
using Format = SegmentExportFormat;
using Result = absl::StatusOr<SegmentExportResult>;

constexpr std::array kFormats = {Format::kLines, Format::kPacked, Format::kIdFile};

Ids Range(uint64_t first, uint64_t end, uint64_t step = 1) {
  Ids ids;
  for (uint64_t id = first; id < end; id += step) ids.insert(ids.end(), id);
  return ids;
}

// Dense and sparse stretches, small and huge ids.
Ids Mixed(uint64_t seed) {
  std::mt19937_64 random(seed);
  Ids ids = Range(9'000 + seed, 230'000);
  for (int i = 0; i < 20'000; ++i) ids.insert(random() % 2'000'000);
  for (int i = 0; i < 20'000; ++i) ids.insert(random() >> (random() % 64));
  ids.insert({0, UINT64_MAX});
  return ids;
}

Ids And(const Ids& a, const Ids& b) {
  Ids both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::inserter(both, both.end()));
  return both;
}

std::vector<uint64_t> Decode(Format format, const std::string& bytes) {
  std::vector<uint64_t> ids;
  if (format == Format::kIdFile) {
    const auto file = testing::ReadIdFile(bytes);
    EXPECT_TRUE(file.ok()) << file.status();
    if (file.ok()) ids = file->ids;
  } else if (format == Format::kPacked) {
    ids.resize(bytes.size() / 8);
    EXPECT_EQ(bytes.size() % 8, 0u);
    std::memcpy(ids.data(), bytes.data(), ids.size() * 8);
  } else {
    for (size_t at = 0; at < bytes.size();) {
      const size_t end = bytes.find('\n', at);
      const std::string line = bytes.substr(at, end - at);
      ids.push_back(std::stoull(line));
      EXPECT_EQ(std::to_string(ids.back()), line);
      if (end == std::string::npos) break;
      at = end + 1;
    }
    EXPECT_TRUE(bytes.empty() || bytes.back() == '\n');
  }
  return ids;
}

std::string Sha256(const std::string& bytes) {
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), hash);
  std::string text;
  for (const unsigned char byte : hash) text += fmt::format("{:02x}", byte);
  return text;
}

std::string ManifestOf(const std::string& name) { return name + ".manifest.json"; }

Segments::CreateObject Into(ObjectStore& objects, const std::string& name) {
  return [&objects, name](SegmentExportObject object) {
    return objects.Create(object == SegmentExportObject::kIds ? name : ManifestOf(name));
  };
}

class ExportTest : public ::testing::Test {
 protected:
  void Open(Executor& executor, Executor& exports, uint64_t memory_bytes = 32 << 20) {
    SegmentsOptions options;
    options.directory = directory_.path() + "/segments";
    options.memory_bytes = memory_bytes;
    options.max_recent = 3000;
    options.min_result_work_bytes = 1;
    auto opened = Segments::Open(options, {files_, clock_, objects_, executor, executor, exports});
    ASSERT_TRUE(opened.ok()) << opened.status();
    segments_ = *std::move(opened);
  }
  void Open() { Open(executor_, exports_); }

  void Load(const std::string& name, const Ids& ids) {
    const auto result = testing::Change(*segments_, name, SegmentChange::kReplace,
                                        std::vector<uint64_t>(ids.begin(), ids.end()));
    ASSERT_TRUE(result.ok()) << result.status();
  }

  Result Export(const std::string& expression, const SegmentExportOptions& options,
                Segments::CreateObject create) {
    std::unique_ptr<SegmentExport> running;
    return testing::Await<Result>([&](auto done) {
      running = segments_->Export(expression, options, std::move(create), std::move(done));
    });
  }
  Result Export(const std::string& expression, const SegmentExportOptions& options, const std::string& name) {
    return Export(expression, options, Into(target_, name));
  }

  void ExpectExported(const Result& result, Format format, const std::string& name, const Ids& ids,
                      const std::string& expression) {
    ASSERT_TRUE(result.ok()) << result.status();
    const std::string bytes = target_.Bytes(name);
    EXPECT_TRUE(Decode(format, bytes) == std::vector<uint64_t>(ids.begin(), ids.end()));
    EXPECT_EQ(result->ids, ids.size());
    EXPECT_EQ(result->bytes, bytes.size());
    EXPECT_EQ(result->sha256, Sha256(bytes));
    const auto manifest = nlohmann::json::parse(target_.Bytes(ManifestOf(name)));
    EXPECT_EQ(manifest["count"], ids.size());
    EXPECT_EQ(manifest["bytes"], bytes.size());
    EXPECT_EQ(manifest["sha256"], Sha256(bytes));
    EXPECT_EQ(manifest["expression"], expression);
    EXPECT_EQ(manifest.contains("first"), !ids.empty());
    if (ids.empty()) return;
    EXPECT_EQ(manifest["first"], *ids.begin());
    EXPECT_EQ(manifest["last"], *ids.rbegin());
  }

  testing::TempDirectory directory_;
  PosixFileSystem files_;
  SystemClock clock_;
  testing::MemoryObjects objects_;
  testing::MemoryObjects target_;
  ThreadPool executor_{"query", 2};
  ThreadPool exports_{"export", 2};
  std::unique_ptr<Segments> segments_;
};

TEST_F(ExportTest, EveryFormatHasTheIdsAndAManifest) {
  Open();
  const Ids a = Mixed(1);
  const Ids b = Mixed(2);
  Load("a", a);
  Load("b \"quoted\"", b);
  for (const Format format : kFormats) {
    const std::string name = fmt::format("{}", static_cast<int>(format));
    const SegmentExportOptions options{.format = format, .query = {}};
    ExpectExported(Export("a", options, name + "/a"), format, name + "/a", a, "a");
    ExpectExported(Export("\"b \\\"quoted\\\"\" & a", options, name + "/both"), format, name + "/both",
                   And(a, b), "a & \"b \\\"quoted\\\"\"");
    ExpectExported(Export("a - a", options, name + "/none"), format, name + "/none", {}, "{}");
    ExpectExported(Export("nothing-begins-so*", options, name + "/empty"), format, name + "/empty", {},
                   "nothing-begins-so*");
    SegmentExportOptions part = options;
    part.query.after = 10'005;
    part.query.limit = 150'000;
    const Ids some(a.upper_bound(10'005), std::next(a.upper_bound(10'005), 150'000));
    ExpectExported(Export("a", part, name + "/part"), format, name + "/part", some, "a");
  }
  const auto manifest = nlohmann::json::parse(target_.Bytes("2/part.manifest.json"));
  EXPECT_EQ(manifest["format"], "id-file");
  EXPECT_EQ(manifest["after"], 10'005);
  EXPECT_EQ(manifest["limit"], 150'000);
  EXPECT_THAT(manifest["created_at"].get<std::string>(),
              ::testing::MatchesRegex("20..-..-..T..:..:..\\....Z"));
  EXPECT_GT(segments_->Stats().kept_result_hits, 0u);
}

TEST_F(ExportTest, FailsWithWhatWentWrong) {
  Open();
  Load("a", Range(0, 500'000, 3));
  const SegmentExportOptions options;
  EXPECT_TRUE(absl::IsInvalidArgument(Export("a &", options, "x").status()));
  const Result missing = Export("a & b", options, "x");
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  EXPECT_THAT(missing.status().message(), HasSubstr("name b\n  a & b\n      ^"));
  const Result refused =
      Export("a", options, [](SegmentExportObject) { return absl::PermissionDeniedError("not here"); });
  EXPECT_EQ(refused.status(), absl::PermissionDeniedError("not here"));
  target_.FailAppends(absl::ResourceExhaustedError("full"));
  EXPECT_EQ(Export("a", options, "x").status(), absl::ResourceExhaustedError("full"));
  target_.FailAppends(absl::OkStatus());
  objects_.FailReads(absl::UnavailableError("gone"));
  EXPECT_TRUE(absl::IsUnavailable(Export("a - a*", options, "x").status()) ||
              absl::IsUnavailable(Export("a", options, "x").status()));
  objects_.FailReads(absl::OkStatus());
  EXPECT_EQ(target_.size(), 0u);

  const Result half = Export("a", options, [this](SegmentExportObject object) {
    if (object == SegmentExportObject::kIds) return target_.Create("x");
    return absl::StatusOr<std::unique_ptr<ObjectWriter>>(absl::UnavailableError("gone"));
  });
  EXPECT_TRUE(absl::IsUnavailable(half.status()));
  EXPECT_THAT(half.status().message(), HasSubstr("its manifest could not be written: gone"));
  EXPECT_EQ(target_.size(), 1u);
  EXPECT_TRUE(absl::IsAlreadyExists(Export("a", options, "x").status()));
}

// One step at a time, in many orders: whenever it is cancelled, there is all or nothing.
TEST_F(ExportTest, CancelledAtAnyTimeItLeavesNothing) {
  Open();
  Load("a", Range(0, 1'500'000, 3));
  Load("b", Range(0, 1'500'000, 2));
  segments_ = nullptr;
  testing::ManualExecutor executor(1);
  Open(executor, executor);
  int cancelled = 0;
  int finished = 0;
  for (int run = 0; run < 160; ++run) {
    const bool destroy = run % 2 == 1;
    testing::MemoryObjects target;
    std::optional<Result> result;
    const SegmentExportOptions options{.format = kFormats[run % 3], .query = {.keep_result = false}};
    auto running = segments_->Export("a & b", options, Into(target, "x"), [&](Result got) {
      EXPECT_FALSE(result.has_value());
      result = std::move(got);
    });
    for (int steps = 0; steps < run / 2 && executor.RunOne(); ++steps) {
    }
    const bool was_done = result.has_value();
    if (destroy) {
      running = nullptr;
    } else {
      running->Cancel();
    }
    executor.RunUntilIdle();
    EXPECT_EQ(result.has_value(), was_done || !destroy);
    const bool whole = result.has_value() && result->ok();
    EXPECT_TRUE(whole || !result.has_value() || absl::IsCancelled(result->status()));
    EXPECT_EQ(target.size(), whole ? 2u : 0u);
    ++(whole ? finished : cancelled);
    EXPECT_EQ(segments_->Stats().running.size(), 0u);
  }
  EXPECT_GT(cancelled, 20);
  EXPECT_GT(finished, 20);
  segments_ = nullptr;
}

TEST_F(ExportTest, CancelledByOtherThreads) {
  Open();
  Load("a", Range(0, 2'000'000, 3));
  for (int i = 0; i < 40; ++i) {
    std::promise<absl::Status> ended;
    const std::string name = fmt::format("x{}", i);
    auto running = segments_->Export("a", {.format = kFormats[i % 3], .query = {}}, Into(target_, name),
                                     [&](const Result& result) { ended.set_value(result.status()); });
    // As far as it gets while the progress is asked for.
    for (int j = 0; j < i * 20; ++j) running->progress();
    running->Cancel();
    const absl::Status status = ended.get_future().get();
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
    EXPECT_EQ(target_.Bytes(name).empty(), !status.ok());
    EXPECT_EQ(target_.Bytes(ManifestOf(name)).empty(), !status.ok());
    EXPECT_EQ(running->progress().stage, SegmentExportProgress::Stage::kEnded);
  }
}

// With the least memory there may be, many at once take turns, and all get through.
TEST_F(ExportTest, ManyShareTheLeastMemory) {
  Open(executor_, exports_, kMinSegmentMemoryBytes);
  std::map<std::string, Ids> sets;
  for (const std::string name : {"a", "b", "c"}) {
    sets[name] = Mixed(name[0]);
    Load(name, sets[name]);
  }
  struct Job {
    std::string name;
    Format format;
    std::string expression;
    std::promise<Result> ended;
    std::unique_ptr<SegmentExport> running;
  };
  std::vector<Job> jobs(18);
  for (size_t i = 0; i < jobs.size(); ++i) {
    Job& job = jobs[i];
    job.name = fmt::format("x{}", i);
    job.format = kFormats[i % 3];
    job.expression = std::string(1, "abc"[i / 3 % 3]);
    job.running =
        segments_->Export(job.expression, {.format = job.format, .query = {}}, Into(target_, job.name),
                          [&job](Result result) { job.ended.set_value(std::move(result)); });
  }
  for (Job& job : jobs) {
    ExpectExported(job.ended.get_future().get(), job.format, job.name, sets[job.expression], job.expression);
    const SegmentExportProgress progress = job.running->progress();
    EXPECT_EQ(progress.ids, sets[job.expression].size());
    EXPECT_EQ(progress.bytes, target_.Bytes(job.name).size());
  }
  const SegmentsStats stats = segments_->Stats();
  EXPECT_EQ(stats.queries_refused, 0u);
  EXPECT_LE(stats.memory_used, stats.memory_limit);
}

// Waits with every byte until it may go on.
class HeldWriter : public ObjectWriter {
 public:
  HeldWriter(std::unique_ptr<ObjectWriter> object, std::shared_future<void> go)
      : object_(std::move(object)), go_(std::move(go)) {}
  absl::Status Append(std::string_view bytes) override {
    go_.wait();
    return object_->Append(bytes);
  }
  absl::Status Finish() override { return object_->Finish(); }

 private:
  const std::unique_ptr<ObjectWriter> object_;
  const std::shared_future<void> go_;
};

TEST_F(ExportTest, SlowStoresDoNotKeepQueriesWaiting) {
  Open(executor_, exports_, 16 << 20);
  Load("a", Range(0, 900'000, 3));
  std::promise<void> go;
  const std::shared_future<void> going(go.get_future());
  constexpr int kExports = 8;
  std::vector<std::unique_ptr<SegmentExport>> running;
  std::promise<void> all_ended;
  std::atomic<int> ended{0};
  for (int i = 0; i < kExports; ++i) {
    auto create = [this, i,
                   going](SegmentExportObject object) -> absl::StatusOr<std::unique_ptr<ObjectWriter>> {
      auto made = Into(target_, fmt::format("x{}", i))(object);
      if (!made.ok()) return made.status();
      return std::make_unique<HeldWriter>(*std::move(made), going);
    };
    running.push_back(segments_->Export("a", {}, std::move(create), [&](const Result& result) {
      EXPECT_TRUE(result.ok()) << result.status();
      if (++ended == kExports) all_ended.set_value();
    }));
  }
  // Some hold memory and wait for the store; the queries' half is free, at once.
  for (int i = 0; i < 20; ++i) {
    const auto count =
        testing::Count(*segments_, "a", {.limit = 100'000, .patience = std::chrono::milliseconds(0)});
    EXPECT_EQ(count.value_or(0), 100'000u) << count.status();
  }
  EXPECT_EQ(ended.load(), 0);
  go.set_value();
  all_ended.get_future().wait();
  EXPECT_EQ(target_.size(), 2u * kExports);
}

TEST(IdLinesTest, WritesEveryLength) {
  std::mt19937_64 random(7);
  std::vector<uint64_t> ids = {0,      9,      10,         9'999,          10'000,    10'001,
                               19'999, 20'000, 99'999'999, UINT64_MAX - 1, UINT64_MAX};
  for (int i = 0; i < 20'000; ++i) ids.push_back(random() >> (random() % 64));
  for (uint64_t id = 1; id < UINT64_MAX / 10; id *= 10) {
    for (uint64_t near = id - 1; near <= id + 1; ++near) ids.push_back(near);
  }
  for (const bool sorted : {false, true}) {
    if (sorted) std::sort(ids.begin(), ids.end());
    std::string expected;
    for (const uint64_t id : ids) expected += std::to_string(id) + "\n";
    std::string text(ids.size() * segment::IdLines::kMaxLineBytes + segment::IdLines::kSlackBytes, ' ');
    segment::IdLines lines;
    // In pieces, as pages come.
    const auto half = std::span<const uint64_t>(ids).first(ids.size() / 2);
    char* end = lines.Write(half, text.data());
    end = lines.Write(std::span<const uint64_t>(ids).subspan(half.size()), end);
    text.resize(static_cast<size_t>(end - text.data()));
    EXPECT_TRUE(text == expected);
  }
}

}  // namespace
}  // namespace thermocline::storage
