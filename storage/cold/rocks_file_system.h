#pragma once

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include <rocksdb/file_system.h>

#include "storage/cold/manifest_horizon.h"
#include "storage/file_system.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// RocksDB's view of a FileSystem, which must outlive it. Thread-safe.
//
// A failed sync freezes it, as does a write that failed for another reason than a full disk: from then on
// everything that would change the disk is refused with that first failure. What the disk holds then is what
// a crash at that moment would have left, which is what RocksDB can recover from; what it would do otherwise
// (delete files that a manifest of unknown fate may name) is not.
//
// Of each manifest it remembers what is synced, and cuts off the rest when RocksDB locks the database:
// see manifest_horizon.h.
//
// Not everything RocksDB could ask for is there, only what ColdStore makes it ask for: no memory maps, no
// files written at random, no modification times. LinkFile renames: its one caller, ingestion, drops the old
// name right after. One database.
class RocksFileSystem : public rocksdb::FileSystem {
 public:
  explicit RocksFileSystem(storage::FileSystem& files) : files_(files) {}

  const char* Name() const override { return "thermocline"; }

  // OK, or the failure that froze it.
  absl::Status write_status() const;

  rocksdb::IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* file,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus FileExists(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus GetChildren(const std::string& path, const rocksdb::IOOptions& options,
                                std::vector<std::string>* names, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus CreateDir(const std::string& path, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus CreateDirIfMissing(const std::string& path, const rocksdb::IOOptions& options,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteDir(const std::string& path, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus GetFileSize(const std::string& path, const rocksdb::IOOptions& options, uint64_t* bytes,
                                rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus GetFileModificationTime(const std::string& path, const rocksdb::IOOptions& options,
                                            uint64_t* time, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus LinkFile(const std::string& from, const std::string& to,
                             const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus LockFile(const std::string& path, const rocksdb::IOOptions& options,
                             rocksdb::FileLock** lock, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus UnlockFile(rocksdb::FileLock* lock, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus GetTestDirectory(const rocksdb::IOOptions& options, std::string* path,
                                     rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus GetAbsolutePath(const std::string& path, const rocksdb::IOOptions& options,
                                    std::string* absolute, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus IsDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                bool* is_directory, rocksdb::IODebugContext* debug) override;

 private:
  class WritableFile;
  class Directory;

  // Makes one change of the disk unless frozen. What fails for want of space may be tried again; a sync
  // never.
  enum class Finality { kUnlessFull, kAlways };
  template <typename Change>
  rocksdb::IOStatus Make(Finality finality, Change change);

  storage::FileSystem& files_;
  // While the database is locked. RocksDB writes one manifest at a time.
  std::unique_ptr<cold::ManifestHorizon> horizon_;
  mutable Mutex mutex_;
  absl::Status write_status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::storage
