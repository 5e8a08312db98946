#include "storage/object/s3/upload.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "storage/object/s3/answers.h"
#include "storage/object/s3/s3_object.h"

namespace thermocline::storage::s3 {
namespace {

constexpr size_t kSmallBytes = 64 << 10;
constexpr size_t kPartsOfASize = 1000;
constexpr uint64_t kMaxPartBytes = uint64_t{4} << 30;
constexpr uint64_t kMaxObjectBytes = uint64_t{5} << 40;

class Upload : public ObjectWriter {
 public:
  Upload(UploadWorld world, std::string bucket, std::string key, bool replace)
      : world_(world),
        bucket_(std::move(bucket)),
        key_(std::move(key)),
        location_(Location(bucket_, key_)),
        replace_(replace),
        writer_(fmt::format("{:016x}{:016x}", world.requests.RandomNumber(), world.requests.RandomNumber())) {
  }

  ~Upload() override;

  absl::Status Append(std::string_view bytes) override;
  absl::Status Finish() override;

 private:
  absl::Status TakeBuffer();
  absl::Status SendPart();
  absl::Status BeginParts();
  absl::Status AwaitParts(int most);
  void OnPart(size_t number, std::unique_ptr<PartMemory::Buffer> buffer, S3Answer answer);

  absl::Status Publish(bool whole);
  absl::Status CheckFree(bool can_condition);
  S3Request WholeRequest() const;
  S3Request CompleteRequest();
  absl::Status Decide(const S3Answer& answer);

  const UploadWorld world_;
  const std::string bucket_;
  const std::string key_;
  const std::string location_;
  const bool replace_;
  const std::string writer_;  // tells our object from others of its name
  const CancelFlag cancel_ = std::make_shared<std::atomic<bool>>(false);

  std::string small_;  // until it is larger than kSmallBytes
  std::unique_ptr<PartMemory::Buffer> buffer_;
  uint64_t size_ = 0;
  size_t parts_ = 0;  // sent
  std::string upload_id_;
  bool may_have_another_ = false;  // an upload whose id never arrived
  bool finished_ = false;

  Mutex mutex_;
  CondVar arrived_;
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> etags_ ABSL_GUARDED_BY(mutex_);
};

Upload::~Upload() {
  if (!finished_) world_.requests.Cancel(cancel_);
  {
    MutexLock lock(mutex_);
    while (in_flight_ > 0) arrived_.Wait(mutex_);
  }
  buffer_.reset();
  if (!upload_id_.empty()) {
    if (!finished_) AbortUpload(world_.requests, bucket_, key_, upload_id_);
    world_.uploads.End(upload_id_);
  }
  if (!may_have_another_) return;
  AbortUploads(world_.requests, bucket_, key_,
               [this](const std::string& key, const std::string& id) {
                 return key == key_ && world_.uploads.IsAbandoned(location_, id);
               })
      .status()
      .IgnoreError();  // else the next sweep does it
}

absl::Status Upload::Append(std::string_view bytes) {
  const uint64_t most = MaxObjectBytes(world_.requests.options());
  if (bytes.size() > most - size_) {
    return absl::ResourceExhaustedError(fmt::format(
        "{}: an upload with these limits has at most {} bytes; allow larger parts, or more memory for S3",
        location_, most));
  }
  size_ += bytes.size();
  if (buffer_ == nullptr && parts_ == 0 && small_.size() + bytes.size() <= kSmallBytes) {
    small_ += bytes;
    return absl::OkStatus();
  }
  while (!bytes.empty()) {
    if (buffer_ != nullptr && buffer_->is_full()) {
      if (absl::Status status = SendPart(); !status.ok()) return status;
    }
    if (buffer_ == nullptr) {
      if (absl::Status status = TakeBuffer(); !status.ok()) return status;
    }
    bytes.remove_prefix(buffer_->Append(bytes));
  }
  return absl::OkStatus();
}

// If there is none at once, waits for memory of its own parts; in line with others only when it holds none.
absl::Status Upload::TakeBuffer() {
  const size_t bytes = PartBytes(world_.requests.options(), parts_ + 1);
  int in_flight = 0;
  do {
    buffer_ = world_.memory.TryTake(bytes);
    if (buffer_ != nullptr) break;
    {
      MutexLock lock(mutex_);
      in_flight = in_flight_;
    }
    if (in_flight == 0) break;
    if (absl::Status status = AwaitParts(in_flight - 1); !status.ok()) return status;
  } while (true);
  if (buffer_ == nullptr) {
    auto taken = world_.memory.Take(bytes, world_.requests.options().memory_patience);
    if (!taken.ok()) {
      return absl::Status(taken.status().code(),
                          fmt::format("{}: {}", location_, std::string(taken.status().message())));
    }
    buffer_ = *std::move(taken);
  }
  buffer_->Append(small_);
  std::string().swap(small_);
  return absl::OkStatus();
}

absl::Status Upload::SendPart() {
  if (upload_id_.empty()) {
    if (absl::Status status = BeginParts(); !status.ok()) return status;
  }
  if (absl::Status status = AwaitParts(world_.requests.options().parts_in_flight - 1); !status.ok())
    return status;
  const size_t number = ++parts_;
  {
    MutexLock lock(mutex_);
    ++in_flight_;
    etags_.emplace_back();
  }
  S3Request request;
  request.method = "PUT";
  request.bucket = bucket_;
  request.key = key_;
  request.query = {{"partNumber", fmt::format("{}", number)}, {"uploadId", upload_id_}};
  request.body = buffer_->bytes();
  request.payload_hash = Sha256Hex(request.body);
  request.cancel = cancel_;
  request.accepts = [](const HttpAnswer& answer) { return !answer.header("etag").empty(); };
  world_.requests.Send(std::move(request),
                       [this, number, buffer = std::exchange(buffer_, nullptr)](S3Answer answer) mutable {
                         OnPart(number, std::move(buffer), std::move(answer));
                       });
  return absl::OkStatus();
}

void Upload::OnPart(size_t number, std::unique_ptr<PartMemory::Buffer> buffer, S3Answer answer) {
  buffer.reset();
  MutexLock lock(mutex_);
  status_.Update(std::move(answer.status));
  etags_[number - 1] = answer.http.header("etag");
  --in_flight_;
  arrived_.NotifyAll();
}

absl::Status Upload::BeginParts() {
  S3Request request;
  request.method = "POST";
  request.bucket = bucket_;
  request.key = key_;
  request.query = {{"uploads", ""}};
  request.headers = {{kWriterHeader, writer_}};
  request.accepts = [](const HttpAnswer& answer) { return ParseUploadId(answer.body).ok(); };
  world_.uploads.Begin(location_);
  const S3Answer answer = world_.requests.Wait(std::move(request));
  may_have_another_ = answer.is_ambiguous;  // or if libcurl has sent it twice: the next start sweeps that
  if (answer.status.ok()) upload_id_ = ParseUploadId(answer.http.body).value();
  world_.uploads.Began(location_, upload_id_);
  return answer.status;
}

// Until at most so many are in flight.
absl::Status Upload::AwaitParts(int most) {
  MutexLock lock(mutex_);
  while (in_flight_ > most && status_.ok()) arrived_.Wait(mutex_);
  return status_;
}

absl::Status Upload::Finish() {
  const bool whole = upload_id_.empty();
  if (!whole) {
    if (absl::Status status = SendPart(); !status.ok()) return status;
    if (absl::Status status = AwaitParts(0); !status.ok()) return status;
  }
  const absl::Status status = Publish(whole);
  finished_ = status.ok();
  return status;
}

absl::Status Upload::Publish(bool whole) {
  if (replace_) return Decide(world_.requests.Wait(whole ? WholeRequest() : CompleteRequest()));
  const UploadRegister::NameLock lock(world_.uploads, location_);
  const UploadRegister::Abilities abilities = world_.uploads.abilities(bucket_);
  const bool can_condition = whole ? abilities.conditional_put : abilities.conditional_complete;
  if (absl::Status status = CheckFree(can_condition); !status.ok()) return status;
  S3Request request = whole ? WholeRequest() : CompleteRequest();
  // Before a probe it is worth trying; some stores refuse what they do not know.
  const bool conditional = can_condition || !abilities.probed;
  if (conditional) request.headers.emplace_back("if-none-match", "*");
  const S3Answer answer = world_.requests.Wait(std::move(request));
  if (!conditional || !absl::IsUnimplemented(answer.status)) return Decide(answer);
  return Decide(world_.requests.Wait(whole ? WholeRequest() : CompleteRequest()));
}

absl::Status Upload::CheckFree(bool can_condition) {
  if (can_condition) return absl::OkStatus();
  const absl::Status head = HeadObject(world_.requests, bucket_, key_).status();
  if (head.ok()) return absl::AlreadyExistsError(fmt::format("{}: there is such an object", location_));
  return absl::IsNotFound(head) ? absl::OkStatus() : head;
}

S3Request Upload::WholeRequest() const {
  S3Request request;
  request.method = "PUT";
  request.bucket = bucket_;
  request.key = key_;
  request.headers = {{kWriterHeader, writer_}};
  request.body = buffer_ != nullptr ? buffer_->bytes() : std::string_view(small_);
  return request;
}

S3Request Upload::CompleteRequest() {
  S3Request request;
  request.method = "POST";
  request.bucket = bucket_;
  request.key = key_;
  request.query = {{"uploadId", upload_id_}};
  request.own_body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  {
    MutexLock lock(mutex_);
    for (size_t i = 0; i < etags_.size(); ++i) {
      request.own_body +=
          fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", i + 1, XmlEscape(etags_[i]));
    }
  }
  request.own_body += "</CompleteMultipartUpload>";
  request.may_take_long = true;
  request.accepts = [](const HttpAnswer& answer) { return ParseCompleted(answer.body).ok(); };
  return request;
}

// An attempt may have done its work although its answer got lost, and the next one then met that: what counts
// is which object is there.
absl::Status Upload::Decide(const S3Answer& answer) {
  if (answer.status.ok()) return absl::OkStatus();
  const bool is_taken = answer.http_status == 412 || answer.http_status == 409;
  const bool is_over = answer.http_status == 404 && !upload_id_.empty();  // the upload, perhaps as it should
  if (!is_taken && !is_over && !answer.is_ambiguous) return answer.status;
  const absl::Status taken = absl::AlreadyExistsError(fmt::format("{}: there is such an object", location_));
  const absl::StatusOr<ObjectHead> head = HeadObject(world_.requests, bucket_, key_);
  if (head.ok() && head->writer == writer_ && head->bytes == size_) return absl::OkStatus();
  if (head.ok() && !replace_) return taken;
  // There was one, which somebody has removed since.
  if (is_taken && absl::IsNotFound(head.status()) && !replace_) return taken;
  if (!answer.is_ambiguous && !is_taken) return answer.status;
  return absl::UnavailableError(std::string(answer.status.message()));
}

}  // namespace

std::unique_ptr<ObjectWriter> MakeUpload(UploadWorld world, std::string bucket, std::string key,
                                         bool replace) {
  return std::make_unique<Upload>(world, std::move(bucket), std::move(key), replace);
}

uint64_t PartBytes(const S3Options& options, size_t number) {
  const uint64_t most = std::max(options.part_bytes, std::min(options.memory_bytes / 4, kMaxPartBytes));
  const size_t doublings = (number - 1) / kPartsOfASize;
  return std::min(options.part_bytes << doublings, most);
}

uint64_t MaxObjectBytes(const S3Options& options) {
  uint64_t bytes = 0;
  for (size_t number = 1; number <= kMaxParts; number += kPartsOfASize)
    bytes += PartBytes(options, number) * kPartsOfASize;
  return std::min(bytes, kMaxObjectBytes);
}

}  // namespace thermocline::storage::s3
