#include "storage/segment/expression.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "storage/segment/expression_text.h"
#include "storage/segment/utf8.h"
#include "storage/segments.h"

namespace thermocline::storage::segment {
namespace {

using Kind = Expression::Kind;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// What to do about a character that nothing begins with, if it looks like something else.
std::string_view AdviceFor(char32_t character) {
  constexpr std::string_view kStraightQuotes = R"(names stand in straight double quotes, as in "New York")";
  constexpr std::string_view kNoSuchOperator = "there is no such operator: for a without b write a - b";
  constexpr std::string_view kMinus = "the minus is written -, with a space on either side";
  switch (character) {
    case '+':
      return "a name that begins with + stands in quotes; a union is written a | b";
    case '.':
      return "a name that begins with . stands in quotes";
    case ',':
    case ';':
      return "put | between names for their union, & for their intersection";
    case '!':
    case '~':
    case '^':
      return kNoSuchOperator;
    case '\'':
    case '`':
    case 0x2018:
    case 0x2019:
    case 0x201c:
    case 0x201d:
    case 0x201e:
    case 0xab:
    case 0xbb:
      return kStraightQuotes;
    case 0x2013:
    case 0x2014:
    case 0x2212:
      return kMinus;
    default:
      return R"(this character can only be in a name, and the whole name in quotes, as in "New York")";
  }
}

struct Token {
  enum class Kind { kNone, kEnd, kName, kAnd, kOr, kMinus, kOpen, kClose };
  Kind kind = Kind::kNone;
  size_t position = 0;
  size_t end = 0;
  std::string name;     // of kName, without quotes
  bool quoted = false;  // of kName
  bool prefix = false;  // of kName: a * follows
  bool source = false;  // of kName: parentheses follow
  std::vector<std::string> parameters;
  // Of kMinus: white space, or the edge of the text.
  bool space_before = false;
  bool space_after = false;

  bool is_operator() const { return kind == Kind::kAnd || kind == Kind::kOr || kind == Kind::kMinus; }
  bool is_plain() const { return kind == Kind::kName && !quoted && !prefix && !source; }
};

// Splits a text into tokens. Functions return false once they have found an error, which error() is from then
// on.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  // Whether the text can be one at all.
  bool Check() {
    if (text_.size() > kMaxExpressionBytes) {
      return Fail(kMaxExpressionBytes, fmt::format("the expression has {} bytes, and {} are allowed",
                                                   text_.size(), kMaxExpressionBytes));
    }
    for (size_t at = 0; at < text_.size();) {
      const CodePoint point = FirstCodePoint(text_.substr(at));
      if (point.bytes == 0) {
        return Fail(at, fmt::format("the expression is not UTF-8: byte {:#04x} is out of place",
                                    static_cast<uint8_t>(text_[at])));
      }
      if (IsControl(point.value) && !IsSpace(text_[at])) {
        return Fail(at, fmt::format("there is a control character here, U+{:04X}: take it away",
                                    static_cast<uint32_t>(point.value)));
      }
      at += point.bytes;
    }
    return true;
  }

  bool Next() {
    previous_ = std::move(token_);
    SkipSpace();
    token_ = {};
    token_.position = at_;
    if (!Read()) return false;
    token_.end = at_;
    if (!token_.is_operator() && token_.kind != Token::Kind::kName) return true;
    if (++nodes_ <= kMaxNodes) return true;
    return Fail(token_.position,
                fmt::format("there are more than {} names and operators: use a prefix, or store "
                            "a part of the expression as a segment first",
                            kMaxNodes));
  }

  Token& token() { return token_; }
  const Token& previous() const { return previous_; }
  std::string_view TextOf(const Token& token) const {
    return text_.substr(token.position, token.end - token.position);
  }

  bool Fail(size_t position, std::string_view message) {
    error_ = absl::InvalidArgumentError(PointAt(text_, position, message));
    return false;
  }
  const absl::Status& error() const { return error_; }

 private:
  bool Read() {
    if (at_ == text_.size()) {
      token_.kind = Token::Kind::kEnd;
      return true;
    }
    const char c = text_[at_];
    switch (c) {
      case '&':
        return Single(Token::Kind::kAnd);
      case '|':
        return Single(Token::Kind::kOr);
      case '(':
        return Single(Token::Kind::kOpen);
      case ')':
        return Single(Token::Kind::kClose);
      case '-':
        token_.space_before = at_ == 0 || IsSpace(text_[at_ - 1]);
        token_.space_after = at_ + 1 == text_.size() || IsSpace(text_[at_ + 1]);
        return Single(Token::Kind::kMinus);
      case '"':
        return QuotedName() && NameEnds();
      case '*':
        return NameEnds();
      default:
        break;
    }
    if (!BeginsPlainName(c)) return Fail(at_, AdviceFor(FirstCodePoint(text_.substr(at_)).value));
    while (at_ < text_.size() && ContinuesPlainName(text_[at_])) token_.name += text_[at_++];
    if (at_ < text_.size() && text_[at_] == '(' && token_.name.starts_with(kSourcePrefix)) return Source();
    return NameEnds();
  }

  bool Source() {
    token_.source = true;
    token_.name.erase(0, kSourcePrefix.size());
    if (!NameEnds()) return false;
    const size_t opened = at_++;
    for (bool first = true;; first = false) {
      SkipSpace();
      if (at_ == text_.size()) return Fail(opened, "this parenthesis is never closed: put a ) there");
      if (first && text_[at_] == ')') break;
      if (text_[at_] != '"') {
        return Fail(at_, R"(parameters of a source stand in quotes, as in source:orders("2025-01-01", "7"))");
      }
      if (token_.parameters.size() == kMaxParameters) {
        return Fail(at_, fmt::format("a source has at most {} parameters", kMaxParameters));
      }
      if (!QuotedText(token_.parameters.emplace_back())) return false;
      SkipSpace();
      if (at_ < text_.size() && text_[at_] == ')') break;
      if (at_ < text_.size() && text_[at_] != ',')
        return Fail(at_, "put a , between the parameters of a source, and a ) behind the last one");
      if (at_ < text_.size()) ++at_;
    }
    ++at_;
    return true;
  }

  void SkipSpace() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }

  bool Single(Token::Kind kind) {
    token_.kind = kind;
    ++at_;
    return true;
  }

  bool QuotedName() {
    token_.quoted = true;
    return QuotedText(token_.name);
  }

  bool QuotedText(std::string& out) {
    const size_t opened = at_;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (IsSpace(c) && c != ' ') return Fail(at_, "there are no tabs and line breaks in quotes");
      if (c == '\\') {
        ++at_;
        if (at_ == text_.size()) break;
        if (text_[at_] != '"' && text_[at_] != '\\') {
          return Fail(at_ - 1, R"(in quotes, \ stands only before " and \: for one \ write \\)");
        }
      }
      out += text_[at_];
    }
    return Fail(opened, R"(this quote is never closed: put a " where the name ends)");
  }

  bool NameEnds() {
    token_.kind = Token::Kind::kName;
    if (at_ < text_.size() && text_[at_] == '*') {
      token_.prefix = true;
      ++at_;
    }
    if (token_.name.empty() && !token_.prefix) {
      return Fail(token_.position, token_.source
                                       ? "there is no name of a source between : and these parentheses"
                                       : "there is no name in these quotes: it has one character at least");
    }
    if (token_.name.size() > kMaxSegmentNameBytes) {
      return Fail(token_.position, fmt::format("this name has {} bytes, and {} are allowed",
                                               token_.name.size(), kMaxSegmentNameBytes));
    }
    return true;
  }

  const std::string_view text_;
  size_t at_ = 0;
  size_t nodes_ = 0;
  Token token_;
  Token previous_;
  absl::Status error_;
};

Expression Node(Kind kind, Expression first, Expression second) {
  Expression node;
  node.kind = kind;
  node.inputs.push_back(std::move(first));
  node.inputs.push_back(std::move(second));
  return node;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text) {}

  absl::StatusOr<Expression> Parse() {
    Expression expression;
    const bool read = lexer_.Check() && lexer_.Next() && Chain(expression, 0) && End();
    if (!read) return lexer_.error();
    return expression;
  }

 private:
  // Of the innermost operators of a chain, as far as it has been read.
  enum class Last { kNone, kOr, kMinus, kMinuses };

  // Operands between | and -, up to the end or a parenthesis that closes.
  bool Chain(Expression& out, size_t depth) {
    if (!Term(out, depth)) return false;
    Last last = Last::kNone;
    for (;;) {
      const Token& token = lexer_.token();
      if (token.kind == Token::Kind::kEnd || token.kind == Token::Kind::kClose) return true;
      if (!token.is_operator()) return MissingOperator();
      const bool minus = token.kind == Token::Kind::kMinus;
      if (minus && !(token.space_before && token.space_after)) {
        return lexer_.Fail(
            token.position,
            "a minus has a space on either side, as in a - b (a name that begins with - stands in "
            "quotes)");
      }
      Expression next;
      if (!lexer_.Next() || !Term(next, depth)) return false;
      last = minus ? Subtract(out, std::move(next), last) : Unite(out, std::move(next), last);
    }
  }

  static Last Unite(Expression& out, Expression next, Last last) {
    if (last == Last::kOr) {
      out.inputs.push_back(std::move(next));
    } else {
      out = Node(Kind::kUnion, std::move(out), std::move(next));
    }
    return Last::kOr;
  }

  // a - b - c becomes a - (b | c): one difference, however many are taken away.
  static Last Subtract(Expression& out, Expression next, Last last) {
    if (last == Last::kMinuses) {
      out.inputs[1].inputs.push_back(std::move(next));
      return Last::kMinuses;
    }
    if (last == Last::kMinus) {
      out.inputs[1] = Node(Kind::kUnion, std::move(out.inputs[1]), std::move(next));
      return Last::kMinuses;
    }
    out = Node(Kind::kDifference, std::move(out), std::move(next));
    return Last::kMinus;
  }

  // Operands between &.
  bool Term(Expression& out, size_t depth) {
    if (!Operand(out, depth)) return false;
    bool first = true;
    while (lexer_.token().kind == Token::Kind::kAnd) {
      Expression next;
      if (!lexer_.Next() || !Operand(next, depth)) return false;
      if (first) {
        out = Node(Kind::kIntersection, std::move(out), std::move(next));
        first = false;
      } else {
        out.inputs.push_back(std::move(next));
      }
    }
    return true;
  }

  bool Operand(Expression& out, size_t depth) {
    Token& token = lexer_.token();
    if (token.kind == Token::Kind::kName) {
      out.kind = token.source ? Kind::kSource : token.prefix ? Kind::kPrefix : Kind::kName;
      out.name = std::move(token.name);
      out.parameters = std::move(token.parameters);
      out.position = token.position;
      return lexer_.Next();
    }
    if (token.kind != Token::Kind::kOpen) return MissingOperand();
    if (depth == kMaxDepth) {
      return lexer_.Fail(token.position, fmt::format("parentheses are nested more than {} deep", kMaxDepth));
    }
    const size_t opened = token.position;
    if (!lexer_.Next() || !Chain(out, depth + 1)) return false;
    if (lexer_.token().kind == Token::Kind::kClose) return lexer_.Next();
    return lexer_.Fail(opened, kNeverClosed);
  }

  bool End() {
    if (lexer_.token().kind == Token::Kind::kEnd) return true;
    return lexer_.Fail(lexer_.token().position, kNeverOpened);
  }

  bool MissingOperand() {
    const Token& token = lexer_.token();
    const Token& before = lexer_.previous();
    const std::string_view sign = lexer_.TextOf(token);
    if (token.kind == Token::Kind::kMinus && !token.space_after) {
      return lexer_.Fail(token.position,
                         "a name that begins with - stands in quotes; for a without b write a - b");
    }
    if (before.is_operator()) {
      const std::string_view sign_before = lexer_.TextOf(before);
      if (!token.is_operator()) {
        return lexer_.Fail(before.position,
                           fmt::format("there is nothing behind this {}: put a name there", sign_before));
      }
      if (sign == sign_before && token.position == before.end) {
        return lexer_.Fail(before.position, fmt::format("write {} once, not twice", sign));
      }
      return lexer_.Fail(
          token.position,
          fmt::format("there is nothing between {} and this {}: put a name there", sign_before, sign));
    }
    if (token.is_operator()) {
      return lexer_.Fail(token.position,
                         fmt::format("there is nothing before this {}: put a name there", sign));
    }
    const bool in_parentheses = before.kind == Token::Kind::kOpen;
    if (token.kind == Token::Kind::kClose) {
      return in_parentheses
                 ? lexer_.Fail(before.position, "there is nothing in these parentheses: put a name there")
                 : lexer_.Fail(token.position, kNeverOpened);
    }
    return in_parentheses
               ? lexer_.Fail(before.position, kNeverClosed)
               : lexer_.Fail(0, "the expression is empty: name a segment, or several as in a & (b | c)");
  }

  bool MissingOperator() {
    const Token& token = lexer_.token();
    const Token& before = lexer_.previous();
    for (const Token* word : {&token, &before}) {
      if (!word->is_plain() || !IsOperatorWord(lexer_.TextOf(*word))) continue;
      return lexer_.Fail(word->position, "operators are signs: write & for AND, | for OR, and - for AND NOT");
    }
    if (before.is_plain() && lexer_.TextOf(before).ends_with('-')) {
      return lexer_.Fail(before.end - 1,
                         "a minus has a space on either side, as in a - b; here it ends a name");
    }
    const bool touches = token.position == before.end;
    if (touches && before.prefix) {
      return lexer_.Fail(token.position,
                         "a * can only be at the end of a name: put an operator behind it, or quote a "
                         "name that has a * in it");
    }
    if (!touches && lexer_.TextOf(token) == "*") {
      return lexer_.Fail(token.position, "a * stands right behind the name it belongs to, without a space");
    }
    if (token.kind == Token::Kind::kOpen || before.kind == Token::Kind::kClose) {
      return lexer_.Fail(token.position, "there is no operator here: put & or | before it");
    }
    return lexer_.Fail(token.position,
                       "there is no operator between two names: put & or | between them, or quote the "
                       "name if it has spaces");
  }

  static bool IsOperatorWord(std::string_view text) {
    std::string word;
    for (const char c : text.substr(0, 4))
      word += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    return word == "AND" || word == "OR" || word == "NOT";
  }

  static constexpr std::string_view kNeverClosed =
      "this parenthesis is never closed: put a ) behind what belongs to it";
  static constexpr std::string_view kNeverOpened =
      "there is no ( for this ): take it away, or put a ( before it";

  Lexer lexer_;
};

}  // namespace

absl::StatusOr<Expression> ParseExpression(std::string_view text) { return Parser(text).Parse(); }

}  // namespace thermocline::storage::segment
