#include "server/service/health.h"

#include <algorithm>

#include "fmt/format.h"

namespace thermocline::server {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

bool HealthService::Knows(const std::string& service) const {
  return service.empty() || std::find(services_.begin(), services_.end(), service) != services_.end();
}

absl::Status HealthService::Check(const HealthCheckRequest& request, HealthCheckResponse* response) const {
  if (!Knows(request.service())) {
    return absl::NotFoundError(fmt::format("there is no service {}", request.service()));
  }
  Look(request, response);
  return absl::OkStatus();
}

void HealthService::Look(const HealthCheckRequest& request, HealthCheckResponse* response) const {
  if (!Knows(request.service())) {
    response->set_status(HealthCheckResponse::SERVICE_UNKNOWN);
  } else if (serving_.load(std::memory_order_relaxed)) {
    response->set_status(HealthCheckResponse::SERVING);
  } else {
    response->set_status(HealthCheckResponse::NOT_SERVING);
  }
}

}  // namespace thermocline::server
