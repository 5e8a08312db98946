#include "storage/object/s3/probe.h"

#include <utility>

#include <fmt/format.h>

#include "storage/object/s3/answers.h"

namespace thermocline::storage::s3 {
namespace {

constexpr std::string_view kContent = "0123456789";

class Prober {
 public:
  Prober(Requests& requests, const std::string& bucket, const std::string& prefix)
      : requests_(requests),
        bucket_(bucket),
        key_(fmt::format("{}PROBE-{:016x}", prefix, requests.RandomNumber())) {}

  absl::StatusOr<S3Abilities> Run() {
    absl::Status status = TryPut();
    if (status.ok()) status = TryRead();
    if (status.ok()) status = TryMultipart();
    if (status.ok()) status = TryList();
    const absl::Status removed = TryRemove();
    if (status.ok()) status = removed;
    if (!status.ok()) return status;
    return std::move(abilities_);
  }

 private:
  S3Request Request(std::string method, Fields query = {}) const {
    S3Request request;
    request.method = std::move(method);
    request.bucket = bucket_;
    request.key = key_;
    request.query = std::move(query);
    return request;
  }

  absl::Status Lacks(std::string_view what, const absl::Status& status) const {
    const std::string text = fmt::format("the store of s3://{} cannot {}", bucket_, what);
    if (status.ok()) return absl::FailedPreconditionError(text);
    return absl::Status(status.code(), fmt::format("{}: {}", text, std::string(status.message())));
  }

  void Word(std::string word) { abilities_.words.push_back(std::move(word)); }

  absl::Status TryPut() {
    S3Request request = Request("PUT");
    request.body = kContent;
    if (const S3Answer answer = requests_.Wait(std::move(request)); !answer.status.ok()) return answer.status;
    request = Request("PUT");
    request.body = kContent;
    request.headers = {{"if-none-match", "*"}};
    const S3Answer again = requests_.Wait(std::move(request));
    abilities_.conditional_put = again.http_status == 412;
    if (!abilities_.conditional_put) {
      Word(
          "it cannot create an object only if there is none: of two processes that write one name at a time, "
          "the "
          "later one wins unnoticed");
    }
    return absl::OkStatus();
  }

  absl::Status TryRead() {
    std::string out(4, '?');
    S3Request request = Request("GET");
    request.out = std::span(out);
    request.offset = 3;
    const S3Answer answer = requests_.Wait(std::move(request));
    if (!answer.status.ok()) return Lacks("read a range of an object", answer.status);
    if (out != kContent.substr(3, 4)) return Lacks("read a range of an object: it answers other bytes", {});
    request = Request("GET");
    request.headers = {{"if-match", "\"00000000000000000000000000000000\""}};
    abilities_.conditional_read = requests_.Wait(std::move(request)).http_status == 412;
    if (!abilities_.conditional_read) {
      Word(
          "it does not heed If-Match: that an object was replaced is seen by the ETag of what was read "
          "already");
    }
    return absl::OkStatus();
  }

  absl::Status TryMultipart() {
    S3Request request = Request("POST", {{"uploads", ""}});
    request.accepts = [](const HttpAnswer& answer) { return ParseUploadId(answer.body).ok(); };
    const S3Answer begun = requests_.Wait(std::move(request));
    if (!begun.status.ok()) return Lacks("begin a multipart upload", begun.status);
    const std::string id = ParseUploadId(begun.http.body).value();
    const absl::Status status = TryParts(id);
    const S3Answer aborted = requests_.Wait(Request("DELETE", {{"uploadId", id}}));
    if (!status.ok()) return status;
    if (!aborted.status.ok() && !absl::IsNotFound(aborted.status)) {
      return Lacks("abort a multipart upload", aborted.status);
    }
    return absl::OkStatus();
  }

  // Onto the object that is there, which must stay.
  absl::Status TryParts(const std::string& id) {
    S3Request request = Request("PUT", {{"partNumber", "1"}, {"uploadId", id}});
    request.body = kContent;
    const S3Answer part = requests_.Wait(std::move(request));
    if (!part.status.ok()) return Lacks("take a part of an upload", part.status);

    request = Request("GET", {{"uploads", ""}, {"prefix", key_}, {"encoding-type", "url"}});
    request.key.clear();
    request.max_body_bytes = kMaxAnswerBytes;
    const absl::StatusOr<UploadsAnswer> uploads = ParseUploads(requests_.Wait(std::move(request)).http.body);
    abilities_.lists_uploads =
        uploads.ok() && uploads->entries.size() == 1 && uploads->entries[0].upload_id == id;
    if (!abilities_.lists_uploads) {
      Word(
          "it does not list unfinished uploads: what a crash leaves behind stays until a lifecycle rule "
          "removes it");
    }

    request = Request("POST", {{"uploadId", id}});
    request.own_body = fmt::format(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></"
        "CompleteMultipartUpload>",
        XmlEscape(part.http.header("etag")));
    request.headers = {{"if-none-match", "*"}};
    request.may_take_long = true;
    const S3Answer completed = requests_.Wait(std::move(request));
    abilities_.conditional_complete = completed.http_status == 412;
    if (abilities_.conditional_complete) return absl::OkStatus();
    if (!completed.status.ok() && !absl::IsUnimplemented(completed.status)) {
      return Lacks("complete a multipart upload", completed.status);
    }
    Word(
        "it cannot finish a multipart upload only if there is no such object: we look first, and of two "
        "processes "
        "that write one name at a time the later one wins unnoticed");
    return absl::OkStatus();
  }

  absl::Status TryList() {
    S3Request request = Request("GET", {{"list-type", "2"}, {"prefix", key_}, {"encoding-type", "url"}});
    request.key.clear();
    request.max_body_bytes = kMaxAnswerBytes;
    const S3Answer answer = requests_.Wait(std::move(request));
    if (!answer.status.ok()) return Lacks("list objects", answer.status);
    const absl::StatusOr<ListAnswer> list = ParseList(answer.http.body);
    if (!list.ok() || list->entries.size() != 1 || list->entries[0].key != key_) {
      return Lacks("list an object that was written just now (ListObjectsV2)", list.status());
    }
    return absl::OkStatus();
  }

  absl::Status TryRemove() {
    S3Request request = Request("POST", {{"delete", ""}});
    request.key.clear();
    request.own_body =
        fmt::format("<Delete><Quiet>true</Quiet><Object><Key>{}</Key></Object></Delete>", XmlEscape(key_));
    request.headers = {{"content-md5", Md5Base64(request.own_body)}};
    const S3Answer batch = requests_.Wait(std::move(request));
    abilities_.batch_delete = batch.status.ok() && ParseDeleted(batch.http.body).ok();
    if (abilities_.batch_delete) return absl::OkStatus();
    Word("it cannot remove many objects with one request: each takes its own");
    const absl::Status removed = requests_.Wait(Request("DELETE")).status;
    return removed.ok() || absl::IsNotFound(removed) ? absl::OkStatus() : removed;
  }

  Requests& requests_;
  const std::string bucket_;
  const std::string key_;
  S3Abilities abilities_;
};

}  // namespace

absl::StatusOr<S3Abilities> ProbeStore(Requests& requests, const std::string& bucket,
                                       const std::string& prefix) {
  return Prober(requests, bucket, prefix).Run();
}

}  // namespace thermocline::storage::s3
