#include "storage/segment/expression_text.h"

#include <algorithm>

#include "storage/segment/utf8.h"
#include "storage/segments.h"

namespace thermocline::storage::segment {
namespace {

using Kind = Expression::Kind;

constexpr size_t kContextCharacters = 40;  // on either side of a place that is shown
constexpr std::string_view kEllipsis = "...";

bool IsContinuation(char c) { return static_cast<uint8_t>(c) >> 6 == 2; }

// Calls visit(index, operand) for what stands between the operators of an expression's text: a - (b | c) is
// written as a - b - c.
template <typename Visit>
void ForEachOperand(const Expression& expression, Visit visit) {
  size_t index = 0;
  for (const Expression& input : expression.inputs) {
    if (index > 0 && expression.kind == Kind::kDifference && input.kind == Kind::kUnion) {
      for (const Expression& taken : input.inputs) visit(index++, taken);
    } else {
      visit(index++, input);
    }
  }
}

enum class Parentheses {
  kFewest,
  kClear,  // also where | and - meet, though they associate to the left
};

bool IsWrapped(Kind outer, size_t index, Kind operand, Parentheses parentheses) {
  const bool may_be_bare = index == 0 && parentheses == Parentheses::kFewest;
  switch (operand) {
    case Kind::kUnion:
      return outer != Kind::kDifference || !may_be_bare;
    case Kind::kDifference:
      return outer != Kind::kUnion || !may_be_bare;
    case Kind::kIntersection:
      return outer == Kind::kIntersection;
    default:
      return false;
  }
}

size_t Depth(const Expression& expression, Parentheses parentheses) {
  size_t depth = 0;
  ForEachOperand(expression, [&](size_t index, const Expression& operand) {
    const bool wrapped = IsWrapped(expression.kind, index, operand.kind, parentheses);
    depth = std::max(depth, Depth(operand, parentheses) + (wrapped ? 1 : 0));
  });
  return depth;
}

void PrintQuoted(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  out += '"';
}

void PrintName(std::string_view name, std::string& out) {
  if (!name.empty() && BeginsPlainName(name[0]) &&
      std::all_of(name.begin(), name.end(), ContinuesPlainName)) {
    out += name;
    return;
  }
  PrintQuoted(name, out);
}

void PrintSource(const Expression& source, std::string& out) {
  out.append(kSourcePrefix).append(source.name).append("(");
  for (size_t i = 0; i < source.parameters.size(); ++i) {
    if (i > 0) out += ", ";
    PrintQuoted(source.parameters[i], out);
  }
  out += ')';
}

void Print(const Expression& expression, Parentheses parentheses, std::string& out) {
  switch (expression.kind) {
    case Kind::kEmpty:
      out += "{}";
      return;
    case Kind::kName:
      PrintName(expression.name, out);
      return;
    case Kind::kSource:
      PrintSource(expression, out);
      return;
    case Kind::kPrefix:
      if (!expression.name.empty()) PrintName(expression.name, out);
      out += '*';
      return;
    default:
      break;
  }
  const std::string_view sign = expression.kind == Kind::kUnion          ? " | "
                                : expression.kind == Kind::kIntersection ? " & "
                                                                         : " - ";
  ForEachOperand(expression, [&](size_t index, const Expression& operand) {
    if (index > 0) out += sign;
    const bool wrapped = IsWrapped(expression.kind, index, operand.kind, parentheses);
    if (wrapped) out += '(';
    Print(operand, parentheses, out);
    if (wrapped) out += ')';
  });
}

}  // namespace

bool BeginsPlainName(char c) { return ContinuesPlainName(c) && c != '-' && c != '+' && c != '.'; }

bool ContinuesPlainName(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         (c != 0 && std::string_view("_.:/@#%+=-").find(c) != std::string_view::npos);
}

size_t LeastParentheses(const Expression& expression) { return Depth(expression, Parentheses::kFewest); }

std::string ToText(const Expression& expression) {
  // Hundreds of | and - by turns need no parentheses, but would be nested too deeply if they had them.
  const bool clear = Depth(expression, Parentheses::kClear) <= kMaxDepth;
  std::string text;
  Print(expression, clear ? Parentheses::kClear : Parentheses::kFewest, text);
  return text;
}

std::string PointAt(std::string_view text, size_t position, std::string_view message) {
  position = std::min(position, text.size());
  size_t begin = 0;
  size_t characters_after = SIZE_MAX;
  if (text.size() > 2 * kContextCharacters) {
    begin = position;
    for (size_t i = 0; i < kContextCharacters && begin > 0; ++i) {
      for (--begin; begin > 0 && IsContinuation(text[begin]);) --begin;
    }
    characters_after = kContextCharacters;
  }
  std::string line = begin > 0 ? std::string(kEllipsis) : std::string();
  size_t column = line.size();
  size_t at = begin;
  for (size_t after = 0; at < text.size() && after < characters_after;) {
    const CodePoint point = FirstCodePoint(text.substr(at));
    const size_t bytes = std::max<size_t>(point.bytes, 1);
    if (point.bytes == 0) {
      line += '?';
    } else if (IsControl(point.value)) {
      line += ' ';
    } else {
      line += text.substr(at, bytes);
    }
    at += bytes;
    if (at <= position) {
      ++column;
    } else {
      ++after;
    }
  }
  if (at < text.size()) line += kEllipsis;
  std::string pointing(message);
  pointing.append("\n  ").append(line).append("\n  ").append(column, ' ').append("^");
  return pointing;
}

bool IsSegmentName(std::string_view name) {
  if (name.empty() || name.size() > kMaxSegmentNameBytes) return false;
  while (!name.empty()) {
    const CodePoint point = FirstCodePoint(name);
    if (point.bytes == 0 || IsControl(point.value)) return false;
    name.remove_prefix(point.bytes);
  }
  return true;
}

}  // namespace thermocline::storage::segment
