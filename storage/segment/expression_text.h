#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "storage/segment/expression.h"

namespace thermocline::storage::segment {

// What the name of a source begins with, in an expression.
inline constexpr std::string_view kSourcePrefix = "source:";

// Whether a name can be written without quotes.
bool BeginsPlainName(char c);
bool ContinuesPlainName(char c);

// How deep parentheses are nested in the text that uses fewest, for inputs in this order.
size_t LeastParentheses(const Expression& expression);

}  // namespace thermocline::storage::segment
