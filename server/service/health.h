#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "grpc/health/v1/health.pb.h"

namespace thermocline::server {

// The standard health service: says that the server serves, for as long as it does. Thread-safe.
class HealthService {
 public:
  // `services`: full names of what is served.
  explicit HealthService(std::vector<std::string> services) : services_(std::move(services)) {}

  absl::Status Check(const grpc::health::v1::HealthCheckRequest& request,
                     grpc::health::v1::HealthCheckResponse* response) const;

  // As Check, but a service that is not known is an answer.
  void Look(const grpc::health::v1::HealthCheckRequest& request,
            grpc::health::v1::HealthCheckResponse* response) const;

  void StopServing() { serving_.store(false, std::memory_order_relaxed); }

 private:
  bool Knows(const std::string& service) const;

  const std::vector<std::string> services_;
  std::atomic<bool> serving_{true};
};

}  // namespace thermocline::server
