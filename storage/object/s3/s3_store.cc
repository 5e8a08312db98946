#include <future>
#include <utility>

#include <fmt/format.h>

#include "storage/object_store.h"
#include "storage/s3_client.h"

namespace thermocline::storage {
namespace {

// No prefix has capitals, so nothing of a store at another prefix, above or below, can have such keys.
constexpr char kOwner[] = "OWNER";
constexpr char kObjects[] = "OBJECTS/";
constexpr char kProbes[] = "PROBE-";
constexpr uint64_t kMaxOwnerBytes = 4096;
constexpr size_t kMaxPrefixBytes = 512;
constexpr size_t kMaxKeyBytes = 1024;  // S3's

class S3Store : public ObjectStore {
 public:
  S3Store(S3Client& client, std::string bucket, std::string prefix)
      : client_(client), bucket_(std::move(bucket)), prefix_(std::move(prefix)) {}

  absl::StatusOr<std::unique_ptr<Object>> Open(const std::string& name) override {
    if (absl::Status status = CheckName(name); !status.ok()) return status;
    return client_.OpenObject(bucket_, prefix_ + name);
  }

  absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string& name) override {
    if (absl::Status status = CheckName(name); !status.ok()) return status;
    return client_.CreateObject(bucket_, prefix_ + name);
  }

  absl::Status Remove(const std::string& name) override {
    if (absl::Status status = CheckName(name); !status.ok()) return status;
    return client_.Remove(bucket_, prefix_ + name);
  }

  absl::Status List(const std::string& prefix, const std::function<bool(Listed)>& visit) override {
    return client_.List(bucket_, prefix_ + prefix, [&](S3Client::Listed listed) {
      std::string name = listed.key.substr(prefix_.size());
      return !IsObjectName(name) || visit({std::move(name), listed.bytes});
    });
  }

 private:
  absl::Status CheckName(const std::string& name) const {
    if (!IsObjectName(name)) {
      return absl::InvalidArgumentError(fmt::format("\"{}\" cannot be the name of an object", name));
    }
    if (prefix_.size() + name.size() <= kMaxKeyBytes) return absl::OkStatus();
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" and the prefix {} are longer than S3's {} bytes", name, prefix_, kMaxKeyBytes));
  }

  S3Client& client_;
  const std::string bucket_;
  const std::string prefix_;
};

absl::StatusOr<std::string> ReadOwner(S3Client& client, const std::string& bucket, const std::string& key) {
  absl::StatusOr<std::unique_ptr<Object>> object = client.OpenObject(bucket, key);
  if (!object.ok()) return object.status();
  if ((*object)->size() == 0) return std::string();
  std::string owner(std::min((*object)->size(), kMaxOwnerBytes), 0);
  auto read = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> done = read->get_future();
  (*object)->Read(0, std::span(owner), [read](absl::Status status) { read->set_value(std::move(status)); });
  if (absl::Status status = done.get(); !status.ok()) return status;
  return owner;
}

// Makes it ours if it is nobody's. It is read again in any case: a store may not know conditions.
absl::Status Own(S3Client& client, const std::string& bucket, const std::string& key,
                 const std::string& owner) {
  absl::StatusOr<std::string> found = ReadOwner(client, bucket, key);
  if (absl::IsNotFound(found.status())) {
    absl::StatusOr<std::unique_ptr<ObjectWriter>> writer = client.CreateObject(bucket, key);
    if (!writer.ok()) return writer.status();
    if (absl::Status status = (*writer)->Append(owner); !status.ok()) return status;
    const absl::Status status = (*writer)->Finish();
    if (!status.ok() && !absl::IsAlreadyExists(status)) return status;
    found = ReadOwner(client, bucket, key);
  }
  if (!found.ok()) return found.status();
  if (*found == owner) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "s3://{}/{} says that another store ({}) owns this place, and this one is {}: take another bucket or "
      "prefix, or, if the other one is gone for good, remove that object",
      bucket, key, *found, owner));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ObjectStore>> OpenS3Store(S3Client& client, const std::string& bucket,
                                                         std::string prefix, const std::string& owner) {
  if (!prefix.empty() && prefix.back() != '/') prefix += '/';
  if (!prefix.empty() &&
      (!IsObjectName(prefix.substr(0, prefix.size() - 1)) || prefix.size() > kMaxPrefixBytes)) {
    return absl::InvalidArgumentError(fmt::format(
        "the prefix \"{}\" should be up to {} of the characters a-z, 0-9, '.', '_' and '-', with '/' between "
        "parts that do not begin with '.'",
        prefix, kMaxPrefixBytes));
  }
  if (owner.empty() || owner.size() > kMaxOwnerBytes) {
    return absl::InvalidArgumentError(
        fmt::format("the owner of a store has a name of 1 to {} bytes", kMaxOwnerBytes));
  }
  const absl::StatusOr<S3Abilities> abilities = client.Probe(bucket, prefix);
  if (!abilities.ok()) return abilities.status();
  if (absl::Status status = Own(client, bucket, prefix + kOwner, owner); !status.ok()) return status;
  for (const char* uploads : {kObjects, kProbes}) {
    if (!abilities->lists_uploads) break;
    const absl::StatusOr<uint64_t> aborted = client.AbortUploadsUnder(bucket, prefix + uploads);
    if (!aborted.ok()) return aborted.status();
  }
  return std::make_unique<S3Store>(client, bucket, prefix + kObjects);
}

}  // namespace thermocline::storage
