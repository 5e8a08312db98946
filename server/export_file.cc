#include "server/export_file.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include "fmt/format.h"

namespace thermocline::server {
namespace {

constexpr size_t kPieceBytes = 256 << 10;

std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

class ExportFile final : public storage::ObjectWriter {
 public:
  ExportFile(storage::FileSystem& files, std::string path, std::string draft, bool replace,
             absl::AnyInvocable<absl::Status()> before_publish, std::unique_ptr<storage::File> file)
      : files_(files),
        path_(std::move(path)),
        draft_(std::move(draft)),
        replace_(replace),
        before_publish_(std::move(before_publish)),
        file_(std::move(file)) {}

  ~ExportFile() override {
    file_ = nullptr;
    if (!published_) files_.Remove(draft_).IgnoreError();  // else the next start does it
  }

  absl::Status Append(std::string_view bytes) override {
    while (!bytes.empty()) {
      const std::string_view piece = bytes.substr(0, std::min(bytes.size(), kPieceBytes - buffer_.size()));
      bytes.remove_prefix(piece.size());
      buffer_ += piece;
      if (buffer_.size() < kPieceBytes) continue;
      if (absl::Status status = Flush(); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    absl::Status status = Flush();
    if (status.ok()) status = file_->Sync();
    if (status.ok()) status = files_.CreateDirectory(FolderOf(path_));
    if (status.ok() && !replace_) {
      const absl::StatusOr<bool> exists = PathExists(files_, path_);
      status = exists.status();
      if (status.ok() && *exists)
        status = absl::AlreadyExistsError(fmt::format("{} is there already", path_));
    }
    if (status.ok()) status = before_publish_();
    return status.ok() ? Publish() : status;
  }

 private:
  absl::Status Flush() {
    absl::Status status = buffer_.empty() ? absl::OkStatus() : file_->WriteAt(size_, buffer_);
    size_ += buffer_.size();
    buffer_.clear();
    return status;
  }

  // Both folders, for a crash in between may leave the file under both names, or none.
  absl::Status Publish() {
    absl::Status status = files_.Rename(draft_, path_);
    published_ = status.ok();
    if (status.ok()) status = files_.SyncDirectory(FolderOf(path_));
    if (status.ok()) status = files_.SyncDirectory(FolderOf(draft_));
    return status;
  }

  storage::FileSystem& files_;
  const std::string path_;
  const std::string draft_;
  const bool replace_;
  absl::AnyInvocable<absl::Status()> before_publish_;
  std::unique_ptr<storage::File> file_;
  std::string buffer_;
  uint64_t size_ = 0;
  bool published_ = false;
};

}  // namespace

absl::StatusOr<bool> PathExists(storage::FileSystem& files, const std::string& path) {
  const absl::Status status = files.List(path).status();
  if (status.ok()) return true;
  if (absl::IsNotFound(status)) return false;
  if (!absl::IsFailedPrecondition(status)) return status;
  // A file, or something below a file.
  const absl::StatusOr<std::unique_ptr<storage::File>> file =
      files.Open(path, storage::FileSystem::Mode::kReadDirect);
  if (file.ok()) return true;
  if (absl::IsNotFound(file.status())) return false;
  return absl::InvalidArgumentError(
      fmt::format("{} cannot be a file, for a part of it is one, or it cannot be read: {}", path,
                  std::string(file.status().message())));
}

absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> CreateExportFile(
    storage::FileSystem& files, std::string path, std::string draft, bool replace,
    absl::AnyInvocable<absl::Status()> before_publish) {
  absl::StatusOr<std::unique_ptr<storage::File>> file = files.Open(draft, storage::FileSystem::Mode::kCreate);
  if (!file.ok()) return file.status();
  return std::make_unique<ExportFile>(files, std::move(path), std::move(draft), replace,
                                      std::move(before_publish), *std::move(file));
}

}  // namespace thermocline::server
