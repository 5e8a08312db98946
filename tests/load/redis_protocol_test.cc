#include "tests/load/redis_protocol.h"

#include <array>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/load/recorded_answers.h"

namespace thermocline::load {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::array<Item, 2> kItems = {{{"k1", "one"}, {"key2", ""}}};

Call Single(Call::Verb verb) { return {.verb = verb, .items = {kItems.data(), 1}}; }
Call Batch(Call::Verb verb) { return {.verb = verb, .batch = true, .items = kItems}; }

TEST(RedisProtocolTest, WritesCommands) {
  RedisProtocol protocol;
  std::string out;
  protocol.Send(0, Single(Call::Verb::kGet), out);
  EXPECT_EQ(out, "*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n");
  out.clear();
  protocol.Send(0, Single(Call::Verb::kSet), out);
  EXPECT_EQ(out, "*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$3\r\none\r\n");
  out.clear();
  protocol.Send(0, Single(Call::Verb::kDelete), out);
  EXPECT_EQ(out, "*2\r\n$3\r\nDEL\r\n$2\r\nk1\r\n");
  out.clear();
  protocol.Send(0, Batch(Call::Verb::kGet), out);
  EXPECT_EQ(out, "*3\r\n$4\r\nMGET\r\n$2\r\nk1\r\n$4\r\nkey2\r\n");
  out.clear();
  protocol.Send(0, Batch(Call::Verb::kSet), out);
  EXPECT_EQ(out, "*5\r\n$4\r\nMSET\r\n$2\r\nk1\r\n$3\r\none\r\n$4\r\nkey2\r\n$0\r\n\r\n");
}

TEST(RedisProtocolTest, ReadsAnswersWhereverTheyAreSplit) {
  const std::string bytes =
      "$5\r\na\r\nbc\r\n$-1\r\n+OK\r\n:1\r\n*2\r\n$1\r\nx\r\n$-1\r\n-ERR no\r\n$0\r\n\r\n";
  for (size_t first = 0; first <= bytes.size(); ++first) {
    RedisProtocol protocol;
    std::string out;
    protocol.Send(1, Single(Call::Verb::kGet), out);
    protocol.Send(2, Single(Call::Verb::kGet), out);
    protocol.Send(3, Single(Call::Verb::kSet), out);
    protocol.Send(4, Single(Call::Verb::kDelete), out);
    protocol.Send(5, Batch(Call::Verb::kGet), out);
    protocol.Send(6, Single(Call::Verb::kSet), out);
    protocol.Send(7, Single(Call::Verb::kGet), out);
    RecordedAnswers answers;
    ASSERT_TRUE(FeedInTwo(protocol, bytes, first, answers, out).ok()) << first;
    EXPECT_THAT(answers.heard,
                ElementsAre("value 1/0 a\r\nbc", "end 1", "miss 2/0", "end 2", "end 3", "end 4",
                            "value 5/0 x", "miss 5/1", "end 5", "end 6: ERR no", "value 7/0 ", "end 7"))
        << first;
  }
}

TEST(RedisProtocolTest, RefusesWhatIsNoAnswer) {
  for (const std::string bytes :
       {"HTTP/1.1 400 Bad Request\r\n", "$x\r\n", "\r\n", "*1\r\n$1\r\na\r\n", "$1\r\nabc"}) {
    RedisProtocol protocol;
    RecordedAnswers answers;
    std::string out;
    protocol.Send(0, Batch(Call::Verb::kGet), out);
    EXPECT_FALSE(protocol.Receive(bytes, answers, out).ok()) << bytes;
  }
  RedisProtocol idle;
  RecordedAnswers answers;
  std::string out;
  EXPECT_THAT(std::string(idle.Receive("+OK\r\n", answers, out).status().message()),
              HasSubstr("nobody has asked"));
}

}  // namespace
}  // namespace thermocline::load
