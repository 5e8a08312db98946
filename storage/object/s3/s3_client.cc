#include "storage/s3_client.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "storage/object/s3/answers.h"
#include "storage/object/s3/credentials.h"
#include "storage/object/s3/http_client.h"
#include "storage/object/s3/part_memory.h"
#include "storage/object/s3/probe.h"
#include "storage/object/s3/requests.h"
#include "storage/object/s3/s3_object.h"
#include "storage/object/s3/upload.h"

namespace thermocline::storage {
namespace {

using s3::S3Answer;
using s3::S3Request;

constexpr uint64_t kMinPartBytes = uint64_t{5} << 20;
constexpr uint64_t kMaxPartBytes = uint64_t{1} << 30;
constexpr size_t kBatch = 1000;

// What nobody but this room treats differently is a failure of the store.
absl::Status Outward(const absl::Status& status) {
  if (absl::IsUnimplemented(status) || absl::IsFailedPrecondition(status) || absl::IsCancelled(status)) {
    return absl::UnavailableError(status.message());
  }
  return status;
}

absl::Status CheckBucket(const std::string& bucket) {
  const bool characters = std::all_of(bucket.begin(), bucket.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
  });
  if (characters && bucket.size() >= 3 && bucket.size() <= 63 && bucket[0] != '.' && bucket[0] != '-') {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(fmt::format(
      "\"{}\" cannot be the name of a bucket: it has 3 to 63 of the characters a-z, 0-9, '.' and '-'",
      bucket));
}

absl::Status CheckOptions(const S3Options& options) {
  if (options.part_bytes < kMinPartBytes || options.part_bytes > kMaxPartBytes) {
    return absl::InvalidArgumentError(
        fmt::format("S3 part_bytes should be {} to {}", kMinPartBytes, kMaxPartBytes));
  }
  if (options.memory_bytes < 2 * options.part_bytes) {
    return absl::InvalidArgumentError(
        fmt::format("S3 memory_bytes should be at least two parts, {}", 2 * options.part_bytes));
  }
  if (options.parts_in_flight < 1 || options.max_connections < 1 || options.max_attempts < 1) {
    return absl::InvalidArgumentError(
        "S3 parts_in_flight, max_connections and max_attempts should be at least 1");
  }
  if (std::min({options.request_deadline, options.attempt_deadline, options.connect_deadline}).count() <= 0) {
    return absl::InvalidArgumentError("the deadlines of S3 should be longer than 0");
  }
  return absl::OkStatus();
}

}  // namespace

class S3Client::Impl {
 public:
  Impl(const S3Options& options, s3::Endpoint endpoint, std::unique_ptr<s3::HttpClient> http,
       std::unique_ptr<s3::CredentialSource> credentials)
      : http_(std::move(http)),
        credentials_(std::move(credentials)),
        memory_(options.memory_bytes),
        requests_(options, std::move(endpoint), *http_, *credentials_) {}

  ~Impl() {
    credentials_->Close();  // it fetches by http_
    http_->Close();         // what it completes uses the others
  }

  s3::Requests& requests() { return requests_; }
  const s3::Requests& requests() const { return requests_; }
  s3::UploadRegister& uploads() { return uploads_; }
  s3::UploadWorld world() { return {requests_, memory_, uploads_}; }

  S3Answer RemoveOne(const std::string& bucket, const std::string& key);
  absl::Status RemoveBatch(const std::string& bucket, std::span<const std::string> keys);
  absl::StatusOr<s3::ListAnswer> ListPage(const std::string& bucket, const std::string& prefix,
                                          const std::string& token);
  void CountsTo(S3Stats& stats) const;

 private:
  const std::unique_ptr<s3::HttpClient> http_;
  const std::unique_ptr<s3::CredentialSource> credentials_;
  s3::PartMemory memory_;
  s3::UploadRegister uploads_;
  s3::Requests requests_;
  Mutex listing_;  // one page at a time is in memory as a text and as a tree
};

S3Answer S3Client::Impl::RemoveOne(const std::string& bucket, const std::string& key) {
  S3Request request;
  request.method = "DELETE";
  request.bucket = bucket;
  request.key = key;
  S3Answer answer = requests_.Wait(std::move(request));
  if (answer.http_status == 404 && answer.code != "NoSuchBucket") answer.status = absl::OkStatus();
  return answer;
}

absl::Status S3Client::Impl::RemoveBatch(const std::string& bucket, std::span<const std::string> keys) {
  S3Request request;
  request.method = "POST";
  request.bucket = bucket;
  request.query = {{"delete", ""}};
  request.own_body = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>";
  for (const std::string& key : keys) {
    request.own_body += fmt::format("<Object><Key>{}</Key></Object>", s3::XmlEscape(key));
  }
  request.own_body += "</Delete>";
  request.headers = {{"content-md5", s3::Md5Base64(request.own_body)}};
  request.max_body_bytes = s3::kMaxAnswerBytes;
  request.may_take_long = true;
  request.accepts = [](const s3::HttpAnswer& answer) { return s3::ParseDeleted(answer.body).ok(); };
  const S3Answer answer = requests_.Wait(std::move(request));
  if (!answer.status.ok()) return answer.status;
  const std::vector<s3::DeleteFailure> failures = s3::ParseDeleted(answer.http.body).value();
  absl::Status status;
  for (const s3::DeleteFailure& failure : failures) {
    // Nothing is removed because an answer names it.
    const bool asked = std::find(keys.begin(), keys.end(), failure.key) != keys.end();
    status.Update(
        asked ? RemoveOne(bucket, failure.key).status
              : absl::UnavailableError(fmt::format(
                    "s3://{}: the store could not remove all objects, and does not say which", bucket)));
  }
  return status;
}

absl::StatusOr<s3::ListAnswer> S3Client::Impl::ListPage(const std::string& bucket, const std::string& prefix,
                                                        const std::string& token) {
  S3Request request;
  request.method = "GET";
  request.bucket = bucket;
  request.query = {{"list-type", "2"}, {"prefix", prefix}, {"encoding-type", "url"}, {"max-keys", "1000"}};
  if (!token.empty()) request.query.emplace_back("continuation-token", token);
  request.max_body_bytes = s3::kMaxAnswerBytes;
  request.accepts = [](const s3::HttpAnswer& answer) { return s3::ParseList(answer.body).ok(); };
  MutexLock lock(listing_);
  const S3Answer answer = requests_.Wait(std::move(request));
  if (!answer.status.ok()) return answer.status;
  return s3::ParseList(answer.http.body);
}

void S3Client::Impl::CountsTo(S3Stats& stats) const {
  requests_.CountsTo(stats);
  const s3::HttpCounts counts = http_->counts();
  stats.bytes_sent = counts.sent;
  stats.bytes_received = counts.received;
  stats.connections = counts.connections;
  stats.active = counts.active;
  stats.waiting = counts.waiting;
  stats.buffer_bytes = memory_.used();
  stats.buffer_waiters = memory_.waiting();
}

absl::StatusOr<std::unique_ptr<S3Client>> S3Client::Open(S3Options options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  absl::StatusOr<s3::Endpoint> endpoint = s3::Endpoint::Of(options);
  if (!endpoint.ok()) return endpoint.status();
  absl::StatusOr<std::unique_ptr<s3::HttpClient>> http =
      s3::HttpClient::Open({options.ca_file, options.max_connections, options.request_deadline});
  if (!http.ok()) return http.status();
  s3::CredentialPlaces places = s3::PlacesOfProcess(
      [&client = **http](s3::HttpRequest request) { return client.Fetch(std::move(request)); });
  places.given = options.credentials;
  places.profile = options.profile;
  auto credentials = s3::CredentialSource::Open(std::move(places));
  if (!credentials.ok()) return credentials.status();
  auto impl =
      std::make_unique<Impl>(options, *std::move(endpoint), *std::move(http), *std::move(credentials));
  return std::unique_ptr<S3Client>(new S3Client(std::move(impl)));
}

S3Client::S3Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

S3Client::~S3Client() = default;

absl::StatusOr<std::unique_ptr<Object>> S3Client::OpenObject(const std::string& bucket,
                                                             const std::string& key) {
  if (absl::Status status = CheckBucket(bucket); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<Object>> object = s3::OpenObject(impl_->requests(), bucket, key);
  if (!object.ok()) return Outward(object.status());
  return object;
}

absl::StatusOr<std::unique_ptr<ObjectWriter>> S3Client::CreateObject(const std::string& bucket,
                                                                     const std::string& key, bool replace) {
  if (absl::Status status = CheckBucket(bucket); !status.ok()) return status;
  if (key.empty() || key.size() > 1024) return absl::InvalidArgumentError("a key has 1 to 1024 bytes");
  return s3::MakeUpload(impl_->world(), bucket, key, replace);
}

uint64_t S3Client::max_object_bytes() const { return s3::MaxObjectBytes(impl_->requests().options()); }

absl::Status S3Client::Remove(const std::string& bucket, const std::string& key) {
  if (absl::Status status = CheckBucket(bucket); !status.ok()) return status;
  if (key.empty()) return absl::InvalidArgumentError("a key has 1 to 1024 bytes");
  return Outward(impl_->RemoveOne(bucket, key).status);
}

absl::Status S3Client::RemoveAll(const std::string& bucket, const std::vector<std::string>& keys) {
  if (absl::Status status = CheckBucket(bucket); !status.ok()) return status;
  absl::Status result;
  for (std::span<const std::string> left = keys; !left.empty();) {
    const std::span<const std::string> batch = left.first(std::min(kBatch, left.size()));
    left = left.subspan(batch.size());
    absl::Status status = absl::UnimplementedError("");
    if (impl_->uploads().abilities(bucket).batch_delete) status = impl_->RemoveBatch(bucket, batch);
    if (absl::IsUnimplemented(status)) {
      status = absl::OkStatus();
      for (const std::string& key : batch) status.Update(Remove(bucket, key));
    }
    result.Update(Outward(status));
  }
  return result;
}

absl::Status S3Client::List(const std::string& bucket, const std::string& prefix,
                            const std::function<bool(Listed)>& visit) {
  if (absl::Status status = CheckBucket(bucket); !status.ok()) return status;
  std::string token;
  do {
    absl::StatusOr<s3::ListAnswer> page = impl_->ListPage(bucket, prefix, token);
    if (!page.ok()) return Outward(page.status());
    for (s3::ListAnswer::Entry& entry : page->entries) {
      if (entry.key.starts_with(prefix) && !visit({std::move(entry.key), entry.bytes}))
        return absl::OkStatus();
    }
    if (page->next_token == token && !token.empty()) {
      return absl::UnavailableError(fmt::format("s3://{}: a list of {} does not go on", bucket, prefix));
    }
    token = std::move(page->next_token);
  } while (!token.empty());
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> S3Client::AbortUploadsUnder(const std::string& bucket, const std::string& prefix) {
  if (absl::Status status = CheckBucket(bucket); !status.ok()) return status;
  absl::StatusOr<uint64_t> aborted = s3::AbortUploads(
      impl_->requests(), bucket, prefix, [](const std::string&, const std::string&) { return true; });
  if (!aborted.ok()) return Outward(aborted.status());
  return aborted;
}

absl::Status S3Client::CreateBucket(const std::string& bucket) {
  if (absl::Status status = CheckBucket(bucket); !status.ok()) return status;
  const s3::Endpoint& endpoint = impl_->requests().endpoint();
  S3Request request;
  request.method = "PUT";
  request.bucket = bucket;
  if (endpoint.is_aws && endpoint.region != "us-east-1") {
    request.own_body = fmt::format(
        "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
        s3::XmlEscape(endpoint.region));
  }
  const S3Answer answer = impl_->requests().Wait(std::move(request));
  if (answer.code == "BucketAlreadyOwnedByYou") return absl::OkStatus();
  if (answer.code == "BucketAlreadyExists") {
    return absl::AlreadyExistsError(
        fmt::format("s3://{} belongs to somebody else: take another name", bucket));
  }
  return Outward(answer.status);
}

absl::StatusOr<S3Abilities> S3Client::Probe(const std::string& bucket, const std::string& prefix) {
  if (absl::Status status = CheckBucket(bucket); !status.ok()) return status;
  absl::StatusOr<S3Abilities> found = s3::ProbeStore(impl_->requests(), bucket, prefix);
  if (!found.ok())
    return absl::IsUnimplemented(found.status()) ? absl::FailedPreconditionError(found.status().message())
                                                 : found.status();
  impl_->uploads().SetAbilities(
      bucket, {true, found->conditional_put, found->conditional_complete, found->batch_delete});
  return found;
}

S3Stats S3Client::stats() const {
  S3Stats stats;
  impl_->CountsTo(stats);
  return stats;
}

}  // namespace thermocline::storage
