#include "server/export_targets.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "fmt/format.h"

#include "server/export_file.h"

namespace thermocline::server {
namespace {

using storage::FileSystem;
using storage::ObjectWriter;
using storage::SegmentExportObject;

constexpr std::string_view kFile = "file:///";
constexpr std::string_view kS3 = "s3://";
constexpr std::string_view kManifest = ".manifest.json";
constexpr std::string_view kUnfinished = ".unfinished";
constexpr size_t kMaxUrlBytes = 1000;
constexpr size_t kMaxPartBytes = 200;
constexpr int kMaxServers = 100;

absl::Status Impossible(std::string_view url, std::string_view why) {
  return absl::InvalidArgumentError(fmt::format("the URL {} {}", url.substr(0, kMaxUrlBytes), why));
}

bool IsOddCharacter(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f || c == '%' || c == '?' || c == '#' || c == '\\';
}

// `parts`: what follows the kind, with slashes between.
absl::Status CheckParts(std::string_view url, std::string_view parts) {
  if (url.size() > kMaxUrlBytes) return Impossible(url, fmt::format("is longer than {} bytes", kMaxUrlBytes));
  if (std::any_of(parts.begin(), parts.end(), IsOddCharacter))
    return Impossible(url, "has one of % ? # \\ or a control character in it: choose another name");
  for (size_t at = 0; at <= parts.size();) {
    const size_t end = std::min(parts.find('/', at), parts.size());
    const std::string_view part = parts.substr(at, end - at);
    if (part.empty() || part[0] == '.')
      return Impossible(url, "has a part between slashes that is empty or begins with a dot: leave it out");
    if (part.size() > kMaxPartBytes)
      return Impossible(url, fmt::format("has a part of more than {} bytes", kMaxPartBytes));
    at = end + 1;
  }
  return absl::OkStatus();
}

// Without the slash at the end that an operator may write.
std::string_view Trimmed(std::string_view url) {
  if (url.ends_with('/') && url != kFile) url.remove_suffix(1);
  return url;
}

absl::Status CheckKind(std::string_view url) {
  if (url.starts_with(kFile) || url.starts_with(kS3)) return absl::OkStatus();
  return Impossible(url, "is neither file:///folder/name nor s3://bucket/name");
}

std::string_view PartsOf(std::string_view url) {
  return url.substr(url.starts_with(kFile) ? kFile.size() : kS3.size());
}

bool IsBelow(std::string_view url, std::string_view prefix) {
  return url.starts_with(prefix) && url.size() > prefix.size() && url[prefix.size()] == '/';
}

absl::Status AlreadyThere(const std::string& url) {
  return absl::AlreadyExistsError(
      fmt::format("{} is there already: choose another URL, or have it replaced", url));
}

}  // namespace

// A directory that exports may go to. What is unfinished lies in it as .unfinished/SERVER-NUMBER, where
// SERVER is a number whose file SERVER.lock is locked by the server that writes it.
struct ExportTargets::Folder {
  std::string url;
  FileSystem& files;
  std::string drafts;  // what names of drafts begin with
  std::unique_ptr<storage::FileLock> lock;
  mutable std::atomic<uint64_t> next{0};

  explicit Folder(FileSystem& system) : files(system) {}

  absl::Status Open(std::string_view of);
  absl::Status Sweep(const std::string& unfinished, std::string_view prefix);

  static std::string PathOf(std::string_view url) { return "/" + std::string(PartsOf(url)); }
  absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string& target, bool replace,
                                                       SegmentExportObject object) const;
};

struct ExportTargets::Bucket {
  std::string url;
};

absl::Status ExportTargets::Folder::Open(std::string_view of) {
  url = of;
  const std::string unfinished = fmt::format("{}/{}", PathOf(url), kUnfinished);
  if (absl::Status status = files.CreateDirectory(unfinished); !status.ok()) return status;
  for (int server = 0; server < kMaxServers; ++server) {
    absl::StatusOr<std::unique_ptr<storage::FileLock>> got =
        files.Lock(fmt::format("{}/{}.lock", unfinished, server));
    if (absl::IsFailedPrecondition(got.status())) continue;  // another server's
    if (!got.ok()) return got.status();
    lock = *std::move(got);
    drafts = fmt::format("{}/{}-", unfinished, server);
    return Sweep(unfinished, fmt::format("{}-", server));
  }
  return absl::FailedPreconditionError(
      fmt::format("{} servers export to {} already: give this one another folder", kMaxServers, url));
}

absl::Status ExportTargets::Folder::Sweep(const std::string& unfinished, std::string_view prefix) {
  const absl::StatusOr<std::vector<std::string>> names = files.List(unfinished);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    if (!name.starts_with(prefix)) continue;
    if (absl::Status status = files.Remove(unfinished + "/" + name); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ObjectWriter>> ExportTargets::Folder::Create(
    const std::string& target, bool replace, SegmentExportObject object) const {
  const bool ids = object == SegmentExportObject::kIds;
  const std::string path = PathOf(target);
  const std::string manifest = path + std::string(kManifest);
  if (ids && !replace) {
    for (const std::string& each : {path, manifest}) {
      const absl::StatusOr<bool> exists = PathExists(files, each);
      if (!exists.ok()) return exists.status();
      if (*exists) return AlreadyThere("file://" + each);
    }
  }
  auto before_publish = [&files = files, ids, replace, manifest]() -> absl::Status {
    if (!ids || !replace) return absl::OkStatus();
    const absl::Status status = files.Remove(manifest);
    if (!absl::IsNotFound(status) && !status.ok()) return status;
    return status.ok() ? files.SyncDirectory(manifest.substr(0, manifest.rfind('/'))) : absl::OkStatus();
  };
  return CreateExportFile(files, ids ? path : manifest, fmt::format("{}{}", drafts, next.fetch_add(1)),
                          replace, std::move(before_publish));
}

namespace {

// Removes the old manifest when the new object is about to be there.
class ReplacingWriter final : public ObjectWriter {
 public:
  ReplacingWriter(std::unique_ptr<ObjectWriter> object, absl::AnyInvocable<absl::Status()> remove)
      : object_(std::move(object)), remove_(std::move(remove)) {}

  absl::Status Append(std::string_view bytes) override { return object_->Append(bytes); }
  absl::Status Finish() override {
    if (absl::Status status = remove_(); !status.ok()) return status;
    return object_->Finish();
  }

 private:
  const std::unique_ptr<ObjectWriter> object_;
  absl::AnyInvocable<absl::Status()> remove_;
};

absl::StatusOr<std::unique_ptr<ObjectWriter>> CreateInBucket(const BucketObjects& objects,
                                                             const std::string& url, bool replace,
                                                             SegmentExportObject object) {
  const std::string_view parts = PartsOf(url);
  const size_t slash = parts.find('/');
  const std::string bucket(parts.substr(0, slash));
  const std::string key(parts.substr(slash + 1));
  const std::string manifest = key + std::string(kManifest);
  if (object == SegmentExportObject::kManifest) return objects.create(bucket, manifest, replace);
  for (const std::string& each : {key, manifest}) {
    if (replace) break;
    const absl::StatusOr<bool> exists = objects.exists(bucket, each);
    if (!exists.ok()) return exists.status();
    if (*exists) return AlreadyThere(fmt::format("{}{}/{}", kS3, bucket, each));
  }
  absl::StatusOr<std::unique_ptr<ObjectWriter>> writer = objects.create(bucket, key, replace);
  if (!writer.ok() || !replace) return writer;
  return std::make_unique<ReplacingWriter>(
      *std::move(writer), [&objects, bucket, manifest] { return objects.remove(bucket, manifest); });
}

}  // namespace

ExportTargets::ExportTargets() = default;
ExportTargets::~ExportTargets() = default;

absl::StatusOr<std::unique_ptr<ExportTargets>> ExportTargets::Open(const std::vector<std::string>& allowed,
                                                                   FileSystem& files,
                                                                   const BucketObjects* buckets) {
  std::unique_ptr<ExportTargets> targets(new ExportTargets);
  targets->objects_ = buckets;
  for (const std::string& given : allowed) {
    const std::string url(Trimmed(given));
    absl::Status status = CheckAllowed(url);
    if (!status.ok()) return status;
    targets->allowed_.push_back(url);
    if (url.starts_with(kS3)) {
      targets->buckets_.push_back({url});
      continue;
    }
    const auto folder = std::make_shared<Folder>(files);
    if (status = folder->Open(url); !status.ok()) return status;
    targets->folders_.push_back(folder);
  }
  return targets;
}

absl::Status ExportTargets::CheckAllowed(std::string_view url) {
  url = Trimmed(url);
  absl::Status status = CheckKind(url);
  return status.ok() ? CheckParts(url, PartsOf(url)) : status;
}

absl::Status ExportTargets::CheckUrl(std::string_view url) {
  if (url.empty()) {
    return absl::InvalidArgumentError(
        "the URL is empty: give file:///folder/name or s3://bucket/name, where the object is to be");
  }
  if (absl::Status status = CheckKind(url); !status.ok()) return status;
  if (absl::Status status = CheckParts(url, PartsOf(url)); !status.ok()) return status;
  if (PartsOf(url).find('/') == std::string_view::npos && url.starts_with(kS3))
    return Impossible(url, "has a bucket only: add a slash and a name");
  if (!url.ends_with(kManifest)) return absl::OkStatus();
  return Impossible(url, fmt::format("ends with {}, as manifests do: choose another name", kManifest));
}

absl::Status ExportTargets::Refusal(std::string_view url) const {
  if (allowed_.empty()) {
    return absl::PermissionDeniedError(fmt::format(
        "exports to {} are not allowed, nor to anywhere else: the server has to be started with --export-to "
        "and a URL below which they are",
        url));
  }
  return absl::PermissionDeniedError(
      fmt::format("exports to {} are not allowed: choose a URL below {}", url, fmt::join(allowed_, " or ")));
}

absl::StatusOr<storage::Segments::CreateObject> ExportTargets::Resolve(const std::string& url,
                                                                       bool replace) const {
  if (absl::Status status = CheckUrl(url); !status.ok()) return status;
  for (const Bucket& bucket : buckets_) {
    if (!IsBelow(url, bucket.url)) continue;
    if (objects_ == nullptr) {
      return absl::UnimplementedError(
          "the server has no object store configured: export to file:/// instead, or start it with one");
    }
    return [objects = objects_, url, replace](SegmentExportObject object) {
      return CreateInBucket(*objects, url, replace, object);
    };
  }
  for (const std::shared_ptr<const Folder>& folder : folders_) {
    if (!IsBelow(url, folder->url)) continue;
    return
        [folder, url, replace](SegmentExportObject object) { return folder->Create(url, replace, object); };
  }
  return Refusal(url);
}

}  // namespace thermocline::server
