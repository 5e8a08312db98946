// Exports as jobs: through the service, into files of a simulated disk, on threads that obey.

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "server/export_targets.h"
#include "tests/server/service/segments_fixture.h"
#include "tests/storage/segment/memory_objects.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class JobsTest : public SegmentsFixture {
 protected:
  absl::StatusOr<v1::Job> Export(const std::string& expression, const std::string& url, bool replace = false,
                                 v1::ExportFormat format = v1::LINES) {
    v1::ExportRequest request;
    request.set_expression(expression);
    request.set_url(url);
    request.set_replace(replace);
    request.set_format(format);
    // Without letting it run to its end, as Await would.
    std::optional<absl::StatusOr<v1::Job>> answer;
    service_->Export(request, [&](absl::StatusOr<v1::Job> job) { answer = std::move(job); });
    while (!answer.has_value() && executor_.RunOne()) {
    }
    if (!answer.has_value()) return absl::InternalError("it never answers");
    return *std::move(answer);
  }

  // All messages to the end.
  absl::StatusOr<std::vector<v1::Job>> Watch(const std::string& id) {
    v1::WatchJobRequest request;
    request.set_id(id);
    return ReadAll<v1::Job>(service_->WatchJob(request));
  }

  v1::Job Last(const absl::StatusOr<v1::Job>& started) {
    EXPECT_TRUE(started.ok()) << started.status();
    if (!started.ok()) return {};
    const auto all = Watch(started->id());
    EXPECT_TRUE(all.ok()) << all.status();
    return all.ok() ? all->back() : v1::Job();
  }

  std::vector<v1::Job> List(bool unfinished_only = false) {
    v1::ListJobsRequest request;
    request.set_unfinished_only(unfinished_only);
    v1::ListJobsResponse response;
    absl::Status status = absl::UnknownError("not answered");
    service_->ListJobs(request, &response, [&](absl::Status got) { status = std::move(got); });
    EXPECT_TRUE(status.ok()) << status;
    return {response.jobs().begin(), response.jobs().end()};
  }

  absl::StatusOr<v1::Job> Cancel(const std::string& id) {
    v1::CancelJobRequest request;
    request.set_id(id);
    v1::Job job;
    absl::Status status = absl::UnknownError("not answered");
    service_->CancelJob(request, &job, [&](absl::Status got) { status = std::move(got); });
    if (!status.ok()) return status;
    return job;
  }

  // Of exports, whole or not.
  std::vector<std::string> Files() {
    std::vector<std::string> files;
    for (const std::string& path : store_.disk().Paths()) {
      if (path.starts_with("/exports/") && !path.ends_with(".lock")) files.push_back(path);
    }
    return files;
  }
};

TEST_F(JobsTest, WritesAnObjectAndItsManifest) {
  Load("a", {3, 5, 70'000});
  const auto started = Export("a | a", "file:///exports/sub/a.txt");
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->max_ids(), 3u);
  const v1::Job job = Last(started);
  EXPECT_EQ(job.stage(), v1::Job::DONE) << job.failure();
  EXPECT_EQ(job.ids(), 3u);
  EXPECT_EQ(job.bytes(), 10u);
  EXPECT_EQ(job.sha256().size(), 64u);
  EXPECT_EQ(job.progress().normalized(), "a");
  EXPECT_GE(job.started_at_ms(), job.created_at_ms());
  EXPECT_GE(job.finished_at_ms(), job.started_at_ms());
  EXPECT_EQ(store_.disk().Contents("/exports/sub/a.txt"), "3\n5\n70000\n");
  EXPECT_THAT(store_.disk().Contents("/exports/sub/a.txt.manifest.json").value_or(""),
              AllOf(HasSubstr("\"count\": 3"), HasSubstr(job.sha256())));
  store_.disk().Crash();
  EXPECT_THAT(Files(), ElementsAre("/exports/sub/a.txt", "/exports/sub/a.txt.manifest.json"));
  EXPECT_EQ(store_.disk().Contents("/exports/sub/a.txt"), "3\n5\n70000\n");
}

TEST_F(JobsTest, WatchersSeeItGrow) {
  Load("a", Range(0, 400'000, 7));
  const auto started = Export("a", "file:///exports/a", false, v1::PACKED);
  ASSERT_TRUE(started.ok()) << started.status();
  v1::WatchJobRequest request;
  request.set_id(started->id());
  auto watcher = service_->WatchJob(request);
  ASSERT_TRUE(watcher.ok());
  std::vector<v1::Job> seen;
  for (bool more = true; more;) {
    std::optional<absl::StatusOr<bool>> next;
    watcher->Next(&seen.emplace_back(), [&](absl::StatusOr<bool> got) { next = std::move(got); });
    while (!next.has_value()) {
      if (!executor_.RunOne()) store_.Settle();
      executor_.Advance(std::chrono::milliseconds(40));
    }
    ASSERT_TRUE(next->ok());
    more = **next;
  }
  EXPECT_GT(seen.size(), 3u);
  EXPECT_EQ(seen.back().stage(), v1::Job::DONE);
  EXPECT_EQ(seen.back().bytes(), 3'200'000u);
  for (size_t i = 1; i < seen.size(); ++i) {
    EXPECT_GE(seen[i].ids(), seen[i - 1].ids());
    EXPECT_GE(seen[i].stage(), seen[i - 1].stage());
  }
  // Who asks later learns of the end at once.
  EXPECT_EQ(Watch(started->id())->size(), 1u);
}

TEST_F(JobsTest, AWatcherMayLeaveAtAnyTime) {
  Load("a", Range(0, 100'000, 3));
  const auto started = Export("a", "file:///exports/a");
  ASSERT_TRUE(started.ok());
  v1::WatchJobRequest request;
  request.set_id(started->id());
  for (int asked = 0; asked < 3; ++asked) {
    auto watcher = service_->WatchJob(request);
    v1::Job job;
    for (int i = 0; i < asked; ++i) watcher->Next(&job, [](const absl::StatusOr<bool>&) {});
  }
  EXPECT_EQ(Last(started).stage(), v1::Job::DONE);
}

TEST_F(JobsTest, SomeRunAndTheOthersWaitTheirTurn) {
  Load("a", Range(0, 50'000, 3));
  std::vector<v1::Job> jobs;
  for (int i = 0; i < 6; ++i) {
    // Admitted while nothing else gets a turn: the first two run.
    const auto job = Export("a", "file:///exports/" + std::to_string(i));
    ASSERT_TRUE(job.ok()) << job.status();
    jobs.push_back(*job);
  }
  size_t waiting = 0;
  for (const v1::Job& job : List(true)) waiting += job.started_at_ms() == 0;
  const size_t unfinished = List(true).size();
  EXPECT_GE(waiting + 2, unfinished);
  if (unfinished > 2) {
    EXPECT_GT(waiting, 0u);
  }
  EXPECT_EQ(Last(jobs.back()).stage(), v1::Job::DONE);
  Settle();
  EXPECT_THAT(Files(), ::testing::SizeIs(12));
  // The newest first, and no more than are to be remembered.
  const std::vector<v1::Job> listed = List();
  EXPECT_EQ(listed.size(), 3u);
  EXPECT_EQ(listed.front().id(), jobs.back().id());
  EXPECT_TRUE(absl::IsNotFound(Watch(jobs.front().id()).status()));
  EXPECT_THAT(List(true), IsEmpty());
}

TEST_F(JobsTest, RefusesMoreThanMayWait) {
  Load("a", Range(0, 50'000, 3));
  absl::Status status;
  int admitted = 0;
  for (; admitted < 50 && status.ok(); ++admitted) {
    v1::ExportRequest request;
    request.set_expression("a");
    request.set_url("file:///exports/" + std::to_string(admitted));
    jobs_->Export(request, [&](const absl::StatusOr<v1::Job>& job) {
      if (!job.ok()) status = job.status();
    });
  }
  // All were asked for before any began; they are admitted one after the other.
  while (status.ok() && executor_.RunOne()) {
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  Settle();
}

TEST_F(JobsTest, CancelledAtAnyTimeItLeavesNothing) {
  Load("a", Range(0, 150'000, 3));
  int cancelled = 0;
  for (int steps = 0; steps < 40; ++steps) {
    const std::string path = "/exports/" + std::to_string(steps);
    const auto started = Export("a", "file://" + path);
    ASSERT_TRUE(started.ok()) << started.status();
    for (int i = 0; i < steps && executor_.RunOne(); ++i) {
    }
    EXPECT_TRUE(Cancel(started->id()).ok());
    const v1::Job job = Last(started);
    const bool done = job.stage() == v1::Job::DONE;
    EXPECT_TRUE(done || job.stage() == v1::Job::CANCELLED) << job.failure();
    cancelled += !done;
    if (!done) {
      EXPECT_EQ(job.failure(), "a client has cancelled it");
    }
    std::vector<std::string> left = Files();
    EXPECT_EQ(std::erase_if(left, [&](const auto& file) { return file.starts_with(path); }), done ? 2u : 0u);
    for (const std::string& file : left) EXPECT_THAT(file, ::testing::Not(HasSubstr("unfinished")));
    EXPECT_EQ(Cancel(started->id())->stage(), job.stage());
  }
  EXPECT_GT(cancelled, 10);
  EXPECT_TRUE(absl::IsNotFound(Cancel("nonsense").status()));
}

TEST_F(JobsTest, AStopCancelsThemAndSaysSo) {
  Load("a", Range(0, 150'000, 3));
  std::vector<v1::Job> jobs;
  for (const char* const url : {"file:///exports/1", "file:///exports/2", "file:///exports/3"})
    jobs.push_back(*Export("a", url));
  const size_t unfinished = List(true).size();
  EXPECT_GT(unfinished, 0u);
  jobs_->Stop();
  Settle();
  size_t cancelled = 0;
  for (const v1::Job& job : List()) {
    if (job.stage() == v1::Job::CANCELLED) ++cancelled;
    if (job.stage() == v1::Job::CANCELLED) {
      EXPECT_EQ(job.failure(), "the server was stopped");
    }
  }
  EXPECT_EQ(cancelled, unfinished);
  for (const std::string& file : Files()) EXPECT_THAT(file, ::testing::Not(HasSubstr("unfinished")));
  EXPECT_TRUE(absl::IsUnavailable(Export("a", "file:///exports/4").status()));
}

TEST_F(JobsTest, SaysAtOnceWhatIsWrongWithARequest) {
  Load("a", {1, 2});
  const auto expect = [&](const std::string& expression, const std::string& url, absl::StatusCode code,
                          const std::string& words) {
    const absl::Status status = Export(expression, url).status();
    EXPECT_EQ(status.code(), code) << url << ": " << status;
    EXPECT_THAT(Message(status), HasSubstr(words)) << url;
  };
  using absl::StatusCode;
  expect("a &", "file:///exports/x", StatusCode::kInvalidArgument, "^");
  expect("a & none", "file:///exports/x", StatusCode::kNotFound, "none");
  expect("", "file:///exports/x", StatusCode::kInvalidArgument, "expression is empty");
  expect("a", "", StatusCode::kInvalidArgument, "the URL is empty");
  expect("a", "/exports/x", StatusCode::kInvalidArgument, "neither file:///");
  expect("a", "http://exports/x", StatusCode::kInvalidArgument, "neither file:///");
  expect("a", "file:///exports/../etc/passwd", StatusCode::kInvalidArgument, "begins with a dot");
  expect("a", "file:///exports/.unfinished/0-0", StatusCode::kInvalidArgument, "begins with a dot");
  expect("a", "file:///exports//x", StatusCode::kInvalidArgument, "empty");
  expect("a", "file:///exports/", StatusCode::kInvalidArgument, "empty");
  expect("a", "file:///exports/%2e%2e/x", StatusCode::kInvalidArgument, "%");
  expect("a", "file:///exports/x.manifest.json", StatusCode::kInvalidArgument, "manifests");
  expect("a", "file:///exports/" + std::string(300, 'x'), StatusCode::kInvalidArgument, "200 bytes");
  expect("a", "s3://bucket", StatusCode::kInvalidArgument, "bucket only");
  expect("a", "file:///exports", StatusCode::kPermissionDenied, "below file:///exports or s3://bucket/some");
  expect("a", "file:///exports2/x", StatusCode::kPermissionDenied, "not allowed");
  expect("a", "file:///etc/passwd", StatusCode::kPermissionDenied, "not allowed");
  expect("a", "s3://bucket/something", StatusCode::kPermissionDenied, "not allowed");
  expect("a", "s3://bucket/some/x", StatusCode::kUnimplemented, "no object store configured");
  EXPECT_THAT(List(), IsEmpty());
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(JobsTest, ReplacesOnlyWhenAsked) {
  Load("a", {1, 2});
  Load("b", {7});
  EXPECT_EQ(Last(Export("a", "file:///exports/x")).stage(), v1::Job::DONE);
  v1::Job refused = Last(Export("b", "file:///exports/x"));
  EXPECT_EQ(refused.stage(), v1::Job::FAILED);
  EXPECT_EQ(refused.failure_code(), static_cast<int>(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(refused.failure(), HasSubstr("/exports/x is there already"));
  EXPECT_EQ(store_.disk().Contents("/exports/x"), "1\n2\n");
  EXPECT_EQ(Last(Export("b", "file:///exports/x", true)).stage(), v1::Job::DONE);
  EXPECT_EQ(store_.disk().Contents("/exports/x"), "7\n");
  EXPECT_THAT(*store_.disk().Contents("/exports/x.manifest.json"), HasSubstr("\"count\": 1"));
  // A name that is a folder, and one below a file.
  EXPECT_EQ(Last(Export("a", "file:///exports/folder/x")).stage(), v1::Job::DONE);
  EXPECT_EQ(Last(Export("a", "file:///exports/folder")).stage(), v1::Job::FAILED);
  EXPECT_EQ(Last(Export("a", "file:///exports/x/y")).stage(), v1::Job::FAILED);
  EXPECT_THAT(Files(), ::testing::SizeIs(4));
}

TEST_F(JobsTest, OneUrlHasOneJob) {
  Load("a", Range(0, 100'000, 3));
  const auto first = Export("a", "file:///exports/x");
  ASSERT_TRUE(first.ok());
  const auto second = Export("a", "file:///exports/x", true);
  EXPECT_TRUE(absl::IsAlreadyExists(second.status())) << second.status();
  EXPECT_THAT(Message(second.status()), HasSubstr("job " + first->id()));
  EXPECT_EQ(Last(first).stage(), v1::Job::DONE);
  EXPECT_EQ(Last(Export("a", "file:///exports/x", true)).stage(), v1::Job::DONE);
}

TEST_F(JobsTest, AFullDiskIsTheReason) {
  Load("a", Range(0, 300'000, 3));
  store_.disk().SetCapacity(store_.disk().used_bytes() + 100'000);
  const v1::Job job = Last(Export("a", "file:///exports/x"));
  EXPECT_EQ(job.stage(), v1::Job::FAILED);
  EXPECT_EQ(job.failure_code(), static_cast<int>(absl::StatusCode::kResourceExhausted)) << job.failure();
  EXPECT_THAT(Files(), IsEmpty());
}

// What a crash leaves unfinished is swept, but not what another server is about to finish.
TEST(ExportTargetsTest, SweepsWhatACrashHasLeft) {
  thermocline::testing::SimulatedDisk disk(3);
  auto first = ExportTargets::Open({"file:///out"}, disk, nullptr);
  ASSERT_TRUE(first.ok()) << first.status();
  auto second = ExportTargets::Open({"file:///out/"}, disk, nullptr);
  ASSERT_TRUE(second.ok()) << second.status();
  const auto draft = [&](const ExportTargets& targets, const std::string& url) {
    auto create = targets.Resolve(url, false);
    EXPECT_TRUE(create.ok()) << create.status();
    auto writer = (*create)(storage::SegmentExportObject::kIds);
    EXPECT_TRUE(writer.ok()) << writer.status();
    EXPECT_TRUE((*writer)->Append("5\n").ok());
    return std::move(*writer);
  };
  disk.SetContents("/out/.unfinished/0-7", "what a process has written that ended");
  auto kept = draft(**second, "file:///out/b");
  const auto drafts = [&] {
    auto names = *disk.List("/out/.unfinished");
    std::erase_if(names, [](const std::string& name) { return name.ends_with(".lock"); });
    return names;
  };
  EXPECT_EQ(drafts().size(), 2u);
  *first = nullptr;
  first = ExportTargets::Open({"file:///out"}, disk, nullptr);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(drafts().size(), 1u);
  EXPECT_TRUE(kept->Finish().ok());
  EXPECT_EQ(disk.Contents("/out/b"), "5\n");
  EXPECT_TRUE(drafts().empty());

  for (const char* const url :
       {"", "file:///", "s3://", "file://host/x", "ftp://x/y", "file:///a/../b", "/srv"})
    EXPECT_TRUE(absl::IsInvalidArgument(ExportTargets::CheckAllowed(url))) << url;
  auto none = ExportTargets::Open({}, disk, nullptr);
  EXPECT_THAT(Message((*none)->Resolve("file:///x/y", false).status()), HasSubstr("--export-to"));
}

TEST(ExportTargetsTest, SpeaksToBuckets) {
  thermocline::testing::SimulatedDisk disk(4);
  thermocline::testing::MemoryObjects store;
  BucketObjects buckets;
  buckets.exists = [&](const std::string& bucket, const std::string& key) -> absl::StatusOr<bool> {
    return store.Open(bucket + "/" + key).ok();
  };
  buckets.create = [&](const std::string& bucket, const std::string& key, bool replace) {
    // What is replaced is gone when the new object comes.
    if (replace) {
      EXPECT_TRUE(store.Remove(bucket + "/" + key).ok());
    }
    return store.Create(bucket + "/" + key);
  };
  buckets.remove = [&](const std::string& bucket, const std::string& key) {
    return store.Remove(bucket + "/" + key);
  };
  const auto targets = ExportTargets::Open({"s3://lake/a/b"}, disk, &buckets);
  ASSERT_TRUE(targets.ok()) << targets.status();
  const std::string url = "s3://lake/a/b/c/d";
  using Object = storage::SegmentExportObject;
  const auto write = [&](bool replace, Object object, const std::string& bytes) -> absl::Status {
    auto create = (*targets)->Resolve(url, replace);
    if (!create.ok()) return create.status();
    auto writer = (*create)(object);
    if (!writer.ok()) return writer.status();
    const absl::Status status = (*writer)->Append(bytes);
    return status.ok() ? (*writer)->Finish() : status;
  };
  EXPECT_TRUE(write(false, Object::kIds, "old").ok());
  EXPECT_TRUE(write(false, Object::kManifest, "old manifest").ok());
  EXPECT_EQ(store.Bytes("lake/a/b/c/d"), "old");
  EXPECT_EQ(store.Bytes("lake/a/b/c/d.manifest.json"), "old manifest");
  EXPECT_TRUE(absl::IsAlreadyExists(write(false, Object::kIds, "new")));
  EXPECT_TRUE(write(true, Object::kIds, "new").ok());
  EXPECT_EQ(store.Bytes("lake/a/b/c/d"), "new");
  EXPECT_EQ(store.Bytes("lake/a/b/c/d.manifest.json"), "");
  EXPECT_TRUE(write(true, Object::kManifest, "new manifest").ok());
  // A manifest that is left alone would belong to nothing that is written now.
  EXPECT_TRUE(store.Remove("lake/a/b/c/d").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(write(false, Object::kIds, "other")));
  for (const char* const other : {"s3://lake/a/bc", "s3://lake/a/b", "s3://lake2/a/b/c", "file:///a/b/c"})
    EXPECT_TRUE(absl::IsPermissionDenied((*targets)->Resolve(other, false).status())) << other;
}

}  // namespace
}  // namespace thermocline::server
