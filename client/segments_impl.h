#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "client/segments.h"
#include "client/transport.h"

namespace thermocline {

class Segments::Impl {
 public:
  Impl(transport::Transport& transport, std::chrono::milliseconds timeout)
      : transport_(transport), timeout_(timeout) {}

  transport::Transport& transport() { return transport_; }
  std::chrono::milliseconds timeout() const { return timeout_; }
  std::chrono::milliseconds Timeout(std::optional<std::chrono::milliseconds> timeout) const {
    return timeout.value_or(timeout_);
  }

 private:
  transport::Transport& transport_;
  const std::chrono::milliseconds timeout_;  // Client::Options::timeout
};

}  // namespace thermocline
