#include "server/service/pipeline.h"

#include <map>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "grpcpp/support/status_code_enum.h"
#include "gtest/gtest.h"

#include "server/wire_format.h"
#include "tests/server/service/test_store.h"

namespace thermocline::server {
namespace {

using ::testing::HasSubstr;
using Answer = v1::PipelineResponse::Answer;

// A pipeline and what a client would see of it.
class PipelineTest : public ::testing::Test {
 protected:
  PipelineTest() : pipeline_(store_.key_value().NewPipeline([this] { ++wakes_; })) {}
  ~PipelineTest() override { Settle(); }

  absl::Status Send(const v1::PipelineRequest& request, bool stopping = false) {
    absl::Status status = pipeline_->Take(request.SerializeAsString(), stopping);
    Gather();
    return status;
  }

  // Lets everything end.
  void Settle() {
    store_.Settle();
    if (wakes_ > 0) pipeline_->Awake();
    Gather();
    EXPECT_EQ(pipeline_->state().under_way, 0u);
  }

  void Gather() {
    std::vector<std::string> responses;
    pipeline_->TakeAnswers(responses);
    for (const std::string& bytes : responses) {
      v1::PipelineResponse response;
      ASSERT_TRUE(response.ParseFromString(bytes));
      // Byte for byte what the generated code writes.
      EXPECT_EQ(response.SerializeAsString(), bytes);
      response_bytes_.push_back(bytes.size());
      for (const Answer& answer : response.answers()) {
        EXPECT_TRUE(answers_.emplace(answer.id(), answer).second) << "answered twice: " << answer.id();
      }
    }
  }

  static v1::PipelineRequest::Operation& Add(v1::PipelineRequest& request, uint64_t id) {
    auto& operation = *request.add_operations();
    operation.set_id(id);
    return operation;
  }

  TestStore store_;
  int wakes_ = 0;
  std::map<uint64_t, Answer> answers_;
  std::vector<size_t> response_bytes_;
  std::unique_ptr<Pipeline> pipeline_;
};

TEST_F(PipelineTest, AnswersEachOperationByItsId) {
  v1::PipelineRequest request;
  auto& set = *Add(request, 7).mutable_set();
  set.set_key("k");
  set.set_value("v");
  set.set_ttl_ms(1500);
  set.set_durability(v1::MEMORY);
  Add(request, 0).mutable_get()->set_key("k");
  Add(request, uint64_t{1} << 63).mutable_get()->set_key("none");
  auto& exists = *Add(request, 300).mutable_get();
  exists.set_key("k");
  exists.set_no_value(true);
  auto& deletion = *Add(request, 8).mutable_delete_();
  deletion.set_key("k");
  deletion.mutable_condition()->set_if_version(99);
  deletion.set_durability(v1::MEMORY);
  ASSERT_TRUE(Send(request).ok());
  Settle();
  ASSERT_EQ(answers_.size(), 5u);
  EXPECT_TRUE(answers_[7].written().applied());
  EXPECT_TRUE(answers_[0].got().found());
  EXPECT_EQ(answers_[0].got().value(), "v");
  EXPECT_EQ(answers_[0].got().version(), answers_[7].written().version());
  EXPECT_EQ(answers_[0].got().ttl_ms(), 1500u);
  EXPECT_TRUE(answers_[uint64_t{1} << 63].has_got());
  EXPECT_FALSE(answers_[uint64_t{1} << 63].got().found());
  EXPECT_TRUE(answers_[300].got().found());
  EXPECT_EQ(answers_[300].got().value(), "");
  EXPECT_FALSE(answers_[8].written().applied());
  EXPECT_EQ(answers_[8].written().version(), answers_[7].written().version());
}

TEST_F(PipelineTest, WhatIsInMemoryIsAnsweredAtOnceAndASyncWakesOnce) {
  v1::PipelineRequest request;
  for (uint64_t id = 1; id <= 3; ++id) {
    auto& set = *Add(request, id).mutable_set();
    set.set_key("k" + std::to_string(id));
  }
  Add(request, 4).mutable_get()->set_key("k1");
  ASSERT_TRUE(Send(request).ok());
  EXPECT_EQ(answers_.size(), 1u);
  EXPECT_EQ(pipeline_->state().under_way, 3u);
  EXPECT_EQ(wakes_, 0);
  store_.Settle();
  EXPECT_EQ(wakes_, 1);
  EXPECT_TRUE(pipeline_->state().woken);
  EXPECT_EQ(pipeline_->state().under_way, 0u);
  pipeline_->Awake();
  Gather();
  EXPECT_EQ(answers_.size(), 4u);
}

TEST_F(PipelineTest, TellsWhatIsWrongWithAnOperationAndDoesTheOthers) {
  v1::PipelineRequest request;
  Add(request, 1);
  Add(request, 2).mutable_get();
  Add(request, 3).mutable_set()->set_key(std::string(65'537, 'k'));
  Add(request, 4).mutable_delete_();
  auto& set = *Add(request, 5).mutable_set();
  set.set_key("k");
  set.set_ttl_ms(0);
  Add(request, 6).mutable_get()->set_key("k");
  ASSERT_TRUE(Send(request).ok());
  Settle();
  ASSERT_EQ(answers_.size(), 6u);
  for (uint64_t id = 1; id <= 5; ++id) {
    EXPECT_EQ(answers_[id].error().code(), grpc::INVALID_ARGUMENT) << id;
  }
  EXPECT_THAT(answers_[1].error().message(), HasSubstr("neither get nor set nor delete"));
  EXPECT_THAT(answers_[2].error().message(), HasSubstr("key is empty"));
  EXPECT_THAT(answers_[3].error().message(), HasSubstr("65537"));
  EXPECT_TRUE(answers_[6].has_got());
}

TEST_F(PipelineTest, LargeValuesAreLeftToGet) {
  store_.Set("fits", std::string(Pipeline::kMaxValueBytes, 'v'));
  store_.Set("large", std::string(Pipeline::kMaxValueBytes + 1, 'v'));
  v1::PipelineRequest request;
  Add(request, 1).mutable_get()->set_key("fits");
  Add(request, 2).mutable_get()->set_key("large");
  auto& exists = *Add(request, 3).mutable_get();
  exists.set_key("large");
  exists.set_no_value(true);
  ASSERT_TRUE(Send(request).ok());
  Settle();
  EXPECT_EQ(answers_[1].got().value().size(), Pipeline::kMaxValueBytes);
  EXPECT_EQ(answers_[2].error().code(), grpc::OUT_OF_RANGE);
  EXPECT_THAT(answers_[2].error().message(), HasSubstr("use Get"));
  EXPECT_TRUE(answers_[3].got().found());
}

TEST_F(PipelineTest, CutsItsResponses) {
  store_.Set("k", std::string(16'000, 'v'));
  v1::PipelineRequest request;
  for (uint64_t id = 1; id <= 400; ++id) Add(request, id).mutable_get()->set_key("k");
  {
    const std::string bytes = request.SerializeAsString();
    ASSERT_TRUE(pipeline_->Take(bytes, false).ok());
  }
  // Not all at once, whatever is asked for.
  ASSERT_TRUE(pipeline_->has_rest());
  int rounds = 0;
  for (; pipeline_->has_rest(); ++rounds) {
    Gather();
    EXPECT_LT(answers_.size(), 400u);
    ASSERT_TRUE(pipeline_->Continue().ok());
  }
  EXPECT_GT(rounds, 1);
  Settle();
  EXPECT_EQ(answers_.size(), 400u);
  EXPECT_GE(response_bytes_.size(), 4u);
  for (const size_t bytes : response_bytes_) EXPECT_LE(bytes, 512u << 10);
}

TEST_F(PipelineTest, RefusesTooManyAtOnce) {
  v1::PipelineRequest request;
  for (uint64_t id = 0; id <= Pipeline::kMaxOperations; ++id) Add(request, id);
  EXPECT_EQ(Send(request).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(pipeline_->has_rest());
}

TEST_F(PipelineTest, AServerThatStopsDoesNothingAndSaysSo) {
  v1::PipelineRequest request;
  auto& set = *Add(request, 1).mutable_set();
  set.set_key("k");
  Add(request, 2).mutable_get()->set_key("k");
  ASSERT_TRUE(Send(request, /*stopping=*/true).ok());
  EXPECT_EQ(answers_[1].error().code(), grpc::UNAVAILABLE);
  EXPECT_EQ(answers_[2].error().code(), grpc::UNAVAILABLE);
  EXPECT_FALSE(store_.Get("k").found());
}

TEST_F(PipelineTest, RefusesWhatIsNoRequest) {
  v1::PipelineRequest request;
  Add(request, 1).mutable_get()->set_key("some key");
  const std::string bytes = request.SerializeAsString();
  for (size_t size = 1; size < bytes.size(); ++size) {
    EXPECT_EQ(pipeline_->Take(bytes.substr(0, size), false).code(), absl::StatusCode::kInternal) << size;
  }
  // A set's inside is read by the generated code.
  EXPECT_EQ(pipeline_->Take(std::string("\x0a\x04\x1a\x02\x0a\x7f", 6), false).code(),
            absl::StatusCode::kInternal);
  EXPECT_TRUE(pipeline_->Take("", false).ok());
  Gather();
  EXPECT_TRUE(answers_.empty());
}

// Fields that a newer client may send are stepped over, whatever their type.
TEST_F(PipelineTest, StepsOverUnknownFields) {
  const std::string unknown = std::string("\x78\x05", 2) + std::string("\x79\1\2\3\4\5\6\7\x08", 9) +
                              std::string("\x7a\x01x", 3) + std::string("\x7d\1\2\3\4", 5) +
                              std::string("\x92\x01\x02yz", 5);
  std::string get = "\x0a\x01k" + unknown;
  std::string operation = unknown + "\x08\x2a" + "\x12" + std::string(1, static_cast<char>(get.size())) + get;
  const std::string request =
      unknown + "\x0a" + std::string(1, static_cast<char>(operation.size())) + operation + unknown;
  ASSERT_TRUE(pipeline_->Take(request, false).ok());
  Gather();
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_TRUE(answers_[42].has_got());
}

TEST_F(PipelineTest, ManyRandomOperationsAgreeWithAMap) {
  std::mt19937_64 random(5);
  std::map<std::string, std::string> model;
  for (int round = 0; round < 200; ++round) {
    v1::PipelineRequest request;
    std::map<uint64_t, std::string> expected;  // of gets; in a round, a key is used once
    std::map<std::string, bool> used;
    for (uint64_t i = 0; i < 1 + random() % 40; ++i) {
      const std::string key = "key" + std::to_string(random() % 300);
      if (!used.emplace(key, true).second) continue;
      const uint64_t id = random();
      auto& operation = Add(request, id);
      switch (random() % 3) {
        case 0:
          operation.mutable_get()->set_key(key);
          expected[id] = model.count(key) > 0 ? model[key] : "(none)";
          break;
        case 1:
          operation.mutable_set()->set_key(key);
          operation.mutable_set()->set_value(
              std::string(random() % 300, static_cast<char>('a' + random() % 26)));
          model[key] = operation.set().value();
          break;
        default:
          operation.mutable_delete_()->set_key(key);
          model.erase(key);
      }
    }
    answers_.clear();
    ASSERT_TRUE(Send(request).ok());
    Settle();
    wakes_ = 0;
    ASSERT_EQ(answers_.size(), static_cast<size_t>(request.operations_size()));
    for (const auto& [id, value] : expected) {
      EXPECT_EQ(answers_[id].got().found() ? answers_[id].got().value() : "(none)", value);
    }
  }
}

TEST(WireFormatTest, CountsTheBytesOfNumbers) {
  for (int bits = 0; bits <= 64; ++bits) {
    const uint64_t largest = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
    for (const uint64_t number : {largest, largest + 1, largest / 2}) {
      std::string bytes;
      wire::AppendVarint(number, bytes);
      EXPECT_EQ(wire::VarintBytes(number), bytes.size()) << number;
      wire::Reader reader(bytes.insert(0, 1, wire::Tag(1, wire::Type::kVarint)));
      ASSERT_TRUE(reader.Next());
      EXPECT_EQ(reader.number(), number);
    }
  }
}

}  // namespace
}  // namespace thermocline::server
