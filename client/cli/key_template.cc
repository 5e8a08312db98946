#include "client/cli/key_template.h"

#include <utility>

#include "fmt/format.h"

namespace thermocline::cli {
namespace {

absl::Status Invalid(std::string_view text, std::string_view problem) {
  return absl::InvalidArgumentError(fmt::format(
      "the key \"{}\" {}; write the name of a field, or a template such as 'place:{{country}}:{{#}}'", text,
      problem));
}

}  // namespace

absl::StatusOr<KeyTemplate> KeyTemplate::Parse(std::string_view text) {
  if (text.empty()) return Invalid(text, "is empty");
  if (text.find_first_of("{}") == std::string_view::npos) {
    return KeyTemplate({Part{Kind::kField, std::string(text)}});
  }
  std::vector<Part> parts;
  std::string literal;
  const auto add = [&](Kind kind, std::string name) {
    if (!literal.empty()) parts.push_back({Kind::kText, std::exchange(literal, "")});
    if (kind != Kind::kText) parts.push_back({kind, std::move(name)});
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      literal += c;
      ++i;
    } else if (c == '{') {
      const size_t end = text.find('}', i);
      if (end == std::string_view::npos) return Invalid(text, "has a '{' without its '}'");
      std::string name(text.substr(i + 1, end - i - 1));
      if (name.empty()) return Invalid(text, "names no field between '{' and '}'");
      const Kind kind = name == "#" ? Kind::kNumber : Kind::kField;
      add(kind, std::move(name));
      i = end;
    } else if (c == '}') {
      return Invalid(text, "has a '}' without its '{'");
    } else {
      literal += c;
    }
  }
  add(Kind::kText, "");
  return KeyTemplate(std::move(parts));
}

absl::StatusOr<std::string> KeyTemplate::Key(uint64_t number, const Field& field) const {
  std::string key;
  for (const Part& part : parts_) {
    switch (part.kind) {
      case Kind::kText:
        key += part.text;
        break;
      case Kind::kNumber:
        key += std::to_string(number);
        break;
      case Kind::kField: {
        absl::StatusOr<std::string> value = field(part.text);
        if (!value.ok()) return value.status();
        key += *value;
        break;
      }
    }
  }
  return key;
}

}  // namespace thermocline::cli
