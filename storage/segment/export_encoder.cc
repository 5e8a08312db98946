#include "storage/segment/export_encoder.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "fmt/format.h"
#include <openssl/evp.h>

#include "storage/segment/kernels.h"

namespace thermocline::storage::segment {
namespace {

constexpr size_t kBufferBytes = 256 << 10;
constexpr size_t kIdsAtOnce = 1024;
constexpr size_t kListedIds = kContainerIds + 8;
static_assert(kBufferBytes + kListedIds * sizeof(uint64_t) <= ExportEncoder::kMemoryBytes);
static_assert(IdFileWriter::kMemoryBytes <= ExportEncoder::kMemoryBytes);

// The order of bytes in a packed object is the memory's.
static_assert(std::endian::native == std::endian::little);

struct DigestDeleter {
  void operator()(EVP_MD_CTX* digest) const { EVP_MD_CTX_free(digest); }
};

}  // namespace

// Passes an object's bytes on, counted and hashed.
class ExportEncoder::Hashing final : public ObjectWriter {
 public:
  Hashing(std::unique_ptr<ObjectWriter> object, ExportEncoder& encoder)
      : object_(std::move(object)), encoder_(encoder), digest_(EVP_MD_CTX_new()) {
    usable_ = digest_ != nullptr && EVP_DigestInit_ex(digest_.get(), EVP_sha256(), nullptr) == 1;
  }

  absl::Status Append(std::string_view bytes) override {
    if (!usable_ || EVP_DigestUpdate(digest_.get(), bytes.data(), bytes.size()) != 1) return NoDigest();
    if (absl::Status status = object_->Append(bytes); !status.ok()) return status;
    encoder_.bytes_.fetch_add(bytes.size(), std::memory_order_relaxed);
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!usable_ || EVP_DigestFinal_ex(digest_.get(), hash, &size) != 1) return NoDigest();
    for (unsigned i = 0; i < size; ++i) encoder_.sha256_ += fmt::format("{:02x}", hash[i]);
    return object_->Finish();
  }

 private:
  static absl::Status NoDigest() {
    return absl::InternalError("OpenSSL cannot compute SHA-256 here: look at the OpenSSL configuration");
  }

  const std::unique_ptr<ObjectWriter> object_;
  ExportEncoder& encoder_;
  const std::unique_ptr<EVP_MD_CTX, DigestDeleter> digest_;
  bool usable_ = false;
};

ExportEncoder::ExportEncoder(std::unique_ptr<ObjectWriter> object, SegmentExportFormat format)
    : format_(format), object_(std::make_unique<Hashing>(std::move(object), *this)) {
  if (format_ == SegmentExportFormat::kIdFile) {
    id_file_ = std::make_unique<IdFileWriter>(std::move(object_), 0);
  } else {
    listed_ = std::make_unique_for_overwrite<uint64_t[]>(kListedIds);
  }
  if (format_ == SegmentExportFormat::kLines) buffer_ = std::make_unique_for_overwrite<char[]>(kBufferBytes);
}

ExportEncoder::~ExportEncoder() = default;

absl::Status ExportEncoder::Add(const IdPage& page) {
  if (!page.ids.empty()) {
    Note(page.ids.front(), page.ids.back(), page.ids.size());
    if (absl::Status status = AddIds(page.ids); !status.ok()) return status;
  }
  for (const IdPage::Bitmap& bitmap : page.bitmaps) {
    const uint64_t* const words = page.words.data() + bitmap.words_at;
    if (absl::Status status = AddBitmap(bitmap, words); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void ExportEncoder::Note(uint64_t first, uint64_t last, uint64_t count) {
  if (ids_ == 0) first_ = first;
  last_ = last;
  ids_ += count;
}

absl::Status ExportEncoder::AddIds(std::span<const uint64_t> ids) {
  if (format_ == SegmentExportFormat::kIdFile) return id_file_->Add(ids);
  if (format_ == SegmentExportFormat::kLines) return AddLines(ids);
  return object_->Append({reinterpret_cast<const char*>(ids.data()), ids.size_bytes()});
}

absl::Status ExportEncoder::AddBitmap(const IdPage::Bitmap& bitmap, const uint64_t* words) {
  Part part;
  part.kind = Part::Kind::kBitmap;
  part.count = bitmap.count;
  part.first = LowestId(words, bitmap.first);
  part.last = HighestId(words, bitmap.first);
  part.words = words;
  Note(part.first, part.last, part.count);
  if (format_ == SegmentExportFormat::kIdFile) return id_file_->Add(part);
  return AddIds({listed_.get(), ListWords(words, bitmap.first, listed_.get())});
}

absl::Status ExportEncoder::AddLines(std::span<const uint64_t> ids) {
  while (!ids.empty()) {
    const auto some = ids.first(std::min(ids.size(), kIdsAtOnce));
    ids = ids.subspan(some.size());
    if (buffered_ + some.size() * IdLines::kMaxLineBytes + IdLines::kSlackBytes > kBufferBytes) {
      if (absl::Status status = Flush(); !status.ok()) return status;
    }
    buffered_ = static_cast<size_t>(lines_.Write(some, buffer_.get() + buffered_) - buffer_.get());
  }
  return absl::OkStatus();
}

absl::Status ExportEncoder::Flush() { return object_->Append({buffer_.get(), std::exchange(buffered_, 0)}); }

absl::StatusOr<SegmentExportResult> ExportEncoder::Finish() {
  absl::Status status;
  if (format_ == SegmentExportFormat::kIdFile) {
    status = id_file_->Finish().status();
  } else {
    if (buffered_ > 0) status = Flush();
    if (status.ok()) status = object_->Finish();
  }
  if (!status.ok()) return status;
  SegmentExportResult result;
  result.ids = ids_;
  result.bytes = bytes();
  result.sha256 = sha256_;
  result.first = first_;
  result.last = last_;
  return result;
}

}  // namespace thermocline::storage::segment
