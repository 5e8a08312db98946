#include "client/cli/byte_source.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <poll.h>

namespace thermocline::cli {

constexpr size_t kBufferBytes = 256 << 10;

absl::StatusOr<std::unique_ptr<ByteSource>> ByteSource::Open(const std::string& path, int standard_input) {
  if (path == "-") {
    return std::unique_ptr<ByteSource>(new ByteSource("standard input", standard_input, false));
  }
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, "cannot open " + path);
  return std::unique_ptr<ByteSource>(new ByteSource(path, descriptor, true));
}

ByteSource::ByteSource(std::string path, int descriptor, bool owned)
    : path_(std::move(path)),
      descriptor_(descriptor),
      owned_(owned),
      cancelled_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      buffer_(kBufferBytes) {
  struct stat info {};
  if (fstat(descriptor_, &info) == 0 && S_ISREG(info.st_mode)) size_ = static_cast<uint64_t>(info.st_size);
}

ByteSource::~ByteSource() {
  if (cancelled_ >= 0) close(cancelled_);
  if (owned_) close(descriptor_);
}

std::string_view ByteSource::Peek() {
  while (begin_ == end_ && status_.ok()) {
    Await();
    if (!status_.ok()) break;
    const ssize_t count = read(descriptor_, buffer_.data(), buffer_.size());
    if (count == 0) break;
    if (count > 0) {
      begin_ = 0;
      end_ = static_cast<size_t>(count);
    } else if (errno != EINTR) {
      status_ = absl::ErrnoToStatus(errno, "cannot read " + path_);
    }
  }
  return {buffer_.data() + begin_, end_ - begin_};
}

void ByteSource::Await() {
  // What cannot be waited for, such as a file, is ready.
  pollfd waits[] = {{descriptor_, POLLIN, 0}, {cancelled_, POLLIN, 0}};
  while (poll(waits, 2, -1) < 0 && errno == EINTR) {
  }
  if (waits[1].revents != 0) status_ = absl::CancelledError("the reading of " + path_ + " was cancelled");
}

void ByteSource::Cancel() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(cancelled_, &one, sizeof one);
}

void ByteSource::Consume(size_t bytes) {
  begin_ += bytes;
  consumed_.fetch_add(bytes, std::memory_order_relaxed);
}

}  // namespace thermocline::cli
