#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "storage/segment/expression.h"

namespace thermocline::testing {

using storage::segment::Expression;

// Small sets by name: an element for each bit.
using Sets = std::map<std::string, uint32_t>;

// What an expression means. A name that has no set is empty.
inline uint32_t Evaluate(const Expression& expression, const Sets& sets) {
  uint32_t members = 0;
  switch (expression.kind) {
    case Expression::Kind::kEmpty:
      return 0;
    case Expression::Kind::kName:
    case Expression::Kind::kSource: {
      const bool source = expression.kind == Expression::Kind::kSource;
      const auto found = sets.find(source ? storage::segment::ToText(expression) : expression.name);
      return found == sets.end() ? 0 : found->second;
    }
    case Expression::Kind::kPrefix:
      for (const auto& [name, set] : sets) {
        if (name.starts_with(expression.name)) members |= set;
      }
      return members;
    case Expression::Kind::kUnion:
      for (const Expression& input : expression.inputs) members |= Evaluate(input, sets);
      return members;
    case Expression::Kind::kIntersection:
      members = ~uint32_t{0};
      for (const Expression& input : expression.inputs) members &= Evaluate(input, sets);
      return members;
    case Expression::Kind::kDifference:
      return Evaluate(expression.inputs[0], sets) & ~Evaluate(expression.inputs[1], sets);
  }
  return 0;
}

// Names and operators, as the text has them.
inline size_t NodeCount(const Expression& expression) {
  if (expression.inputs.empty()) return 1;
  size_t count = expression.inputs.size() - 1;
  for (const Expression& input : expression.inputs) count += NodeCount(input);
  return count;
}

// Positions apart.
inline bool AreSame(const Expression& a, const Expression& b) {
  return a.kind == b.kind && a.name == b.name && a.parameters == b.parameters &&
         std::equal(a.inputs.begin(), a.inputs.end(), b.inputs.begin(), b.inputs.end(), AreSame);
}

// Every name and prefix, in the order of the tree.
inline void CollectLeaves(const Expression& expression, std::vector<const Expression*>& leaves) {
  if (!expression.name.empty() || expression.kind == Expression::Kind::kPrefix) leaves.push_back(&expression);
  for (const Expression& input : expression.inputs) CollectLeaves(input, leaves);
}

}  // namespace thermocline::testing
