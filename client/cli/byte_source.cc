#include "client/cli/byte_source.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

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
    : path_(std::move(path)), descriptor_(descriptor), owned_(owned), buffer_(kBufferBytes) {
  struct stat info {};
  if (fstat(descriptor_, &info) == 0 && S_ISREG(info.st_mode)) size_ = static_cast<uint64_t>(info.st_size);
}

ByteSource::~ByteSource() {
  if (owned_) close(descriptor_);
}

std::string_view ByteSource::Peek() {
  while (begin_ == end_ && status_.ok()) {
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

void ByteSource::Consume(size_t bytes) {
  begin_ += bytes;
  consumed_.fetch_add(bytes, std::memory_order_relaxed);
}

}  // namespace thermocline::cli
