#include "client/cli/s3_access.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "CLI/CLI.hpp"
#include "fmt/format.h"

#include "client/cli/options.h"
#include "storage/s3_url.h"

namespace thermocline::cli {
namespace {

constexpr uint64_t kClientBytes = 8 << 20;  // connections, and the library's own
constexpr int kConnections = 16;
constexpr size_t kPieces = 4;  // of a reader
constexpr uint64_t kMinPartBytes = 5 << 20;
constexpr uint64_t kMaxPartBytes = 8 << 20;

absl::StatusOr<storage::S3Url> ParseObject(const std::string& url) {
  std::optional<storage::S3Url> parsed = storage::ParseS3Url(url);
  if (parsed.has_value() && !parsed->key.empty()) return *std::move(parsed);
  return absl::InvalidArgumentError(fmt::format("{}: names no object; write s3://bucket/key", url));
}

// Beginning with the URL, as messages about objects do already.
absl::Status Named(const std::string& url, const absl::Status& status) {
  if (status.message().substr(0, url.size()) == url) return status;
  return absl::Status(status.code(), fmt::format("{}: {}", url, std::string(status.message())));
}

}  // namespace

void AddS3(CLI::App* app, storage::S3Options& s3) {
  using Addressing = storage::S3Options::Addressing;
  constexpr const char* kGroup = "S3, for s3://bucket/key";
  const auto add = [&](const char* name, std::string& target, const char* kind, const char* description) {
    return app->add_option(name, target, description)->type_name(kind)->group(kGroup);
  };
  add("--s3-endpoint", s3.endpoint, "URL",
      "The store, such as http://127.0.0.1:9000 (default: AWS's of the region)")
      ->envname("AWS_ENDPOINT_URL");
  add("--s3-region", s3.region, "NAME", "Its region (default: AWS_REGION of the environment, or us-east-1)");
  AddChoice<Addressing>(
      app, "--s3-addressing",
      {{"auto", Addressing::kAuto}, {"path", Addressing::kPath}, {"virtual-host", Addressing::kVirtualHost}},
      s3.addressing,
      "How buckets are named: https://host/bucket, https://bucket.host, or by itself (default)")
      ->group(kGroup);
  add("--s3-profile", s3.profile, "NAME",
      "Of the shared credentials file (default: AWS_PROFILE, or default). Credentials come from the "
      "environment "
      "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), that file, the container or the "
      "machine");
  add("--s3-ca-file", s3.ca_file, "FILE", "Trust only a certificate that one of these has signed (PEM)");
}

S3Access::S3Access(storage::S3Options options, uint64_t memory_bytes) : options_(std::move(options)) {
  const uint64_t buffers = std::clamp(memory_bytes, kMinS3Bytes, kMaxS3Bytes) - kClientBytes;
  piece_bytes_ = buffers / 3 / kPieces;
  options_.memory_bytes = buffers - kPieces * piece_bytes_;
  options_.part_bytes = std::clamp(options_.memory_bytes / 8, kMinPartBytes, kMaxPartBytes);
  options_.max_connections = kConnections;
}

S3Access::~S3Access() = default;

absl::StatusOr<storage::S3Client*> S3Access::client() {
  if (client_ == nullptr) {
    auto opened = storage::S3Client::Open(options_);
    if (!opened.ok()) return opened.status();
    client_ = *std::move(opened);
  }
  return client_.get();
}

absl::StatusOr<std::unique_ptr<storage::ByteReader>> S3Access::OpenReader(const std::string& url) {
  const absl::StatusOr<storage::S3Url> place = ParseObject(url);
  if (!place.ok()) return place.status();
  const absl::StatusOr<storage::S3Client*> store = client();
  if (!store.ok()) return Named(url, store.status());
  auto object = (*store)->OpenObject(place->bucket, place->key);
  if (!object.ok()) return Named(url, object.status());
  return storage::NewObjectReader(*std::move(object), piece_bytes_, kPieces);
}

absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> S3Access::OpenWriter(const std::string& url) {
  const absl::StatusOr<storage::S3Url> place = ParseObject(url);
  if (!place.ok()) return place.status();
  const absl::StatusOr<storage::S3Client*> store = client();
  if (!store.ok()) return Named(url, store.status());
  auto writer = (*store)->CreateObject(place->bucket, place->key, true);
  if (!writer.ok()) return Named(url, writer.status());
  return writer;
}

absl::StatusOr<std::unique_ptr<ByteSource>> OpenBytes(const std::string& place, int standard_input,
                                                      S3Access& s3) {
  if (!storage::IsS3Url(place)) return ByteSource::Open(place, standard_input);
  auto reader = s3.OpenReader(place);
  if (!reader.ok()) return reader.status();
  return std::make_unique<ByteSource>(*std::move(reader));
}

}  // namespace thermocline::cli
