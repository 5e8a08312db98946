#include "storage/segment/expression.h"

#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/segments.h"
#include "tests/storage/segment/expression_sets.h"

namespace thermocline::storage::segment {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Repeat(size_t count, std::string_view text) {
  std::string repeated;
  for (size_t i = 0; i < count; ++i) repeated += text;
  return repeated;
}

// The tree, with every operator's inputs in brackets: one text for each tree.
std::string Shape(const Expression& expression) {
  switch (expression.kind) {
    case Expression::Kind::kEmpty:
      return "{}";
    case Expression::Kind::kName:
      return "'" + expression.name + "'";
    case Expression::Kind::kPrefix:
      return "'" + expression.name + "'*";
    default:
      break;
  }
  std::string shape = expression.kind == Expression::Kind::kUnion          ? "|["
                      : expression.kind == Expression::Kind::kIntersection ? "&["
                                                                           : "-[";
  for (const Expression& input : expression.inputs) shape += Shape(input) + " ";
  shape.back() = ']';
  return shape;
}

std::string ShapeOf(std::string_view text) {
  const absl::StatusOr<Expression> expression = ParseExpression(text);
  return expression.ok() ? Shape(*expression) : std::string(expression.status().message());
}

std::string ErrorOf(std::string_view text) {
  const absl::StatusOr<Expression> expression = ParseExpression(text);
  if (expression.ok()) return "read as " + Shape(*expression);
  EXPECT_EQ(expression.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(expression.status().message());
}

TEST(ParseExpressionTest, ReadsTrees) {
  struct Case {
    std::string_view text;
    std::string_view shape;
  };
  for (const auto& [text, shape] : std::vector<Case>{
           {"a", "'a'"},
           {"  \t\r\n a \n", "'a'"},
           {"((a))", "'a'"},
           {"a & b", "&['a' 'b']"},
           {"a&b|c", "|[&['a' 'b'] 'c']"},
           {"a|b&c", "|['a' &['b' 'c']]"},
           {"a & b & c", "&['a' 'b' 'c']"},
           {"a & (b & c)", "&['a' &['b' 'c']]"},
           {"(a & b) & c", "&[&['a' 'b'] 'c']"},
           {"a | b | c", "|['a' 'b' 'c']"},
           {"(a | b) | c", "|[|['a' 'b'] 'c']"},
           {"a - b", "-['a' 'b']"},
           {"a - b - c", "-['a' |['b' 'c']]"},
           {"a - b - c - d", "-['a' |['b' 'c' 'd']]"},
           {"a - (b | c)", "-['a' |['b' 'c']]"},
           {"a - (b | c) - d", "-['a' |[|['b' 'c'] 'd']]"},
           {"(a - b) - c", "-[-['a' 'b'] 'c']"},
           {"a - (b - c)", "-['a' -['b' 'c']]"},
           {"a - b | c", "|[-['a' 'b'] 'c']"},
           {"a | b - c", "-[|['a' 'b'] 'c']"},
           {"a | b - c | d", "|[-[|['a' 'b'] 'c'] 'd']"},
           {"a - b & c", "-['a' &['b' 'c']]"},
           {"(a) - (b)", "-['a' 'b']"},
           {"a\n-\tb", "-['a' 'b']"},
           {"(city:ny & bought:2025) - bought:2026", "-[&['city:ny' 'bought:2025'] 'bought:2026']"},
       }) {
    EXPECT_EQ(ShapeOf(text), shape) << text;
  }
}

TEST(ParseExpressionTest, ReadsNames) {
  struct Case {
    std::string_view text;
    std::string_view shape;
  };
  for (const auto& [text, shape] : std::vector<Case>{
           {"a-b", "'a-b'"},
           {"a- & b", "&['a-' 'b']"},
           {"bought:2025-03/x@y#z%1+2=3.4_5", "'bought:2025-03/x@y#z%1+2=3.4_5'"},
           {":a|/b|@c|#d|%e|=f|_g|7", "|[':a' '/b' '@c' '#d' '%e' '=f' '_g' '7']"},
           {R"("New York")", "'New York'"},
           {R"("a & (b | c)*")", "'a & (b | c)*'"},
           {R"("say \"so\" \\ ")", R"('say "so" \ ')"},
           {R"("-a"|"+a"|".a")", "|['-a' '+a' '.a']"},
           {"\"caf\u00e9 \u2603\"", "'caf\u00e9 \u2603'"},
           {"bought:*", "'bought:'*"},
           {"bought:2025-*", "'bought:2025-'*"},
           {R"("New "*)", "'New '*"},
           {"*", "''*"},
           {R"(""*)", "''*"},
           {"* & a", "&[''* 'a']"},
           {"*&a*|b*", "|[&[''* 'a'*] 'b'*]"},
           {"* - a*", "-[''* 'a'*]"},
           {"and | OR & not", "|['and' &['OR' 'not']]"},
           {"AND", "'AND'"},
           {"android & notes", "&['android' 'notes']"},
       }) {
    EXPECT_EQ(ShapeOf(text), shape) << text;
  }
}

TEST(ParseExpressionTest, KeepsPositionsInBytes) {
  const Expression expression = ParseExpression("  \"caf\u00e9\" | ( b* &\nc - * )").value();
  std::vector<const Expression*> leaves;
  testing::CollectLeaves(expression, leaves);
  std::vector<size_t> positions;
  for (const Expression* leaf : leaves) positions.push_back(leaf->position);
  EXPECT_THAT(positions, ::testing::ElementsAre(2, 14, 19, 23));
}

struct Fault {
  std::string_view text;
  std::string_view message;
};

TEST(ParseExpressionTest, PointsAtOperandsThatAreMissing) {
  for (const auto& [text, message] : std::vector<Fault>{
           {"",
            "the expression is empty: name a segment, or several as in a & (b | c)\n"
            "  \n"
            "  ^"},
           {"  \n ",
            "the expression is empty: name a segment, or several as in a & (b | c)\n"
            "      \n"
            "  ^"},
           {"a &",
            "there is nothing behind this &: put a name there\n"
            "  a &\n"
            "    ^"},
           {"(a |) & b",
            "there is nothing behind this |: put a name there\n"
            "  (a |) & b\n"
            "     ^"},
           {"a -",
            "there is nothing behind this -: put a name there\n"
            "  a -\n"
            "    ^"},
           {"| a",
            "there is nothing before this |: put a name there\n"
            "  | a\n"
            "  ^"},
           {"a & (- b)",
            "there is nothing before this -: put a name there\n"
            "  a & (- b)\n"
            "       ^"},
           {"a & | b",
            "there is nothing between & and this |: put a name there\n"
            "  a & | b\n"
            "      ^"},
           {"a & & b",
            "there is nothing between & and this &: put a name there\n"
            "  a & & b\n"
            "      ^"},
           {"a && b",
            "write & once, not twice\n"
            "  a && b\n"
            "    ^"},
           {"a || b",
            "write | once, not twice\n"
            "  a || b\n"
            "    ^"},
           {"a | () | b",
            "there is nothing in these parentheses: put a name there\n"
            "  a | () | b\n"
            "      ^"},
       }) {
    EXPECT_EQ(ErrorOf(text), message) << text;
  }
}

TEST(ParseExpressionTest, PointsAtOperatorsThatAreMissing) {
  for (const auto& [text, message] : std::vector<Fault>{
           {"New York",
            "there is no operator between two names: put & or | between them, or quote the name if it has "
            "spaces\n"
            "  New York\n"
            "      ^"},
           {R"(a"b")",
            "there is no operator between two names: put & or | between them, or quote the name if it has "
            "spaces\n"
            "  a\"b\"\n"
            "   ^"},
           {"a (b)",
            "there is no operator here: put & or | before it\n"
            "  a (b)\n"
            "    ^"},
           {"(a)b",
            "there is no operator here: put & or | before it\n"
            "  (a)b\n"
            "     ^"},
           {"a and b",
            "operators are signs: write & for AND, | for OR, and - for AND NOT\n"
            "  a and b\n"
            "    ^"},
           {"(a) Or (b)",
            "operators are signs: write & for AND, | for OR, and - for AND NOT\n"
            "  (a) Or (b)\n"
            "      ^"},
           {"a & NOT b",
            "operators are signs: write & for AND, | for OR, and - for AND NOT\n"
            "  a & NOT b\n"
            "      ^"},
           {"not (a | b)",
            "operators are signs: write & for AND, | for OR, and - for AND NOT\n"
            "  not (a | b)\n"
            "  ^"},
           {R"("and" b)",
            "there is no operator between two names: put & or | between them, or quote the name if it has "
            "spaces\n"
            "  \"and\" b\n"
            "        ^"},
           {"ab*c",
            "a * can only be at the end of a name: put an operator behind it, or quote a name that has a * "
            "in it\n"
            "  ab*c\n"
            "     ^"},
           {"a**",
            "a * can only be at the end of a name: put an operator behind it, or quote a name that has a * "
            "in it\n"
            "  a**\n"
            "    ^"},
           {"a *",
            "a * stands right behind the name it belongs to, without a space\n"
            "  a *\n"
            "    ^"},
       }) {
    EXPECT_EQ(ErrorOf(text), message) << text;
  }
}

TEST(ParseExpressionTest, WantsSpacesAroundAMinus) {
  const std::string spaces =
      "a minus has a space on either side, as in a - b (a name that begins with - stands in quotes)\n  ";
  const std::string name = "a name that begins with - stands in quotes; for a without b write a - b\n  ";
  EXPECT_EQ(ErrorOf("a -b"), spaces + "a -b\n    ^");
  EXPECT_EQ(ErrorOf("(a)-b"), spaces + "(a)-b\n     ^");
  EXPECT_EQ(ErrorOf("(a)- b"), spaces + "(a)- b\n     ^");
  EXPECT_EQ(ErrorOf("\"a\"-b"), spaces + "\"a\"-b\n     ^");
  EXPECT_EQ(ErrorOf("a*-b"), spaces + "a*-b\n    ^");
  EXPECT_EQ(ErrorOf("a -- b"), spaces + "a -- b\n    ^");
  EXPECT_EQ(ErrorOf("a -(b)"), spaces + "a -(b)\n    ^");
  EXPECT_EQ(ErrorOf("-a"), name + "-a\n  ^");
  EXPECT_EQ(ErrorOf("a & (-b)"), name + "a & (-b)\n       ^");
  EXPECT_EQ(ErrorOf("a - -b"), name + "a - -b\n      ^");
  EXPECT_EQ(ErrorOf("ab- c"),
            "a minus has a space on either side, as in a - b; here it ends a name\n  ab- c\n    ^");
}

TEST(ParseExpressionTest, PointsAtParenthesesWithoutACounterpart) {
  const std::string open = "this parenthesis is never closed: put a ) behind what belongs to it\n  ";
  const std::string closed = "there is no ( for this ): take it away, or put a ( before it\n  ";
  EXPECT_EQ(ErrorOf("a & (b | (c)"), open + "a & (b | (c)\n      ^");
  EXPECT_EQ(ErrorOf("(a & (b | c"), open + "(a & (b | c\n       ^") << "the innermost";
  EXPECT_EQ(ErrorOf("a | ("), open + "a | (\n      ^");
  EXPECT_EQ(ErrorOf("(a | b)) & c"), closed + "(a | b)) & c\n         ^");
  EXPECT_EQ(ErrorOf(")"), closed + ")\n  ^");
}

TEST(ParseExpressionTest, PointsAtBadCharacters) {
  for (const auto& [text, message] : std::vector<Fault>{
           {"a | \"New York & b",
            "this quote is never closed: put a \" where the name ends\n"
            "  a | \"New York & b\n"
            "      ^"},
           {"a | \"New York\\\"",
            "this quote is never closed: put a \" where the name ends\n"
            "  a | \"New York\\\"\n"
            "      ^"},
           {"\"a\\",
            "this quote is never closed: put a \" where the name ends\n"
            "  \"a\\\n"
            "  ^"},
           {"a | \"b\\n\"",
            "in quotes, \\ stands only before \" and \\: for one \\ write \\\\\n"
            "  a | \"b\\n\"\n"
            "        ^"},
           {"a | \"\"",
            "there is no name in these quotes: it has one character at least\n"
            "  a | \"\"\n"
            "      ^"},
           {"a | \"b\tc\"",
            "there are no tabs and line breaks in quotes\n"
            "  a | \"b c\"\n"
            "        ^"},
           {"a | \x07",
            "there is a control character here, U+0007: take it away\n"
            "  a |  \n"
            "      ^"},
           {"a | \"\u0085\"",
            "there is a control character here, U+0085: take it away\n"
            "  a | \" \"\n"
            "       ^"},
           {std::string_view("a\0b", 3),
            "there is a control character here, U+0000: take it away\n"
            "  a b\n"
            "   ^"},
           {"\u00e9 | \xc3( | b",
            "the expression is not UTF-8: byte 0xc3 is out of place\n"
            "  \u00e9 | ?( | b\n"
            "      ^"},
           {"caf\u00e9 | b",
            "this character can only be in a name, and the whole name in quotes, as in \"New York\"\n"
            "  caf\u00e9 | b\n"
            "     ^"},
           {"a, b",
            "put | between names for their union, & for their intersection\n"
            "  a, b\n"
            "   ^"},
           {"a & !b",
            "there is no such operator: for a without b write a - b\n"
            "  a & !b\n"
            "      ^"},
           {"a & \u201cb c\u201d",
            "names stand in straight double quotes, as in \"New York\"\n"
            "  a & \u201cb c\u201d\n"
            "      ^"},
           {"'a'",
            "names stand in straight double quotes, as in \"New York\"\n"
            "  'a'\n"
            "  ^"},
           {"a \u2212 b",
            "the minus is written -, with a space on either side\n"
            "  a \u2212 b\n"
            "    ^"},
           {"a + b",
            "a name that begins with + stands in quotes; a union is written a | b\n"
            "  a + b\n"
            "    ^"},
           {".a",
            "a name that begins with . stands in quotes\n"
            "  .a\n"
            "  ^"},
       }) {
    EXPECT_EQ(ErrorOf(text), message) << text;
  }
}

TEST(ParseExpressionTest, NotUtf8) {
  for (const std::string_view bytes :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xc3", "\xff"}) {
    const std::string text = "\"" + std::string(bytes) + "\"";
    EXPECT_THAT(ErrorOf(text), StartsWith("the expression is not UTF-8"));
    EXPECT_FALSE(IsSegmentName(bytes));
  }
  for (const std::string_view bytes : {"\u00a0", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff",
                                       "\U00010000", "\U0010ffff", "\xc3\xa9", "\xe2\x82\xac"}) {
    EXPECT_EQ(ShapeOf("\"" + std::string(bytes) + "\""), "'" + std::string(bytes) + "'");
    EXPECT_TRUE(IsSegmentName(bytes));
  }
}

TEST(ParseExpressionTest, LimitsTheLengthOfNames) {
  const std::string longest(kMaxSegmentNameBytes, 'n');
  EXPECT_EQ(ShapeOf(longest), "'" + longest + "'");
  EXPECT_EQ(ShapeOf("\"" + longest + "\"*"), "'" + longest + "'*");
  EXPECT_EQ(ErrorOf("a | " + longest + "n"),
            "this name has 257 bytes, and 256 are allowed\n  a | " + longest.substr(0, 40) + "...\n      ^");
  EXPECT_THAT(ErrorOf("\"" + longest + " \""), StartsWith("this name has 257 bytes"));
}

TEST(ParseExpressionTest, LimitsTheLengthOfTexts) {
  const std::string longest = std::string(kMaxExpressionBytes - 1, ' ') + "a";
  EXPECT_EQ(ShapeOf(longest), "'a'");
  EXPECT_EQ(ErrorOf(longest + " "), "the expression has 65537 bytes, and 65536 are allowed\n  ..." +
                                        std::string(39, ' ') + "a \n  " + std::string(43, ' ') + "^");
}

TEST(ParseExpressionTest, LimitsNamesAndOperators) {
  // 2048 names and 2047 operators, then one of each more.
  const std::string most = Repeat(kMaxNodes / 2 - 1, "a|") + "a";
  EXPECT_EQ(testing::NodeCount(ParseExpression(most).value()), kMaxNodes - 1);
  EXPECT_THAT(ErrorOf(most + "|b"),
              AllOf(StartsWith("there are more than 4096 names and operators: use a prefix"),
                    HasSubstr("a|b\n  " + std::string(43, ' ') + "^")));
}

TEST(ParseExpressionTest, LimitsParentheses) {
  const std::string deepest = Repeat(kMaxDepth, "(") + "a" + Repeat(kMaxDepth, ")");
  EXPECT_EQ(ShapeOf(deepest), "'a'");
  EXPECT_EQ(ErrorOf("(" + deepest + ")"), "parentheses are nested more than 64 deep\n  ..." +
                                              Repeat(40, "(") + "(a" + Repeat(38, ")") + "...\n  " +
                                              std::string(43, ' ') + "^");
  EXPECT_THAT(ErrorOf(std::string(kMaxExpressionBytes, '(')), StartsWith("parentheses are nested"));
}

TEST(PointAtTest, CutsLongTextsAroundThePlace) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "\u00e9\u2603";  // two characters, five bytes
  const std::string twenty = Repeat(20, "\u00e9\u2603");
  EXPECT_EQ(PointAt(text, 0, "here"), "here\n  " + twenty + "...\n  ^");
  EXPECT_EQ(PointAt(text, 20 * 5, "here"),
            "here\n  " + twenty + twenty + "...\n  " + std::string(40, ' ') + "^");
  EXPECT_EQ(PointAt(text, 50 * 5, "here"),
            "here\n  ..." + twenty + twenty + "...\n  " + std::string(43, ' ') + "^");
  EXPECT_EQ(PointAt(text, 80 * 5, "here"),
            "here\n  ..." + twenty + twenty + "\n  " + std::string(43, ' ') + "^");
  EXPECT_EQ(PointAt(text, 1000, "here"), "here\n  ..." + twenty + "\n  " + std::string(43, ' ') + "^");
}

TEST(PointAtTest, ShowsWhatIsShortWhole) {
  const std::string text(80, 'x');
  EXPECT_EQ(PointAt(text, 79, "here"), "here\n  " + text + "\n  " + std::string(79, ' ') + "^");
  EXPECT_EQ(PointAt("a\n|\tb", 4, "here"), "here\n  a | b\n      ^");
  EXPECT_EQ(PointAt("a", 1, "here"), "here\n  a\n   ^");
  EXPECT_EQ(PointAt("a", 9, "here"), "here\n  a\n   ^");
}

TEST(IsSegmentNameTest, Limits) {
  EXPECT_TRUE(IsSegmentName("a"));
  EXPECT_TRUE(IsSegmentName("New York (\"old\") \u2603 *"));
  EXPECT_TRUE(IsSegmentName(std::string(kMaxSegmentNameBytes, 'a')));
  EXPECT_FALSE(IsSegmentName(""));
  EXPECT_FALSE(IsSegmentName(std::string(kMaxSegmentNameBytes + 1, 'a')));
  for (const std::string_view control : {"\n", "\t", "\x1f", "\x7f", "\u0080", "\u009f"}) {
    EXPECT_FALSE(IsSegmentName("a" + std::string(control) + "b"));
  }
  EXPECT_FALSE(IsSegmentName(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace thermocline::storage::segment
