#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "client/cli/byte_source.h"
#include "storage/byte_stream.h"
#include "storage/object_store.h"
#include "storage/s3_client.h"

namespace CLI {
class App;
}

// Objects of S3 in the place of files: s3://bucket/key.
namespace thermocline::cli {

// Adds --s3-endpoint and so on, which are written to `s3`; with AWS_ENDPOINT_URL of the environment.
void AddS3(CLI::App* app, storage::S3Options& s3);

// What S3 takes of a process's memory: what one object that is read and one that is written need, what runs
// need that are written meanwhile, and what the client itself takes.
inline constexpr uint64_t kMinS3Bytes = 24 << 20;
inline constexpr uint64_t kMaxS3Bytes = 104 << 20;

// The process's client of S3, opened when something first needs it. For one thread at a time; what it has
// opened must not outlive it. Errors begin with the URL.
class S3Access {
 public:
  // `options` but for their memory. It keeps to `memory_bytes` (kMinS3Bytes at least; more than kMaxS3Bytes
  // is of no use) while one object is read at a time; each more takes a third of that.
  explicit S3Access(storage::S3Options options, uint64_t memory_bytes = kMaxS3Bytes);
  ~S3Access();

  // INVALID_ARGUMENT: the URL names no object. Others as S3Client.
  absl::StatusOr<std::unique_ptr<storage::ByteReader>> OpenReader(const std::string& url);
  // Replaces the object of that name.
  absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> OpenWriter(const std::string& url);
  absl::StatusOr<storage::S3Client*> client();

 private:
  storage::S3Options options_;
  size_t piece_bytes_;  // that a reader asks for at once
  std::unique_ptr<storage::S3Client> client_;
};

// A file, "-" or an object. As ByteSource::Open and OpenReader; `s3` must outlive it.
absl::StatusOr<std::unique_ptr<ByteSource>> OpenBytes(const std::string& place, int standard_input,
                                                      S3Access& s3);

}  // namespace thermocline::cli
