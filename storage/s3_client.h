#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"

namespace thermocline::storage {

// Secrets: never in a log, an error or statistics.
struct S3Credentials {
  std::string access_key;
  std::string secret;
  std::string session_token;  // may be empty
};

struct S3Options {
  // "https://host[:port]" or "http://host[:port]"; empty: AWS's of the region.
  std::string endpoint;
  // Empty: AWS_REGION, AWS_DEFAULT_REGION, else "us-east-1".
  std::string region;
  // How a bucket is named: https://endpoint/bucket/key or https://bucket.endpoint/key. kAuto: the former for
  // an endpoint that was given and for buckets with a dot, else the latter.
  enum class Addressing : uint8_t { kAuto, kPath, kVirtualHost };
  Addressing addressing = Addressing::kAuto;

  // Not given: the first that there is of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN);
  // the shared credentials file (AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials); the container's
  // endpoint (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, AWS_CONTAINER_AUTHORIZATION_TOKEN or
  // _TOKEN_FILE); the instance's (IMDSv2; AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_EC2_METADATA_DISABLED). What
  // expires is fetched anew before that, and when the store refuses it.
  std::optional<S3Credentials> credentials;
  std::string profile;  // of the file; empty: AWS_PROFILE, else "default"

  // PEM file of the authorities to trust instead of the system's. Certificates are always verified.
  std::string ca_file;

  // Of an upload's parts (the first 1000; see CreateObject) and of the ranges a read is cut into: 5 MiB to 1
  // GiB.
  uint64_t part_bytes = uint64_t{8} << 20;
  // All buffers of uploads together: at least two parts. Who needs one when there is none waits in line.
  // Beyond it, a client takes at most about 300 KiB for each connection, 16 MiB for answers that it reads as
  // a whole, and 100 bytes for each part of an unfinished upload.
  uint64_t memory_bytes = uint64_t{64} << 20;
  int parts_in_flight = 4;   // of one upload or one read
  int max_connections = 32;  // requests beyond wait in line

  // Of a request, with all its attempts, from the moment it gets a connection; this and the next are longer
  // by a second for each MiB that the request carries. A request that waits for a connection gives up when
  // the store has answered nothing for so long.
  std::chrono::milliseconds request_deadline{120'000};
  std::chrono::milliseconds attempt_deadline{60'000};
  std::chrono::milliseconds connect_deadline{5'000};
  // An attempt is given up when less than stall_bytes_per_second went either way for stall_limit (to the
  // second).
  std::chrono::milliseconds stall_limit{15'000};
  uint64_t stall_bytes_per_second = 1024;
  // Attempts one after the other without a new byte; waits in between are random, up to 100 ms at first,
  // doubling to retry_wait at most (unless the store asks for more, up to 30 s).
  int max_attempts = 10;
  std::chrono::milliseconds retry_wait{5'000};
  // How long an upload waits for a buffer before it fails with RESOURCE_EXHAUSTED.
  std::chrono::milliseconds memory_patience{120'000};
};

// What a store can do, as found out by trying. What is indispensable is an error of Probe instead.
struct S3Abilities {
  bool conditional_put = false;       // PUT with If-None-Match: *
  bool conditional_complete = false;  // the same for CompleteMultipartUpload
  bool conditional_read = false;      // GET with If-Match
  bool batch_delete = false;
  bool lists_uploads = false;  // what a crash left behind can be found
  // What it cannot do, and what that means, for people; a line each.
  std::vector<std::string> words;
};

// Since the client was opened, or now.
struct S3Stats {
  uint64_t requests = 0;  // attempts
  uint64_t retries = 0;   // of them, not the first of their request
  uint64_t failures = 0;  // requests that failed for good; a miss is none
  uint64_t bytes_sent = 0;
  uint64_t bytes_received = 0;  // both without headers
  uint64_t connections = 0;     // open now
  uint64_t active = 0;          // requests that have a connection now
  uint64_t waiting = 0;         // for a connection, or for their next attempt
  uint64_t buffer_bytes = 0;    // of uploads now; at most memory_bytes
  uint64_t buffer_waiters = 0;  // uploads that wait for one
  // Since the last attempt that failed for whatever the store or the way to it is to blame for.
  std::optional<uint64_t> seconds_since_failure;
  std::string last_failure;  // without secrets
};

// A client of one S3 endpoint: one thread, one pool of connections, one line for memory. There should be one
// in a process. Thread-safe. What it has opened must not outlive it. Completions of reads come on its thread
// and should be short; all other calls wait, and must not be made there.
//
// Errors say s3://bucket/key, what the store answered, and what to do:
//   NOT_FOUND            no such object (Object::Read as well), or no such bucket
//   ALREADY_EXISTS
//   PERMISSION_DENIED    the store refuses (403), or there are no credentials
//   INVALID_ARGUMENT     the store does not understand (400, another region)
//   RESOURCE_EXHAUSTED   no memory for an upload within memory_patience; an object too large; no space (507,
//                        QuotaExceeded)
//   DATA_LOSS            an object is not what it was when it was opened
//   UNAVAILABLE          all else, after all attempts: the store fails, is not there, is not to be trusted
//   (TLS)
//
// Proxies of the environment (http_proxy ...) are not used. Redirects are not followed.
class S3Client {
 public:
  // Does not speak to the store yet, only to whoever has the credentials.
  // INVALID_ARGUMENT (says which option), PERMISSION_DENIED (no credentials).
  static absl::StatusOr<std::unique_ptr<S3Client>> Open(S3Options options);
  // Ends what is under way, with UNAVAILABLE.
  ~S3Client();

  // Its size and version as of now. A read is cut into ranges of part_bytes, some of them in flight together,
  // each written straight to where the caller wants it, resumed where it was cut.
  absl::StatusOr<std::unique_ptr<Object>> OpenObject(const std::string& bucket, const std::string& key);

  // An object of unknown length: up to part_bytes it is one PUT, beyond a multipart upload, some parts of it
  // in flight together. An upload that waits for memory holds none, but for its first 64 KiB.
  //
  // An upload has at most 10 000 parts. They double every 1000 parts, up to a quarter of memory_bytes or 4
  // GiB, so the longest object follows from both: see max_object_bytes(); beyond, Append says
  // RESOURCE_EXHAUSTED.
  //
  // `replace` false: Finish says ALREADY_EXISTS if there is one. Where the store cannot do that (see Probe),
  // another process may put one there between our look and our write, and is overwritten; within one client
  // it cannot happen. What is not clear after a cut connection is found out by reading again.
  absl::StatusOr<std::unique_ptr<ObjectWriter>> CreateObject(const std::string& bucket,
                                                             const std::string& key, bool replace = false);
  uint64_t max_object_bytes() const;

  // OK if there is none.
  absl::Status Remove(const std::string& bucket, const std::string& key);
  // In batches of 1000. Goes on after a failure of one, and returns the first.
  absl::Status RemoveAll(const std::string& bucket, const std::vector<std::string>& keys);

  struct Listed {
    std::string key;
    uint64_t bytes = 0;
  };
  // Page by page, in the store's order, until `visit` returns false.
  absl::Status List(const std::string& bucket, const std::string& prefix,
                    const std::function<bool(Listed)>& visit);

  // Removes uploads that nobody finishes any more, and returns how many: nobody may be uploading there.
  absl::StatusOr<uint64_t> AbortUploadsUnder(const std::string& bucket, const std::string& prefix);

  // OK if there is one that is ours already.
  absl::Status CreateBucket(const std::string& bucket);

  // Tries what is needed with objects `prefix`PROBE-..., and removes them. The client remembers what it
  // found, and needs fewer requests from then on. FAILED_PRECONDITION: the store lacks what we cannot do
  // without (exact ranges, multipart uploads), and the others.
  absl::StatusOr<S3Abilities> Probe(const std::string& bucket, const std::string& prefix);

  S3Stats stats() const;

 private:
  class Impl;
  explicit S3Client(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

// Objects s3://bucket/<prefix>OBJECTS/<name>. `prefix` is empty or gets a slash at its end if it has none;
// its parts are like those of objects' names, so stores at different prefixes never meet, even if one is
// below the other. The object <prefix>OWNER holds `owner` (say, an id of the data directory). Probes the
// store, aborts uploads that a crash left behind. Other keys are ignored. A name that is longer than 1024
// bytes with the prefix is INVALID_ARGUMENT. `client` must outlive it.
//   FAILED_PRECONDITION  somebody else owns the prefix; or see Probe
//   others as S3Client
absl::StatusOr<std::unique_ptr<ObjectStore>> OpenS3Store(S3Client& client, const std::string& bucket,
                                                         std::string prefix, const std::string& owner);

}  // namespace thermocline::storage
