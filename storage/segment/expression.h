#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace thermocline::storage::segment {

inline constexpr size_t kMaxNodes = 4096;     // of an expression: names and operators
inline constexpr size_t kMaxDepth = 64;       // of parentheses
inline constexpr size_t kMaxParameters = 64;  // of a source

// A set expression (grammar: storage/segment/README.md), as a tree.
struct Expression {
  enum class Kind : uint8_t {
    kEmpty,         // the empty set; only Normalize makes it
    kName,          // a segment
    kPrefix,        // the union of all segments whose names begin with `name`
    kSource,        // the ids that the source `name` yields for `parameters`
    kUnion,         // two inputs or more
    kIntersection,  // two inputs or more
    kDifference,    // two inputs: the first without the second
  };
  Kind kind = Kind::kEmpty;
  std::string name;                     // of kName, kPrefix and kSource
  size_t position = 0;                  // of these: where it stands in the text, in bytes
  std::vector<std::string> parameters;  // of kSource
  std::vector<Expression> inputs;
};

// All of these recurse into the tree, which may be kMaxNodes / 2 deep: a | b - c | d - e needs no
// parentheses.

// INVALID_ARGUMENT, with a message of three lines: what is wrong and how to mend it, the part of the text
// around the place, and a caret below it. Of names and prefixes, every occurrence becomes an input of its
// own; a - b - c is read as a - (b | c).
absl::StatusOr<Expression> ParseExpression(std::string_view text);

// Points at a place of an expression's text: "<message>\n  <text>\n  ^" for errors that are found later.
std::string PointAt(std::string_view text, size_t position, std::string_view message);

// An equal expression in normal form: unions and intersections are flat, their inputs sorted and different
// from each other, and differences stand outside of intersections and take one union away: (a - b) & c and (a
// & c) - b become the same tree. Expressions that are equal by the laws of sets may have different normal
// forms; those with the same normal form are equal. It has no more names and operators than what it is made
// from, may have lost some, and keeps the first position of each.
Expression Normalize(Expression expression);

// A text that ParseExpression reads as this expression, unless it is longer than kMaxExpressionBytes (it has
// spaces around all operators); one text for each normal form. "{}" for kEmpty, which it does not read.
std::string ToText(const Expression& expression);

// False unless it is 1 to kMaxSegmentNameBytes bytes of UTF-8 without control characters.
bool IsSegmentName(std::string_view name);

}  // namespace thermocline::storage::segment
