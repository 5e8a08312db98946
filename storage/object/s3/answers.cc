#include "storage/object/s3/answers.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "absl/status/status.h"
#include <fmt/format.h>
#include <pugixml.hpp>

#include "storage/object/s3/sigv4.h"

namespace thermocline::storage::s3 {
namespace {

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxTextBytes = 4096;  // of a key, a token, an id
constexpr size_t kMaxMessageBytes = 300;
constexpr size_t kMaxEntries = 10'000;

// Names come with a prefix where a store likes namespaces.
std::string_view LocalName(const pugi::xml_node& node) {
  const std::string_view name = node.name();
  return name.substr(name.find(':') == std::string_view::npos ? 0 : name.find(':') + 1);
}

pugi::xml_node Child(const pugi::xml_node& node, std::string_view name) {
  for (const pugi::xml_node& child : node.children()) {
    if (LocalName(child) == name) return child;
  }
  return {};
}

std::string Text(const pugi::xml_node& node, std::string_view name) {
  const char* text = Child(node, name).text().get();
  return std::strlen(text) > kMaxTextBytes ? std::string() : std::string(text);
}

// The parser and what it makes go down with each level: only so many.
bool IsTooDeep(std::string_view xml) {
  size_t depth = 0;
  for (size_t i = 0; i + 1 < xml.size(); ++i) {
    if (xml[i] == '<' && xml[i + 1] == '/') {
      depth -= depth > 0 ? 1 : 0;
    } else if (xml[i] == '<' && xml[i + 1] != '?' && xml[i + 1] != '!') {
      ++depth;
    } else if (xml[i] == '/' && xml[i + 1] == '>') {
      depth -= depth > 0 ? 1 : 0;
    }
    if (depth > kMaxDepth) return true;
  }
  return false;
}

absl::Status NotUnderstood(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("the answer cannot be understood: {}", what));
}

class Document {
 public:
  explicit Document(std::string_view xml) {
    const auto elements = std::count(xml.begin(), xml.end(), '<') + std::count(xml.begin(), xml.end(), '=');
    if (xml.size() > kMaxAnswerBytes || elements > static_cast<ptrdiff_t>(kMaxAnswerElements) ||
        IsTooDeep(xml)) {
      status_ = NotUnderstood("it is too large");
      return;
    }
    const pugi::xml_parse_result result =
        document_.load_buffer(xml.data(), xml.size(), pugi::parse_default, pugi::encoding_utf8);
    if (!result) status_ = NotUnderstood(result.description());
  }

  // The root, which must have this name.
  absl::StatusOr<pugi::xml_node> Root(std::string_view name) const {
    if (!status_.ok()) return status_;
    const pugi::xml_node root = document_.document_element();
    if (LocalName(root) != name) return NotUnderstood(fmt::format("it is no {}", name));
    return root;
  }

 private:
  pugi::xml_document document_;
  absl::Status status_;
};

std::string Printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  if (text.size() > kMaxMessageBytes) {
    size_t end = kMaxMessageBytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    text.resize(end);
    text += "...";
  }
  return text;
}

bool IsCode(std::string_view code) {
  return code.size() <= 100 && std::all_of(code.begin(), code.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                  c == '-';
         });
}

// Ids and tokens go into URLs and XML again, where they are encoded; control characters are still no business
// of theirs.
bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

bool IsTrue(const pugi::xml_node& node, std::string_view name) { return Text(node, name) == "true"; }

}  // namespace

ErrorAnswer ParseError(std::string_view xml) {
  ErrorAnswer answer;
  const Document document(xml);
  const absl::StatusOr<pugi::xml_node> root = document.Root("Error");
  if (!root.ok()) return answer;
  answer.code = Text(*root, "Code");
  if (!IsCode(answer.code)) answer.code.clear();
  answer.message = Printable(Text(*root, "Message"));
  answer.region = Text(*root, "Region");
  if (!IsCode(answer.region)) answer.region.clear();
  return answer;
}

bool IsErrorAnswer(std::string_view xml) { return Document(xml).Root("Error").ok(); }

absl::StatusOr<ListAnswer> ParseList(std::string_view xml) {
  const Document document(xml);
  const absl::StatusOr<pugi::xml_node> root = document.Root("ListBucketResult");
  if (!root.ok()) return root.status();
  ListAnswer answer;
  for (const pugi::xml_node& node : root->children()) {
    if (LocalName(node) != "Contents") continue;
    ListAnswer::Entry entry;
    entry.key = PercentDecode(Text(node, "Key"));
    const std::string size = Text(node, "Size");
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), entry.bytes);
    if (error != std::errc() || end != size.data() + size.size()) return NotUnderstood("a size is no number");
    if (entry.key.empty()) return NotUnderstood("an object has no key");
    if (answer.entries.size() == kMaxEntries) return NotUnderstood("too many objects on a page");
    answer.entries.push_back(std::move(entry));
  }
  if (!IsTrue(*root, "IsTruncated")) return answer;
  answer.next_token = Text(*root, "NextContinuationToken");
  if (answer.next_token.empty()) return NotUnderstood("it goes on, and does not say where");
  return answer;
}

absl::StatusOr<std::string> ParseUploadId(std::string_view xml) {
  const Document document(xml);
  const absl::StatusOr<pugi::xml_node> root = document.Root("InitiateMultipartUploadResult");
  if (!root.ok()) return root.status();
  std::string id = Text(*root, "UploadId");
  if (!IsToken(id)) return NotUnderstood("it has no upload id");
  return id;
}

absl::StatusOr<UploadsAnswer> ParseUploads(std::string_view xml) {
  const Document document(xml);
  const absl::StatusOr<pugi::xml_node> root = document.Root("ListMultipartUploadsResult");
  if (!root.ok()) return root.status();
  UploadsAnswer answer;
  for (const pugi::xml_node& node : root->children()) {
    if (LocalName(node) != "Upload") continue;
    UploadsAnswer::Entry entry{PercentDecode(Text(node, "Key")), Text(node, "UploadId")};
    if (entry.key.empty() || !IsToken(entry.upload_id))
      return NotUnderstood("an upload has no key, or no id");
    if (answer.entries.size() == kMaxEntries) return NotUnderstood("too many uploads on a page");
    answer.entries.push_back(std::move(entry));
  }
  if (!IsTrue(*root, "IsTruncated")) return answer;
  answer.next_key = PercentDecode(Text(*root, "NextKeyMarker"));
  answer.next_upload_id = Text(*root, "NextUploadIdMarker");
  if (answer.next_key.empty()) return NotUnderstood("it goes on, and does not say where");
  return answer;
}

absl::StatusOr<std::string> ParseCompleted(std::string_view xml) {
  const Document document(xml);
  const absl::StatusOr<pugi::xml_node> root = document.Root("CompleteMultipartUploadResult");
  if (!root.ok()) return root.status();
  return Text(*root, "ETag");
}

absl::StatusOr<std::vector<DeleteFailure>> ParseDeleted(std::string_view xml) {
  const Document document(xml);
  const absl::StatusOr<pugi::xml_node> root = document.Root("DeleteResult");
  if (!root.ok()) return root.status();
  std::vector<DeleteFailure> failures;
  for (const pugi::xml_node& node : root->children()) {
    if (LocalName(node) != "Error") continue;
    if (failures.size() == kMaxEntries) return NotUnderstood("too many errors");
    const std::string code = Text(node, "Code");
    failures.push_back({Printable(Text(node, "Key")), IsCode(code) ? code : std::string()});
  }
  return failures;
}

std::string XmlEscape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          escaped += fmt::format("&#{};", static_cast<int>(c));
        } else {
          escaped += c;
        }
    }
  }
  return escaped;
}

}  // namespace thermocline::storage::s3
