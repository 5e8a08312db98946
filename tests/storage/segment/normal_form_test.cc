// Normal forms and texts of expressions: of those listed here, and of random ones.

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/segment/expression.h"
#include "storage/segments.h"
#include "tests/storage/segment/expression_sets.h"

namespace thermocline::storage::segment {
namespace {

using testing::AreSame;
using testing::Evaluate;
using testing::NodeCount;
using testing::Sets;
using Kind = Expression::Kind;

std::string Normal(std::string_view text) { return ToText(Normalize(ParseExpression(text).value())); }

TEST(NormalizeTest, KnowsTheLaws) {
  struct Case {
    std::string_view text;
    std::string_view normal;
  };
  for (const auto& [text, normal] : std::vector<Case>{
           {"a", "a"},
           {"b | a", "a | b"},
           {"c & (b & a)", "a & b & c"},
           {"c | (b | a) | a", "a | b | c"},
           {"a | a", "a"},
           {"(a & b) | (b & a)", "a & b"},
           {"a & a", "a"},
           {"a - a", "{}"},
           {"a - b - b", "a - b"},
           {"a - b - c", "a - b - c"},
           {"(a - c) - b", "a - b - c"},
           {"a - (c | b)", "a - b - c"},
           {"a - (b - c)", "a - (b - c)"},
           {"(a - b) & c", "a & c - b"},
           {"(a & c) - b", "a & c - b"},
           {"(a - b) & (c - d)", "a & c - b - d"},
           {"(a - b) & (c - b) & (d - (e | b))", "a & c & d - b - e"},
           {"a | (b - b)", "a"},
           {"(b - b) | (c - c)", "{}"},
           {"a & (b - b)", "{}"},
           {"(b - b) - a", "{}"},
           {"a - (b - b)", "a"},
           {"(a & b) - (a | c)", "{}"},
           {"a & b & c - (c & a)", "{}"},
           {"(a - (a & c)) & c", "{}"},
           {"a & b - (c & a)", "a & b - a & c"},
           {"(a | b) - b - a", "{}"},
           {"(a | b & c | d) - (a | c | d)", "{}"},
           {"(a | b) & c - a - b", "{}"},
           {"(a | b) - a", "(a | b) - a"},
           {"(a - b) - (a - b)", "{}"},
           {"((a | b) & c - d) - ((a | b) & c - d)", "{}"},
           {"((a | b) - d) - ((a | b) - d)", "{}"},
           {"(a - b) - (a - c)", "a - (a - c) - b"},
           {"a & b - (a - c) - c", "{}"},
           {"a & (b - a)", "{}"},
           {"a & (a | b)", "a & (a | b)"},
           {"a | (a & b)", "a | a & b"},
           {"(a | b) & (c | d)", "(a | b) & (c | d)"},
           {"a | b - c", "(a | b) - c"},
           {"(a & b | c | d) - a* | c | b & a", "((c | d | a & b) - a*) | c | a & b"},
           {"c | (a - b)", "(a - b) | c"},
           {"x | (a - b) | (c - (d - e))", "(c - (d - e)) | (a - b) | x"},
           {"a* | a | aa", "a | a* | aa"},
           {"a* & a", "a & a*"},
           {"a* - a*", "{}"},
           {"* | a | \"\"*", "* | a"},
           {R"("a" | "New York" | "-x"* | "q\"\\")", R"("-x"* | "New York" | a | "q\"\\")"},
           {"\"a*\" | \"\u00e9\"", "\"a*\" | \"\u00e9\""},
       }) {
    EXPECT_EQ(Normal(text), normal) << text;
  }
}

// Positions by names, in the order of the tree.
std::vector<std::pair<std::string, size_t>> Positions(std::string_view text) {
  const Expression normal = Normalize(ParseExpression(text).value());
  std::vector<const Expression*> leaves;
  testing::CollectLeaves(normal, leaves);
  std::vector<std::pair<std::string, size_t>> positions;
  for (const Expression* leaf : leaves) positions.emplace_back(leaf->name, leaf->position);
  return positions;
}

TEST(NormalizeTest, OfWhatComesTwiceTheFirstStays) {
  using Found = std::vector<std::pair<std::string, size_t>>;
  EXPECT_EQ(Positions("b | a | b | a"), (Found{{"a", 4}, {"b", 0}}));
  EXPECT_EQ(Positions("(b & a) | (a & b)"), (Found{{"a", 5}, {"b", 1}}));
  EXPECT_EQ(Positions("(a - x) & (b - x)"), (Found{{"a", 1}, {"b", 11}, {"x", 5}}));
}

// ---- Random ones

const std::vector<std::string>& Names() {
  static const auto& names = *new std::vector<std::string>{
      "a", "b", "c", "ab", "abc", "b:1", "New York", "say \"so\" \\", "-a", "\u00e9"};
  return names;
}

class RandomExpressions {
 public:
  explicit RandomExpressions(uint32_t seed) : random_(seed) {}

  size_t Below(size_t bound) { return random_() % bound; }

  Expression Leaf() {
    Expression leaf;
    leaf.kind = Below(8) == 0 ? Kind::kPrefix : Kind::kName;
    leaf.name = Names()[Below(leaf.kind == Kind::kPrefix ? 8 : Names().size())];
    if (leaf.kind == Kind::kPrefix) leaf.name.resize(Below(2));
    return leaf;
  }

  Expression Any(size_t leaves) {
    if (leaves <= 1) return Leaf();
    Expression expression;
    constexpr Kind kKinds[] = {Kind::kUnion, Kind::kIntersection, Kind::kDifference};
    expression.kind = kKinds[Below(3)];
    const size_t inputs =
        expression.kind == Kind::kDifference ? 2 : 2 + Below(std::min<size_t>(leaves - 1, 4));
    for (size_t i = 0; i < inputs; ++i) {
      const size_t left = inputs - i;
      const size_t share = left == 1 ? leaves : 1 + Below(std::max<size_t>(leaves - left + 1, 1));
      expression.inputs.push_back(Any(share));
      leaves -= std::min(leaves, share);
    }
    return expression;
  }

  // The same in another order, nested in another way, with something twice, and with differences at another
  // place.
  Expression Shuffled(Expression expression) {
    for (Expression& input : expression.inputs) input = Shuffled(std::move(input));
    if (expression.kind == Kind::kDifference) return OtherDifference(std::move(expression));
    if (expression.kind != Kind::kUnion && expression.kind != Kind::kIntersection) return expression;
    std::vector<Expression>& inputs = expression.inputs;
    std::shuffle(inputs.begin(), inputs.end(), random_);
    if (inputs.size() > 2 && Below(2) == 0) {
      Expression nested;
      nested.kind = expression.kind;
      const size_t kept = 1 + Below(inputs.size() - 2);
      std::move(inputs.begin() + kept, inputs.end(), std::back_inserter(nested.inputs));
      inputs.resize(kept);
      inputs.push_back(std::move(nested));
    }
    if (Below(4) == 0) inputs.push_back(inputs[Below(inputs.size())]);
    return expression;
  }

  // (a & b) - c becomes a & (b - c), and a - (b | c) becomes (a - b) - c.
  Expression OtherDifference(Expression difference) {
    std::vector<Expression>& inputs = difference.inputs;
    if (inputs[0].kind == Kind::kIntersection && Below(2) == 0) {
      Expression intersection = std::move(inputs[0]);
      inputs[0] = std::move(intersection.inputs.back());
      intersection.inputs.back() = std::move(difference);
      return intersection;
    }
    if (inputs[1].kind == Kind::kUnion && inputs[1].inputs.size() == 2 && Below(2) == 0) {
      Expression outer;
      outer.kind = Kind::kDifference;
      outer.inputs.push_back(std::move(inputs[1].inputs[1]));
      Expression kept = std::move(inputs[1].inputs[0]);
      inputs[1] = std::move(kept);
      outer.inputs.insert(outer.inputs.begin(), std::move(difference));
      return outer;
    }
    return difference;
  }

  Sets SomeSets() {
    Sets sets;
    for (const std::string& name : Names()) {
      if (Below(6) != 0) sets[name] = random_() & random_();
    }
    return sets;
  }

 private:
  std::mt19937 random_;
};

TEST(RandomExpressionsTest, TextsAreReadAsTheSameTree) {
  RandomExpressions random(1);
  for (int i = 0; i < 20'000; ++i) {
    const Expression normal = Normalize(random.Any(1 + random.Below(20)));
    if (normal.kind == Kind::kEmpty) continue;
    const std::string text = ToText(normal);
    const absl::StatusOr<Expression> again = ParseExpression(text);
    ASSERT_TRUE(again.ok()) << again.status();
    ASSERT_TRUE(AreSame(*again, normal)) << text << "\n" << ToText(*again);
  }
}

TEST(RandomExpressionsTest, TextsOfWhatIsNotNormalMeanTheSame) {
  RandomExpressions random(2);
  for (int i = 0; i < 20'000; ++i) {
    const Expression expression = random.Any(1 + random.Below(20));
    const std::string text = ToText(expression);
    const absl::StatusOr<Expression> again = ParseExpression(text);
    ASSERT_TRUE(again.ok()) << again.status();
    ASSERT_EQ(ToText(Normalize(*again)), ToText(Normalize(expression))) << text;
  }
}

TEST(RandomExpressionsTest, NormalFormsMeanTheSameAndAreNotLarger) {
  RandomExpressions random(3);
  int kept = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Expression expression = random.Any(1 + random.Below(20));
    const Expression normal = Normalize(expression);
    ASSERT_LE(NodeCount(normal), NodeCount(expression)) << ToText(expression);
    ASSERT_TRUE(AreSame(Normalize(normal), normal)) << ToText(expression) << "\n" << ToText(normal);
    for (int round = 0; round < 4; ++round) {
      const Sets sets = random.SomeSets();
      const uint32_t members = Evaluate(expression, sets);
      ASSERT_EQ(Evaluate(normal, sets), members) << ToText(expression) << "\n" << ToText(normal);
      if (members != 0) ++kept;
    }
  }
  EXPECT_GT(kept, 20'000) << "most results should not be empty, or this shows little";
}

TEST(RandomExpressionsTest, OrderAndNestingMakeNoDifference) {
  RandomExpressions random(4);
  for (int i = 0; i < 20'000; ++i) {
    const Expression expression = random.Any(1 + random.Below(20));
    const Expression shuffled = random.Shuffled(expression);
    ASSERT_EQ(ToText(Normalize(shuffled)), ToText(Normalize(expression))) << ToText(expression) << "\n"
                                                                          << ToText(shuffled);
  }
}

// ---- The largest

std::string NestedDifferences(size_t depth) {
  if (depth == 0) return "z";
  return "y | (b" + std::to_string(depth) + " - (" + NestedDifferences(depth - 1) + "))";
}

TEST(LargestExpressionsTest, NormalFormsAreNeverNestedDeeperThanMayBeRead) {
  std::string chain = "m0";
  for (int i = 1; i < 2047; ++i) chain += (i % 2 == 0 ? " | m" : " - m") + std::to_string(i);
  std::string pairs = "m0";
  for (int i = 1; i < 400; ++i) {
    const std::string n = std::to_string(i);
    pairs += " | (u" + n + " - v" + n + ") - (x" + n + " - y" + n + ")";
  }
  for (const std::string& text : {chain, pairs, NestedDifferences(kMaxDepth / 2)}) {
    const Expression expression = ParseExpression(text).value();
    const Expression normal = Normalize(expression);
    const absl::StatusOr<Expression> again = ParseExpression(ToText(normal));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(AreSame(*again, normal));
    EXPECT_LE(NodeCount(normal), NodeCount(expression));
  }
}

TEST(LargestExpressionsTest, ManyOfAKind) {
  std::string all = "n0";
  std::string half = "n0";
  for (int i = 1; i < 2048; ++i) {
    const std::string name = "|n" + std::to_string(i * 7919 % 2048);
    all += name;
    if (i < 1024) half += name;
  }
  const Expression normal = Normalize(ParseExpression(all).value());
  EXPECT_EQ(normal.inputs.size(), 2048u);
  EXPECT_EQ(Normal("(" + half + ") - (" + half + ")"), "{}");
  EXPECT_EQ(Normal("(" + half + ") & (" + half + ")"), Normal(half));
}

}  // namespace
}  // namespace thermocline::storage::segment
