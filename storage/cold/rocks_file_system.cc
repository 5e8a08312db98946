#include "storage/cold/rocks_file_system.h"

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace thermocline::storage {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

IOStatus ToRocks(const absl::Status& status) {
  if (status.ok()) return IOStatus::OK();
  const std::string message(status.message());
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return IOStatus::PathNotFound(message);
    case absl::StatusCode::kResourceExhausted:
      return IOStatus::NoSpace(message);
    case absl::StatusCode::kFailedPrecondition:
      return IOStatus::Busy(message);
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kOutOfRange:  // a file that is shorter than it was
      return IOStatus::Corruption(message);
    default:
      return IOStatus::IOError(message);
  }
}

IOStatus Unsupported(std::string_view what) { return IOStatus::NotSupported(std::string(what)); }

// Reads up to `bytes` of a file that ends at `size`.
IOStatus ReadUpTo(File& file, uint64_t size, uint64_t offset, size_t bytes, char* memory, Slice* read) {
  const size_t wanted = std::min<uint64_t>(bytes, size - std::min(size, offset));
  const absl::Status status = wanted == 0 ? absl::OkStatus() : file.ReadAt(offset, std::span(memory, wanted));
  *read = Slice(memory, status.ok() ? wanted : 0);
  return ToRocks(status);
}

class SequentialFile : public rocksdb::FSSequentialFile {
 public:
  SequentialFile(std::unique_ptr<File> file, uint64_t size) : file_(std::move(file)), size_(size) {}

  IOStatus Read(size_t bytes, const IOOptions&, Slice* read, char* memory, IODebugContext*) override {
    IOStatus status = ReadUpTo(*file_, size_, offset_, bytes, memory, read);
    offset_ += read->size();
    return status;
  }

  IOStatus Skip(uint64_t bytes) override {
    offset_ += bytes;
    return IOStatus::OK();
  }

 private:
  const std::unique_ptr<File> file_;
  const uint64_t size_;
  uint64_t offset_ = 0;
};

class RandomAccessFile : public rocksdb::FSRandomAccessFile {
 public:
  RandomAccessFile(std::unique_ptr<File> file, uint64_t size, bool direct)
      : file_(std::move(file)), size_(size), direct_(direct) {}

  IOStatus Read(uint64_t offset, size_t bytes, const IOOptions&, Slice* read, char* memory,
                IODebugContext*) const override {
    return ReadUpTo(*file_, size_, offset, bytes, memory, read);
  }

  // RocksDB then reads aligned ranges into aligned memory; without, each read would be copied once more.
  bool use_direct_io() const override { return direct_; }

 private:
  const std::unique_ptr<File> file_;
  const uint64_t size_;  // RocksDB reads no file at random before it is complete
  const bool direct_;
};

struct HeldLock : rocksdb::FileLock {
  explicit HeldLock(std::unique_ptr<storage::FileLock> held_lock) : held(std::move(held_lock)) {}
  std::unique_ptr<storage::FileLock> held;
};

}  // namespace

// RocksDB gathers what it appends (writable_file_max_buffer_size), so an Append is worth a write.
class RocksFileSystem::WritableFile : public rocksdb::FSWritableFile {
 public:
  WritableFile(RocksFileSystem& files, std::string_view path, std::unique_ptr<File> file, uint64_t size)
      : files_(files), name_(path.substr(path.rfind('/') + 1)), file_(std::move(file)), size_(size) {}

  using FSWritableFile::Append;
  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    const std::string_view bytes(data.data(), data.size());
    IOStatus status = files_.Make(Finality::kUnlessFull, [&] { return file_->WriteAt(size_, bytes); });
    if (!status.ok()) return status;
    size_ += bytes.size();
    if (IsManifest()) files_.horizon_->Append(name_, bytes);
    return status;
  }

  IOStatus Truncate(uint64_t bytes, const IOOptions&, IODebugContext*) override {
    IOStatus status = files_.Make(Finality::kUnlessFull, [&] { return file_->Truncate(bytes); });
    if (status.ok()) size_ = bytes;
    return status;
  }

  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    return files_.Make(Finality::kAlways, [&] {
      absl::Status status = file_->Sync();
      return status.ok() && IsManifest() ? files_.horizon_->Advance() : status;
    });
  }

  bool IsSyncThreadSafe() const override { return true; }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return size_; }

 private:
  bool IsManifest() const { return name_.starts_with(cold::ManifestHorizon::kManifestPrefix); }

  RocksFileSystem& files_;
  const std::string name_;
  const std::unique_ptr<File> file_;
  uint64_t size_;
};

class RocksFileSystem::Directory : public rocksdb::FSDirectory {
 public:
  Directory(RocksFileSystem& files, std::string path) : files_(files), path_(std::move(path)) {}

  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    return files_.Make(Finality::kAlways, [&] { return files_.files_.SyncDirectory(path_); });
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  RocksFileSystem& files_;
  const std::string path_;
};

absl::Status RocksFileSystem::write_status() const {
  MutexLock lock(mutex_);
  return write_status_;
}

template <typename Change>
IOStatus RocksFileSystem::Make(Finality finality, Change change) {
  if (absl::Status frozen = write_status(); !frozen.ok()) return ToRocks(frozen);
  absl::Status status = change();
  const bool may_recur = absl::IsNotFound(status) || absl::IsAlreadyExists(status) ||
                         absl::IsFailedPrecondition(status) || absl::IsResourceExhausted(status);
  if (status.ok() || (finality == Finality::kUnlessFull && may_recur)) return ToRocks(status);
  MutexLock lock(mutex_);
  if (write_status_.ok()) write_status_ = absl::UnavailableError(status.message());
  return ToRocks(write_status_);
}

IOStatus RocksFileSystem::NewSequentialFile(const std::string& path, const FileOptions&,
                                            std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                            IODebugContext*) {
  // Through the page cache: manifests are read once, in small steps.
  absl::StatusOr<std::unique_ptr<File>> opened = files_.Open(path, storage::FileSystem::Mode::kReadWrite);
  if (!opened.ok()) return ToRocks(opened.status());
  const absl::StatusOr<uint64_t> size = (*opened)->Size();
  if (!size.ok()) return ToRocks(size.status());
  *file = std::make_unique<SequentialFile>(*std::move(opened), *size);
  return IOStatus::OK();
}

IOStatus RocksFileSystem::NewRandomAccessFile(const std::string& path, const FileOptions& options,
                                              std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                              IODebugContext*) {
  const bool direct = options.use_direct_reads;
  absl::StatusOr<std::unique_ptr<File>> opened = files_.Open(
      path, direct ? storage::FileSystem::Mode::kReadDirect : storage::FileSystem::Mode::kReadWrite);
  if (!opened.ok()) return ToRocks(opened.status());
  const absl::StatusOr<uint64_t> size = (*opened)->Size();
  if (!size.ok()) return ToRocks(size.status());
  *file = std::make_unique<RandomAccessFile>(*std::move(opened), *size, direct);
  return IOStatus::OK();
}

IOStatus RocksFileSystem::NewWritableFile(const std::string& path, const FileOptions&,
                                          std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext*) {
  std::unique_ptr<File> created;
  const IOStatus status = Make(Finality::kUnlessFull, [&]() -> absl::Status {
    absl::StatusOr<std::unique_ptr<File>> opened = files_.Open(path, storage::FileSystem::Mode::kCreate);
    if (absl::IsAlreadyExists(opened.status())) {  // left by a crash; RocksDB wants it replaced
      if (absl::Status removed = files_.Remove(path); !removed.ok()) return removed;
      opened = files_.Open(path, storage::FileSystem::Mode::kCreate);
    }
    if (opened.ok()) created = *std::move(opened);
    return opened.status();
  });
  if (status.ok()) *file = std::make_unique<WritableFile>(*this, path, std::move(created), 0);
  return status;
}

IOStatus RocksFileSystem::ReopenWritableFile(const std::string& path, const FileOptions&,
                                             std::unique_ptr<rocksdb::FSWritableFile>* file,
                                             IODebugContext*) {
  absl::StatusOr<std::unique_ptr<File>> opened = files_.Open(path, storage::FileSystem::Mode::kReadWrite);
  if (!opened.ok()) return ToRocks(opened.status());
  const absl::StatusOr<uint64_t> size = (*opened)->Size();
  if (!size.ok()) return ToRocks(size.status());
  *file = std::make_unique<WritableFile>(*this, path, *std::move(opened), *size);
  return IOStatus::OK();
}

IOStatus RocksFileSystem::NewDirectory(const std::string& path, const IOOptions&,
                                       std::unique_ptr<rocksdb::FSDirectory>* directory, IODebugContext*) {
  *directory = std::make_unique<Directory>(*this, path);
  return IOStatus::OK();
}

IOStatus RocksFileSystem::FileExists(const std::string& path, const IOOptions&, IODebugContext*) {
  const absl::Status status = files_.Open(path, storage::FileSystem::Mode::kReadDirect).status();
  // A file that is not there is an answer here, no failure: hence not the code of other calls.
  return absl::IsNotFound(status) ? IOStatus::NotFound(path) : ToRocks(status);
}

IOStatus RocksFileSystem::GetChildren(const std::string& path, const IOOptions&,
                                      std::vector<std::string>* names, IODebugContext*) {
  absl::StatusOr<std::vector<std::string>> listed = files_.List(path);
  if (listed.ok()) *names = *std::move(listed);
  return ToRocks(listed.status());
}

IOStatus RocksFileSystem::DeleteFile(const std::string& path, const IOOptions&, IODebugContext*) {
  return Make(Finality::kUnlessFull, [&] { return files_.Remove(path); });
}

IOStatus RocksFileSystem::CreateDir(const std::string& path, const IOOptions&, IODebugContext*) {
  return Make(Finality::kUnlessFull, [&] { return files_.CreateDirectory(path); });
}

IOStatus RocksFileSystem::CreateDirIfMissing(const std::string& path, const IOOptions& options,
                                             IODebugContext* debug) {
  return CreateDir(path, options, debug);
}

IOStatus RocksFileSystem::DeleteDir(const std::string&, const IOOptions&, IODebugContext*) {
  return Unsupported("removing directories");
}

IOStatus RocksFileSystem::GetFileSize(const std::string& path, const IOOptions&, uint64_t* bytes,
                                      IODebugContext*) {
  absl::StatusOr<std::unique_ptr<File>> opened = files_.Open(path, storage::FileSystem::Mode::kReadDirect);
  if (!opened.ok()) return ToRocks(opened.status());
  const absl::StatusOr<uint64_t> size = (*opened)->Size();
  if (size.ok()) *bytes = *size;
  return ToRocks(size.status());
}

IOStatus RocksFileSystem::GetFileModificationTime(const std::string&, const IOOptions&, uint64_t*,
                                                  IODebugContext*) {
  return Unsupported("modification times");
}

IOStatus RocksFileSystem::RenameFile(const std::string& from, const std::string& to, const IOOptions&,
                                     IODebugContext*) {
  return Make(Finality::kUnlessFull, [&] { return files_.Rename(from, to); });
}

IOStatus RocksFileSystem::LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                                   IODebugContext* debug) {
  return RenameFile(from, to, options, debug);
}

IOStatus RocksFileSystem::LockFile(const std::string& path, const IOOptions&, rocksdb::FileLock** lock,
                                   IODebugContext*) {
  absl::StatusOr<std::unique_ptr<storage::FileLock>> held = files_.Lock(path);
  if (!held.ok()) return ToRocks(held.status());
  absl::StatusOr<std::unique_ptr<cold::ManifestHorizon>> horizon =
      cold::ManifestHorizon::Open(files_, path.substr(0, path.rfind('/')));
  if (!horizon.ok()) return ToRocks(horizon.status());
  horizon_ = *std::move(horizon);
  *lock = new HeldLock(*std::move(held));  // owned by RocksDB until UnlockFile
  return IOStatus::OK();
}

IOStatus RocksFileSystem::UnlockFile(rocksdb::FileLock* lock, const IOOptions&, IODebugContext*) {
  horizon_.reset();
  delete static_cast<HeldLock*>(lock);
  return IOStatus::OK();
}

IOStatus RocksFileSystem::GetTestDirectory(const IOOptions&, std::string*, IODebugContext*) {
  return Unsupported("a directory for tests");
}

IOStatus RocksFileSystem::GetAbsolutePath(const std::string& path, const IOOptions&, std::string* absolute,
                                          IODebugContext*) {
  *absolute = path;
  return IOStatus::OK();
}

IOStatus RocksFileSystem::IsDirectory(const std::string&, const IOOptions&, bool*, IODebugContext*) {
  return Unsupported("telling directories from files");
}

}  // namespace thermocline::storage
