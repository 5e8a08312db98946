// The segment commands against a scripted server, to the letter.

#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "client/cli/run.h"
#include "tests/client/cli/input.h"
#include "tests/client/scripted_server.h"

namespace thermocline::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using thermocline::testing::ScriptedServer;

class SegmentScriptTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.segments.change = [this](const std::string& method, const v1::ChangeRequest& first,
                                     const std::vector<uint64_t>& ids, v1::ChangeResponse& response) {
      change_ = method + " " + first.segment();
      ids_ = ids;
      response.set_received(ids.size());
      response.set_distinct(ids.size());
      if (first.count_changed()) response.set_changed(1);
      response.set_version(7);
      return grpc::Status::OK;
    };
    server_.Start();
  }

  ExitCode Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), {"--server", server_.address(), "segment"});
    out_.str("");
    err_.str("");
    out_.clear();
    Input in(input);
    Io io{.in = in.descriptor(), .out = out_, .err = err_};
    return cli::Run(arguments, io);
  }

  std::string change_;
  std::vector<uint64_t> ids_;
  std::ostringstream out_;
  std::ostringstream err_;
  ScriptedServer server_;  // goes first
};

TEST_F(SegmentScriptTest, ChangesSegments) {
  EXPECT_EQ(Run({"add", "s", "5", "3", "18446744073709551615"}), kOk);
  EXPECT_EQ(change_, "add s");
  EXPECT_THAT(ids_, ElementsAre(5, 3, ~uint64_t{0}));
  EXPECT_THAT(out_.str(), MatchesRegex("3 ids added to s in [0-9]+ ms \\([0-9 ]+/s\\), 3 different\n"));
  EXPECT_EQ(Run({"remove", "s", "9", "--from", "-", "--count-changed"}, "1\n2\n"), kOk);
  EXPECT_EQ(change_, "remove s");
  EXPECT_THAT(ids_, ElementsAre(9, 1, 2));
  EXPECT_THAT(out_.str(), HasSubstr("3 ids removed from s in "));
  EXPECT_THAT(out_.str(), HasSubstr(", 3 different, 1 of them were in it\n"));
  EXPECT_EQ(Run({"load", "s", "-", "--append"}, "1\n"), kOk);
  EXPECT_EQ(change_, "add s");
  EXPECT_EQ(Run({"load", "s", "-"}, ""), kOk);
  EXPECT_EQ(change_, "load s");
  EXPECT_THAT(ids_, IsEmpty());
}

TEST_F(SegmentScriptTest, SkipsOrStopsAtWhatIsNoId) {
  EXPECT_EQ(Run({"load", "s", "-", "--format", "csv", "--field", "u", "--json"}, "u\n1\nx\n3\n"), kRejected);
  EXPECT_THAT(ids_, ElementsAre(1, 3));
  EXPECT_THAT(out_.str(), HasSubstr(R"({"segment":"s","received":2,"distinct":2,"version":7,"rejected":1,)"));
  EXPECT_THAT(err_.str(), HasSubstr("line 3: \"x\" is not an id"));

  change_.clear();
  EXPECT_EQ(Run({"load", "s", "-", "--on-error", "stop"}, "1\nx\n3\ny\n"), kRejected);
  EXPECT_THAT(err_.str(), HasSubstr("line 2: \"x\" is not an id"));
  EXPECT_THAT(err_.str(), ::testing::EndsWith("the segment was not changed\n"));
  EXPECT_THAT(err_.str(), ::testing::Not(HasSubstr("line 4")));
  EXPECT_EQ(Run({"load", "s", "-"}, "id\nx\n"), kRejected) << "nothing of the input is an id";
  EXPECT_THAT(err_.str(), ::testing::EndsWith("the segment was not changed\n"));
  EXPECT_EQ(Run({"load", "s", "/nonexistent"}), kUsage);
  EXPECT_EQ(change_, "");
}

TEST_F(SegmentScriptTest, PrintsIds) {
  server_.segments.query = [](const v1::QueryRequest& request, grpc::ServerWriter<v1::QueryResponse>& writer,
                              grpc::ServerContext&) {
    EXPECT_EQ(request.expression(), "a & b");
    EXPECT_EQ(request.limit(), 5U);
    EXPECT_EQ(request.after(), 2U);
    EXPECT_TRUE(request.fresh());
    v1::QueryResponse response;
    response.add_ids(3);
    response.add_ids(70'000);
    response.mutable_progress()->set_blocks(1'500);
    response.mutable_progress()->set_blocks_read(34);
    response.mutable_progress()->set_done(true);
    writer.Write(response);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"query", "a & b", "--limit", "5", "--after", "2", "--fresh"}), kOk);
  EXPECT_EQ(out_.str(), "3\n70000\n");
  EXPECT_THAT(err_.str(), MatchesRegex("2 ids in [0-9]+ ms, 34 of 1 500 blocks read\n"));
  EXPECT_EQ(Run({"query", "a & b", "--limit", "5", "--after", "2", "--fresh", "--json"}), kOk);
  EXPECT_EQ(out_.str(), "{\"id\":3}\n{\"id\":70000}\n");
  EXPECT_EQ(err_.str(), "");
}

TEST_F(SegmentScriptTest, PutsTheCaretBelowTheMistake) {
  const grpc::Status bad(grpc::StatusCode::INVALID_ARGUMENT,
                         "there is nothing behind the -\na | b -\n        ^");
  server_.segments.count = [&](const v1::CountRequest&, v1::CountResponse&) { return bad; };
  EXPECT_EQ(Run({"count", "a | b -"}), kUsage);
  EXPECT_EQ(err_.str(),
            "thermocline: INVALID_ARGUMENT: there is nothing behind the -\n"
            "  a | b -\n"
            "          ^\n");
  server_.segments.count = [&](const v1::CountRequest&, v1::CountResponse&) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "there is no segment \"a\"");
  };
  EXPECT_EQ(Run({"count", "a"}), kNo);
}

TEST_F(SegmentScriptTest, PrintsValues) {
  server_.segments.query_values = [](const v1::QueryValuesRequest& request,
                                     grpc::ServerWriter<v1::QueryValuesResponse>& writer,
                                     grpc::ServerContext&) {
    EXPECT_EQ(request.key_pattern(), "{id}:user:{id}");
    v1::QueryValuesResponse response;
    for (uint64_t id = 1; id <= 4; ++id) {
      v1::QueryValuesResponse::Item& item = *response.add_items();
      item.set_id(id);
      item.set_found(id != 2);
      item.set_too_large(id == 3);
      if (id == 1) item.set_value("a\tb");
      if (id == 4) item.set_value("\xff");
    }
    response.mutable_progress()->set_done(true);
    writer.Write(response);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"values", "s", "--key", "{id}:user:{id}"}), kOk);
  EXPECT_EQ(out_.str(),
            "1\ta\\tb\n2\t(not found)\n3\t(more than 1 MiB: thermocline get '3:user:3')\n4\t\\xff\n");
  EXPECT_THAT(err_.str(), MatchesRegex("4 ids in [0-9]+ ms, 1 of them not found\n"));
  EXPECT_EQ(Run({"values", "s", "--key", "{id}:user:{id}", "--json"}), kOk);
  EXPECT_EQ(out_.str(),
            "{\"id\":1,\"value\":\"a\\tb\"}\n{\"id\":2,\"found\":false}\n"
            "{\"id\":3,\"found\":true,\"too_large\":true}\n{\"id\":4,\"value_base64\":\"/w==\"}\n");
  EXPECT_EQ(Run({"values", "s", "--key", "{id}:user:{id}", "--only-found"}), kOk);
  EXPECT_THAT(out_.str(), ::testing::Not(HasSubstr("2\t")));
}

TEST_F(SegmentScriptTest, CountsAndExplains) {
  server_.segments.count = [](const v1::CountRequest& request, v1::CountResponse& response) {
    response.set_count(1'234);
    response.mutable_progress()->set_from_kept_result(!request.fresh());
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"count", "a"}), kOk);
  EXPECT_EQ(out_.str(), "1234\n");
  EXPECT_THAT(err_.str(), MatchesRegex("1 234 ids in [0-9]+ ms, from a kept result\n"));
  EXPECT_EQ(Run({"count", "a", "--fresh", "--json"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr(R"({"count":1234,"execution":{"ids":0,)"));

  server_.segments.explain = [](const v1::ExplainRequest& request, v1::ExplainResponse& response) {
    response.set_normalized("a");
    response.mutable_plan()->set_kind(v1::PlanStep::EMPTY);
    response.set_memory_bytes(2048);
    if (request.execute()) response.mutable_execution();
    response.set_kept_result(!request.execute());
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"explain", "a"}), kOk);
  EXPECT_EQ(out_.str(),
            "a\n\nstep     ids  blocks  bytes  memory\nnothing  0\n\n"
            "the result is kept from an equal query\ntakes 2.0 KiB of memory\n");
  EXPECT_EQ(Run({"explain", "a", "--execute"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("blocks read"));
  EXPECT_THAT(out_.str(), HasSubstr("\n0 ids in "));
}

TEST_F(SegmentScriptTest, ListsDescribesStoresAndDrops) {
  server_.segments.list = [](const v1::ListRequest& request, v1::ListResponse& response) {
    if (request.prefix() == "c") response.add_segments()->set_name("city");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"list", "c"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("\ncity "));
  EXPECT_EQ(Run({"list", "c", "--json"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr(R"({"name":"city","version":0,)"));
  EXPECT_EQ(Run({"list", "x"}), kOk);
  EXPECT_EQ(out_.str(), "");
  EXPECT_EQ(err_.str(), "there are no segments whose names begin so\n");

  server_.segments.describe = [](const v1::DescribeRequest& request, v1::Segment& response) {
    response.set_name(request.segment());
    return request.segment() == "s" ? grpc::Status::OK : grpc::Status(grpc::StatusCode::NOT_FOUND, "none");
  };
  EXPECT_EQ(Run({"describe", "s"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("s\n  ids             0\n"));
  EXPECT_EQ(Run({"describe", "t"}), kNo);
  EXPECT_EQ(err_.str(), "not found: t\n");

  server_.segments.store = [](const v1::StoreRequest& request, v1::StoreResponse& response) {
    EXPECT_EQ(request.expression(), "a - b");
    response.mutable_segment()->set_name(request.segment());
    response.mutable_segment()->set_max_count(1'000);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"store", "s", "a - b"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("s: 0..1 000 ids stored in "));

  server_.segments.drop = [](const v1::DropRequest& request, v1::DropResponse& response) {
    response.set_dropped(request.segment() == "s");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"drop", "t", "s"}), kNo);
  EXPECT_EQ(out_.str(), "dropped s\n");
  EXPECT_EQ(err_.str(), "not found: t\n");
  EXPECT_EQ(Run({"drop", "s", "--json"}), kOk);
  EXPECT_EQ(out_.str(), "{\"segment\":\"s\",\"dropped\":true}\n");
}

}  // namespace
}  // namespace thermocline::cli
