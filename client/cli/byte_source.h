#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/byte_stream.h"

namespace thermocline::cli {

// A file, pipe or object that is read once, front to back, through a buffer of fixed size. For one thread at
// a time, except where stated.
class ByteSource {
 public:
  // "-" reads the descriptor `standard_input`, which stays open. NOT_FOUND, PERMISSION_DENIED: names the
  // path.
  static absl::StatusOr<std::unique_ptr<ByteSource>> Open(const std::string& path, int standard_input);

  explicit ByteSource(std::unique_ptr<storage::ByteReader> reader);

  // Bytes that come next, at least one; empty at the end or after a failure (see status()).
  std::string_view Peek();
  // Moves on by `bytes`, at most as many as Peek() has shown.
  void Consume(size_t bytes);

  // Ends a Peek() that waits soon, and all that would wait: status() is CANCELLED. From any thread.
  void Cancel() { reader_->Cancel(); }

  const absl::Status& status() const { return status_; }
  // How many bytes were consumed. From any thread.
  uint64_t consumed() const { return consumed_.load(std::memory_order_relaxed); }
  // How many bytes there are in all; nullopt if that is not known.
  std::optional<uint64_t> size() const { return reader_->size(); }

 private:
  const std::unique_ptr<storage::ByteReader> reader_;
  std::vector<char> buffer_;
  size_t begin_ = 0;  // of what is left in buffer_
  size_t end_ = 0;
  bool ended_ = false;
  std::atomic<uint64_t> consumed_ = 0;
  absl::Status status_;
};

}  // namespace thermocline::cli
