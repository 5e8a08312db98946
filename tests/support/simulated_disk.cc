#include "tests/support/simulated_disk.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <utility>

#include <fmt/format.h>

namespace thermocline::testing {
namespace {

using storage::File;
using storage::FileLock;
using storage::MutexLock;

constexpr uint64_t kSectorBytes = 512;

// One name for one place: no "." or "..", no doubled or trailing slash.
std::string Normal(const std::string& path) {
  std::string normal = std::filesystem::path(path).lexically_normal().string();
  if (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  return normal;
}

std::string DirectoryOf(const std::string& normal_path) {
  const std::string parent = std::filesystem::path(normal_path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::Status Crashed() { return absl::UnavailableError("the machine has crashed"); }

absl::Status Missing(std::string_view operation, const std::string& path) {
  return absl::NotFoundError(fmt::format("cannot {} {}: No such file or directory", operation, path));
}

absl::Status DeviceFailure(std::string_view operation, const std::string& path) {
  return absl::UnavailableError(fmt::format("cannot {} {}: Input/output error", operation, path));
}

}  // namespace

// One change to the bytes of a file.
struct SimulatedDisk::Change {
  enum class Kind { kWrite, kTruncate, kAllocate };
  Kind kind;
  uint64_t at;       // offset of a write, else a length
  std::string data;  // of a write

  void ApplyTo(std::string& bytes) const {
    if (kind == Kind::kTruncate) return bytes.resize(at);
    bytes.resize(std::max<uint64_t>(bytes.size(), at + data.size()));
    bytes.replace(at, data.size(), data);
  }
};

struct SimulatedDisk::Node {
  std::string visible;
  std::string safe;
  std::vector<Change> unsynced;  // what leads from `safe` to `visible`, unless a sync failed
  bool linked = true;            // has a visible name, so its bytes count as used
};

// A creation (only `added`), a removal (only `removed`) or a rename.
struct SimulatedDisk::NameChange {
  std::string removed;
  std::string added;
  std::shared_ptr<Node> node;
};

struct SimulatedDisk::Fault {
  uint64_t calls_left;  // until the one that fails, which counts
  Repeat repeat;
};

class SimulatedDisk::OpenFile : public File {
 public:
  OpenFile(SimulatedDisk& disk, uint64_t epoch, std::string path, std::shared_ptr<Node> node, bool writable)
      : disk_(disk), epoch_(epoch), path_(std::move(path)), node_(std::move(node)), writable_(writable) {}

  absl::Status ReadAt(uint64_t offset, std::span<char> out) override {
    MutexLock lock(disk_.mutex_);
    if (absl::Status status = disk_.Serve(epoch_); !status.ok()) return status;
    ++disk_.counts_.reads;
    disk_.counts_.read_bytes += out.size();
    if (disk_.HitsFault(Operation::kRead)) return DeviceFailure("read", path_);
    const std::string& bytes = node_->visible;
    if (!out.empty() && (offset > bytes.size() || out.size() > bytes.size() - offset)) {
      return absl::OutOfRangeError(fmt::format(
          "cannot read {} bytes at offset {} of {}: the file ends before", out.size(), offset, path_));
    }
    std::copy_n(bytes.data() + (out.empty() ? 0 : offset), out.size(), out.data());
    return absl::OkStatus();
  }

  absl::Status WriteAt(uint64_t offset, std::string_view data) override {
    MutexLock lock(disk_.mutex_);
    if (absl::Status status = ServeChange("write"); !status.ok()) return status;
    ++disk_.counts_.writes;
    disk_.counts_.written_bytes += data.size();
    const bool fails = disk_.HitsFault(Operation::kWrite);
    if (fails) data = data.substr(0, disk_.Below(data.size() + 1));
    if (data.empty()) return fails ? DeviceFailure("write", path_) : absl::OkStatus();
    if (absl::Status status = disk_.Reserve(*node_, offset + data.size(), path_); !status.ok()) return status;
    disk_.Write(*node_, offset, data);
    return fails ? DeviceFailure("write", path_) : absl::OkStatus();
  }

  absl::Status Sync() override {
    MutexLock lock(disk_.mutex_);
    if (absl::Status status = disk_.ServeChange(epoch_); !status.ok()) return status;
    ++disk_.counts_.syncs;
    if (disk_.HitsFault(Operation::kSync)) {
      disk_.MakeSafeByChance(*node_);
      return DeviceFailure("sync", path_);
    }
    disk_.MakeSafe(*node_);
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t bytes) override {
    MutexLock lock(disk_.mutex_);
    if (absl::Status status = ServeChange("reserve space for"); !status.ok()) return status;
    if (disk_.HitsFault(Operation::kAllocate)) return DeviceFailure("reserve space for", path_);
    if (bytes <= node_->visible.size()) return absl::OkStatus();
    return disk_.Resize(*node_, {Change::Kind::kAllocate, bytes, {}}, path_);
  }

  absl::Status Truncate(uint64_t bytes) override {
    MutexLock lock(disk_.mutex_);
    if (absl::Status status = ServeChange("set the length of"); !status.ok()) return status;
    return disk_.Resize(*node_, {Change::Kind::kTruncate, bytes, {}}, path_);
  }

  absl::StatusOr<uint64_t> Size() override {
    MutexLock lock(disk_.mutex_);
    if (absl::Status status = disk_.Serve(epoch_); !status.ok()) return status;
    return node_->visible.size();
  }

 private:
  absl::Status ServeChange(std::string_view operation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(disk_.mutex_) {
    if (!writable_) {
      return absl::UnavailableError(fmt::format("cannot {} {}: it was opened for reading", operation, path_));
    }
    return disk_.ServeChange(epoch_);
  }

  SimulatedDisk& disk_;
  const uint64_t epoch_;
  const std::string path_;
  const std::shared_ptr<Node> node_;
  const bool writable_;
};

class SimulatedDisk::HeldLock : public FileLock {
 public:
  HeldLock(SimulatedDisk& disk, uint64_t epoch, std::string path)
      : disk_(disk), epoch_(epoch), path_(std::move(path)) {}
  ~HeldLock() override {
    MutexLock lock(disk_.mutex_);
    if (epoch_ == disk_.epoch_) disk_.locked_.erase(path_);
  }

 private:
  SimulatedDisk& disk_;
  const uint64_t epoch_;
  const std::string path_;
};

SimulatedDisk::SimulatedDisk(uint64_t seed) : random_(seed), directories_({"/", "."}) {}

SimulatedDisk::~SimulatedDisk() = default;

absl::StatusOr<std::unique_ptr<File>> SimulatedDisk::Open(const std::string& path, Mode mode) {
  MutexLock lock(mutex_);
  const std::string name = Normal(path);
  const auto found = visible_.find(name);
  if (mode != Mode::kCreate) {
    if (absl::Status status = Serve(epoch_); !status.ok()) return status;
    if (found == visible_.end()) return Missing("open", path);
    return std::make_unique<OpenFile>(*this, epoch_, path, found->second, mode == Mode::kReadWrite);
  }
  if (absl::Status status = ServeChange(epoch_); !status.ok()) return status;
  if (found != visible_.end() || directories_.contains(name)) {
    return absl::AlreadyExistsError(fmt::format("cannot create {}: File exists", path));
  }
  if (!directories_.contains(DirectoryOf(name))) return Missing("create", path);
  return std::make_unique<OpenFile>(*this, epoch_, path, Create(name), true);
}

absl::Status SimulatedDisk::CreateDirectory(const std::string& path) {
  MutexLock lock(mutex_);
  if (absl::Status status = ServeChange(epoch_); !status.ok()) return status;
  std::vector<std::string> missing;
  for (std::string level = Normal(path); !directories_.contains(level); level = DirectoryOf(level)) {
    if (visible_.contains(level)) {
      return absl::AlreadyExistsError(fmt::format("cannot create directory {}: File exists", level));
    }
    missing.push_back(level);
  }
  directories_.insert(missing.begin(), missing.end());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> SimulatedDisk::List(const std::string& directory) {
  MutexLock lock(mutex_);
  if (absl::Status status = Serve(epoch_); !status.ok()) return status;
  const std::string above = Normal(directory);
  for (std::string level = above; !directories_.contains(level); level = DirectoryOf(level)) {
    if (!visible_.contains(level)) continue;
    return absl::FailedPreconditionError(fmt::format("cannot list directory {}: it is a file", directory));
  }
  if (!directories_.contains(above)) return Missing("list directory", directory);
  std::set<std::string> names;
  const auto add = [&](const std::string& path) {
    if (path != above && DirectoryOf(path) == above)
      names.insert(std::filesystem::path(path).filename().string());
  };
  for (const auto& [path, node] : visible_) add(path);
  for (const std::string& path : directories_) add(path);
  return std::vector<std::string>(names.begin(), names.end());
}

absl::Status SimulatedDisk::Rename(const std::string& from, const std::string& to) {
  MutexLock lock(mutex_);
  if (absl::Status status = ServeChange(epoch_); !status.ok()) return status;
  const std::string old_name = Normal(from);
  const std::string new_name = Normal(to);
  const auto found = visible_.find(old_name);
  if (found == visible_.end()) return Missing(fmt::format("rename {} to", from), to);
  if (!directories_.contains(DirectoryOf(new_name))) return Missing(fmt::format("rename {} to", from), to);
  if (directories_.contains(new_name)) {
    return absl::UnavailableError(fmt::format("cannot rename {} to {}: Is a directory", from, to));
  }
  if (old_name == new_name) return absl::OkStatus();
  std::shared_ptr<Node> node = found->second;
  if (visible_.contains(new_name)) Unlink(new_name);
  visible_.erase(old_name);
  visible_[new_name] = node;
  if (DirectoryOf(old_name) == DirectoryOf(new_name)) {
    unsynced_names_[DirectoryOf(new_name)].push_back({old_name, new_name, std::move(node)});
  } else {
    unsynced_names_[DirectoryOf(new_name)].push_back({{}, new_name, std::move(node)});
    unsynced_names_[DirectoryOf(old_name)].push_back({old_name, {}, nullptr});
  }
  return absl::OkStatus();
}

absl::Status SimulatedDisk::Remove(const std::string& path) {
  MutexLock lock(mutex_);
  if (absl::Status status = ServeChange(epoch_); !status.ok()) return status;
  const std::string name = Normal(path);
  if (!visible_.contains(name)) return Missing("remove", path);
  Unlink(name);
  unsynced_names_[DirectoryOf(name)].push_back({name, {}, nullptr});
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> SimulatedDisk::AvailableBytes(const std::string& /*directory*/) {
  MutexLock lock(mutex_);
  return capacity_ - std::min(used_, capacity_);
}

absl::Status SimulatedDisk::SyncDirectory(const std::string& directory) {
  MutexLock lock(mutex_);
  if (absl::Status status = ServeChange(epoch_); !status.ok()) return status;
  const std::string name = Normal(directory);
  if (!directories_.contains(name)) return Missing("open directory", directory);
  ++counts_.directory_syncs;
  const size_t count = unsynced_names_[name].size();
  if (HitsFault(Operation::kSyncDirectory)) {
    MakeNamesSafe(name, Below(count + 1));
    return DeviceFailure("sync directory", directory);
  }
  MakeNamesSafe(name, count);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FileLock>> SimulatedDisk::Lock(const std::string& path) {
  MutexLock lock(mutex_);
  if (absl::Status status = ServeChange(epoch_); !status.ok()) return status;
  const std::string name = Normal(path);
  if (!directories_.contains(DirectoryOf(name))) return Missing("open lock file", path);
  if (!locked_.insert(name).second) {
    return absl::FailedPreconditionError(fmt::format("{} is locked by another process", path));
  }
  if (!visible_.contains(name)) Create(name);
  return std::make_unique<HeldLock>(*this, epoch_, name);
}

void SimulatedDisk::CutOff() {
  ++epoch_;
  power_off_ = false;
  changes_left_.reset();
  locked_.clear();
  faults_.clear();
}

void SimulatedDisk::Kill() {
  MutexLock lock(mutex_);
  CutOff();
}

void SimulatedDisk::Crash() {
  MutexLock lock(mutex_);
  CutOff();
  for (const auto& [directory, changes] : unsynced_names_)
    MakeNamesSafe(directory, Below(changes.size() + 1));
  unsynced_names_.clear();
  used_ = 0;
  std::set<Node*> seen;
  for (auto& [path, node] : safe_) {
    // A file that is left under two names is two files from now on.
    if (!seen.insert(node.get()).second) node = std::make_shared<Node>(*node);
    MakeSafeByChance(*node);
    node->visible = node->safe;
    node->linked = true;
    used_ += node->visible.size();
  }
  visible_ = safe_;
}

void SimulatedDisk::PowerOffAfter(uint64_t changes) {
  MutexLock lock(mutex_);
  changes_left_ = changes;
}

void SimulatedDisk::SetCapacity(uint64_t bytes) {
  MutexLock lock(mutex_);
  capacity_ = bytes;
}

uint64_t SimulatedDisk::used_bytes() const {
  MutexLock lock(mutex_);
  return used_;
}

void SimulatedDisk::Fail(Operation operation, uint64_t nth, Repeat repeat) {
  MutexLock lock(mutex_);
  faults_[operation] = {nth, repeat};
}

void SimulatedDisk::ClearFaults() {
  MutexLock lock(mutex_);
  faults_.clear();
}

std::vector<std::string> SimulatedDisk::Paths() const {
  MutexLock lock(mutex_);
  std::vector<std::string> paths;
  for (const auto& [path, node] : visible_) paths.push_back(path);
  return paths;
}

std::optional<std::string> SimulatedDisk::Contents(const std::string& path) const {
  MutexLock lock(mutex_);
  const auto found = visible_.find(Normal(path));
  if (found == visible_.end()) return std::nullopt;
  return found->second->visible;
}

void SimulatedDisk::SetContents(const std::string& path, std::string bytes) {
  MutexLock lock(mutex_);
  const std::string name = Normal(path);
  for (std::string above = DirectoryOf(name); directories_.insert(above).second;) above = DirectoryOf(above);
  std::shared_ptr<Node>& node = visible_[name];
  if (node == nullptr) node = std::make_shared<Node>();
  used_ = used_ - node->visible.size() + bytes.size();
  node->unsynced.clear();
  node->visible = node->safe = std::move(bytes);
  safe_[name] = node;
}

void SimulatedDisk::FlipBit(const std::string& path, uint64_t offset, int bit) {
  MutexLock lock(mutex_);
  const auto found = visible_.find(Normal(path));
  // A test that corrupts nothing would prove nothing.
  if (found == visible_.end() || offset >= found->second->visible.size()) std::abort();
  Node& node = *found->second;
  node.visible[offset] ^= static_cast<char>(1 << bit);
  if (offset < node.safe.size()) node.safe[offset] ^= static_cast<char>(1 << bit);
  for (Change& change : node.unsynced) {
    if (offset >= change.at && offset - change.at < change.data.size()) {
      change.data[offset - change.at] ^= static_cast<char>(1 << bit);
    }
  }
}

SimulatedDisk::Counts SimulatedDisk::counts() const {
  MutexLock lock(mutex_);
  return counts_;
}

absl::Status SimulatedDisk::Serve(uint64_t epoch) {
  return power_off_ || epoch != epoch_ ? Crashed() : absl::OkStatus();
}

absl::Status SimulatedDisk::ServeChange(uint64_t epoch) {
  if (changes_left_ == 0) power_off_ = true;
  if (absl::Status status = Serve(epoch); !status.ok()) return status;
  if (changes_left_) --*changes_left_;
  return absl::OkStatus();
}

bool SimulatedDisk::HitsFault(Operation operation) {
  const auto found = faults_.find(operation);
  if (found == faults_.end()) return false;
  if (found->second.calls_left > 1) {
    --found->second.calls_left;
    return false;
  }
  if (found->second.repeat == Repeat::kOnce) faults_.erase(found);
  return true;
}

uint64_t SimulatedDisk::Below(uint64_t bound) { return random_.Next() % bound; }

std::shared_ptr<SimulatedDisk::Node> SimulatedDisk::Create(const std::string& path) {
  auto node = std::make_shared<Node>();
  visible_[path] = node;
  unsynced_names_[DirectoryOf(path)].push_back({{}, path, node});
  return node;
}

void SimulatedDisk::Unlink(const std::string& path) {
  const auto found = visible_.find(path);
  found->second->linked = false;
  used_ -= found->second->visible.size();
  visible_.erase(found);
}

absl::Status SimulatedDisk::Resize(Node& node, Change change, const std::string& path) {
  if (absl::Status status = Reserve(node, change.at, path); !status.ok()) return status;
  if (change.at < node.visible.size() && node.linked) used_ -= node.visible.size() - change.at;
  change.ApplyTo(node.visible);
  node.unsynced.push_back(std::move(change));
  return absl::OkStatus();
}

// Counts what a file takes up when it grows to `size`.
absl::Status SimulatedDisk::Reserve(Node& node, uint64_t size, const std::string& path) {
  if (size <= node.visible.size() || !node.linked) return absl::OkStatus();
  const uint64_t more = size - node.visible.size();
  if (used_ > capacity_ || more > capacity_ - used_) {
    return absl::ResourceExhaustedError(
        fmt::format("cannot grow {} to {} bytes: No space left on device", path, size));
  }
  used_ += more;
  return absl::OkStatus();
}

void SimulatedDisk::Write(Node& node, uint64_t offset, std::string_view data) {
  Change change{Change::Kind::kWrite, offset, std::string(data)};
  change.ApplyTo(node.visible);
  node.unsynced.push_back(std::move(change));
}

void SimulatedDisk::MakeSafe(Node& node) {
  for (const Change& change : node.unsynced) change.ApplyTo(node.safe);
  node.unsynced.clear();
}

void SimulatedDisk::MakeSafeByChance(Node& node) {
  for (const Change& change : node.unsynced) {
    const uint64_t fate = Below(change.kind == Change::Kind::kWrite ? 3 : 2);
    if (fate == 1) change.ApplyTo(node.safe);
    if (fate == 2) Tear(node.safe, change);
  }
  node.unsynced.clear();
}

void SimulatedDisk::Tear(std::string& bytes, const Change& change) {
  const uint64_t end = change.at + change.data.size();
  if (end > bytes.size() && Flip()) bytes.resize(end);
  for (uint64_t begin = change.at; begin < end;) {
    const uint64_t next = std::min(end, (begin / kSectorBytes + 1) * kSectorBytes);
    if (Flip()) {
      const bool cut = begin % kSectorBytes != 0 && Flip();
      const uint64_t length = cut ? Below(next - begin) : next - begin;
      Change{Change::Kind::kWrite, begin, change.data.substr(begin - change.at, length)}.ApplyTo(bytes);
    }
    begin = next;
  }
}

// The first `count` unsynced names of a directory reach the disk; no later sync does anything about the
// others.
void SimulatedDisk::MakeNamesSafe(const std::string& directory, size_t count) {
  std::vector<NameChange>& changes = unsynced_names_[directory];
  for (NameChange& change : std::span(changes).first(count)) {
    if (!change.removed.empty()) safe_.erase(change.removed);
    if (!change.added.empty()) safe_[change.added] = std::move(change.node);
  }
  changes.clear();
}

}  // namespace thermocline::testing
