#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"
#include "storage/object_store.h"
#include "storage/segments.h"

namespace thermocline::server {

// The objects of a store like S3. May wait for the store; errors name s3://bucket/key.
struct BucketObjects {
  std::function<absl::StatusOr<bool>(const std::string& bucket, const std::string& key)> exists;
  // As storage::ObjectStore::Create; with `replace`, whatever has the key is replaced.
  std::function<absl::StatusOr<std::unique_ptr<storage::ObjectWriter>>(const std::string& bucket,
                                                                       const std::string& key, bool replace)>
      create;
  // OK if there is none.
  std::function<absl::Status(const std::string& bucket, const std::string& key)> remove;
};

// Where exports may go: below the URLs that the operator has named, and nowhere else. Thread-safe.
//
//   file:///folder/name    a file of this machine. Folders are made where they are missing. Links are
//   followed. s3://bucket/name       an object of the store that the server speaks to
//
// No part between slashes is empty or begins with a dot, and there is neither '%', '?', '#' nor a control
// character: so one place has one URL, and none leads out of what is allowed.
class ExportTargets {
 public:
  // `allowed`: URLs of folders, buckets, or what keys begin with. Folders are made; what a crash has
  // left unfinished there is removed, unless it belongs to another server that runs. `buckets` is nullptr
  // where there is no such store. Both must outlive it and all that it has made.
  //   INVALID_ARGUMENT: such a URL is not possible. Others as FileSystem.
  static absl::StatusOr<std::unique_ptr<ExportTargets>> Open(const std::vector<std::string>& allowed,
                                                             storage::FileSystem& files,
                                                             const BucketObjects* buckets);
  ~ExportTargets();

  // OK, or INVALID_ARGUMENT: Open would not take it.
  static absl::Status CheckAllowed(std::string_view url);

  // What begins the two objects of an export: `url` and `url`.manifest.json; may outlive this object. It
  // waits for the store, and says ALREADY_EXISTS if one of them is there, unless it is to be replaced; then
  // the old manifest goes before the new object comes.
  //   INVALID_ARGUMENT   not a URL of these kinds
  //   PERMISSION_DENIED  not allowed; the message says what is
  //   UNIMPLEMENTED      no such store
  absl::StatusOr<storage::Segments::CreateObject> Resolve(const std::string& url, bool replace) const;

 private:
  struct Folder;
  struct Bucket;
  ExportTargets();

  static absl::Status CheckUrl(std::string_view url);
  absl::Status Refusal(std::string_view url) const;

  std::vector<std::string> allowed_;  // for messages
  std::vector<std::shared_ptr<const Folder>> folders_;
  std::vector<Bucket> buckets_;
  const BucketObjects* objects_ = nullptr;
};

}  // namespace thermocline::server
