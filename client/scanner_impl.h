#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/status.h"

#include "client/client.h"
#include "client/read_stream.h"
#include "client/transport.h"
#include "thermocline/v1/key_value.grpc.pb.h"

namespace thermocline {

class Scanner::Impl {
 public:
  Impl(transport::Transport& transport, ScanOptions options, std::chrono::milliseconds timeout);

  bool Next();

  std::string& key() { return key_; }
  Entry& entry() { return entry_; }
  const absl::Status& status() const { return status_; }
  const std::string& cursor() const { return cursor_; }

 private:
  using Stream =
      transport::ReadStream<v1::KeyValue::StubInterface::async_interface, v1::ScanRequest, v1::ScanResponse>;

  // Brings the next page, over a new connection if the old one is broken.
  absl::Status FetchPage();
  absl::Status Accept(bool ended);

  transport::Transport& transport_;
  const std::chrono::milliseconds timeout_;
  v1::ScanRequest request_;  // its cursor is behind page_
  std::optional<Stream> stream_;

  v1::ScanResponse page_;
  int position_ = -1;      // of the current entry in page_
  bool finished_ = false;  // nothing comes after page_
  bool limited_ = false;
  uint64_t remaining_ = 0;  // if limited: how many more to ask for

  std::string key_;
  Entry entry_;
  std::string cursor_;  // behind the pages that were stepped over
  absl::Status status_;
};

}  // namespace thermocline
