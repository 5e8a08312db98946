#include "storage/object/s3/s3_object.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "storage/thread_annotations.h"

namespace thermocline::storage::s3 {
namespace {

struct Version {
  std::string bucket;
  std::string key;
  std::string etag;
};

// A read on its way: ranges of at most part_bytes, some of them in flight together.
class RangedRead : public std::enable_shared_from_this<RangedRead> {
 public:
  RangedRead(Requests& requests, std::shared_ptr<const Version> version, CancelFlag cancel, uint64_t offset,
             std::span<char> out, absl::AnyInvocable<void(absl::Status)> done)
      : requests_(requests),
        version_(std::move(version)),
        cancel_(std::move(cancel)),
        offset_(offset),
        left_(out),
        done_(std::move(done)) {}

  void Go() {
    if (left_.empty()) return done_(absl::OkStatus());
    for (int i = 0; i < requests_.options().parts_in_flight; ++i) {
      if (!SendNext()) return;
    }
  }

 private:
  // False if there is nothing left to send.
  bool SendNext() {
    S3Request request;
    {
      MutexLock lock(mutex_);
      if (left_.empty() || !status_.ok()) return false;
      const size_t bytes = std::min<uint64_t>(left_.size(), requests_.options().part_bytes);
      request.out = left_.first(bytes);
      request.offset = offset_;
      left_ = left_.subspan(bytes);
      offset_ += bytes;
      ++in_flight_;
    }
    request.method = "GET";
    request.bucket = version_->bucket;
    request.key = version_->key;
    request.etag = version_->etag;
    request.cancel = cancel_;
    requests_.Send(std::move(request), [self = shared_from_this()](S3Answer answer) {
      self->OnAnswer(std::move(answer.status));
    });
    return true;
  }

  void OnAnswer(absl::Status status) {
    absl::Status result;
    {
      MutexLock lock(mutex_);
      status_.Update(std::move(status));
    }
    SendNext();
    {
      MutexLock lock(mutex_);
      if (--in_flight_ > 0) return;
      result = std::move(status_);
    }
    std::exchange(done_, nullptr)(std::move(result));
  }

  Requests& requests_;
  const std::shared_ptr<const Version> version_;
  const CancelFlag cancel_;
  Mutex mutex_;
  uint64_t offset_ ABSL_GUARDED_BY(mutex_);
  std::span<char> left_ ABSL_GUARDED_BY(mutex_);
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  absl::AnyInvocable<void(absl::Status)> done_;  // by whoever takes in_flight_ to 0
};

class S3Object : public Object {
 public:
  S3Object(Requests& requests, Version version, uint64_t size)
      : requests_(requests), version_(std::make_shared<const Version>(std::move(version))), size_(size) {}

  uint64_t size() const override { return size_; }

  void Read(uint64_t offset, std::span<char> out, absl::AnyInvocable<void(absl::Status)> done) override {
    if (offset > size_ || out.size() > size_ - offset) {
      done(absl::OutOfRangeError(fmt::format("{} bytes at offset {} are beyond the end of {}, which has {}",
                                             out.size(), offset, Location(version_->bucket, version_->key),
                                             size_)));
      return;
    }
    std::make_shared<RangedRead>(requests_, version_, cancel_, offset, out, std::move(done))->Go();
  }

  void Cancel() override {
    if (!cancel_->exchange(true)) requests_.Cancel(cancel_);
  }

 private:
  Requests& requests_;
  const std::shared_ptr<const Version> version_;
  const uint64_t size_;
  const CancelFlag cancel_ = std::make_shared<std::atomic<bool>>(false);
};

bool ParseSize(const std::string& text, uint64_t& bytes) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

absl::StatusOr<ObjectHead> HeadObject(Requests& requests, const std::string& bucket, const std::string& key) {
  S3Request request;
  request.method = "HEAD";
  request.bucket = bucket;
  request.key = key;
  request.accepts = [](const HttpAnswer& answer) {
    uint64_t bytes = 0;
    return ParseSize(answer.header("content-length"), bytes);
  };
  const S3Answer answer = requests.Wait(std::move(request));
  if (absl::IsNotFound(answer.status)) {
    return absl::NotFoundError(fmt::format("{}: there is no such object", Location(bucket, key)));
  }
  if (!answer.status.ok()) return answer.status;
  ObjectHead head;
  ParseSize(answer.http.header("content-length"), head.bytes);
  head.etag = answer.http.header("etag");
  head.writer = answer.http.header(kWriterHeader);
  return head;
}

absl::StatusOr<std::unique_ptr<Object>> OpenObject(Requests& requests, const std::string& bucket,
                                                   const std::string& key) {
  absl::StatusOr<ObjectHead> head = HeadObject(requests, bucket, key);
  if (!head.ok()) return head.status();
  return std::make_unique<S3Object>(requests, Version{bucket, key, std::move(head->etag)}, head->bytes);
}

}  // namespace thermocline::storage::s3
