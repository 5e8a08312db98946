#include "storage/sort/record_cutter.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "storage/sort/pages.h"
#include "storage/sort/record_text.h"

namespace thermocline::storage::sort {
namespace {

constexpr size_t kReadBytes = 1 << 20;
constexpr size_t kBreakBytes = 2;
constexpr size_t kNone = std::string_view::npos;

}  // namespace

RecordCutter::RecordCutter(ByteReader& input, RecordFormat format, size_t max_record_bytes,
                           std::function<bool(size_t)> read)
    : input_(input), format_(format), max_record_bytes_(max_record_bytes), read_(std::move(read)) {}

absl::StatusOr<std::string> RecordCutter::TakeHeader() {
  if (format_ != RecordFormat::kCsv) return "";
  const Pages pages(2 * max_record_bytes_ + kBreakBytes);
  const absl::StatusOr<Piece> piece = Fill(pages.span());
  if (!piece.ok()) return piece.status();
  const std::string_view text(pages.data(), piece->bytes);
  const size_t length = RecordLength(format_, text);
  if (length == kNone) return "";
  std::string header(text.substr(0, length));
  carry_.insert(0, text.substr(length));
  line_ = 1 + static_cast<uint64_t>(std::count(header.begin(), header.end(), '\n'));
  return header;
}

absl::Status RecordCutter::EndlessRecord() const {
  return absl::InvalidArgumentError(fmt::format("line {}: {}", line_, TooLong(format_, max_record_bytes_)));
}

absl::StatusOr<RecordCutter::Piece> RecordCutter::Fill(std::span<char> out) {
  Filling filling;
  const uint64_t first_line = line_;
  const size_t room = out.size() - kBreakBytes;
  filling.filled = std::min(carry_.size(), room);
  std::memcpy(out.data(), carry_.data(), filling.filled);
  carry_.erase(0, filling.filled);
  Scan(out, 0, filling);
  while (carry_.empty() && !ended_ && filling.filled < room) {
    if (absl::Status status = ReadSome(out.first(room), filling); !status.ok()) return status;
    if (filling.filled - filling.whole > max_record_bytes_) return EndlessRecord();
  }
  if (filling.filled - filling.whole > max_record_bytes_) return EndlessRecord();
  if (ended_ && carry_.empty()) {
    if (absl::Status status = End(out, filling); !status.ok()) return status;
  }
  carry_.insert(0, out.data() + filling.whole, filling.filled - filling.whole);
  return Piece{filling.whole, first_line};
}

absl::Status RecordCutter::ReadSome(std::span<char> out, Filling& filling) {
  const size_t before = filling.filled;
  const absl::StatusOr<size_t> count =
      input_.Read(out.subspan(before, std::min(out.size() - before, kReadBytes)));
  if (!count.ok()) return count.status();
  if (!read_(*count)) return absl::CancelledError("cancelled");
  ended_ = *count == 0;
  filling.filled += *count;
  Scan(out, before, filling);
  return absl::OkStatus();
}

// Looks for the ends of records in what is new since `scanned`.
void RecordCutter::Scan(std::span<char> out, size_t scanned, Filling& filling) {
  if (at_start_ && filling.filled >= kByteOrderMark.size()) {
    at_start_ = false;
    if (format_ == RecordFormat::kNdjson && std::string_view(out.data(), 3) == kByteOrderMark) {
      filling.filled -= kByteOrderMark.size();
      std::memmove(out.data(), out.data() + kByteOrderMark.size(), filling.filled);
      scanned = 0;
    }
  }
  const size_t before = filling.whole;
  if (format_ == RecordFormat::kCsv) {
    while (true) {
      const size_t length =
          RecordLength(format_, {out.data() + filling.whole, filling.filled - filling.whole});
      if (length == kNone) break;
      filling.whole += length;
    }
  } else {
    const void* const last =
        scanned < filling.filled ? memrchr(out.data() + scanned, '\n', filling.filled - scanned) : nullptr;
    if (last != nullptr) filling.whole = static_cast<size_t>(static_cast<const char*>(last) - out.data()) + 1;
  }
  if (line_ == 1 && filling.whole > 0) {
    const std::string_view text(out.data(), filling.whole);
    two_byte_breaks_ = text[text.find('\n') - (text[0] == '\n' ? 0 : 1)] == '\r';
  }
  line_ += static_cast<uint64_t>(std::count(out.data() + before, out.data() + filling.whole, '\n'));
}

// What is left behind the last line break is a record, too.
absl::Status RecordCutter::End(std::span<char> out, Filling& filling) {
  if (filling.whole == filling.filled) return absl::OkStatus();
  if (two_byte_breaks_) out[filling.filled++] = '\r';
  out[filling.filled++] = '\n';
  const size_t whole = filling.whole;
  Scan(out, whole, filling);
  if (filling.whole == filling.filled) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("line {}: a quote is never closed, and the record has no end", line_));
}

}  // namespace thermocline::storage::sort
