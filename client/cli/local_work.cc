#include "client/cli/local_work.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <span>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"
#include <poll.h>

#include "storage/executor_reads.h"
#include "storage/posix_file_system.h"
#include "storage/thread_pool.h"

namespace thermocline::cli {
namespace {

constexpr int kReadThreads = 2;
constexpr int kTurnMs = 100;

std::atomic<std::atomic<bool>*> interrupted{nullptr};
static_assert(std::atomic<std::atomic<bool>*>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void Interrupt(int) {
  if (std::atomic<bool>* const flag = interrupted.load()) flag->store(true);
}

// A pipe or a device: opened once, written as it comes.
class OpenedWriter : public storage::ObjectWriter {
 public:
  OpenedWriter(int descriptor, const std::string& path)
      : descriptor_(descriptor), writer_(storage::NewDescriptorWriter(descriptor, path)) {}
  ~OpenedWriter() override { close(descriptor_); }

  absl::Status Append(std::string_view bytes) override { return writer_->Append(bytes); }
  absl::Status Finish() override { return writer_->Finish(); }

 private:
  const int descriptor_;
  const std::unique_ptr<storage::ObjectWriter> writer_;
};

// Waits for bytes in short turns, so that Ctrl-C ends it while nothing comes.
class StandardInput : public storage::ByteReader {
 public:
  explicit StandardInput(int descriptor)
      : descriptor_(descriptor), reader_(storage::NewDescriptorReader(descriptor, "standard input")) {}

  absl::StatusOr<size_t> Read(std::span<char> out) override {
    for (;;) {
      const std::atomic<bool>* const flag = interrupted.load();
      if (flag != nullptr && flag->load()) return absl::CancelledError("cancelled");
      pollfd waiting{.fd = descriptor_, .events = POLLIN, .revents = 0};
      if (poll(&waiting, 1, kTurnMs) != 0 && waiting.revents != 0) return reader_->Read(out);
    }
  }

  std::optional<uint64_t> size() const override { return reader_->size(); }

 private:
  const int descriptor_;
  const std::unique_ptr<storage::ByteReader> reader_;
};

storage::PosixFileSystem& Files() {
  static auto& files = *new storage::PosixFileSystem;
  return files;
}

}  // namespace

Interruption::Interruption(std::atomic<bool>& flag) {
  interrupted = &flag;
  struct sigaction action {};
  action.sa_handler = Interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

Interruption::~Interruption() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  interrupted = nullptr;
}

struct ScratchStore::Parts {
  std::string directory;
  storage::ThreadPool pool{"runs", kReadThreads};
  storage::ExecutorReads reads{pool};
  std::unique_ptr<storage::ObjectStore> store;
};

absl::StatusOr<std::unique_ptr<ScratchStore>> ScratchStore::Create(const std::string& parent) {
  auto parts = std::make_unique<Parts>();
  parts->directory = parent + "/thermocline-runs-XXXXXX";
  if (mkdtemp(parts->directory.data()) == nullptr)
    return absl::ErrnoToStatus(errno, fmt::format("cannot make a directory for runs in {}", parent));
  std::unique_ptr<ScratchStore> scratch(new ScratchStore(std::move(parts)));
  auto store = storage::OpenDirectoryStore(scratch->parts_->directory, Files(), scratch->parts_->reads);
  if (!store.ok()) return store.status();
  scratch->parts_->store = *std::move(store);
  return scratch;
}

ScratchStore::ScratchStore(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

ScratchStore::~ScratchStore() {
  parts_->store.reset();
  std::error_code ignored;
  std::filesystem::remove_all(parts_->directory, ignored);
}

storage::ObjectStore& ScratchStore::objects() { return *parts_->store; }

absl::StatusOr<std::unique_ptr<storage::ByteReader>> OpenInput(const std::string& path, const Io& io) {
  if (path == "-") return std::make_unique<StandardInput>(io.in);
  return storage::OpenFileReader(path);
}

absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> OpenOutput(const std::string& path, const Io& io) {
  if (path == "-") {
    if (io.out_descriptor < 0) return absl::UnavailableError("there is no standard output");
    return storage::NewDescriptorWriter(io.out_descriptor, "standard output");
  }
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode))
    return storage::CreateFileWriter(Files(), path);
  const int descriptor = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, "cannot open " + path);
  return std::make_unique<OpenedWriter>(descriptor, path);
}

std::string DirectoryOf(const std::string& path) {
  if (path == "-" || path.starts_with("/dev/")) {
    const char* const temporary = std::getenv("TMPDIR");
    return temporary != nullptr && *temporary != '\0' ? temporary : "/tmp";
  }
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace thermocline::cli
