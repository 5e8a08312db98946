#include "tests/support/http_stream.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

namespace thermocline::testing {
namespace {

constexpr size_t kReadBytes = 64 << 10;

bool SameName(std::string_view left, std::string_view right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  return text;
}

std::optional<uint64_t> Number(std::string_view text, int base) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

}  // namespace

std::string_view HttpHead::Word(int index) const {
  std::string_view line = std::string_view(text).substr(0, text.find("\r\n"));
  for (; index > 0; --index)
    line.remove_prefix(std::min(line.size(), line.find(' ')) + (line.empty() ? 0 : 1));
  return line.substr(0, line.find(' '));
}

std::optional<std::pair<size_t, size_t>> HttpHead::Find(std::string_view name) const {
  for (size_t begin = text.find("\r\n") + 2; begin < text.size();) {
    const size_t end = std::min(text.size(), text.find("\r\n", begin) + 2);
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    const size_t colon = line.find(':');
    if (colon != line.npos && SameName(line.substr(0, colon), name)) return std::pair(begin, end);
    begin = end;
  }
  return std::nullopt;
}

std::optional<std::string_view> HttpHead::Header(std::string_view name) const {
  const auto found = Find(name);
  if (!found.has_value()) return std::nullopt;
  const std::string_view line = std::string_view(text).substr(found->first, found->second - found->first);
  return Trim(line.substr(line.find(':') + 1));
}

void HttpHead::RemoveHeader(std::string_view name) {
  if (const auto found = Find(name)) text.erase(found->first, found->second - found->first);
}

void HttpHead::ReplaceHeader(std::string_view name, std::string_view value) {
  const auto found = Find(name);
  if (!found.has_value()) return;
  const std::string line = std::string(name) + ": " + std::string(value) + "\r\n";
  text.replace(found->first, found->second - found->first, line);
}

bool HttpStream::Fill() {
  if (buffer_.size() > kMostBytes) return false;
  const size_t before = buffer_.size();
  buffer_.resize(before + kReadBytes);
  boost::system::error_code error;
  const size_t bytes = socket_.read_some(boost::asio::buffer(buffer_.data() + before, kReadBytes), error);
  buffer_.resize(before + bytes);
  return !error && bytes > 0;
}

bool HttpStream::Take(uint64_t bytes, std::string& to) {
  while (bytes > 0) {
    if (buffer_.empty() && !Fill()) return false;
    const uint64_t taken = std::min<uint64_t>(bytes, buffer_.size());
    to.append(buffer_, 0, taken);
    buffer_.erase(0, taken);
    bytes -= taken;
  }
  return true;
}

bool HttpStream::TakeLine(std::string& to) {
  size_t end;
  while ((end = buffer_.find("\r\n")) == buffer_.npos) {
    if (!Fill()) return false;
  }
  return Take(end + 2, to);
}

bool HttpStream::ReadHead(HttpHead& head) {
  head.text.clear();
  do {
    if (!TakeLine(head.text)) return false;
  } while (head.text.size() > 2 && !head.text.ends_with("\r\n\r\n"));
  return head.text.size() > 2;
}

bool HttpStream::ReadBody(const HttpHead& head, bool until_close, std::string& body, uint64_t most) {
  body.clear();
  if (head.Header("transfer-encoding") == "chunked") return ReadChunks(body, most);
  if (const auto length = head.Header("content-length"); length.has_value()) {
    const std::optional<uint64_t> bytes = Number(*length, 10);
    return bytes.has_value() && *bytes <= kMostBytes && Take(std::min(*bytes, most), body);
  }
  if (!until_close) return true;
  while (body.size() < most && (!buffer_.empty() || Fill())) body += std::exchange(buffer_, {});
  return true;
}

bool HttpStream::ReadChunks(std::string& body, uint64_t most) {
  while (body.size() < most) {
    std::string line;
    if (!TakeLine(line)) return false;
    body += line;
    const std::optional<uint64_t> bytes = Number(line, 16);
    if (!bytes.has_value() || *bytes + body.size() > kMostBytes) return false;
    if (*bytes > 0) {
      if (!Take(*bytes + 2, body)) return false;
      continue;
    }
    do {  // trailers, and the empty line
      line.clear();
      if (!TakeLine(line)) return false;
      body += line;
    } while (line.size() > 2);
    return true;
  }
  return true;
}

bool HttpStream::Write(std::string_view bytes) {
  boost::system::error_code error;
  boost::asio::write(socket_, boost::asio::buffer(bytes.data(), bytes.size()), error);
  return !error;
}

}  // namespace thermocline::testing
