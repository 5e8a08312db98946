#include "storage/byte_stream.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include <fmt/format.h>

#include "storage/thread_annotations.h"

namespace thermocline::storage {
namespace {

// The page cache must not hold more of a new file than the disk writes in a moment, or the sync at the end is
// a long wait, and everybody's.
constexpr uint64_t kSyncBytes = 128 << 20;
constexpr int kNames = 1000;

class DescriptorReader : public ByteReader {
 public:
  DescriptorReader(int descriptor, bool owned, std::string name)
      : descriptor_(descriptor), owned_(owned), name_(std::move(name)) {
    struct stat info {};
    if (fstat(descriptor_, &info) == 0 && S_ISREG(info.st_mode)) size_ = static_cast<uint64_t>(info.st_size);
  }
  ~DescriptorReader() override {
    if (owned_) close(descriptor_);
  }

  absl::StatusOr<size_t> Read(std::span<char> out) override {
    for (;;) {
      const ssize_t count = read(descriptor_, out.data(), out.size());
      if (count >= 0) return static_cast<size_t>(count);
      if (errno != EINTR) return absl::ErrnoToStatus(errno, "cannot read " + name_);
    }
  }

  std::optional<uint64_t> size() const override { return size_; }

 private:
  const int descriptor_;
  const bool owned_;
  const std::string name_;
  std::optional<uint64_t> size_;
};

class DescriptorWriter : public ObjectWriter {
 public:
  DescriptorWriter(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)) {}

  absl::Status Append(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t count = write(descriptor_, bytes.data(), bytes.size());
      if (count >= 0) {
        bytes.remove_prefix(static_cast<size_t>(count));
      } else if (errno == EPIPE) {
        return absl::CancelledError(fmt::format("nobody reads {} any more", name_));
      } else if (errno == ENOSPC) {
        return absl::ResourceExhaustedError(fmt::format("cannot write to {}: no space is left", name_));
      } else if (errno != EINTR) {
        return absl::UnavailableError(fmt::format("cannot write to {}: {}", name_, std::strerror(errno)));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  const int descriptor_;
  const std::string name_;
};

class FileWriter : public ObjectWriter {
 public:
  FileWriter(FileSystem& files, std::string path, std::string draft, std::unique_ptr<File> file)
      : files_(files), path_(std::move(path)), draft_(std::move(draft)), file_(std::move(file)) {}

  ~FileWriter() override {
    file_.reset();
    if (!finished_) files_.Remove(draft_).IgnoreError();
  }

  absl::Status Append(std::string_view bytes) override {
    if (absl::Status status = file_->WriteAt(size_, bytes); !status.ok()) return status;
    size_ += bytes.size();
    if (size_ - synced_ < kSyncBytes) return absl::OkStatus();
    synced_ = size_;
    return file_->Sync();
  }

  absl::Status Finish() override {
    absl::Status status = file_->Sync();
    if (status.ok()) status = files_.Rename(draft_, path_);
    if (!status.ok()) return status;
    finished_ = true;
    const size_t slash = path_.rfind('/');
    return files_.SyncDirectory(slash == std::string::npos ? "." : slash == 0 ? "/" : path_.substr(0, slash));
  }

 private:
  FileSystem& files_;
  const std::string path_;
  const std::string draft_;
  std::unique_ptr<File> file_;
  uint64_t size_ = 0;
  uint64_t synced_ = 0;
  bool finished_ = false;
};

class ObjectReader : public ByteReader {
 public:
  ObjectReader(std::unique_ptr<Object> object, size_t piece_bytes, size_t pieces)
      : object_(std::move(object)), piece_bytes_(piece_bytes) {
    for (size_t i = 0; i < pieces && next_offset_ < object_->size(); ++i) {
      pieces_.push_back(std::make_unique<Piece>());
      Start(*pieces_.back());
    }
  }

  ~ObjectReader() override {
    object_->Cancel();
    for (const auto& piece : pieces_) Await(*piece).IgnoreError();
  }

  absl::StatusOr<size_t> Read(std::span<char> out) override {
    if (pieces_.empty()) return 0;
    Piece& piece = *pieces_.front();
    if (absl::Status status = Await(piece); !status.ok()) return status;
    const size_t count = std::min(out.size(), piece.bytes.size() - piece.taken);
    std::memcpy(out.data(), piece.bytes.data() + piece.taken, count);
    piece.taken += count;
    if (piece.taken == piece.bytes.size()) Recycle();
    return count;
  }

  std::optional<uint64_t> size() const override { return object_->size(); }
  void Cancel() override { object_->Cancel(); }

 private:
  struct Piece {
    std::vector<char> bytes;
    size_t taken = 0;
    Mutex mutex;
    CondVar completed;
    bool done ABSL_GUARDED_BY(mutex) = false;
    absl::Status status ABSL_GUARDED_BY(mutex);
  };

  void Start(Piece& piece) {
    piece.bytes.resize(std::min<uint64_t>(piece_bytes_, object_->size() - next_offset_));
    piece.taken = 0;
    {
      MutexLock lock(piece.mutex);
      piece.done = false;
    }
    const uint64_t offset = std::exchange(next_offset_, next_offset_ + piece.bytes.size());
    object_->Read(offset, piece.bytes, [&piece](absl::Status status) {
      MutexLock lock(piece.mutex);
      piece.status = std::move(status);
      piece.done = true;
      piece.completed.NotifyAll();
    });
  }

  static absl::Status Await(Piece& piece) {
    MutexLock lock(piece.mutex);
    while (!piece.done) piece.completed.Wait(piece.mutex);
    return piece.status;
  }

  void Recycle() {
    std::unique_ptr<Piece> piece = std::move(pieces_.front());
    pieces_.pop_front();
    if (next_offset_ == object_->size()) return;
    Start(*piece);
    pieces_.push_back(std::move(piece));
  }

  const std::unique_ptr<Object> object_;
  const size_t piece_bytes_;
  uint64_t next_offset_ = 0;
  std::deque<std::unique_ptr<Piece>> pieces_;  // in the order of the object
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteReader>> OpenFileReader(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, "cannot open " + path);
  struct stat info {};
  if (fstat(descriptor, &info) == 0 && S_ISDIR(info.st_mode)) {
    close(descriptor);
    return absl::FailedPreconditionError(path + " is a directory; name a file in it");
  }
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL);
  return std::make_unique<DescriptorReader>(descriptor, true, path);
}

std::unique_ptr<ByteReader> NewDescriptorReader(int descriptor, std::string name) {
  return std::make_unique<DescriptorReader>(descriptor, false, std::move(name));
}

std::unique_ptr<ByteReader> NewObjectReader(std::unique_ptr<Object> object, size_t piece_bytes,
                                            size_t pieces) {
  return std::make_unique<ObjectReader>(std::move(object), piece_bytes, pieces);
}

absl::StatusOr<std::unique_ptr<ObjectWriter>> CreateFileWriter(FileSystem& files, const std::string& path) {
  absl::Status last;
  for (int i = 0; i < kNames; ++i) {
    std::string draft = fmt::format("{}.unfinished-{}", path, i);
    absl::StatusOr<std::unique_ptr<File>> file = files.Open(draft, FileSystem::Mode::kCreate);
    if (file.ok()) return std::make_unique<FileWriter>(files, path, std::move(draft), *std::move(file));
    if (!absl::IsAlreadyExists(file.status())) return file.status();
    last = file.status();
  }
  return absl::ResourceExhaustedError(fmt::format(
      "there are {} unfinished files beside {}; remove those that nobody writes any more", kNames, path));
}

std::unique_ptr<ObjectWriter> NewDescriptorWriter(int descriptor, std::string name) {
  return std::make_unique<DescriptorWriter>(descriptor, std::move(name));
}

}  // namespace thermocline::storage
