#include "client/client.h"

#include <atomic>
#include <future>
#include <mutex>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/client/scripted_server.h"

namespace thermocline {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ScriptedServer;

const grpc::Status kOk = grpc::Status::OK;
const grpc::Status kUnavailable(grpc::StatusCode::UNAVAILABLE, "writes are refused");

// Ends only if something hangs.
constexpr milliseconds kLong{60'000};

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// What a server was asked for, as "cursor/limit".
class Requests {
 public:
  void Add(const v1::ScanRequest& request) {
    std::lock_guard lock(mutex_);
    requests_.push_back(request.cursor() + "/" + std::to_string(request.limit()));
  }
  std::vector<std::string> all() {
    std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> requests_;
};

class ClientTest : public ::testing::Test {
 protected:
  std::unique_ptr<Client> Connect() {
    server_.Start();
    auto client = Client::Connect({.server = server_.address(), .timeout = kLong});
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  std::atomic<int> calls_ = 0;
  Requests requests_;
  ScriptedServer server_;  // goes first, for its scripts use what is above
};

TEST_F(ClientTest, SaysThatNobodyAnswers) {
  server_.Start();
  server_.Stop();
  const auto client = Client::Connect({.server = server_.address()});
  EXPECT_EQ(client.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(client.status()), HasSubstr("no Thermocline server answers at " + server_.address()));
  EXPECT_THAT(Message(client.status()), HasSubstr("onnection refused"));
}

TEST_F(ClientTest, WaitsForTheServerAsLongAsTold) {
  server_.Start();
  const int port = server_.port();
  server_.Stop();
  auto connecting = std::async(std::launch::async, [&] {
    return Client::Connect({.server = "127.0.0.1:" + std::to_string(port), .connect_timeout = kLong})
        .status();
  });
  std::this_thread::sleep_for(milliseconds(100));
  server_.Start(port);
  EXPECT_TRUE(connecting.get().ok());
}

TEST_F(ClientTest, TellsMissesAndValuesApart) {
  server_.get = [](const v1::GetRequest& request, v1::GetResponse& response) {
    if (request.key() != "there") return kOk;
    response.set_found(true);
    if (!request.no_value()) response.set_value("v");
    response.set_version(7);
    response.set_ttl_ms(1500);
    return kOk;
  };
  const auto client = Connect();
  const auto missing = client->Get("not there");
  ASSERT_TRUE(missing.ok());
  EXPECT_FALSE(missing->has_value());
  const auto found = client->Get("there");
  ASSERT_TRUE(found.ok() && found->has_value());
  EXPECT_EQ((*found)->value, "v");
  EXPECT_EQ((*found)->version, 7U);
  EXPECT_EQ((*found)->ttl, milliseconds(1500));
  EXPECT_EQ((*client->Get("there", {.with_value = false}).value()).value, "");
}

TEST_F(ClientTest, SendsWhatTheOptionsSay) {
  server_.set = [](const v1::SetRequest& request, v1::WriteResponse& response) {
    EXPECT_EQ(request.key(), std::string("k\0", 2));
    EXPECT_EQ(request.value(), "");
    EXPECT_TRUE(request.condition().if_absent());
    EXPECT_EQ(request.ttl_ms(), 600'000);
    EXPECT_EQ(request.durability(), v1::MEMORY);
    response.set_version(3);
    return kOk;
  };
  server_.del = [](const v1::DeleteRequest& request, v1::WriteResponse& response) {
    EXPECT_EQ(request.condition().if_version(), 9U);
    EXPECT_EQ(request.durability(), v1::SYNC);
    response.set_applied(true);
    response.set_version(10);
    return kOk;
  };
  const auto client = Connect();
  const auto set = client->Set(
      std::string_view("k\0", 2), "",
      {.condition = Condition::IfAbsent(), .ttl = milliseconds(600'000), .durability = Durability::kMemory});
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_FALSE(set->applied);
  EXPECT_EQ(set->version, 3U);
  const auto deleted = client->Delete("k", {.condition = Condition::IfVersion(9)});
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_TRUE(deleted->applied);
}

TEST_F(ClientTest, SendsNoConditionUnlessToldTo) {
  server_.set = [](const v1::SetRequest& request, v1::WriteResponse&) {
    EXPECT_FALSE(request.has_condition());
    EXPECT_FALSE(request.has_ttl_ms());
    EXPECT_EQ(request.durability(), v1::SYNC);
    return kOk;
  };
  EXPECT_TRUE(Connect()->Set("k", "v").ok());
}

TEST_F(ClientTest, RepeatsReadsWhileTheServerIsUnavailable) {
  server_.get = [this](const v1::GetRequest&, v1::GetResponse& response) {
    if (++calls_ < 4) return kUnavailable;
    response.set_found(true);
    return kOk;
  };
  const auto result = Connect()->Get("k");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->has_value());
  EXPECT_EQ(calls_, 4);
}

TEST_F(ClientTest, GivesUpARepeatedReadAtItsTimeoutWithTheServersWords) {
  server_.get = [this](const v1::GetRequest&, v1::GetResponse&) {
    ++calls_;
    return kUnavailable;
  };
  const auto result = Connect()->Get("k", {.timeout = milliseconds(300)});
  EXPECT_EQ(result.status(), absl::UnavailableError("writes are refused"));
  EXPECT_GT(calls_, 1);
}

TEST_F(ClientTest, DoesNotRepeatWhatWouldFailAgain) {
  server_.get = [this](const v1::GetRequest&, v1::GetResponse&) {
    ++calls_;
    return grpc::Status(grpc::StatusCode::DATA_LOSS, "block 3 at 4096");
  };
  EXPECT_EQ(Connect()->Get("k").status(), absl::DataLossError("block 3 at 4096"));
  EXPECT_EQ(calls_, 1);
}

TEST_F(ClientTest, NeverRepeatsAWrite) {
  server_.set = [this](const v1::SetRequest&, v1::WriteResponse&) {
    ++calls_;
    return kUnavailable;
  };
  server_.del = [this](const v1::DeleteRequest&, v1::WriteResponse&) {
    ++calls_;
    return kUnavailable;
  };
  server_.batch_write = [this](const v1::BatchWriteRequest&, v1::BatchWriteResponse&) {
    ++calls_;
    return kUnavailable;
  };
  const auto client = Connect();
  EXPECT_EQ(client->Set("k", "v").status(), absl::UnavailableError("writes are refused"));
  EXPECT_EQ(client->Delete("k").status(), absl::UnavailableError("writes are refused"));
  EXPECT_EQ(client->BatchWrite({Write::Set("k", "v")})[0].status(),
            absl::UnavailableError("writes are refused"));
  EXPECT_EQ(calls_, 3);
}

TEST_F(ClientTest, AWriteWaitsForAConnectionAndIsSentOnce) {
  server_.set = [this](const v1::SetRequest&, v1::WriteResponse& response) {
    ++calls_;
    response.set_applied(true);
    return kOk;
  };
  const auto client = Connect();
  const int port = server_.port();
  server_.Stop();
  // Only when the client has noticed: a write that is under way as the connection breaks has failed.
  ASSERT_FALSE(client->Get("k", {.timeout = milliseconds(100)}).ok());
  std::promise<absl::StatusOr<WriteResult>> promise;
  client->SetAsync("k", "v", [&](auto result) { promise.set_value(std::move(result)); });
  std::this_thread::sleep_for(milliseconds(100));
  server_.Start(port);
  const auto result = promise.get_future().get();
  EXPECT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(calls_, 1);
}

// A code that promises that nothing was written must not be told of a write that may have been made.
TEST_F(ClientTest, NobodyKnowsAWriteWhoseStreamFails) {
  server_.pipeline_fails = grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too much is held");
  const auto client = Connect();
  const auto written = client->Set("k", "v");
  EXPECT_EQ(written.status().code(), absl::StatusCode::kUnknown);
  EXPECT_THAT(Message(written.status()), HasSubstr("too much is held"));
  EXPECT_EQ(client->Get("k").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server_.pipelined_messages, 2);
}

TEST_F(ClientTest, WithoutAPipelineOperationsAreCalls) {
  server_.has_pipeline = false;
  server_.set = [this](const v1::SetRequest&, v1::WriteResponse& response) {
    ++calls_;
    response.set_applied(true);
    return kOk;
  };
  const auto client = Connect();
  EXPECT_TRUE(client->Set("k", "v").ok());
  EXPECT_TRUE(client->Set("k", "v").ok());
  EXPECT_EQ(calls_, 2);
  EXPECT_EQ(server_.pipelined_messages, 0);
}

TEST_F(ClientTest, EndsACallAtItsTimeout) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  server_.get = [released](const v1::GetRequest&, v1::GetResponse&) {
    released.wait();
    return kOk;
  };
  const auto client = Connect();
  EXPECT_EQ(client->Get("k", {.timeout = milliseconds(50)}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(client->Get("k", {.timeout = milliseconds(-1)}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  release.set_value();
}

TEST_F(ClientTest, TakesTheLongestTimeoutThereIs) {
  server_.get = [](const v1::GetRequest&, v1::GetResponse&) { return kOk; };
  EXPECT_TRUE(Connect()->Get("k", {.timeout = milliseconds::max()}).ok());
}

TEST_F(ClientTest, RefusesWhatNoServerTakesWithoutAskingOne) {
  const auto client = Connect();
  const auto expect = [](const absl::Status& status, const char* words) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(status), HasSubstr(words));
  };
  const std::string long_key(kMaxKeyBytes + 1, 'k');
  const std::string long_value(kMaxValueBytes + 1, 'v');
  expect(client->Get("").status(), "the key is empty");
  expect(client->Get(long_key).status(), "the key has 65537 bytes; the limit is 65 536");
  expect(client->Set("", "v").status(), "the key is empty");
  expect(client->Set("k", long_value).status(), "the value has 16777217 bytes; the limit is 16 777 216");
  expect(client->Delete(long_key).status(), "65 536");
  expect(client->BatchGet({long_key})[0].status(), "65 536");
  expect(client->BatchWrite({Write::Set("k", long_value)})[0].status(), "16 MiB");
}

TEST_F(ClientTest, WaitsForItsCallsWhenItIsDestroyed) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::promise<void> arrived;
  server_.get = [&, released](const v1::GetRequest&, v1::GetResponse&) {
    arrived.set_value();
    released.wait();
    return kOk;
  };
  auto client = Connect();
  std::atomic<bool> called = false;
  client->GetAsync("k", [&](const Client::GetResult&) { called = true; });
  arrived.get_future().wait();
  std::thread releasing([&] { release.set_value(); });
  client.reset();
  EXPECT_TRUE(called);
  releasing.join();
}

TEST_F(ClientTest, CallsBackIntoItself) {
  server_.get = [](const v1::GetRequest& request, v1::GetResponse& response) {
    response.set_found(true);
    response.set_value("value of " + request.key());
    return kOk;
  };
  const auto client = Connect();
  std::promise<std::string> promise;
  client->GetAsync("a", [&](Client::GetResult first) {
    client->GetAsync((*first)->value, [&](Client::GetResult second) { promise.set_value((*second)->value); });
  });
  EXPECT_EQ(promise.get_future().get(), "value of value of a");
}

TEST_F(ClientTest, ServesManyThreads) {
  server_.get = [](const v1::GetRequest& request, v1::GetResponse& response) {
    response.set_found(true);
    response.set_value(request.key());
    return kOk;
  };
  const auto client = Connect();
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&client, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string key = std::to_string(t) + ":" + std::to_string(i);
        EXPECT_EQ((*client->Get(key).value()).value, key);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ClientTest, AsksAgainForWhatDidNotFit) {
  // Two values fit into a reply.
  server_.batch_get = [this](const v1::BatchGetRequest& request, v1::BatchGetResponse& response) {
    ++calls_;
    int room = 2;
    for (const std::string& key : request.keys()) {
      auto* entry = response.add_entries();
      if (key == "missing") continue;
      if (key == "broken") {
        entry->set_state(v1::BatchGetResponse::Entry::FAILED);
        entry->mutable_error()->set_code(15);
        entry->mutable_error()->set_message("block 3");
      } else if (room-- > 0) {
        entry->set_state(v1::BatchGetResponse::Entry::FOUND);
        entry->set_value("value of " + key);
      } else {
        entry->set_state(v1::BatchGetResponse::Entry::TOO_LARGE);
      }
    }
    return kOk;
  };
  const std::vector<std::string> keys = {"a", "missing", "b", "c", "", "d", "broken", "e", "a"};
  const auto results = Connect()->BatchGet(keys);
  ASSERT_EQ(results.size(), keys.size());
  for (const size_t i : {0, 2, 3, 5, 7, 8}) {
    ASSERT_TRUE(results[i].ok() && results[i]->has_value()) << i << results[i].status();
    EXPECT_EQ((*results[i])->value, "value of " + keys[i]);
  }
  EXPECT_TRUE(results[1].ok() && !results[1]->has_value());
  EXPECT_EQ(results[4].status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(results[6].status(), absl::DataLossError("block 3"));
  EXPECT_EQ(calls_, 3);
}

TEST_F(ClientTest, ABatchThatFailsHalfwayKeepsWhatWasRead) {
  server_.batch_get = [this](const v1::BatchGetRequest& request, v1::BatchGetResponse& response) {
    if (++calls_ > 1) return grpc::Status(grpc::StatusCode::INTERNAL, "broken");
    for (int i = 0; i < request.keys_size(); ++i) {
      response.add_entries()->set_state(i == 0 ? v1::BatchGetResponse::Entry::FOUND
                                               : v1::BatchGetResponse::Entry::TOO_LARGE);
    }
    return kOk;
  };
  const auto results = Connect()->BatchGet({"a", "b", "c", "d"});
  EXPECT_TRUE(results[0].ok());
  for (size_t i = 1; i < results.size(); ++i) EXPECT_EQ(results[i].status(), absl::InternalError("broken"));
}

TEST_F(ClientTest, DoesNotAskForeverWhenNothingEverFits) {
  server_.batch_get = [](const v1::BatchGetRequest&, v1::BatchGetResponse& response) {
    response.add_entries()->set_state(v1::BatchGetResponse::Entry::TOO_LARGE);
    return kOk;
  };
  EXPECT_EQ(Connect()->BatchGet({"a"})[0].status().code(), absl::StatusCode::kInternal);
}

TEST_F(ClientTest, RefusesAnswersThatDoNotMatchTheQuestion) {
  server_.batch_get = [](const v1::BatchGetRequest&, v1::BatchGetResponse&) { return kOk; };
  server_.batch_write = [](const v1::BatchWriteRequest&, v1::BatchWriteResponse&) { return kOk; };
  const auto client = Connect();
  EXPECT_EQ(client->BatchGet({"a"})[0].status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(client->BatchWrite({Write::Delete("a")})[0].status().code(), absl::StatusCode::kInternal);
}

// Applies writes and remembers how many came in each message.
class BatchSizes {
 public:
  void Install(ScriptedServer& server) {
    server.batch_write = [this](const v1::BatchWriteRequest& request, v1::BatchWriteResponse& response) {
      std::lock_guard lock(mutex_);
      sizes_.push_back(request.writes_size());
      for (int i = 0; i < request.writes_size(); ++i) {
        response.add_results()->mutable_written()->set_version(++version_);
      }
      return kOk;
    };
  }

  std::vector<int> sizes() {
    std::lock_guard lock(mutex_);
    return sizes_;
  }

 private:
  std::mutex mutex_;
  std::vector<int> sizes_;
  uint64_t version_ = 0;
};

TEST_F(ClientTest, SplitsBatchesOfManyWritesAndKeepsTheirOrder) {
  BatchSizes sizes;
  sizes.Install(server_);
  std::vector<Write> writes(65'536 + 10, Write::Delete("k"));
  const auto results = Connect()->BatchWrite(std::move(writes));
  EXPECT_THAT(sizes.sizes(), ElementsAre(65'536, 10));
  for (size_t i = 0; i < results.size(); ++i) ASSERT_EQ(results[i]->version, i + 1);
}

TEST_F(ClientTest, SplitsBatchesOverTheMessageLimit) {
  BatchSizes sizes;
  sizes.Install(server_);
  const std::string key(kMaxKeyBytes, 'k');
  const auto client = Connect();
  for (const auto& result : client->BatchWrite({
           Write::Set(key, std::string(kMaxValueBytes, 'v')),
           Write::Set("small", "v"),
           Write::Set("half", std::string(8 << 20, 'v')),
           Write::Set("half", std::string(8 << 20, 'v')),
           Write::Set("half", std::string(8 << 20, 'v')),
       })) {
    EXPECT_TRUE(result.ok()) << result.status();
  }
  EXPECT_THAT(sizes.sizes(), ElementsAre(2, 2, 1));
}

TEST_F(ClientTest, SendsNothingAfterAMessageThatFailed) {
  server_.batch_write = [this](const v1::BatchWriteRequest& request, v1::BatchWriteResponse& response) {
    if (++calls_ == 2) return kUnavailable;
    for (int i = 0; i < request.writes_size(); ++i) {
      auto* error = response.add_results()->mutable_error();
      error->set_code(8);
      error->set_message("the disk is full");
    }
    return kOk;
  };
  std::vector<Write> writes;
  for (int i = 0; i < 3; ++i) writes.push_back(Write::Set("k", std::string(16 << 20, 'v')));
  const auto results = Connect()->BatchWrite(std::move(writes));
  EXPECT_EQ(results[0].status(), absl::ResourceExhaustedError("the disk is full"));
  EXPECT_EQ(results[1].status(), absl::UnavailableError("writes are refused"));
  EXPECT_EQ(results[2].status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(calls_, 2);
}

TEST_F(ClientTest, AnEmptyBatchIsDoneAtOnce) {
  const auto client = Connect();
  EXPECT_TRUE(client->BatchGet({}).empty());
  EXPECT_TRUE(client->BatchWrite({}).empty());
}

// Serves keys "0" .. "9" two a page; a cursor is the next key. What a script does with a page that has been
// made: true goes on.
using OnPage = std::function<bool(int next)>;

ScriptedServer::ScanScript TwoAPage(Requests& requests, const grpc::Status& ending, OnPage on_page) {
  return [&requests, ending, on_page](const v1::ScanRequest& request,
                                      grpc::ServerWriter<v1::ScanResponse>& writer, grpc::ServerContext&) {
    requests.Add(request);
    uint64_t left = request.limit() == 0 ? 100 : request.limit();
    for (int next = request.cursor().empty() ? 0 : std::stoi(request.cursor()); next < 10;) {
      v1::ScanResponse page;
      for (int i = 0; i < 2 && left > 0; ++i, --left) {
        page.add_entries()->set_key(std::to_string(next));
        page.mutable_entries()->rbegin()->set_value("value of " + std::to_string(next++));
      }
      page.set_cursor(std::to_string(next));
      page.set_done(next == 10);
      writer.Write(page);
      if (left == 0) return kOk;
      if (!on_page(next)) return ending;
    }
    return kOk;
  };
}

std::string Keys(Scanner& scan) {
  std::string keys;
  while (scan.Next()) {
    EXPECT_EQ(scan.entry().value, "value of " + scan.key());
    keys += scan.key();
  }
  EXPECT_FALSE(scan.Next());
  return keys;
}

TEST_F(ClientTest, ScansToTheEndAndToTheLimit) {
  server_.scan = TwoAPage(requests_, kOk, [](int) { return true; });
  const auto client = Connect();
  const auto all = client->Scan();
  EXPECT_EQ(Keys(*all), "0123456789");
  EXPECT_TRUE(all->status().ok()) << all->status();
  EXPECT_EQ(all->cursor(), "10");
  const auto three = client->Scan({.cursor = "4", .limit = 3});
  EXPECT_EQ(Keys(*three), "456");
  EXPECT_TRUE(three->status().ok()) << three->status();
  EXPECT_THAT(requests_.all(), ElementsAre("/0", "4/3"));
}

TEST_F(ClientTest, ResumesABrokenScanFromItsLastCursor) {
  // Every call breaks after its first page, but for the last.
  server_.scan = TwoAPage(requests_, kUnavailable, [](int next) { return next >= 8; });
  const auto client = Connect();
  const auto scan = client->Scan({.limit = 9});
  EXPECT_EQ(Keys(*scan), "012345678");
  EXPECT_TRUE(scan->status().ok()) << scan->status();
  EXPECT_THAT(requests_.all(), ElementsAre("/9", "2/7", "4/5", "6/3"));
}

TEST_F(ClientTest, TellsWhyAScanFailed) {
  server_.scan =
      TwoAPage(requests_, {grpc::StatusCode::DATA_LOSS, "block 3"}, [](int next) { return next < 4; });
  const auto client = Connect();
  const auto scan = client->Scan();
  EXPECT_EQ(Keys(*scan), "0123");
  EXPECT_EQ(scan->status(), absl::DataLossError("block 3"));
  EXPECT_EQ(requests_.all().size(), 1U);
}

TEST_F(ClientTest, GivesUpAScanThatStaysBroken) {
  server_.scan = [&](const v1::ScanRequest&, grpc::ServerWriter<v1::ScanResponse>&, grpc::ServerContext&) {
    ++calls_;
    return kUnavailable;
  };
  const auto client = Connect();
  const auto scan = client->Scan({.timeout = milliseconds(300)});
  EXPECT_FALSE(scan->Next());
  EXPECT_EQ(scan->status(), absl::UnavailableError("writes are refused"));
  EXPECT_GT(calls_, 1);
}

TEST_F(ClientTest, DoesNotTakeAnEarlyEndForTheEnd) {
  server_.scan = TwoAPage(requests_, kOk, [](int) { return false; });
  const auto client = Connect();
  const auto scan = client->Scan();
  EXPECT_EQ(Keys(*scan), "01");
  EXPECT_EQ(scan->status().code(), absl::StatusCode::kInternal);
}

TEST_F(ClientTest, GivesUpAScanThatSendsNothing) {
  server_.scan = [](const v1::ScanRequest&, grpc::ServerWriter<v1::ScanResponse>&,
                    grpc::ServerContext& context) {
    while (!context.IsCancelled()) std::this_thread::sleep_for(milliseconds(1));
    return kOk;
  };
  const auto client = Connect();
  const auto scan = client->Scan({.timeout = milliseconds(50)});
  EXPECT_FALSE(scan->Next());
  EXPECT_EQ(scan->status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ClientTest, CancelsAScanThatIsDropped) {
  server_.scan = [](const v1::ScanRequest&, grpc::ServerWriter<v1::ScanResponse>& writer,
                    grpc::ServerContext& context) {
    v1::ScanResponse page;
    page.add_entries()->set_key("k");
    while (!context.IsCancelled()) writer.Write(page);
    return kOk;
  };
  const auto client = Connect();
  for (int steps = 0; steps < 50; ++steps) {
    const auto scan = client->Scan();
    for (int i = 0; i < steps % 5; ++i) EXPECT_TRUE(scan->Next());
  }
}

TEST_F(ClientTest, ACursorIsBehindWhatWasSteppedOver) {
  server_.scan = TwoAPage(requests_, kOk, [](int) { return true; });
  const auto client = Connect();
  const auto scan = client->Scan();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(scan->Next());
  EXPECT_EQ(scan->key(), "4");
  const auto resumed = client->Scan({.cursor = scan->cursor()});
  EXPECT_EQ(Keys(*resumed), "456789");
}

}  // namespace
}  // namespace thermocline
