// Texts of expressions. What can be read keeps its meaning in normal form, and its text can be read again;
// for the rest, the caret is below a character of the text.

#include <algorithm>
#include <string>
#include <vector>

#include "storage/segment/expression.h"
#include "storage/segments.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/storage/segment/expression_sets.h"

namespace {

using namespace thermocline::storage;
using thermocline::fuzz::Require;
using thermocline::testing::AreSame;
using thermocline::testing::Evaluate;
using thermocline::testing::NodeCount;
using thermocline::testing::Sets;

size_t Characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) >> 6 != 2; });
}

void CheckMessage(const std::string& message) {
  const size_t first = message.find('\n');
  const size_t second = message.find('\n', first + 1);
  Require(first != std::string::npos && second != std::string::npos, "three lines");
  Require(message.find('\n', second + 1) == std::string::npos, "no more than three lines");
  const std::string shown = message.substr(first + 1, second - first - 1);
  const std::string caret = message.substr(second + 1);
  Require(first > 0 && message.size() < 1000, "the message is short");
  Require(caret.find_first_not_of(' ') == caret.size() - 1 && caret.back() == '^', "the caret");
  Require(caret.size() <= Characters(shown) + 1, "the caret is below the text");
}

void CheckExpression(const segment::Expression& expression) {
  std::vector<const segment::Expression*> leaves;
  thermocline::testing::CollectLeaves(expression, leaves);
  Sets sets;
  uint32_t random = 1;
  for (const segment::Expression* leaf : leaves) {
    Require(leaf->name.empty() || segment::IsSegmentName(leaf->name), "names");
    for (const std::string& name : {leaf->name, leaf->name + "x", segment::ToText(*leaf)}) {
      sets[name] = random = random * 1664525 + 1013904223 + static_cast<uint32_t>(name.size());
    }
  }
  const segment::Expression normal = segment::Normalize(expression);
  Require(NodeCount(normal) <= NodeCount(expression), "normal forms are not larger");
  Require(Evaluate(normal, sets) == Evaluate(expression, sets), "the meaning");
  Require(AreSame(segment::Normalize(normal), normal), "the normal form of a normal form");
  const std::string text = segment::ToText(normal);
  // Planted: as if no name had to be quoted below a difference.
  Require(!thermocline::fuzz::canary || normal.kind != segment::Expression::Kind::kDifference ||
              text.find('"') == std::string::npos,
          "the canary");
  if (normal.kind == segment::Expression::Kind::kEmpty || text.size() > kMaxExpressionBytes) return;
  const auto again = segment::ParseExpression(text);
  Require(again.ok() && AreSame(*again, normal), "the text is read as the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = thermocline::fuzz::Input(data, size);
  const auto expression = segment::ParseExpression(input);
  if (expression.ok()) {
    CheckExpression(*expression);
  } else {
    CheckMessage(std::string(expression.status().message()));
  }
  // Any place of any text may be pointed at.
  for (const size_t position : {size_t{0}, size / 2, size}) {
    CheckMessage(segment::PointAt(input, position, "here"));
  }
  return 0;
}
