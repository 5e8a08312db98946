#include "tests/load/messages.h"

#include <array>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <fmt/format.h>

#include "thermocline/v1/key_value.pb.h"

namespace thermocline::load {
namespace {

using ::testing::ElementsAre;

const std::string& LongValue() {
  static const auto& value = *new std::string(300, 'v');
  return value;
}
std::array<Item, 3> Items() { return {{{"k1", "one"}, {"key2", ""}, {"key-3", LongValue()}}}; }

std::string Written(const Call& call) {
  std::string bytes;
  AppendRequest(call, bytes);
  return bytes;
}

v1::Durability DurabilityOf(bool sync) { return sync ? v1::SYNC : v1::MEMORY; }

TEST(MessagesTest, SingleRequestsAreThoseOfTheGeneratedCode) {
  const auto items = Items();
  for (const Item& item : items) {
    for (const bool sync : {false, true}) {
      Call call{.verb = Call::Verb::kGet, .sync = sync, .items = {&item, 1}};
      v1::GetRequest get;
      get.set_key(std::string(item.key));
      EXPECT_EQ(Written(call), get.SerializeAsString());
      call.verb = Call::Verb::kSet;
      v1::SetRequest set;
      set.set_key(std::string(item.key));
      set.set_value(std::string(item.value));
      set.set_durability(DurabilityOf(sync));
      EXPECT_EQ(Written(call), set.SerializeAsString());
      call.verb = Call::Verb::kDelete;
      v1::DeleteRequest erase;
      erase.set_key(std::string(item.key));
      erase.set_durability(DurabilityOf(sync));
      EXPECT_EQ(Written(call), erase.SerializeAsString());
    }
  }
}

TEST(MessagesTest, BatchRequestsAreThoseOfTheGeneratedCode) {
  const auto items = Items();
  v1::BatchGetRequest get;
  v1::BatchWriteRequest sets;
  v1::BatchWriteRequest deletes;
  for (const Item& item : items) {
    get.add_keys(std::string(item.key));
    auto* const set = sets.add_writes()->mutable_set();
    set->set_key(std::string(item.key));
    set->set_value(std::string(item.value));
    set->set_durability(v1::MEMORY);
    auto* const erase = deletes.add_writes()->mutable_delete_();
    erase->set_key(std::string(item.key));
    erase->set_durability(v1::MEMORY);
  }
  get.set_max_bytes(16 << 20);
  Call call{.verb = Call::Verb::kGet, .batch = true, .sync = false, .items = items};
  EXPECT_EQ(Written(call), get.SerializeAsString());
  call.verb = Call::Verb::kSet;
  EXPECT_EQ(Written(call), sets.SerializeAsString());
  call.verb = Call::Verb::kDelete;
  EXPECT_EQ(Written(call), deletes.SerializeAsString());
}

// PipelineRequest{repeated Operation{id = 1, oneof{get = 2, set = 3, delete = 4}} = 1}.
TEST(MessagesTest, OperationsOfAPipeline) {
  const std::array<Item, 2> items = {{{"k1", "one"}, {"k2", "two"}}};
  std::string bytes;
  AppendOperations({.verb = Call::Verb::kGet, .items = items}, 0, bytes);
  EXPECT_EQ(bytes, std::string("\x0a\x06\x12\x04\x0a\x02k1"
                               "\x0a\x08\x08\x01\x12\x04\x0a\x02k2"));
  bytes.clear();
  AppendOperations({.verb = Call::Verb::kSet, .items = {items.data(), 1}}, 300, bytes);
  EXPECT_EQ(bytes, std::string("\x0a\x10\x08\xac\x02\x1a\x0b\x0a\x02k1\x12\x03one\x28\x01"));
  bytes.clear();
  AppendOperations({.verb = Call::Verb::kDelete, .sync = false, .items = {items.data(), 1}}, 1, bytes);
  EXPECT_EQ(bytes, std::string("\x0a\x0a\x08\x01\x22\x06\x0a\x02k1\x18\x02"));
}

// "<index> value ..", "<index> miss", "<index> written" or "<index> error ..".
class Heard {
 public:
  void operator()(const ItemAnswer& answer) const {
    lines.push_back(fmt::format("{} {}", answer.index,
                                !answer.error.empty() ? fmt::format("error {}", answer.error)
                                : answer.value        ? fmt::format("value {}", *answer.value)
                                : answer.read         ? "miss"
                                                      : "written"));
  }
  mutable std::vector<std::string> lines;
};

TEST(MessagesTest, ReadsSingleResponses) {
  Heard heard;
  v1::GetResponse got;
  ASSERT_TRUE(ParseResponse(Call::Verb::kGet, false, got.SerializeAsString(), heard));
  got.set_found(true);
  ASSERT_TRUE(ParseResponse(Call::Verb::kGet, false, got.SerializeAsString(), heard));
  got.set_value(LongValue());
  got.set_version(1ull << 63);
  got.set_ttl_ms(7);
  ASSERT_TRUE(ParseResponse(Call::Verb::kGet, false, got.SerializeAsString(), heard));
  v1::WriteResponse written;
  ASSERT_TRUE(ParseResponse(Call::Verb::kSet, false, written.SerializeAsString(), heard));
  written.set_applied(true);
  written.set_version(9);
  ASSERT_TRUE(ParseResponse(Call::Verb::kDelete, false, written.SerializeAsString(), heard));
  EXPECT_THAT(heard.lines, ElementsAre("0 miss", "0 value ", "0 value " + LongValue(),
                                       "0 error an unconditional write was not applied", "0 written"));
}

TEST(MessagesTest, ReadsBatchResponses) {
  Heard heard;
  v1::BatchGetResponse got;
  auto* entry = got.add_entries();
  entry->set_state(v1::BatchGetResponse::Entry::FOUND);
  entry->set_value("one");
  got.add_entries();
  got.add_entries()->set_state(v1::BatchGetResponse::Entry::TOO_LARGE);
  entry = got.add_entries();
  entry->set_state(v1::BatchGetResponse::Entry::FAILED);
  entry->mutable_error()->set_message("damaged");
  const std::string bytes = got.SerializeAsString();
  ASSERT_TRUE(ParseResponse(Call::Verb::kGet, true, bytes, heard));
  EXPECT_THAT(heard.lines, ElementsAre("0 value one", "1 miss", "2 error an entry too large for its batch",
                                       "3 error damaged"));

  Heard writes;
  v1::BatchWriteResponse written;
  written.add_results()->mutable_written()->set_applied(true);
  written.add_results()->mutable_error()->set_code(8);
  ASSERT_TRUE(ParseResponse(Call::Verb::kSet, true, written.SerializeAsString(), writes));
  EXPECT_THAT(writes.lines, ElementsAre("0 written", "1 error an error without a message"));
}

TEST(MessagesTest, ReadsPipelineResponses) {
  const std::string bytes(
      "\x0a\x0b\x08\xac\x02\x12\x06\x08\x01\x12\x02"
      "ab"
      "\x0a\x04\x08\x07\x12\x00"
      "\x0a\x04\x1a\x02\x08\x01"
      "\x0a\x0a\x08\x02\x22\x06\x08\x08\x12\x02no",
      37);
  Heard heard;
  ASSERT_TRUE(ParsePipelineResponse(bytes, heard));
  EXPECT_THAT(heard.lines, ElementsAre("300 value ab", "7 miss", "0 written", "2 error no"));
}

TEST(MessagesTest, SeesWhatIsMalformed) {
  v1::GetResponse got;
  got.set_found(true);
  got.set_value("value");
  const std::string bytes = got.SerializeAsString();
  Heard heard;
  for (size_t size = 3; size < bytes.size(); ++size) {
    EXPECT_FALSE(ParseResponse(Call::Verb::kGet, false, bytes.substr(0, size), heard)) << size;
  }
  EXPECT_FALSE(ParseResponse(Call::Verb::kGet, false, std::string(11, '\xff'), heard));
  EXPECT_FALSE(ParsePipelineResponse("\x0a\x02\x12\x05", heard));
}

}  // namespace
}  // namespace thermocline::load
