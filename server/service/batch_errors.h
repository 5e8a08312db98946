#pragma once

#include <cstddef>
#include <mutex>

#include "absl/status/status.h"

#include "thermocline/v1/key_value.pb.h"

namespace thermocline::server {

// Writes the failures of a batch's items into its response. If one cause fails very many items, the later
// ones carry their code alone, or the response would outgrow what clients receive. Thread-safe.
class BatchErrors {
 public:
  void Fill(const absl::Status& status, v1::Error* error);

 private:
  std::mutex mutex_;
  size_t text_left_ = 512 << 10;  // guarded by mutex_
};

}  // namespace thermocline::server
