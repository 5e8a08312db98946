#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "storage/object/s3/part_memory.h"
#include "storage/object/s3/requests.h"
#include "storage/object_store.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::s3 {

// What the uploads of one client know of each other. Thread-safe.
class UploadRegister {
 public:
  // One at a time looks whether an object is there, and then writes it.
  class NameLock {
   public:
    NameLock(UploadRegister& uploads, std::string location);
    ~NameLock();
    NameLock(const NameLock&) = delete;
    NameLock& operator=(const NameLock&) = delete;

   private:
    UploadRegister& uploads_;
    const std::string location_;
  };

  // Multipart uploads that somebody here still writes: those that begin, by location, and those that have an
  // id.
  void Begin(const std::string& location);
  void Began(const std::string& location, const std::string& upload_id);  // empty: it has failed
  void End(const std::string& upload_id);
  // False as well while one of this location begins: any could be its.
  bool IsAbandoned(const std::string& location, const std::string& upload_id) const;

  struct Abilities {
    bool probed = false;
    bool conditional_put = false;
    bool conditional_complete = false;
    bool batch_delete = true;
  };
  Abilities abilities(const std::string& bucket) const;
  void SetAbilities(const std::string& bucket, const Abilities& abilities);

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  std::set<std::string> locked_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> beginning_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> ids_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Abilities> abilities_ ABSL_GUARDED_BY(mutex_);
};

// What an upload works with; all must outlive it.
struct UploadWorld {
  Requests& requests;
  PartMemory& memory;
  UploadRegister& uploads;
};

inline constexpr size_t kMaxParts = 10'000;
// Of part `number`, from 1.
uint64_t PartBytes(const S3Options& options, size_t number);
uint64_t MaxObjectBytes(const S3Options& options);

std::unique_ptr<ObjectWriter> MakeUpload(UploadWorld world, std::string bucket, std::string key,
                                         bool replace);

// Goes on trying for an hour while nobody waits; returns when it is done, or after some seconds.
void AbortUpload(Requests& requests, const std::string& bucket, const std::string& key,
                 const std::string& upload_id);
// Uploads below the prefix for which `wanted` says so; returns how many were aborted.
absl::StatusOr<uint64_t> AbortUploads(
    Requests& requests, const std::string& bucket, const std::string& prefix,
    const std::function<bool(const std::string& key, const std::string& id)>& wanted);

}  // namespace thermocline::storage::s3
