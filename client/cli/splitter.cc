#include "client/cli/splitter.h"

#include <string_view>

#include "fmt/format.h"

#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Reads a source byte by byte and counts its lines.
class Cursor {
 public:
  explicit Cursor(ByteSource& source) : source_(source) {}

  // The next byte without stepping over it; -1 at the end.
  int Peek() {
    if (position_ == view_.size()) Refill();
    return position_ < view_.size() ? static_cast<unsigned char>(view_[position_]) : -1;
  }

  int Take() {
    const int c = Peek();
    if (c >= 0) ++position_;
    if (c == '\n') ++line_;
    return c;
  }

  // Steps over the mark if the input begins with it.
  void SkipByteOrderMark() {
    for (const char c : kByteOrderMark) {
      if (Peek() != static_cast<unsigned char>(c)) return;
      Take();
    }
  }

  uint64_t line() const { return line_; }

 private:
  void Refill() {
    source_.Consume(position_);
    view_ = source_.Peek();
    position_ = 0;
  }

  ByteSource& source_;
  std::string_view view_;
  size_t position_ = 0;
  uint64_t line_ = 1;
};

// Collects the text of a record up to the limit.
class Text {
 public:
  Text(RawRecord& record, const Cursor& cursor, size_t max_bytes) : record_(record), max_bytes_(max_bytes) {
    record_ = RawRecord{.line = cursor.line()};
  }

  void Add(char c) {
    if (record_.text.size() < max_bytes_) {
      record_.text += c;
    } else {
      Reject(fmt::format("is longer than {}", FormatBytes(max_bytes_)));
    }
  }

  void Reject(std::string problem) {
    if (record_.problem.empty()) record_.problem = std::move(problem);
  }

  void DropTrailing(std::string_view characters) {
    while (!record_.text.empty() && characters.find(record_.text.back()) != std::string_view::npos) {
      record_.text.pop_back();
    }
  }

  bool empty() const { return record_.text.empty() && record_.problem.empty(); }

 private:
  RawRecord& record_;
  const size_t max_bytes_;
};

class LineSplitter final : public Splitter {
 public:
  LineSplitter(ByteSource& source, size_t max_bytes) : cursor_(source), max_bytes_(max_bytes) {
    cursor_.SkipByteOrderMark();
  }

  bool Next(RawRecord& record) override {
    while (cursor_.Peek() >= 0) {
      Text text(record, cursor_, max_bytes_);
      for (int c = cursor_.Take(); c >= 0 && c != '\n'; c = cursor_.Take()) text.Add(static_cast<char>(c));
      text.DropTrailing("\r");
      if (!text.empty()) return true;
    }
    return false;
  }

 private:
  Cursor cursor_;
  const size_t max_bytes_;
};

class CsvSplitter final : public Splitter {
 public:
  CsvSplitter(ByteSource& source, size_t max_bytes) : cursor_(source), max_bytes_(max_bytes) {
    cursor_.SkipByteOrderMark();
  }

  bool Next(RawRecord& record) override {
    while (cursor_.Peek() >= 0) {
      Text text(record, cursor_, max_bytes_);
      TakeRecord(text);
      if (!text.empty()) return true;
    }
    return false;
  }

 private:
  void TakeRecord(Text& text) {
    bool quoted = false;
    bool at_field_start = true;  // only there a quote opens a quoted field
    bool quoted_field = false;
    for (int c = cursor_.Take(); c >= 0; c = cursor_.Take()) {
      if (c == '"' && (at_field_start || quoted_field)) {
        quoted = !quoted;
        quoted_field = true;
      } else if (c == '\n' && !quoted) {
        break;
      } else if (c == ',' && !quoted) {
        quoted_field = false;
      }
      at_field_start = c == ',' && !quoted;
      text.Add(static_cast<char>(c));
    }
    if (quoted) text.Reject("has a quote that is never closed");
    text.DropTrailing("\r");
  }

  Cursor cursor_;
  const size_t max_bytes_;
};

class JsonArraySplitter final : public Splitter {
 public:
  JsonArraySplitter(ByteSource& source, size_t max_bytes) : cursor_(source), max_bytes_(max_bytes) {
    cursor_.SkipByteOrderMark();
  }

  bool Next(RawRecord& record) override {
    if (state_ == State::kBegin && !TakeOpening(record)) return true;
    if (state_ == State::kEnd) return TakeRest(record);
    if (state_ == State::kBroken) return false;
    SkipSpace();
    if (first_ && cursor_.Peek() == ']') {
      cursor_.Take();
      state_ = State::kEnd;
      return TakeRest(record);
    }
    first_ = false;
    TakeElement(record);
    return true;
  }

 private:
  enum class State { kBegin, kElements, kEnd, kBroken };

  // False if the input is no array; `record` then says so.
  bool TakeOpening(RawRecord& record) {
    SkipSpace();
    Text text(record, cursor_, max_bytes_);
    if (cursor_.Take() == '[') {
      state_ = State::kElements;
      return true;
    }
    state_ = State::kBroken;
    text.Reject(
        "the input does not begin with '[': it is not a JSON array (one object a line is --format ndjson)");
    return false;
  }

  // After the array: true if something follows, which `record` then says.
  bool TakeRest(RawRecord& record) {
    SkipSpace();
    if (cursor_.Peek() < 0) return false;
    state_ = State::kBroken;
    Text(record, cursor_, max_bytes_).Reject("the input goes on after the ']' that ends the array");
    return true;
  }

  void TakeElement(RawRecord& record) {
    Text text(record, cursor_, max_bytes_);
    int depth = 0;
    bool in_string = false;
    for (;;) {
      const int c = cursor_.Take();
      if (c < 0) {
        state_ = State::kBroken;
        text.Reject("the input ends before the array does");
        return;
      }
      if (!in_string && depth == 0 && (c == ',' || c == ']')) {
        if (c == ']') state_ = State::kEnd;
        break;
      }
      text.Add(static_cast<char>(c));
      if (in_string && c == '\\') {
        if (cursor_.Peek() >= 0) text.Add(static_cast<char>(cursor_.Take()));
      } else if (c == '"') {
        in_string = !in_string;
      } else if (!in_string) {
        depth += static_cast<int>(c == '{' || c == '[') - static_cast<int>(c == '}' || c == ']');
      }
    }
    text.DropTrailing(" \t\r\n");
    if (text.empty()) text.Reject("is empty: there is a comma too many");
  }

  void SkipSpace() {
    for (int c = cursor_.Peek(); c == ' ' || c == '\t' || c == '\r' || c == '\n'; c = cursor_.Peek())
      cursor_.Take();
  }

  Cursor cursor_;
  const size_t max_bytes_;
  State state_ = State::kBegin;
  bool first_ = true;
};

}  // namespace

std::unique_ptr<Splitter> SplitLines(ByteSource& source, size_t max_record_bytes) {
  return std::make_unique<LineSplitter>(source, max_record_bytes);
}

std::unique_ptr<Splitter> SplitCsv(ByteSource& source, size_t max_record_bytes) {
  return std::make_unique<CsvSplitter>(source, max_record_bytes);
}

std::unique_ptr<Splitter> SplitJsonArray(ByteSource& source, size_t max_record_bytes) {
  return std::make_unique<JsonArraySplitter>(source, max_record_bytes);
}

}  // namespace thermocline::cli
