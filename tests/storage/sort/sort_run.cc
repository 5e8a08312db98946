#include "tests/storage/sort/sort_run.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <gtest/gtest.h>

namespace thermocline::testing {

absl::StatusOr<size_t> TextReader::Read(std::span<char> out) {
  const size_t count = std::min({out.size(), piece_bytes_, text_.size()});
  std::memcpy(out.data(), text_.data(), count);
  text_.remove_prefix(count);
  return count;
}

absl::Status TextWriter::Append(std::string_view bytes) {
  if (text_.size() + bytes.size() > fail_after_) return failure_;
  text_ += bytes;
  return absl::OkStatus();
}

absl::Status TextWriter::Finish() {
  finished_ = true;
  return absl::OkStatus();
}

void TextWriter::FailAfter(size_t bytes, absl::Status status) {
  fail_after_ = bytes;
  failure_ = std::move(status);
}

SortRun::SortRun() {
  auto store = storage::OpenDirectoryStore("/runs", disk, reads_);
  EXPECT_TRUE(store.ok()) << store.status();
  store_ = *std::move(store);
}

absl::StatusOr<std::string> SortRun::Sort(std::string_view input, const storage::SortOptions& options,
                                          size_t piece_bytes) {
  TextReader reader(input, piece_bytes);
  TextWriter text;
  TextWriter& writer = output != nullptr ? *output : text;
  absl::StatusOr<storage::SortSummary> sorted =
      storage::SortRecords(reader, writer, *store_, options, progress);
  for (const std::string& path : disk.Paths()) EXPECT_EQ(path, "/runs/LOCK") << "is left of the sort";
  EXPECT_EQ(writer.finished(), sorted.ok());
  if (!sorted.ok()) return sorted.status();
  summary = *std::move(sorted);
  EXPECT_EQ(summary.bytes, writer.text().size());
  return writer.text();
}

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace thermocline::testing
