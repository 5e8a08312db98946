#include "server/server.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "fmt/format.h"

#include "storage/options.h"

namespace thermocline::server {
namespace {

// What gRPC may hold of messages under way. It is part of the constant by which the process exceeds --memory.
constexpr uint64_t kMaxBufferBytes = 128 << 20;

}  // namespace

Server::Server(const Config& config) : reads_("read", config.read_threads), commits_("commit", 1) {}

Server::~Server() = default;

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config) {
  std::unique_ptr<Server> server(new Server(config));
  if (absl::Status status = server->Open(config); !status.ok()) return status;
  if (absl::Status status = server->Serve(config); !status.ok()) return status;
  return server;
}

absl::Status Server::Open(const Config& config) {
  storage::Options options;
  options.directory = config.data_directory;
  options.memory_bytes = config.memory_bytes;
  options.block_bytes = config.block_bytes;
  options.flush_interval = config.flush_interval;
  const storage::World world{files_, clock_, random_, reads_, commits_};
  absl::StatusOr<std::unique_ptr<storage::Engine>> engine = storage::Engine::Open(options, world);
  if (!engine.ok()) {
    return absl::Status(engine.status().code(),
                        fmt::format("cannot open the data directory {}: {}", config.data_directory,
                                    std::string(engine.status().message())));
  }
  engine_ = *std::move(engine);
  return absl::OkStatus();
}

absl::Status Server::Serve(const Config& config) {
  key_value_ = std::make_unique<KeyValueService>(*engine_, clock_);
  admin_ = std::make_unique<AdminService>(*engine_);
  GrpcEndpoint::Options options{.host = config.host, .port = config.port, .buffer_bytes = kMaxBufferBytes};
  absl::StatusOr<std::unique_ptr<GrpcEndpoint>> endpoint = GrpcEndpoint::Start(options, *key_value_, *admin_);
  if (!endpoint.ok()) return endpoint.status();
  endpoint_ = *std::move(endpoint);
  address_ = HostPort(config.host, endpoint_->port());
  return absl::OkStatus();
}

absl::Status Server::Stop(std::chrono::milliseconds patience) {
  endpoint_->Stop(patience);
  return engine_->Close();
}

}  // namespace thermocline::server
