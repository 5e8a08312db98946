#include "server/server.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>

#include "fmt/format.h"
#include <sched.h>

#include "server/heap.h"
#include "server/sources.h"
#include "storage/options.h"

namespace thermocline::server {
namespace {

constexpr std::chrono::seconds kTrimInterval(1);
// Queries compute, and wait for the disk in between.
constexpr int kQueryThreads = 8;
// Each waits for a sync, which they share.
constexpr int kChangeThreads = 8;
// Objects that exports write at a time; they wait for a disk or another store.
constexpr int kOutsideThreads = 16;
// How much threads leave to those that answer clients: compaction nearly all, queries nine tenths.
constexpr int kGivesWay = 19;
constexpr int kGivesWayABit = 10;

// How much requests and answers under way may hold, before calls are refused: a share of the
// memory number, and never so little that a few of the largest messages at once would be cut off. What it
// holds comes on top of --memory.
uint64_t BufferBytes(const Config& config) {
  return std::clamp<uint64_t>(config.memory_bytes / 4, uint64_t{256} << 20, uint64_t{4} << 30);
}

// That this process may use: two loops on one processor would keep each other waiting for milliseconds.
int ProcessorCount() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return std::max(CPU_COUNT(&allowed), 1);
}

// What S3 and its cache get of the memory of segments.
constexpr uint64_t kObjectsPart = 4;
constexpr uint64_t kMaxObjectsMemory = uint64_t{256} << 20;

uint64_t ObjectMemory(const Config& config) {
  if (!UsesS3(config)) return 0;
  return std::clamp(config.segment_memory_bytes / kObjectsPart, kMinObjectsMemory, kMaxObjectsMemory);
}

// Whether one of two places lies in the other.
bool Meet(std::string a, std::string b) {
  if (!a.ends_with('/')) a += '/';
  if (!b.ends_with('/')) b += '/';
  return a.starts_with(b) || b.starts_with(a);
}

// Exports must not replace what the server itself lives on.
absl::Status CheckApart(const Config& config) {
  constexpr std::string_view kFile = "file://";
  std::error_code error;
  const std::string data = std::filesystem::weakly_canonical(config.data_directory, error).string();
  for (const std::string& url : config.export_to) {
    bool meets = !config.objects.url.empty() && Meet(url, config.objects.url);
    if (url.starts_with(kFile)) {
      meets = Meet(std::filesystem::weakly_canonical(url.substr(kFile.size()), error).string(), data);
    }
    if (meets) {
      return absl::InvalidArgumentError(
          fmt::format("--export-to {} overlaps with the data directory or --segment-store: exports could "
                      "replace what the server "
                      "lives on; name another folder or prefix",
                      url));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Exists(storage::S3Client& s3, const std::string& bucket, const std::string& key) {
  const absl::Status status = s3.OpenObject(bucket, key).status();
  // Who may write but not list is refused where there is nothing; creating it finds out.
  if (absl::IsNotFound(status) || absl::IsPermissionDenied(status)) return false;
  if (!status.ok()) return status;
  return true;
}

}  // namespace

Server::Server(const Config& config)
    : reads_("read", config.read_threads),
      commits_("commit", 1),
      background_("background", 1, kGivesWay),
      queries_("query", kQueryThreads, kGivesWayABit),
      segment_changes_("change", kChangeThreads),
      outside_("outside", kOutsideThreads, kGivesWayABit),
      heap_("heap", 1) {}

Server::~Server() = default;

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config) {
  std::unique_ptr<Server> server(new Server(config));
  if (absl::Status status = server->Open(config); !status.ok()) return status;
  if (absl::Status status = server->OpenSegments(config); !status.ok()) return status;
  if (absl::Status status = server->OpenExports(config); !status.ok()) return status;
  if (absl::Status status = server->Serve(config); !status.ok()) return status;
  server->TrimHeapForEver();
  return server;
}

absl::Status Server::Open(const Config& config) {
  storage::Options options;
  options.directory = config.data_directory;
  options.memory_bytes = config.memory_bytes - config.segment_memory_bytes;
  options.block_bytes = config.block_bytes;
  options.flush_interval = config.flush_interval;
  auto disk_reads = storage::OpenDiskReads(config.disk_reads, config.read_threads);
  if (!disk_reads.ok()) return disk_reads.status();
  disk_reads_ = std::move(disk_reads->reads);
  const storage::World world{files_, clock_, random_, reads_, *disk_reads_, commits_, background_};
  absl::StatusOr<std::unique_ptr<storage::Engine>> engine = storage::Engine::Open(options, world);
  if (!engine.ok()) {
    return absl::Status(engine.status().code(),
                        fmt::format("cannot open the data directory {}: {}", config.data_directory,
                                    std::string(engine.status().message())));
  }
  engine_ = *std::move(engine);
  return absl::OkStatus();
}

// In the data directory, whose lock the engine has.
absl::Status Server::OpenSegments(const Config& config) {
  if (config.segment_memory_bytes == 0) return absl::OkStatus();
  storage::SegmentsOptions options;
  options.directory = config.data_directory + "/segments";
  options.memory_bytes = config.segment_memory_bytes;
  options.result_bytes = config.segment_result_bytes;
  options.result_lifetime = config.segment_result_lifetime;
  const auto cannot_open = [](const std::string& what, const absl::Status& status) {
    return absl::Status(status.code(),
                        fmt::format("cannot open {}: {}", what, std::string(status.message())));
  };
  const uint64_t object_bytes = ObjectMemory(config);
  if (object_bytes > 0 && options.memory_bytes < object_bytes + storage::kMinSegmentMemoryBytes) {
    return absl::InvalidArgumentError(fmt::format(
        "--segment-memory {} is not enough with S3, whose client and cache take {} of it: give {} or more",
        FormatSize(options.memory_bytes), FormatSize(object_bytes),
        FormatSize(object_bytes + storage::kMinSegmentMemoryBytes)));
  }
  options.memory_bytes -= object_bytes;
  storage::SegmentSource source;
  if (!config.sources_file.empty()) {
    absl::StatusOr<storage::SegmentSource> read = ReadSources(config.sources_file);
    if (!read.ok()) return read.status();
    source = *std::move(read);
  }
  absl::StatusOr<std::unique_ptr<SegmentObjects>> objects =
      SegmentObjects::Open(config.objects, config.data_directory, object_bytes, files_, *disk_reads_);
  if (!objects.ok()) return objects.status();
  objects_ = *std::move(objects);
  absl::StatusOr<std::unique_ptr<storage::Segments>> segments = storage::Segments::Open(
      options, {files_, clock_, objects_->store(), queries_, segment_changes_, outside_, std::move(source)});
  if (!segments.ok()) return cannot_open("the segments, " + options.directory, segments.status());
  segments_ = *std::move(segments);
  absl::StatusOr<std::unique_ptr<SegmentTimelines>> timelines =
      SegmentTimelines::Open(*segments_, *engine_, objects_->store(), outside_, options.memory_bytes);
  if (!timelines.ok()) return cannot_open("the objects of the segments' timelines", timelines.status());
  timelines_ = *std::move(timelines);
  return absl::OkStatus();
}

absl::Status Server::OpenExports(const Config& config) {
  if (segments_ == nullptr) return absl::OkStatus();
  if (absl::Status status = CheckApart(config); !status.ok()) return status;
  storage::S3Client* const s3 = objects_->s3();
  if (s3 != nullptr) {
    buckets_.exists = [s3](const std::string& bucket, const std::string& key) {
      return Exists(*s3, bucket, key);
    };
    buckets_.create = [s3](const std::string& bucket, const std::string& key, bool replace) {
      return s3->CreateObject(bucket, key, replace);
    };
    buckets_.remove = [s3](const std::string& bucket, const std::string& key) {
      return s3->Remove(bucket, key);
    };
  }
  absl::StatusOr<std::unique_ptr<ExportTargets>> targets =
      ExportTargets::Open(config.export_to, files_, s3 == nullptr ? nullptr : &buckets_);
  if (!targets.ok()) {
    return absl::Status(targets.status().code(), fmt::format("cannot export where --export-to says: {}",
                                                             std::string(targets.status().message())));
  }
  export_targets_ = *std::move(targets);
  jobs_ = std::make_unique<Jobs>(*segments_, *export_targets_, clock_, reads_);
  return absl::OkStatus();
}

absl::Status Server::Serve(const Config& config) {
  key_value_ = std::make_unique<KeyValueService>(*engine_, clock_);
  segments_service_ =
      std::make_unique<SegmentsService>(segments_.get(), jobs_.get(), timelines_.get(), *engine_, reads_);
  admin_ = std::make_unique<AdminService>(*engine_, segments_.get(), objects_.get());
  GrpcEndpoint::Options options;
  options.host = config.host;
  options.port = config.port;
  options.loops = config.io_threads > 0 ? config.io_threads : ProcessorCount();
  options.buffer_bytes = BufferBytes(config);
  if (!config.tls_certificate.empty()) {
    options.tls = rpc::TlsFiles{config.tls_certificate, config.tls_key, config.tls_client_ca};
  }
  absl::StatusOr<std::unique_ptr<GrpcEndpoint>> endpoint =
      GrpcEndpoint::Start(options, *key_value_, *segments_service_, *admin_);
  if (!endpoint.ok()) return endpoint.status();
  endpoint_ = *std::move(endpoint);
  address_ = HostPort(config.host, endpoint_->port());
  return absl::OkStatus();
}

void Server::TrimHeapForEver() {
  heap_.RunAfter(kTrimInterval, [this] {
    const storage::EngineStats stats = engine_->Stats();
    const uint64_t segment_bytes = segments_ == nullptr ? 0 : segments_->Stats().memory_used;
    TrimHeap(stats.index_bytes + stats.block_bytes + stats.chunk_table_bytes + stats.compaction_bytes +
             stats.deep_share_bytes + stats.cache_bytes + segment_bytes);
    TrimHeapForEver();
  });
}

absl::Status Server::Stop(std::chrono::milliseconds patience) {
  // First, so that those who watch jobs learn of it.
  if (jobs_ != nullptr) jobs_->Stop();
  endpoint_->Stop(patience);
  jobs_ = nullptr;
  timelines_ = nullptr;
  absl::Status status = segments_ == nullptr ? absl::OkStatus() : segments_->Close();
  status.Update(engine_->Close());
  return status;
}

}  // namespace thermocline::server
