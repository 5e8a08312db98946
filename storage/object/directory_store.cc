#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include <fmt/format.h>

#include "storage/object_store.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {
namespace {

constexpr std::string_view kLock = "LOCK";
constexpr std::string_view kUnfinished = "UNFINISHED";
constexpr size_t kPieceBytes = 256 << 10;

absl::Status CheckName(const std::string& name) {
  if (IsObjectName(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("\"{}\" cannot be the name of an object", name));
}

absl::Status NoSuchObject(const std::string& name) {
  return absl::NotFoundError(fmt::format("there is no object {}", name));
}

// What nobody would treat differently is a failure of the store.
absl::Status StoreFailure(const absl::Status& status) {
  if (status.ok() || absl::IsResourceExhausted(status)) return status;
  return absl::UnavailableError(status.message());
}

class FileObject : public Object {
 public:
  FileObject(std::unique_ptr<File> file, uint64_t size, std::string name, DiskReads& reads)
      : file_(std::move(file)), size_(size), name_(std::move(name)), reads_(reads) {}

  uint64_t size() const override { return size_; }

  void Read(uint64_t offset, std::span<char> out, absl::AnyInvocable<void(absl::Status)> done) override {
    if (offset > size_ || out.size() > size_ - offset) {
      done(absl::OutOfRangeError(
          fmt::format("{} bytes at offset {} are beyond the end of object {}, which has {}", out.size(),
                      offset, name_, size_)));
      return;
    }
    auto completed = [this, done = std::move(done)](absl::Status status) mutable {
      if (absl::IsOutOfRange(status)) {
        done(absl::DataLossError(
            fmt::format("object {} is shorter than it was: {}", name_, std::string(status.message()))));
      } else {
        done(StoreFailure(status));
      }
    };
    reads_.Submit({file_.get(), offset, out, std::move(completed)});
  }

 private:
  const std::unique_ptr<File> file_;
  const uint64_t size_;
  const std::string name_;
  DiskReads& reads_;
};

class DirectoryStore : public ObjectStore {
 public:
  // `lock` is held as long as the store lives.
  DirectoryStore(std::string directory, std::unique_ptr<FileLock> lock, FileSystem& files, DiskReads& reads)
      : directory_(std::move(directory)), files_(files), reads_(reads), lock_(std::move(lock)) {}

  absl::StatusOr<std::unique_ptr<Object>> Open(const std::string& name) override;
  absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string& name) override;
  absl::Status Remove(const std::string& name) override;
  absl::Status List(const std::string& prefix, const std::function<bool(Listed)>& visit) override;

 private:
  class Writer;
  enum class Place { kFree, kObject, kFolder, kBelowObject };

  std::string PathOf(std::string_view name) const { return fmt::format("{}/{}", directory_, name); }
  absl::StatusOr<Place> Look(const std::string& name);
  absl::Status CheckFree(const std::string& name);
  absl::Status Publish(const std::string& draft, const std::string& name);
  absl::Status MakeFolderOf(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(publish_mutex_);
  bool IsHidden(const std::string& name) const;

  const std::string directory_;
  FileSystem& files_;
  DiskReads& reads_;
  const std::unique_ptr<FileLock> lock_;

  // Held while a file gets its name, and until that is durable.
  Mutex publish_mutex_;
  std::set<std::string> folders_ ABSL_GUARDED_BY(publish_mutex_);  // that are durable
  mutable Mutex mutex_;
  std::string publishing_ ABSL_GUARDED_BY(mutex_);  // has a file that is not durable yet
  uint64_t drafts_ ABSL_GUARDED_BY(mutex_) = 0;
};

class DirectoryStore::Writer : public ObjectWriter {
 public:
  Writer(DirectoryStore& store, std::string name, std::string draft, std::unique_ptr<File> file)
      : store_(store), name_(std::move(name)), draft_(std::move(draft)), file_(std::move(file)) {}

  ~Writer() override {
    file_.reset();
    if (!finished_) store_.files_.Remove(draft_).IgnoreError();  // else the next store does it
  }

  absl::Status Append(std::string_view bytes) override {
    while (!bytes.empty()) {
      const size_t fits = std::min(bytes.size(), kPieceBytes - buffer_.size());
      const std::string_view piece = bytes.substr(0, fits);
      bytes.remove_prefix(fits);
      if (fits == kPieceBytes) {
        if (absl::Status status = Write(piece); !status.ok()) return status;
        continue;
      }
      buffer_ += piece;
      if (buffer_.size() < kPieceBytes) continue;
      if (absl::Status status = Write(buffer_); !status.ok()) return status;
      buffer_.clear();
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    absl::Status status = buffer_.empty() ? absl::OkStatus() : Write(buffer_);
    if (status.ok()) status = StoreFailure(file_->Sync());
    if (status.ok()) status = store_.Publish(draft_, name_);
    finished_ = status.ok();
    return status;
  }

 private:
  absl::Status Write(std::string_view bytes) {
    absl::Status status = file_->WriteAt(size_, bytes);
    size_ += bytes.size();
    return StoreFailure(status);
  }

  DirectoryStore& store_;
  const std::string name_;
  const std::string draft_;
  std::unique_ptr<File> file_;
  std::string buffer_;
  uint64_t size_ = 0;  // of what was written
  bool finished_ = false;
};

absl::StatusOr<std::unique_ptr<Object>> DirectoryStore::Open(const std::string& name) {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<File>> file = files_.Open(PathOf(name), FileSystem::Mode::kReadWrite);
  if (absl::IsNotFound(file.status())) return NoSuchObject(name);
  if (!file.ok()) {
    const absl::StatusOr<Place> place = Look(name);
    if (place.ok() && *place != Place::kObject) return NoSuchObject(name);
    return StoreFailure(file.status());
  }
  // Asked after the file was opened: if it was hidden at that time, it is so now or has become durable.
  if (IsHidden(name)) return NoSuchObject(name);
  absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return StoreFailure(size.status());
  return std::make_unique<FileObject>(*std::move(file), *size, name, reads_);
}

absl::StatusOr<std::unique_ptr<ObjectWriter>> DirectoryStore::Create(const std::string& name) {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  // Finish asks again; but it would be a pity to learn it only then.
  if (absl::Status status = CheckFree(name); !status.ok()) return status;
  uint64_t number;
  {
    MutexLock lock(mutex_);
    number = drafts_++;
  }
  std::string draft = fmt::format("{}/{}", PathOf(kUnfinished), number);
  absl::StatusOr<std::unique_ptr<File>> file = files_.Open(draft, FileSystem::Mode::kCreate);
  if (!file.ok()) return StoreFailure(file.status());
  return std::make_unique<Writer>(*this, name, std::move(draft), *std::move(file));
}

absl::Status DirectoryStore::Remove(const std::string& name) {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  const absl::Status status = files_.Remove(PathOf(name));
  if (status.ok() || absl::IsNotFound(status)) return absl::OkStatus();
  const absl::StatusOr<Place> place = Look(name);
  return place.ok() && *place != Place::kObject ? absl::OkStatus() : StoreFailure(status);
}

absl::Status DirectoryStore::List(const std::string& prefix, const std::function<bool(Listed)>& visit) {
  std::vector<std::string> folders;  // with a slash at the end; the root is the empty one
  folders.push_back(prefix.substr(0, prefix.rfind('/') + 1));
  if (!folders[0].empty() && !IsObjectName(folders[0].substr(0, folders[0].size() - 1)))
    return absl::OkStatus();
  while (!folders.empty()) {
    const std::string folder = std::move(folders.back());
    folders.pop_back();
    const absl::StatusOr<std::vector<std::string>> entries = files_.List(PathOf(folder));
    if (absl::IsNotFound(entries.status()) || absl::IsFailedPrecondition(entries.status())) continue;
    if (!entries.ok()) return StoreFailure(entries.status());
    for (const std::string& entry : *entries) {
      std::string name = folder + entry;
      if (!name.starts_with(prefix) || !IsObjectName(name)) continue;
      const absl::Status below = files_.List(PathOf(name)).status();
      if (below.ok()) folders.push_back(name + "/");
      if (below.ok() || absl::IsNotFound(below)) continue;
      if (!absl::IsFailedPrecondition(below)) return StoreFailure(below);
      const absl::StatusOr<std::unique_ptr<Object>> object = Open(name);
      if (absl::IsNotFound(object.status())) continue;  // removed meanwhile, or not finished
      if (!object.ok()) return object.status();
      if (!visit({std::move(name), (*object)->size()})) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

bool DirectoryStore::IsHidden(const std::string& name) const {
  MutexLock lock(mutex_);
  return publishing_ == name;
}

absl::StatusOr<DirectoryStore::Place> DirectoryStore::Look(const std::string& name) {
  const absl::Status folder = files_.List(PathOf(name)).status();
  if (folder.ok()) return Place::kFolder;
  if (absl::IsNotFound(folder)) return Place::kFree;
  if (!absl::IsFailedPrecondition(folder)) return StoreFailure(folder);
  const size_t slash = name.rfind('/');
  if (slash == std::string::npos) return Place::kObject;
  if (files_.Open(PathOf(name), FileSystem::Mode::kReadWrite).ok()) return Place::kObject;
  const absl::Status above = files_.List(PathOf(name.substr(0, slash))).status();
  if (absl::IsFailedPrecondition(above)) return Place::kBelowObject;
  return above.ok() ? absl::StatusOr<Place>(Place::kObject) : StoreFailure(above);
}

absl::Status DirectoryStore::CheckFree(const std::string& name) {
  const absl::StatusOr<Place> place = Look(name);
  if (!place.ok()) return place.status();
  switch (*place) {
    case Place::kFree:
      return absl::OkStatus();
    case Place::kObject:
      return absl::AlreadyExistsError(fmt::format("there is an object {}", name));
    case Place::kFolder:
      return absl::InvalidArgumentError(fmt::format("{} is a folder of objects", name));
    case Place::kBelowObject:
      break;
  }
  return absl::InvalidArgumentError(fmt::format("a folder of {} is an object", name));
}

// Gives a file that was synced its name. If that fails, it tries to leave no file of that name.
absl::Status DirectoryStore::Publish(const std::string& draft, const std::string& name) {
  MutexLock publish_lock(publish_mutex_);
  if (absl::Status status = CheckFree(name); !status.ok()) return status;
  if (absl::Status status = MakeFolderOf(name); !status.ok()) return status;
  {
    MutexLock lock(mutex_);
    publishing_ = name;
  }
  const std::string path = PathOf(name);
  absl::Status status = files_.Rename(draft, path);
  if (status.ok()) status = files_.SyncDirectory(path.substr(0, path.rfind('/')));
  if (!status.ok()) files_.Remove(path).IgnoreError();
  {
    MutexLock lock(mutex_);
    publishing_.clear();
  }
  return StoreFailure(status);
}

absl::Status DirectoryStore::MakeFolderOf(const std::string& name) {
  const size_t slash = name.rfind('/');
  if (slash == std::string::npos || folders_.contains(name.substr(0, slash))) return absl::OkStatus();
  const std::string folder = name.substr(0, slash);
  if (absl::Status status = files_.CreateDirectory(PathOf(folder)); !status.ok()) return StoreFailure(status);
  // A process that was killed may have made a folder and not synced it.
  for (std::string above = folder; !above.empty();) {
    above.resize(above.find('/') == std::string::npos ? 0 : above.rfind('/'));
    const std::string path = above.empty() ? directory_ : PathOf(above);
    if (absl::Status status = files_.SyncDirectory(path); !status.ok()) return StoreFailure(status);
  }
  folders_.insert(folder);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ObjectStore>> OpenDirectoryStore(const std::string& directory,
                                                                FileSystem& files, DiskReads& reads) {
  if (absl::Status status = files.CreateDirectory(directory); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<FileLock>> lock = files.Lock(fmt::format("{}/{}", directory, kLock));
  if (!lock.ok()) return lock.status();
  const std::string unfinished = fmt::format("{}/{}", directory, kUnfinished);
  if (absl::Status status = files.CreateDirectory(unfinished); !status.ok()) return status;
  const absl::StatusOr<std::vector<std::string>> drafts = files.List(unfinished);
  if (!drafts.ok()) return drafts.status();
  for (const std::string& draft : *drafts) {
    if (absl::Status status = files.Remove(unfinished + "/" + draft); !status.ok()) return status;
  }
  return std::make_unique<DirectoryStore>(directory, *std::move(lock), files, reads);
}

}  // namespace thermocline::storage
