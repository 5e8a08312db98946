#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"
#include "storage/segment/id_file.h"
#include "storage/segment/id_lines.h"
#include "storage/segments.h"

namespace thermocline::storage::segment {

// Writes pages of ids into one object, in one of the formats, and hashes what it writes. For one thread at a
// time, but for bytes().
class ExportEncoder {
 public:
  // What it allocates at most, beside what the object's writer does.
  static constexpr size_t kMemoryBytes = 832 << 10;

  ExportEncoder(std::unique_ptr<ObjectWriter> object, SegmentExportFormat format);
  // Leaves nothing of the object, unless Finish has returned OK.
  ~ExportEncoder();

  // The ids of the page are greater than all before. May wait for the store. Errors as ObjectWriter.
  absl::Status Add(const IdPage& page);

  // Finishes the object; all but `normalized` is filled in. Nothing may follow but the destructor.
  absl::StatusOr<SegmentExportResult> Finish();

  // Of the object, so far.
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  class Hashing;

  absl::Status AddIds(std::span<const uint64_t> ids);
  absl::Status AddBitmap(const IdPage::Bitmap& bitmap, const uint64_t* words);
  absl::Status AddLines(std::span<const uint64_t> ids);
  absl::Status Flush();
  void Note(uint64_t first, uint64_t last, uint64_t count);

  const SegmentExportFormat format_;
  std::atomic<uint64_t> bytes_{0};
  std::string sha256_;  // when it is finished
  uint64_t ids_ = 0;
  uint64_t first_ = 0;
  uint64_t last_ = 0;

  std::unique_ptr<ObjectWriter> object_;   // of kLines and kPacked
  std::unique_ptr<IdFileWriter> id_file_;  // of kIdFile; has the object
  IdLines lines_;
  std::unique_ptr<char[]> buffer_;  // of kLines: kBufferBytes
  size_t buffered_ = 0;
  std::unique_ptr<uint64_t[]> listed_;  // of kLines and kPacked: the ids of a bitmap
};

}  // namespace thermocline::storage::segment
