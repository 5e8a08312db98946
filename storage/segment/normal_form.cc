#include <algorithm>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

#include "storage/segment/expression.h"
#include "storage/segment/expression_text.h"

namespace thermocline::storage::segment {
namespace {

using Kind = Expression::Kind;
using Inputs = std::vector<Expression>;

bool IsLeaf(const Expression& expression) { return expression.inputs.empty(); }

int Rank(const Expression& expression) {
  switch (expression.kind) {
    case Kind::kDifference:
      return 0;
    case Kind::kIntersection:
      return 2;
    case Kind::kUnion:
      return 3;
    default:
      return 1;
  }
}

// A total order that does not look at positions.
int Compare(const Expression& a, const Expression& b) {
  if (Rank(a) != Rank(b)) return Rank(a) < Rank(b) ? -1 : 1;
  if (IsLeaf(a)) {
    const int names = a.name.compare(b.name);
    if (names != 0) return names;
    if (a.kind != b.kind) return static_cast<int>(a.kind) - static_cast<int>(b.kind);
    if (a.parameters == b.parameters) return 0;
    return a.parameters < b.parameters ? -1 : 1;
  }
  for (size_t i = 0; i < std::min(a.inputs.size(), b.inputs.size()); ++i) {
    if (const int inputs = Compare(a.inputs[i], b.inputs[i]); inputs != 0) return inputs;
  }
  if (a.inputs.size() == b.inputs.size()) return 0;
  return a.inputs.size() < b.inputs.size() ? -1 : 1;
}

size_t FirstPosition(const Expression& expression) {
  if (IsLeaf(expression)) return expression.position;
  size_t first = SIZE_MAX;
  for (const Expression& input : expression.inputs) first = std::min(first, FirstPosition(input));
  return first;
}

// Of what comes twice, the first in the text stays.
void SortAndUnite(Inputs& inputs) {
  std::sort(inputs.begin(), inputs.end(), [](const Expression& a, const Expression& b) {
    const int order = Compare(a, b);
    return order != 0 ? order < 0 : FirstPosition(a) < FirstPosition(b);
  });
  const auto same = [](const Expression& a, const Expression& b) { return Compare(a, b) == 0; };
  inputs.erase(std::unique(inputs.begin(), inputs.end(), same), inputs.end());
}

void MoveInto(Inputs& all, Inputs inputs) {
  std::move(inputs.begin(), inputs.end(), std::back_inserter(all));
}

// The inputs of a union, or whatever else it is as the only one.
void AddTerms(Inputs& terms, Expression expression) {
  if (expression.kind == Kind::kEmpty) return;
  if (expression.kind == Kind::kUnion) {
    MoveInto(terms, std::move(expression.inputs));
  } else {
    terms.push_back(std::move(expression));
  }
}

Expression Node(Kind kind, Inputs inputs) {
  Expression node;
  node.kind = kind;
  node.inputs = std::move(inputs);
  return node;
}

// From here on, expressions are in normal form, those that are made as well.

// The first term needs no parentheses in the text: it should be the one with most of them inside, or the text
// could nest them deeper than may be read again.
void BringMostNestedForward(Inputs& terms) {
  // Nothing else is wrapped, and they are in front.
  const auto end = std::find_if(terms.begin(), terms.end(),
                                [](const Expression& term) { return term.kind != Kind::kDifference; });
  if (end - terms.begin() < 2) return;
  auto best = terms.begin();
  size_t most = 0;
  for (auto term = terms.begin(); term != end; ++term) {
    const size_t depth = LeastParentheses(*term);
    if (depth > most) best = term;
    most = std::max(most, depth);
  }
  std::rotate(terms.begin(), best, best + 1);
}

Expression Union(Inputs inputs) {
  Inputs terms;
  for (Expression& input : inputs) AddTerms(terms, std::move(input));
  SortAndUnite(terms);
  if (terms.empty()) return {};
  if (terms.size() == 1) return std::move(terms[0]);
  BringMostNestedForward(terms);
  return Node(Kind::kUnion, std::move(terms));
}

bool IsLess(const Expression& a, const Expression& b) { return Compare(a, b) < 0; }
bool IsLessAt(const Expression* a, const Expression* b) { return Compare(*a, *b) < 0; }

// An expression as the union, or the intersection, of one or more.
std::span<const Expression> PartsOf(const Expression& expression, Kind kind) {
  return expression.kind == kind ? std::span(expression.inputs) : std::span(&expression, 1);
}

// Finds what vanishes when a union is taken away, because it is in one of its terms anyway. Nothing is
// simplified further, so that it makes no difference which of several differences is looked at first.
class Taken {
 public:
  // Borrows the expression.
  explicit Taken(const Expression& subtrahend) {
    const std::span<const Expression> terms = PartsOf(subtrahend, Kind::kUnion);
    for (const Expression& term : terms) terms_.push_back(&term);
    std::sort(terms_.begin(), terms_.end(), IsLessAt);
    for (const Expression& term : terms) {
      if (term.kind == Kind::kIntersection) covers_.push_back(term.inputs);
      if (term.kind != Kind::kDifference) continue;
      // When all that was taken from it is taken away as well, the rest is as good as the whole.
      const std::span<const Expression> holes = PartsOf(term.inputs[1], Kind::kUnion);
      const bool filled =
          std::all_of(holes.begin(), holes.end(), [&](const auto& hole) { return IsTerm(hole); });
      if (filled) covers_.push_back(PartsOf(term.inputs[0], Kind::kIntersection));
    }
  }

  // False does not say that something is left.
  bool Contains(const Expression& expression) const {
    const std::span<const Expression> factors = PartsOf(expression, Kind::kIntersection);
    return std::any_of(factors.begin(), factors.end(),
                       [&](const auto& factor) { return ContainsFactor(factor); }) ||
           std::any_of(covers_.begin(), covers_.end(), [&](const auto& cover) {
             return std::includes(factors.begin(), factors.end(), cover.begin(), cover.end(), IsLess);
           });
  }

 private:
  bool IsTerm(const Expression& expression) const {
    return std::binary_search(terms_.begin(), terms_.end(), &expression, IsLessAt);
  }

  bool ContainsFactor(const Expression& factor) const {
    if (factor.kind != Kind::kUnion) return IsTerm(factor);
    return std::all_of(factor.inputs.begin(), factor.inputs.end(),
                       [&](const Expression& term) { return Contains(term); });
  }

  std::vector<const Expression*> terms_;  // sorted
  // Intersections that are in the union: sorted factors, each.
  std::vector<std::span<const Expression>> covers_;
};

Expression Difference(Expression minuend, Expression subtrahend) {
  Inputs inputs;
  if (minuend.kind == Kind::kDifference) {
    inputs = std::move(minuend.inputs);
    Inputs both;
    both.push_back(std::move(inputs[1]));
    both.push_back(std::move(subtrahend));
    inputs[1] = Union(std::move(both));
  } else {
    inputs.push_back(std::move(minuend));
    inputs.push_back(std::move(subtrahend));
  }
  if (inputs[0].kind == Kind::kEmpty || inputs[1].kind == Kind::kEmpty) return std::move(inputs[0]);
  if (Taken(inputs[1]).Contains(inputs[0])) return {};
  return Node(Kind::kDifference, std::move(inputs));
}

Expression Intersection(Inputs inputs) {
  Inputs factors;
  Inputs taken;
  for (Expression& input : inputs) {
    if (input.kind == Kind::kEmpty) return {};
    if (input.kind == Kind::kDifference) {
      taken.push_back(std::move(input.inputs[1]));
      Expression minuend = std::move(input.inputs[0]);
      input = std::move(minuend);
    }
    if (input.kind == Kind::kIntersection) {
      MoveInto(factors, std::move(input.inputs));
    } else {
      factors.push_back(std::move(input));
    }
  }
  SortAndUnite(factors);
  Expression all =
      factors.size() == 1 ? std::move(factors[0]) : Node(Kind::kIntersection, std::move(factors));
  return taken.empty() ? std::move(all) : Difference(std::move(all), Union(std::move(taken)));
}

}  // namespace

Expression Normalize(Expression expression) {
  Inputs inputs;
  for (Expression& input : expression.inputs) inputs.push_back(Normalize(std::move(input)));
  switch (expression.kind) {
    case Kind::kUnion:
      return Union(std::move(inputs));
    case Kind::kIntersection:
      return Intersection(std::move(inputs));
    case Kind::kDifference:
      return Difference(std::move(inputs[0]), std::move(inputs[1]));
    default:
      return expression;
  }
}

}  // namespace thermocline::storage::segment
