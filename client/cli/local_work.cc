#include "client/cli/local_work.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <random>
#include <span>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include <poll.h>

#include "storage/executor_reads.h"
#include "storage/posix_file_system.h"
#include "storage/s3_client.h"
#include "storage/s3_url.h"
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

CancelWatch::CancelWatch(const std::atomic<bool>& flag, std::function<void()> cancel) {
  thread_ = std::thread([this, &flag, cancel = std::move(cancel)] {
    std::unique_lock lock(mutex_);
    while (!flag && !end_) ended_.wait_for(lock, std::chrono::milliseconds(kTurnMs));
    if (!end_) cancel();
  });
}

CancelWatch::~CancelWatch() {
  {
    std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

class ScratchStore::Place {
 public:
  virtual ~Place() = default;
  virtual storage::ObjectStore& objects() = 0;
};

class ScratchStore::Directory : public Place {
 public:
  ~Directory() override {
    store_.reset();
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }

  absl::Status Make(const std::string& parent) {
    std::string path = parent + "/thermocline-runs-XXXXXX";
    if (mkdtemp(path.data()) == nullptr)
      return absl::ErrnoToStatus(errno, fmt::format("cannot make a directory for runs in {}", parent));
    path_ = path;
    auto store = storage::OpenDirectoryStore(path_, Files(), reads_);
    if (store.ok()) store_ = *std::move(store);
    return store.status();
  }

  storage::ObjectStore& objects() override { return *store_; }

 private:
  std::string path_;
  storage::ThreadPool pool_{"runs", kReadThreads};
  storage::ExecutorReads reads_{pool_};
  std::unique_ptr<storage::ObjectStore> store_;
};

class ScratchStore::Bucket : public Place {
 public:
  ~Bucket() override {
    store_.reset();
    if (prefix_.empty()) return;
    std::vector<std::string> keys;
    const auto add = [&keys](storage::S3Client::Listed listed) {
      keys.push_back(std::move(listed.key));
      return true;
    };
    client_->List(bucket_, prefix_, add).IgnoreError();
    client_->RemoveAll(bucket_, keys).IgnoreError();
  }

  absl::Status Make(const std::string& parent, S3Access& s3) {
    const std::optional<storage::S3Url> url = storage::ParseS3Url(parent);
    if (!url.has_value())
      return absl::InvalidArgumentError(
          fmt::format("{}: is no place for runs; write s3://bucket/prefix", parent));
    const absl::StatusOr<storage::S3Client*> client = s3.client();
    if (!client.ok()) return Failed(parent, client.status());
    std::random_device random;
    const std::string name = fmt::format("thermocline-runs-{:08x}{:08x}", random(), random());
    const bool slash = url->key.empty() || url->key.ends_with('/');
    client_ = *client;
    bucket_ = url->bucket;
    prefix_ = fmt::format("{}{}{}/", url->key, slash ? "" : "/", name);
    auto store = storage::OpenS3Store(*client_, bucket_, prefix_, name);
    if (!store.ok()) return Failed(parent, store.status());
    store_ = *std::move(store);
    return absl::OkStatus();
  }

  storage::ObjectStore& objects() override { return *store_; }

 private:
  static absl::Status Failed(const std::string& parent, const absl::Status& status) {
    return absl::Status(status.code(),
                        fmt::format("cannot put runs into {}: {}", parent, std::string(status.message())));
  }

  storage::S3Client* client_ = nullptr;
  std::string bucket_;
  std::string prefix_;  // with a slash at its end; empty: nothing was made
  std::unique_ptr<storage::ObjectStore> store_;
};

absl::StatusOr<std::unique_ptr<ScratchStore>> ScratchStore::Create(const std::string& parent, S3Access& s3) {
  std::unique_ptr<Place> place;
  absl::Status status;
  if (storage::IsS3Url(parent)) {
    auto bucket = std::make_unique<Bucket>();
    status = bucket->Make(parent, s3);
    place = std::move(bucket);
  } else {
    auto directory = std::make_unique<Directory>();
    status = directory->Make(parent);
    place = std::move(directory);
  }
  if (!status.ok()) return status;
  return std::unique_ptr<ScratchStore>(new ScratchStore(std::move(place)));
}

ScratchStore::ScratchStore(std::unique_ptr<Place> place) : place_(std::move(place)) {}

ScratchStore::~ScratchStore() = default;

storage::ObjectStore& ScratchStore::objects() { return place_->objects(); }

absl::StatusOr<std::unique_ptr<storage::ByteReader>> OpenInput(const std::string& path, const Io& io,
                                                               S3Access& s3) {
  if (storage::IsS3Url(path)) return s3.OpenReader(path);
  if (path == "-") return std::make_unique<StandardInput>(io.in);
  return storage::OpenFileReader(path);
}

absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> OpenOutput(const std::string& path, const Io& io,
                                                                  S3Access& s3) {
  if (storage::IsS3Url(path)) return s3.OpenWriter(path);
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
  if (path == "-" || path.starts_with("/dev/") || storage::IsS3Url(path)) {
    const char* const temporary = std::getenv("TMPDIR");
    return temporary != nullptr && *temporary != '\0' ? temporary : "/tmp";
  }
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace thermocline::cli
