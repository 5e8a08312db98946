// Segments of the client against a scripted server: what a real one does only at moments that no test can
// choose.

#include <atomic>
#include <mutex>
#include <numeric>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "client/bitmap.h"
#include "client/segments.h"
#include "tests/client/scripted_server.h"

namespace thermocline {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ScriptedServer;

const grpc::Status kOk = grpc::Status::OK;
const grpc::Status kUnavailable(grpc::StatusCode::UNAVAILABLE, "going away");

// Ends only if something hangs.
constexpr milliseconds kLong{60'000};

using Writer = grpc::ServerWriter<v1::QueryResponse>;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

std::vector<uint64_t> Numbers(uint64_t begin, uint64_t end) {
  std::vector<uint64_t> numbers(end - begin);
  std::iota(numbers.begin(), numbers.end(), begin);
  return numbers;
}

v1::QueryResponse Ids(const std::vector<uint64_t>& ids) {
  v1::QueryResponse response;
  response.mutable_ids()->Add(ids.begin(), ids.end());
  return response;
}

void AddBitmap(v1::QueryResponse& response, uint64_t first, const std::vector<uint64_t>& ids) {
  v1::IdBitmap& bitmap = *response.add_bitmaps();
  bitmap.set_first(first);
  bitmap.mutable_bits()->assign(bitmap::kBytes, '\0');
  for (const uint64_t id : ids) {
    char& byte = (*bitmap.mutable_bits())[(id - first) / 8];
    byte = static_cast<char>(byte | 1 << (id - first) % 8);
  }
  bitmap.set_count(static_cast<uint32_t>(ids.size()));
}

v1::QueryResponse Done() {
  v1::QueryResponse response;
  response.mutable_progress()->set_done(true);
  return response;
}

std::vector<uint64_t> ReadAll(SegmentReader& reader) {
  std::vector<uint64_t> all;
  for (std::span<const uint64_t> ids; reader.Next(ids);) {
    EXPECT_FALSE(ids.empty());
    all.insert(all.end(), ids.begin(), ids.end());
  }
  std::span<const uint64_t> ids;
  EXPECT_FALSE(reader.Next(ids));
  return all;
}

// "after/limit" of a request.
std::string Place(const v1::QueryRequest& request) {
  return (request.has_after() ? std::to_string(request.after()) : "") + "/" + std::to_string(request.limit());
}

class SegmentsScriptTest : public ::testing::Test {
 protected:
  Segments& Connect() {
    server_.Start();
    auto client = Client::Connect({.server = server_.address(), .timeout = kLong});
    EXPECT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    return client_->segments();
  }

  // From the calls of the server, which come one at a time.
  void Note(const std::string& text) {
    std::lock_guard lock(mutex_);
    notes_.push_back(text);
  }
  std::vector<std::string> notes() {
    std::lock_guard lock(mutex_);
    return notes_;
  }

  std::mutex mutex_;
  std::vector<std::string> notes_;
  std::atomic<int> calls_ = 0;
  ScriptedServer server_;
  std::unique_ptr<Client> client_;  // goes first
};

TEST_F(SegmentsScriptTest, SendsChangesOfAnySize) {
  std::vector<uint64_t> received;
  server_.segments.change = [&](const std::string& method, const v1::ChangeRequest& first,
                                const std::vector<uint64_t>& ids, v1::ChangeResponse& response) {
    Note(method + " " + first.segment() + (first.count_changed() ? " counted" : ""));
    received = ids;
    response.set_received(ids.size());
    response.set_distinct(3);
    if (first.count_changed()) response.set_changed(2);
    response.set_version(9);
    return kOk;
  };
  Segments& segments = Connect();
  // One message, exactly one, just more than one, many; and ids of every byte.
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{1}, uint64_t{32} << 10, (uint64_t{32} << 10) + 1, uint64_t{500'000}}) {
    std::vector<uint64_t> ids = Numbers(~uint64_t{0} - 1'000'000, ~uint64_t{0} - 1'000'000 + size);
    const auto change = segments.Load("s", ids);
    ASSERT_TRUE(change.ok()) << change.status();
    EXPECT_EQ(change->received, size);
    EXPECT_EQ(change->distinct, 3U);
    EXPECT_EQ(change->changed, std::nullopt);
    EXPECT_EQ(change->version, 9U);
    EXPECT_TRUE(received == ids) << size;
  }
  EXPECT_EQ(segments.Add("a", Numbers(0, 5), {.count_changed = true})->changed, 2U);
  EXPECT_TRUE(segments.Remove("r", Numbers(0, 5)).ok());
  const auto writer = segments.Add("parts");
  EXPECT_TRUE(writer->Write(Numbers(0, 40'000)).ok());
  EXPECT_TRUE(writer->Write({}).ok());
  EXPECT_TRUE(writer->Write(Numbers(40'000, 70'000)).ok());
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_TRUE(received == Numbers(0, 70'000));
  EXPECT_EQ(writer->Finish().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(notes(), ElementsAre("load s", "load s", "load s", "load s", "load s", "add a counted",
                                   "remove r", "add parts"));
}

TEST_F(SegmentsScriptTest, NeverRepeatsAChange) {
  server_.segments.change = [&](const std::string&, const v1::ChangeRequest&, const std::vector<uint64_t>&,
                                v1::ChangeResponse&) {
    ++calls_;
    return kUnavailable;
  };
  server_.segments.store = [&](const v1::StoreRequest&, v1::StoreResponse&) {
    ++calls_;
    return kUnavailable;
  };
  server_.segments.drop = [&](const v1::DropRequest&, v1::DropResponse&) {
    ++calls_;
    return kUnavailable;
  };
  Segments& segments = Connect();
  EXPECT_EQ(segments.Add("s", Numbers(0, 5)).status(), absl::UnavailableError("going away"));
  EXPECT_EQ(segments.Store("s", "a | b").status(), absl::UnavailableError("going away"));
  EXPECT_EQ(segments.Drop("s").status(), absl::UnavailableError("going away"));
  EXPECT_EQ(calls_, 3);
}

TEST_F(SegmentsScriptTest, AChangeEndsWhenTheServerRefusesIt) {
  server_.segments.raw_change = [](grpc::ServerReader<v1::ChangeRequest>& requests, grpc::ServerContext&) {
    v1::ChangeRequest first;
    EXPECT_TRUE(requests.Read(&first));
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the disk is full");
  };
  const auto writer = Connect().Load("s");
  absl::Status status;
  const std::vector<uint64_t> ids = Numbers(0, 100'000);
  while (status.ok()) status = writer->Write(ids);
  EXPECT_EQ(status, absl::ResourceExhaustedError("the disk is full"));
  EXPECT_EQ(writer->Write(ids), status);
  EXPECT_EQ(writer->Finish().status(), status);
}

TEST_F(SegmentsScriptTest, ADroppedWriterIsACancelledCall) {
  std::atomic<int> cancelled = 0;
  server_.segments.raw_change = [&](grpc::ServerReader<v1::ChangeRequest>& requests,
                                    grpc::ServerContext& context) {
    v1::ChangeRequest request;
    while (requests.Read(&request)) continue;
    if (context.IsCancelled()) ++cancelled;
    return kOk;
  };
  Segments& segments = Connect();
  for (int i = 0; i < 30; ++i) {
    const auto writer = segments.Add("s");
    for (int part = 0; part < i % 4; ++part) EXPECT_TRUE(writer->Write(Numbers(0, 50'000)).ok());
  }
  // Those that were dropped before they had sent a message may never have reached the server.
  EXPECT_TRUE(segments.List().status().code() == absl::StatusCode::kUnimplemented);
  server_.Stop();
  EXPECT_LE(cancelled, 30);
  EXPECT_GT(cancelled, 0);
}

TEST_F(SegmentsScriptTest, GivesUpAChangeThatTheServerDoesNotTake) {
  server_.segments.raw_change = [](grpc::ServerReader<v1::ChangeRequest>&, grpc::ServerContext& context) {
    while (!context.IsCancelled()) std::this_thread::sleep_for(milliseconds(1));
    return kOk;
  };
  Segments& segments = Connect();
  const auto taken = segments.Add("s", Numbers(0, 10), {.timeout = milliseconds(50)});
  EXPECT_EQ(taken.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Message(taken.status()), HasSubstr("nobody knows"));
  const auto writer = segments.Add("s", {.timeout = milliseconds(50)});
  absl::Status status;
  const std::vector<uint64_t> ids = Numbers(0, 100'000);
  while (status.ok()) status = writer->Write(ids);
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Message(status), HasSubstr("has not changed"));
}

TEST_F(SegmentsScriptTest, AChangeWithoutAServerSaysThatNothingWasSent) {
  server_.Start();
  const auto client = Client::Connect({.server = server_.address(), .timeout = milliseconds(200)});
  ASSERT_TRUE(client.ok());
  server_.Stop();
  for (const absl::Status& status : {(*client)->segments().Add("s", Numbers(0, 5)).status(),
                                     (*client)->segments().Store("s", "a").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(Message(status), HasSubstr("nothing was sent"));
  }
}

TEST_F(SegmentsScriptTest, BringsIdsAndBitmapsInTheirOrder) {
  server_.segments.query = [&](const v1::QueryRequest& request, Writer& writer, grpc::ServerContext&) {
    EXPECT_EQ(request.expression(), "a & b");
    EXPECT_TRUE(request.accept_bitmaps());
    EXPECT_TRUE(request.fresh());
    EXPECT_EQ(Place(request), "4/7000");
    v1::QueryResponse first = Ids({5, 7});
    AddBitmap(first, 65'536, {65'536, 65'540, 131'071});
    AddBitmap(first, 131'072, {});
    AddBitmap(first, 196'608, {196'609});
    first.mutable_progress()->set_normalized("b & a");
    first.mutable_progress()->set_max_ids(10);
    writer.Write(first);
    v1::QueryResponse progress;
    progress.mutable_progress()->set_ids(6);
    progress.mutable_progress()->set_max_ids(8);
    progress.mutable_progress()->set_blocks_read(3);
    writer.Write(progress);
    writer.Write(Ids({~uint64_t{0}}));
    progress.mutable_progress()->set_done(true);
    progress.mutable_progress()->set_ids(7);
    progress.mutable_progress()->set_from_kept_result(true);
    writer.Write(progress);
    return kOk;
  };
  const auto reader = Connect().Query("a & b", {.limit = 7000, .after = 4, .fresh = true});
  EXPECT_THAT(ReadAll(*reader), ElementsAre(5, 7, 65'536, 65'540, 131'071, 196'609, ~uint64_t{0}));
  EXPECT_TRUE(reader->status().ok()) << reader->status();
  EXPECT_EQ(reader->progress().ids, 7U);
  EXPECT_EQ(reader->progress().max_ids, 8U);
  EXPECT_EQ(reader->progress().blocks_read, 3U);
  EXPECT_TRUE(reader->progress().from_kept_result);
  EXPECT_EQ(reader->progress().normalized, "b & a");
}

TEST_F(SegmentsScriptTest, ResumesABrokenQueryBehindItsLastId) {
  // Ids 0, 1, ... two a response; every call breaks after its second response but for the last.
  server_.segments.query = [&](const v1::QueryRequest& request, Writer& writer, grpc::ServerContext&) {
    Note(Place(request));
    uint64_t next = request.has_after() ? request.after() + 1 : 0;
    const uint64_t end = next + std::min<uint64_t>(request.limit(), 4);
    for (uint64_t sent = 0; next < end; next += 2) {
      v1::QueryResponse response = Ids(Numbers(next, std::min(next + 2, end)));
      response.mutable_progress()->set_ids(sent += 2);
      response.mutable_progress()->set_max_ids(request.limit());
      writer.Write(response);
    }
    if (request.limit() > 2) return kUnavailable;
    writer.Write(Done());
    return kOk;
  };
  const auto reader = Connect().Query("a", {.limit = 10});
  EXPECT_EQ(ReadAll(*reader), Numbers(0, 10));
  EXPECT_TRUE(reader->status().ok()) << reader->status();
  EXPECT_THAT(notes(), ElementsAre("/10", "3/6", "7/2"));
}

TEST_F(SegmentsScriptTest, AsksForNothingBeyondTheLimitWhenOnlyTheEndIsLost) {
  server_.segments.query = [&](const v1::QueryRequest& request, Writer& writer, grpc::ServerContext&) {
    Note(Place(request));
    v1::QueryResponse response = Ids({1, 2});
    response.mutable_progress()->set_ids(2);
    writer.Write(response);
    return kUnavailable;
  };
  const auto reader = Connect().Query("a", {.limit = 2});
  EXPECT_THAT(ReadAll(*reader), ElementsAre(1, 2));
  EXPECT_TRUE(reader->status().ok()) << reader->status();
  EXPECT_THAT(notes(), ElementsAre("/2"));
  EXPECT_EQ(reader->progress().ids, 2U);
}

TEST_F(SegmentsScriptTest, CountsTheIdsOfAllCallsTogether) {
  server_.segments.query = [&](const v1::QueryRequest& request, Writer& writer, grpc::ServerContext&) {
    v1::QueryResponse response = Ids(request.has_after() ? Numbers(3, 5) : Numbers(0, 3));
    response.mutable_progress()->set_ids(request.has_after() ? 2 : 3);
    response.mutable_progress()->set_max_ids(request.has_after() ? 4 : 9);
    response.mutable_progress()->set_done(request.has_after());
    writer.Write(response);
    return request.has_after() ? kOk : kUnavailable;
  };
  const auto reader = Connect().Query("a");
  EXPECT_EQ(ReadAll(*reader), Numbers(0, 5));
  EXPECT_EQ(reader->progress().ids, 5U);
  EXPECT_EQ(reader->progress().max_ids, 7U);
}

TEST_F(SegmentsScriptTest, TellsWhyAQueryFailed) {
  server_.segments.query = [&](const v1::QueryRequest&, Writer& writer, grpc::ServerContext&) {
    ++calls_;
    writer.Write(Ids({1}));
    return grpc::Status(grpc::StatusCode::DATA_LOSS, "block 3");
  };
  const auto reader = Connect().Query("a");
  EXPECT_THAT(ReadAll(*reader), ElementsAre(1));
  EXPECT_EQ(reader->status(), absl::DataLossError("block 3"));
  EXPECT_EQ(calls_, 1);
}

TEST_F(SegmentsScriptTest, GivesUpAQueryThatStaysBroken) {
  server_.segments.query = [&](const v1::QueryRequest&, Writer&, grpc::ServerContext&) {
    ++calls_;
    return kUnavailable;
  };
  const auto reader = Connect().Query("a", {.timeout = milliseconds(300)});
  EXPECT_TRUE(ReadAll(*reader).empty());
  EXPECT_EQ(reader->status(), absl::UnavailableError("going away"));
  EXPECT_GT(calls_, 1);
}

TEST_F(SegmentsScriptTest, GivesUpAQueryThatSendsNothing) {
  server_.segments.query = [](const v1::QueryRequest&, Writer&, grpc::ServerContext& context) {
    while (!context.IsCancelled()) std::this_thread::sleep_for(milliseconds(1));
    return kOk;
  };
  const auto reader = Connect().Query("a", {.timeout = milliseconds(50)});
  EXPECT_TRUE(ReadAll(*reader).empty());
  EXPECT_EQ(reader->status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(SegmentsScriptTest, RefusesWhatBreaksTheContract) {
  v1::QueryResponse response;
  server_.segments.query = [&](const v1::QueryRequest&, Writer& writer, grpc::ServerContext&) {
    writer.Write(Ids({1, 2}));
    writer.Write(response);
    writer.Write(Done());
    return kOk;
  };
  Segments& segments = Connect();
  const auto failure = [&] {
    const auto reader = segments.Query("a");
    EXPECT_THAT(ReadAll(*reader), ElementsAre(1, 2));
    EXPECT_EQ(reader->status().code(), absl::StatusCode::kInternal);
    return Message(reader->status());
  };
  response = Ids({2, 3});
  EXPECT_THAT(failure(), HasSubstr("the id 2 after ids that are not smaller"));
  response.Clear();
  AddBitmap(response, 65'536, {65'537});
  response.mutable_bitmaps(0)->mutable_bits()->pop_back();
  EXPECT_THAT(failure(), HasSubstr("a bitmap of 8191 bytes"));
  response.Clear();
  AddBitmap(response, 65'537, {65'537});
  EXPECT_THAT(failure(), HasSubstr("begins with 65537"));
  response.Clear();
  AddBitmap(response, 65'536, {65'537});
  response.mutable_bitmaps(0)->set_count(2);
  EXPECT_THAT(failure(), HasSubstr("has 1 ids and says 2"));
}

TEST_F(SegmentsScriptTest, DoesNotTakeAnEarlyEndForTheEnd) {
  server_.segments.query = [](const v1::QueryRequest&, Writer& writer, grpc::ServerContext&) {
    writer.Write(Ids({1}));
    return kOk;
  };
  const auto reader = Connect().Query("a");
  EXPECT_THAT(ReadAll(*reader), ElementsAre(1));
  EXPECT_EQ(reader->status().code(), absl::StatusCode::kInternal);
}

TEST_F(SegmentsScriptTest, CancelsAQueryThatIsDropped) {
  server_.segments.query = [](const v1::QueryRequest&, Writer& writer, grpc::ServerContext& context) {
    for (uint64_t id = 0; !context.IsCancelled(); ++id) writer.Write(Ids({id}));
    return kOk;
  };
  Segments& segments = Connect();
  for (int steps = 0; steps < 50; ++steps) {
    const auto reader = segments.Query("a");
    std::span<const uint64_t> ids;
    for (int i = 0; i < steps % 5; ++i) EXPECT_TRUE(reader->Next(ids));
  }
}

TEST_F(SegmentsScriptTest, BringsValuesAndResumes) {
  server_.segments.query_values = [&](const v1::QueryValuesRequest& request,
                                      grpc::ServerWriter<v1::QueryValuesResponse>& writer,
                                      grpc::ServerContext&) {
    Note(request.key_pattern() + " " + Place(request.query()));
    EXPECT_EQ(request.query().expression(), "a");
    v1::QueryValuesResponse response;
    if (!request.query().has_after()) {
      v1::QueryValuesResponse::Item& found = *response.add_items();
      found.set_id(1);
      found.set_found(true);
      found.set_value(std::string("v\0w", 3));
      response.add_items()->set_id(2);
      writer.Write(response);
      return kUnavailable;
    }
    v1::QueryValuesResponse::Item& large = *response.add_items();
    large.set_id(3);
    large.set_found(true);
    large.set_too_large(true);
    response.mutable_progress()->set_done(true);
    writer.Write(response);
    return kOk;
  };
  const auto reader = Connect().QueryValues("a", "user:{id}", {.limit = 3});
  ASSERT_TRUE(reader->Next());
  EXPECT_EQ(reader->item().id, 1U);
  EXPECT_EQ(reader->item().value, std::string("v\0w", 3));
  ASSERT_TRUE(reader->Next());
  EXPECT_EQ(reader->item().id, 2U);
  EXPECT_EQ(reader->item().value, std::nullopt);
  EXPECT_FALSE(reader->item().too_large);
  ASSERT_TRUE(reader->Next());
  EXPECT_EQ(reader->item().id, 3U);
  EXPECT_EQ(reader->item().value, std::nullopt);
  EXPECT_TRUE(reader->item().too_large);
  EXPECT_FALSE(reader->Next());
  EXPECT_FALSE(reader->Next());
  EXPECT_TRUE(reader->status().ok()) << reader->status();
  EXPECT_THAT(notes(), ElementsAre("user:{id} /3", "user:{id} 2/1"));
}

TEST_F(SegmentsScriptTest, CountsExplainsAndRepeatsBoth) {
  server_.segments.count = [&](const v1::CountRequest& request, v1::CountResponse& response) {
    if (++calls_ < 3) return kUnavailable;
    EXPECT_EQ(request.expression(), "a - b");
    EXPECT_TRUE(request.fresh());
    response.set_count(12);
    response.mutable_progress()->set_blocks(4);
    response.mutable_progress()->set_elapsed_ms(7);
    return kOk;
  };
  server_.segments.explain = [](const v1::ExplainRequest& request, v1::ExplainResponse& response) {
    response.set_normalized("n");
    response.set_memory_bytes(100);
    v1::PlanStep& root = *response.mutable_plan();
    root.set_kind(v1::PlanStep::DIFFERENCE);
    root.set_max_count(9);
    v1::PlanStep& file = *root.add_inputs();
    file.set_kind(v1::PlanStep::FILE);
    file.set_segment("a");
    file.set_object("o");
    if (request.execute()) {
      root.set_exact_count(0);
      response.mutable_execution()->set_blocks_read(3);
    }
    return kOk;
  };
  Segments& segments = Connect();
  const auto count = segments.Count("a - b", {.fresh = true});
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(count->count, 12U);
  EXPECT_EQ(count->progress.blocks, 4U);
  EXPECT_EQ(count->progress.elapsed, milliseconds(7));
  EXPECT_EQ(calls_, 3);

  const auto plan = segments.Explain("a");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->normalized, "n");
  EXPECT_EQ(plan->memory_bytes, 100U);
  EXPECT_EQ(plan->root.kind, SegmentPlanStep::Kind::kDifference);
  EXPECT_EQ(plan->root.exact_count, std::nullopt);
  ASSERT_EQ(plan->root.inputs.size(), 1U);
  EXPECT_EQ(plan->root.inputs[0].segment, "a");
  EXPECT_EQ(plan->root.inputs[0].object, "o");
  EXPECT_FALSE(plan->execution.has_value());
  const auto executed = segments.Explain("a", {.execute = true});
  EXPECT_EQ(executed->root.exact_count, 0U);
  EXPECT_EQ(executed->execution->blocks_read, 3U);
}

TEST_F(SegmentsScriptTest, ListsPageByPage) {
  server_.segments.list = [&](const v1::ListRequest& request, v1::ListResponse& response) {
    Note(request.prefix() + "/" + request.after());
    const char* names[] = {"p1", "p2", "p3"};
    const size_t next = request.after().empty() ? 0 : static_cast<size_t>(request.after()[1] - '0');
    response.add_segments()->set_name(names[next]);
    response.mutable_segments(0)->set_changed_at_ms(1'000);
    response.set_more(next < 2);
    return kOk;
  };
  const auto list = Connect().List("p");
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->size(), 3U);
  EXPECT_EQ(list->back().name, "p3");
  EXPECT_EQ(list->back().changed.time_since_epoch(), milliseconds(1'000));
  EXPECT_THAT(notes(), ElementsAre("p/", "p/p1", "p/p2"));
}

TEST_F(SegmentsScriptTest, ASegmentThatIsMissingIsAValue) {
  server_.segments.describe = [](const v1::DescribeRequest& request, v1::Segment& response) {
    if (request.segment() != "there") return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such segment");
    response.set_name("there");
    response.set_min_count(5);
    return kOk;
  };
  server_.segments.drop = [](const v1::DropRequest& request, v1::DropResponse& response) {
    response.set_dropped(request.segment() == "there");
    return kOk;
  };
  server_.segments.store = [](const v1::StoreRequest& request, v1::StoreResponse& response) {
    response.mutable_segment()->set_name(request.segment() + "=" + request.expression());
    return kOk;
  };
  Segments& segments = Connect();
  EXPECT_EQ((*segments.Describe("there").value()).min_count, 5U);
  const auto missing = segments.Describe("missing");
  ASSERT_TRUE(missing.ok()) << missing.status();
  EXPECT_FALSE(missing->has_value());
  EXPECT_TRUE(segments.Drop("there").value());
  EXPECT_FALSE(segments.Drop("missing").value());
  EXPECT_EQ(segments.Store("s", "a")->name, "s=a");
}

}  // namespace
}  // namespace thermocline
