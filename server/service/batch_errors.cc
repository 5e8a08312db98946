#include "server/service/batch_errors.h"

#include <string>

#include "server/status.h"

namespace thermocline::server {

void BatchErrors::Fill(const absl::Status& status, v1::Error* error) {
  error->set_code(WireCode(status));
  const std::string text(status.message());
  std::lock_guard lock(mutex_);
  if (text.size() > text_left_) return;
  text_left_ -= text.size();
  error->set_message(text);
}

}  // namespace thermocline::server
