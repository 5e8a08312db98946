#include "storage/uring_reads.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <errno.h>
#include <new>
#include <optional>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <liburing.h>

#include "storage/posix_status.h"

namespace thermocline::storage {
namespace {

constexpr uint64_t kBufferAlignment = 4096;  // the most that a file may ask for
// Up to this size a buffer stays with its slot for the next read; larger ones are rare, and are freed.
constexpr size_t kKeptBufferBytes = 16 << 10;
// What is longer is copied in several steps, so that a read of any length takes no more memory than this.
constexpr size_t kMaxBufferBytes = 1 << 20;
// Linux reads no more at once than a page less than 2 GiB.
constexpr size_t kMaxRequestBytes = 1 << 30;
// Beyond, offsets are negative to the kernel, and one of them means "wherever the last read ended".
constexpr uint64_t kMaxOffset = INT64_MAX;

// The best mode that the kernel has. The first wants to be driven by one thread alone, and does what follows
// a completed read when that thread asks, not by interrupting it. All start disabled, for the thread that
// creates the ring need not be the one that drives it.
constexpr unsigned kModes[] = {
    IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,  // Linux 6.1
    IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN,                                // Linux 5.19
    IORING_SETUP_R_DISABLED,
};

absl::Status Refusal(int error) {
  const std::string reason = std::generic_category().message(error);
  if (error == ENOSYS) return absl::UnimplementedError("the kernel has no io_uring: " + reason);
  const std::string_view hint =
      error == EPERM ? " (by the sysctl kernel.io_uring_disabled, or by a container's seccomp profile)" : "";
  return absl::UnavailableError(fmt::format("the system refuses io_uring: {}{}", reason, hint));
}

struct AlignedDelete {
  void operator()(char* memory) const { ::operator delete (memory, std::align_val_t{kBufferAlignment}); }
};

// Memory as direct reads want it, of multiples of the alignment.
class AlignedBuffer {
 public:
  char* data() const { return data_.get(); }

  void Reserve(size_t bytes) {
    if (bytes <= capacity_) return;
    capacity_ = std::max(bytes, kKeptBufferBytes);
    data_.reset(static_cast<char*>(::operator new (capacity_, std::align_val_t{kBufferAlignment})));
  }

  void ShrinkToKept() {
    if (capacity_ <= kKeptBufferBytes) return;
    data_.reset();
    capacity_ = 0;
  }

 private:
  std::unique_ptr<char, AlignedDelete> data_;
  size_t capacity_ = 0;
};

// A read under way, of which the ring has a fixed number.
class Slot {
 public:
  void Begin(DiskRead read) {
    read_ = std::move(read);
    file_ = read_.file->handle();
    // What the kernel cannot do or would misunderstand.
    by_hand_ = file_.descriptor < 0 || read_.out.empty() || read_.offset > kMaxOffset;
    done_bytes_ = 0;
  }

  // Asks for what is missing.
  void Prepare(io_uring_sqe* request) {
    if (by_hand_) {
      io_uring_prep_nop(request);
    } else {
      PrepareRead(request);
    }
    io_uring_sqe_set_data(request, this);
  }

  // What became of the read, or nullopt if it goes on with another Prepare().
  std::optional<absl::Status> Advance(int result) {
    if (by_hand_) return read_.file->ReadAt(read_.offset, read_.out);
    if (result == -EAGAIN || result == -EINTR) return std::nullopt;
    const size_t bytes = read_.out.size();
    if (result < 0) return ReadFailure(-result, bytes, read_.offset, file_.path);
    const auto got = static_cast<size_t>(result);
    const size_t useful = std::min(got - std::min(got, skipped_), bytes - done_bytes_);
    if (copies_) std::memcpy(read_.out.data() + done_bytes_, buffer_.data() + skipped_, useful);
    done_bytes_ += useful;
    if (done_bytes_ == bytes) return absl::OkStatus();
    // Of a direct read, only the end of the file makes it stop off the grid, and the next one would be
    // refused.
    const bool at_end = got == 0 || (got & (file_.alignment - 1)) != 0;
    if (at_end) return ReadBeyondEnd(bytes, read_.offset, file_.path);
    return std::nullopt;
  }

  DiskRead End() {
    buffer_.ShrinkToKept();
    return std::move(read_);
  }

 private:
  void PrepareRead(io_uring_sqe* request) {
    const uint64_t begin = read_.offset + done_bytes_;
    const size_t rest = read_.out.size() - done_bytes_;
    char* const out = read_.out.data() + done_bytes_;
    const uint64_t mask = file_.alignment - 1;
    copies_ = ((begin | rest | reinterpret_cast<uintptr_t>(out)) & mask) != 0;
    skipped_ = copies_ ? begin & mask : 0;
    char* memory = out;
    size_t bytes = std::min(rest, kMaxRequestBytes);
    if (copies_) {
      bytes = std::min<size_t>((skipped_ + rest + mask) & ~mask, kMaxBufferBytes);
      buffer_.Reserve(bytes);
      memory = buffer_.data();
    }
    io_uring_prep_read(request, file_.descriptor, memory, static_cast<unsigned>(bytes), begin - skipped_);
  }

  DiskRead read_{};
  File::Handle file_;
  bool by_hand_ = false;   // by File::ReadAt; the ring only says when
  size_t done_bytes_ = 0;  // of read_.out

  // The request that is under way.
  bool copies_ = false;  // it goes to buffer_, not where the caller wants it
  size_t skipped_ = 0;   // bytes at its beginning that nobody asked for
  AlignedBuffer buffer_;
};

}  // namespace

class ReadRing::Impl {
 public:
  explicit Impl(uint32_t depth) : slots_(depth) {
    for (Slot& slot : slots_) idle_.push_back(&slot);
  }

  ~Impl() {
    if (created_) io_uring_queue_exit(&ring_);
    if (wake_ >= 0) ::close(wake_);
  }

  absl::Status Create() {
    wake_ = ::eventfd(0, EFD_CLOEXEC);
    if (wake_ < 0) return absl::UnavailableError("no eventfd: " + std::generic_category().message(errno));
    int result = -EINVAL;
    for (const unsigned mode : kModes) {
      // One more for the read of wake_.
      result = io_uring_queue_init(static_cast<unsigned>(slots_.size()) + 1, &ring_, mode);
      if (result != -EINVAL) break;
    }
    if (result < 0) return Refusal(-result);
    created_ = true;
    if ((ring_.features & IORING_FEAT_EXT_ARG) == 0) {
      return absl::UnimplementedError("io_uring is used from Linux 5.11 on; this kernel is older");
    }
    return absl::OkStatus();
  }

  absl::Status SignalTo(int event) {
    const int result = io_uring_register_eventfd(&ring_, event);
    return result == 0 ? absl::OkStatus() : Refusal(-result);
  }

  void Add(DiskRead read) {
    ++pending_;
    if (idle_.empty()) {
      backlog_.push_back(std::move(read));
    } else {
      Start(std::move(read));
    }
  }

  void Enter(Wait wait) {
    if (!enabled_) Enable();
    if (wait == Wait::kYes && !listening_) Listen();
    const int result =
        wait == Wait::kYes ? io_uring_submit_and_wait(&ring_, 1) : io_uring_submit_and_get_events(&ring_);
    // Interrupted, or short of memory until something completes: what was not handed over stays in the ring
    // for the next time. Anything else would be a mistake in this file.
    constexpr int kPassing[] = {-EINTR, -EAGAIN, -EBUSY, -ENOMEM};
    if (result < 0 && std::ranges::find(kPassing, result) == std::end(kPassing)) std::abort();
  }

  void Complete() {
    unsigned head;
    unsigned count = 0;
    io_uring_cqe* completion;
    io_uring_for_each_cqe(&ring_, head, completion) {
      ++count;
      if (auto* slot = static_cast<Slot*>(io_uring_cqe_get_data(completion))) {
        Finish(*slot, completion->res);
      } else {
        listening_ = false;
      }
    }
    io_uring_cq_advance(&ring_, count);
  }

  void Interrupt() { ::eventfd_write(wake_, 1); }

  size_t pending() const { return pending_; }

 private:
  // io_uring_enable_rings(), which Debian 12's liburing declares and forgets to export.
  void Enable() {
    enabled_ = ::syscall(SYS_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0;
  }

  io_uring_sqe* NextRequest() {
    // Never nullptr: there is room for one request of each slot and for Listen()'s.
    return io_uring_get_sqe(&ring_);
  }

  void Listen() {
    io_uring_sqe* const request = NextRequest();
    io_uring_prep_read(request, wake_, &wake_count_, sizeof wake_count_, 0);
    io_uring_sqe_set_data(request, nullptr);
    listening_ = true;
  }

  void Start(DiskRead read) {
    Slot* const slot = idle_.back();
    idle_.pop_back();
    slot->Begin(std::move(read));
    slot->Prepare(NextRequest());
  }

  void Finish(Slot& slot, int result) {
    std::optional<absl::Status> status = slot.Advance(result);
    if (!status) return slot.Prepare(NextRequest());
    DiskRead read = slot.End();
    idle_.push_back(&slot);
    if (!backlog_.empty()) {
      Start(std::move(backlog_.front()));
      backlog_.pop_front();
    }
    --pending_;
    read.done(*std::move(status));
  }

  io_uring ring_;
  bool created_ = false;
  bool enabled_ = false;
  int wake_ = -1;            // what Interrupt() writes to
  bool listening_ = false;   // a read of wake_ is under way
  uint64_t wake_count_ = 0;  // where it goes

  std::vector<Slot> slots_;
  std::vector<Slot*> idle_;       // the one used last is the next: its memory is warm
  std::deque<DiskRead> backlog_;  // empty while a slot is idle
  size_t pending_ = 0;
};

absl::StatusOr<std::unique_ptr<ReadRing>> ReadRing::Create(uint32_t depth) {
  auto impl = std::make_unique<Impl>(depth);
  if (absl::Status status = impl->Create(); !status.ok()) return status;
  return std::unique_ptr<ReadRing>(new ReadRing(std::move(impl)));
}

ReadRing::ReadRing(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ReadRing::~ReadRing() = default;

absl::Status ReadRing::SignalTo(int event) { return impl_->SignalTo(event); }
void ReadRing::Add(DiskRead read) { impl_->Add(std::move(read)); }
void ReadRing::Enter(Wait wait) { impl_->Enter(wait); }
void ReadRing::Complete() { impl_->Complete(); }
void ReadRing::Interrupt() { impl_->Interrupt(); }
size_t ReadRing::pending() const { return impl_->pending(); }

absl::StatusOr<std::unique_ptr<UringReads>> UringReads::Create(uint32_t depth) {
  absl::StatusOr<std::unique_ptr<ReadRing>> ring = ReadRing::Create(depth);
  if (!ring.ok()) return ring.status();
  return std::unique_ptr<UringReads>(new UringReads(*std::move(ring)));
}

UringReads::UringReads(std::unique_ptr<ReadRing> ring)
    : ring_(std::move(ring)), thread_([this] { Drive(); }) {
  pthread_setname_np(thread_.native_handle(), "disk-ring");
}

UringReads::~UringReads() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  ring_->Interrupt();
  thread_.join();
}

void UringReads::SubmitAll(std::span<DiskRead> reads) {
  if (reads.empty()) return;
  if (std::this_thread::get_id() == thread_.get_id()) {  // a completion: the next Enter() takes them along
    for (DiskRead& read : reads) ring_->Add(std::move(read));
    return;
  }
  // Under the lock: a read may complete at once, and whoever waited for it destroy this.
  MutexLock lock(mutex_);
  std::move(reads.begin(), reads.end(), std::back_inserter(submitted_));
  if (std::exchange(asleep_, false)) ring_->Interrupt();
}

void UringReads::Drive() {
  std::vector<DiskRead> taken;
  while (TakeSubmitted(taken)) {
    for (DiskRead& read : taken) ring_->Add(std::move(read));
    taken.clear();
    ring_->Enter(ReadRing::Wait::kYes);
    {
      MutexLock lock(mutex_);
      asleep_ = false;
    }
    ring_->Complete();
  }
}

// From here until it wakes up, the thread counts as asleep. False: there is nothing left to do and never will
// be.
bool UringReads::TakeSubmitted(std::vector<DiskRead>& taken) {
  MutexLock lock(mutex_);
  taken.swap(submitted_);
  asleep_ = true;
  return !stopping_ || !taken.empty() || ring_->pending() > 0;
}

}  // namespace thermocline::storage
