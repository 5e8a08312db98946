#include "client/cli/byte_source.h"

#include <cerrno>
#include <fcntl.h>
#include <span>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <poll.h>

namespace thermocline::cli {
namespace {

constexpr size_t kBufferBytes = 256 << 10;

class DescriptorReader : public storage::ByteReader {
 public:
  DescriptorReader(std::string name, int descriptor, bool owned)
      : name_(std::move(name)),
        descriptor_(descriptor),
        owned_(owned),
        cancelled_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    struct stat info {};
    if (fstat(descriptor_, &info) == 0 && S_ISREG(info.st_mode)) size_ = static_cast<uint64_t>(info.st_size);
  }
  ~DescriptorReader() override {
    if (cancelled_ >= 0) close(cancelled_);
    if (owned_) close(descriptor_);
  }

  absl::StatusOr<size_t> Read(std::span<char> out) override {
    for (;;) {
      if (Await()) return absl::CancelledError("the reading of " + name_ + " was cancelled");
      const ssize_t count = read(descriptor_, out.data(), out.size());
      if (count >= 0) return static_cast<size_t>(count);
      if (errno != EINTR) return absl::ErrnoToStatus(errno, "cannot read " + name_);
    }
  }

  std::optional<uint64_t> size() const override { return size_; }

  void Cancel() override {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(cancelled_, &one, sizeof one);
  }

 private:
  // Waits until there is something to read; true if Cancel() was called.
  bool Await() {
    // What cannot be waited for, such as a file, is ready.
    pollfd waits[] = {{descriptor_, POLLIN, 0}, {cancelled_, POLLIN, 0}};
    while (poll(waits, 2, -1) < 0 && errno == EINTR) {
    }
    return waits[1].revents != 0;
  }

  const std::string name_;
  const int descriptor_;
  const bool owned_;
  const int cancelled_;  // an eventfd, which becomes readable
  std::optional<uint64_t> size_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteSource>> ByteSource::Open(const std::string& path, int standard_input) {
  if (path == "-") {
    return std::make_unique<ByteSource>(
        std::make_unique<DescriptorReader>("standard input", standard_input, false));
  }
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, "cannot open " + path);
  return std::make_unique<ByteSource>(std::make_unique<DescriptorReader>(path, descriptor, true));
}

ByteSource::ByteSource(std::unique_ptr<storage::ByteReader> reader)
    : reader_(std::move(reader)), buffer_(kBufferBytes) {}

std::string_view ByteSource::Peek() {
  if (begin_ == end_ && status_.ok() && !ended_) {
    const absl::StatusOr<size_t> count = reader_->Read(buffer_);
    status_ = count.status();
    begin_ = 0;
    end_ = count.value_or(0);
    ended_ = end_ == 0;
  }
  return {buffer_.data() + begin_, end_ - begin_};
}

void ByteSource::Consume(size_t bytes) {
  begin_ += bytes;
  consumed_.fetch_add(bytes, std::memory_order_relaxed);
}

}  // namespace thermocline::cli
