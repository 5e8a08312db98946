#include "storage/segment/catalog_rows.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"

namespace thermocline::storage::segment {
namespace {

constexpr char kFormat = 1;

void Put(std::string& row, uint64_t number) {
  for (; number >= 0x80; number >>= 7) row.push_back(static_cast<char>(number | 0x80));
  row.push_back(static_cast<char>(number));
}

void Put(std::string& row, std::string_view text) {
  Put(row, text.size());
  row += text;
}

void Put(std::string& row, const FileEntry& file) {
  for (const uint64_t each : {file.number, file.count, file.blocks, file.bytes}) Put(row, each);
}

class Reader {
 public:
  explicit Reader(std::string_view row) : rest_(row) {}

  absl::Status Begin() {
    if (rest_.empty()) return Damaged();
    const char format = rest_.front();
    rest_.remove_prefix(1);
    if (format == kFormat) return absl::OkStatus();
    return absl::FailedPreconditionError(
        "the catalog of segments was written by a later version of the server: use that one");
  }

  uint64_t Number() {
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      number |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return number;
    }
    good_ = false;
    return 0;
  }

  std::string Text() {
    const uint64_t bytes = Number();
    if (bytes > rest_.size()) good_ = false;
    if (!good_) return "";
    std::string text(rest_.substr(0, bytes));
    rest_.remove_prefix(bytes);
    return text;
  }

  FileEntry File() {
    FileEntry file;
    for (uint64_t* const each : {&file.number, &file.count, &file.blocks, &file.bytes}) *each = Number();
    return file;
  }

  // How many elements a list has, each of at least one byte.
  uint64_t Length() {
    const uint64_t length = Number();
    if (length > rest_.size()) good_ = false;
    return good_ ? length : 0;
  }

  absl::Status End() const { return good_ && rest_.empty() ? absl::OkStatus() : Damaged(); }

 private:
  static absl::Status Damaged() {
    return absl::DataLossError("the catalog of segments is damaged: restore its directory from a backup");
  }

  std::string_view rest_;
  bool good_ = true;
};

}  // namespace

std::string EncodeSegment(const SegmentEntry& entry) {
  std::string row(1, kFormat);
  for (const uint64_t each : {entry.id, entry.version, entry.created_at_ms, entry.changed_at_ms})
    Put(row, each);
  Put(row, entry.layers.size());
  for (const Layer& layer : entry.layers) {
    Put(row, layer.recent);
    Put(row, layer.adds);
    Put(row, layer.removes);
    Put(row, layer.min_adds);
  }
  return row;
}

absl::StatusOr<SegmentEntry> DecodeSegment(std::string_view row) {
  Reader reader(row);
  if (absl::Status status = reader.Begin(); !status.ok()) return status;
  SegmentEntry entry;
  for (uint64_t* const each : {&entry.id, &entry.version, &entry.created_at_ms, &entry.changed_at_ms})
    *each = reader.Number();
  entry.layers.resize(reader.Length());
  for (Layer& layer : entry.layers) {
    layer.recent = reader.Number();
    layer.adds = reader.File();
    layer.removes = reader.File();
    layer.min_adds = reader.Number();
  }
  if (absl::Status status = reader.End(); !status.ok()) return status;
  return entry;
}

std::string EncodeResult(const ResultEntry& entry) {
  std::string row(1, kFormat);
  Put(row, entry.key);
  Put(row, entry.count);
  Put(row, entry.file);
  Put(row, entry.expires_at_ms);
  Put(row, entry.segments.size());
  for (const uint64_t id : entry.segments) Put(row, id);
  return row;
}

absl::StatusOr<ResultEntry> DecodeResult(std::string_view row) {
  Reader reader(row);
  if (absl::Status status = reader.Begin(); !status.ok()) return status;
  ResultEntry entry;
  entry.key = reader.Text();
  entry.count = reader.Number();
  entry.file = reader.File();
  entry.expires_at_ms = reader.Number();
  entry.segments.resize(reader.Length());
  for (uint64_t& id : entry.segments) id = reader.Number();
  if (absl::Status status = reader.End(); !status.ok()) return status;
  return entry;
}

SegmentEntry::Bounds SegmentEntry::Count() const {
  Bounds bounds;
  for (const Layer& layer : layers) {
    const uint64_t removed = std::min(bounds.min, layer.removes.count);
    bounds.min = std::max(bounds.min - removed, layer.min_adds);
    // The sum of what is in all layers cannot be more than there are ids.
    if (__builtin_add_overflow(bounds.max, layer.adds.count, &bounds.max)) bounds.max = UINT64_MAX;
  }
  return bounds;
}

uint64_t SegmentEntry::RecentChanges() const {
  uint64_t changes = 0;
  for (const Layer& layer : layers) {
    if (layer.recent != 0) changes += layer.adds.count + layer.removes.count;
  }
  return changes;
}

}  // namespace thermocline::storage::segment
