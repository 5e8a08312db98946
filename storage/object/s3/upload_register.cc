#include <chrono>
#include <functional>
#include <future>
#include <utility>

#include "storage/object/s3/answers.h"
#include "storage/object/s3/upload.h"

namespace thermocline::storage::s3 {
namespace {

constexpr std::chrono::seconds kAwaitAbort{5};
constexpr std::chrono::hours kAbortDeadline{1};
constexpr int kAbortAttempts = 1000;

S3Request AbortRequest(const std::string& bucket, const std::string& key, const std::string& upload_id) {
  S3Request request;
  request.method = "DELETE";
  request.bucket = bucket;
  request.key = key;
  request.query = {{"uploadId", upload_id}};
  return request;
}

}  // namespace

void AbortUpload(Requests& requests, const std::string& bucket, const std::string& key,
                 const std::string& upload_id) {
  S3Request request = AbortRequest(bucket, key, upload_id);
  request.deadline = kAbortDeadline;
  request.max_attempts = kAbortAttempts;
  auto done = std::make_shared<std::promise<void>>();
  std::future<void> future = done->get_future();
  requests.Send(std::move(request), [done](S3Answer) { done->set_value(); });
  future.wait_for(kAwaitAbort);
}

absl::StatusOr<uint64_t> AbortUploads(
    Requests& requests, const std::string& bucket, const std::string& prefix,
    const std::function<bool(const std::string& key, const std::string& id)>& wanted) {
  uint64_t aborted = 0;
  UploadsAnswer page;
  do {
    S3Request request;
    request.method = "GET";
    request.bucket = bucket;
    request.query = {{"uploads", ""}, {"prefix", prefix}, {"encoding-type", "url"}, {"max-uploads", "1000"}};
    if (!page.next_key.empty()) {
      request.query.emplace_back("key-marker", page.next_key);
      request.query.emplace_back("upload-id-marker", page.next_upload_id);
    }
    request.max_body_bytes = kMaxAnswerBytes;
    request.accepts = [](const HttpAnswer& answer) { return ParseUploads(answer.body).ok(); };
    const S3Answer answer = requests.Wait(std::move(request));
    if (!answer.status.ok()) return answer.status;
    page = ParseUploads(answer.http.body).value();
    for (const UploadsAnswer::Entry& upload : page.entries) {
      // Whatever a store lists: nothing outside the prefix.
      if (!upload.key.starts_with(prefix) || !wanted(upload.key, upload.upload_id)) continue;
      const S3Answer gone = requests.Wait(AbortRequest(bucket, upload.key, upload.upload_id));
      if (!gone.status.ok() && !absl::IsNotFound(gone.status)) return gone.status;
      ++aborted;
    }
  } while (!page.next_key.empty());
  return aborted;
}

UploadRegister::NameLock::NameLock(UploadRegister& uploads, std::string location)
    : uploads_(uploads), location_(std::move(location)) {
  MutexLock lock(uploads_.mutex_);
  while (!uploads_.locked_.insert(location_).second) uploads_.changed_.Wait(uploads_.mutex_);
}

UploadRegister::NameLock::~NameLock() {
  MutexLock lock(uploads_.mutex_);
  uploads_.locked_.erase(location_);
  uploads_.changed_.NotifyAll();
}

void UploadRegister::Begin(const std::string& location) {
  MutexLock lock(mutex_);
  ++beginning_[location];
}

void UploadRegister::Began(const std::string& location, const std::string& upload_id) {
  MutexLock lock(mutex_);
  if (--beginning_[location] == 0) beginning_.erase(location);
  if (!upload_id.empty()) ids_.insert(upload_id);
}

void UploadRegister::End(const std::string& upload_id) {
  MutexLock lock(mutex_);
  ids_.erase(upload_id);
}

bool UploadRegister::IsAbandoned(const std::string& location, const std::string& upload_id) const {
  MutexLock lock(mutex_);
  return !beginning_.contains(location) && !ids_.contains(upload_id);
}

UploadRegister::Abilities UploadRegister::abilities(const std::string& bucket) const {
  MutexLock lock(mutex_);
  const auto found = abilities_.find(bucket);
  return found == abilities_.end() ? Abilities() : found->second;
}

void UploadRegister::SetAbilities(const std::string& bucket, const Abilities& abilities) {
  MutexLock lock(mutex_);
  abilities_[bucket] = abilities;
}

}  // namespace thermocline::storage::s3
