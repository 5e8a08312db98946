#pragma once

#include <string>
#include <vector>

#include "grpc/reflection/v1alpha/reflection.pb.h"

namespace thermocline::server {

// The standard reflection service: what is served, and the messages of it, as compiled into this program.
// Thread-safe.
class ReflectionService {
 public:
  // `services`: full names of what is served.
  explicit ReflectionService(std::vector<std::string> services) : services_(std::move(services)) {}

  void Answer(const grpc::reflection::v1alpha::ServerReflectionRequest& request,
              grpc::reflection::v1alpha::ServerReflectionResponse* response) const;

 private:
  const std::vector<std::string> services_;
};

}  // namespace thermocline::server
