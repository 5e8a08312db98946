#include "tests/load/memcached_protocol.h"

#include <array>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/load/recorded_answers.h"

namespace thermocline::load {
namespace {

using ::testing::ElementsAre;

constexpr std::array<Item, 2> kItems = {{{"k1", "one"}, {"key2", ""}}};

Call Single(Call::Verb verb) { return {.verb = verb, .items = {kItems.data(), 1}}; }
Call Batch(Call::Verb verb) { return {.verb = verb, .batch = true, .items = kItems}; }

TEST(MemcachedProtocolTest, WritesCommands) {
  MemcachedProtocol protocol;
  std::string out;
  protocol.Send(0, Batch(Call::Verb::kGet), out);
  EXPECT_EQ(out, "mg k1 v\r\nmg key2 v\r\n");
  out.clear();
  protocol.Send(0, Batch(Call::Verb::kSet), out);
  EXPECT_EQ(out, "ms k1 3\r\none\r\nms key2 0\r\n\r\n");
  out.clear();
  protocol.Send(0, Single(Call::Verb::kDelete), out);
  EXPECT_EQ(out, "md k1\r\n");
}

TEST(MemcachedProtocolTest, ReadsAnswersWhereverTheyAreSplit) {
  const std::string bytes =
      "VA 4\r\na\r\nb\r\nEN\r\nHD\r\nNS\r\nVA 0 s0\r\n\r\nEN\r\nNF\r\nSERVER_ERROR no memory\r\n";
  for (size_t first = 0; first <= bytes.size(); ++first) {
    MemcachedProtocol protocol;
    std::string out;
    protocol.Send(1, Single(Call::Verb::kGet), out);
    protocol.Send(2, Single(Call::Verb::kGet), out);
    protocol.Send(3, Batch(Call::Verb::kSet), out);
    protocol.Send(4, Batch(Call::Verb::kGet), out);
    protocol.Send(5, Single(Call::Verb::kDelete), out);
    protocol.Send(6, Single(Call::Verb::kGet), out);
    RecordedAnswers answers;
    ASSERT_TRUE(FeedInTwo(protocol, bytes, first, answers, out).ok()) << first;
    EXPECT_THAT(answers.heard,
                ElementsAre("value 1/0 a\r\nb", "end 1", "miss 2/0", "end 2", "end 3: NS", "value 4/0 ",
                            "miss 4/1", "end 4", "end 5", "end 6: SERVER_ERROR no memory"))
        << first;
  }
}

TEST(MemcachedProtocolTest, RefusesWhatIsNoAnswer) {
  for (const std::string bytes : {"VA x\r\n", "VA 3x\r\n"}) {
    MemcachedProtocol protocol;
    RecordedAnswers answers;
    std::string out;
    protocol.Send(0, Single(Call::Verb::kGet), out);
    EXPECT_FALSE(protocol.Receive(bytes, answers, out).ok()) << bytes;
  }
  MemcachedProtocol idle;
  RecordedAnswers answers;
  std::string out;
  EXPECT_FALSE(idle.Receive("HD\r\n", answers, out).ok());
}

}  // namespace
}  // namespace thermocline::load
