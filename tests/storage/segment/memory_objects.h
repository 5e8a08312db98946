#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"
#include "storage/thread_annotations.h"

namespace thermocline::testing {

// Objects in memory. Open objects keep their bytes when they are changed, but not when they are removed: as
// in S3, who reads them then gets NOT_FOUND. Reads complete during the call, unless they are held.
class MemoryObjects : public storage::ObjectStore {
 public:
  absl::StatusOr<std::unique_ptr<storage::Object>> Open(const std::string& name) override;
  absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> Create(const std::string& name) override;
  absl::Status Remove(const std::string& name) override;
  absl::Status List(const std::string& prefix, const std::function<bool(Listed)>& visit) override;

  // For tests that look behind the door, or damage what lies there.
  std::string Bytes(const std::string& name) const {
    storage::MutexLock lock(mutex_);
    const auto found = objects_.find(name);
    return found == objects_.end() ? std::string() : *found->second;
  }
  void Put(const std::string& name, std::string bytes) {
    storage::MutexLock lock(mutex_);
    objects_[name] = std::make_shared<const std::string>(std::move(bytes));
  }
  size_t size() const {
    storage::MutexLock lock(mutex_);
    return objects_.size();
  }

  // From now on, every read or append fails with this status; OK: none does.
  void FailReads(absl::Status status) {
    storage::MutexLock lock(mutex_);
    read_failure_ = std::move(status);
  }
  void FailAppends(absl::Status status) {
    storage::MutexLock lock(mutex_);
    append_failure_ = std::move(status);
  }

  // From now on, reads do not complete before CompleteReads, which completes those that are waiting (in the
  // order they came), but none that they begin. Held reads must have completed before this is destroyed.
  void HoldReads(bool hold) {
    storage::MutexLock lock(mutex_);
    hold_reads_ = hold;
  }
  size_t CompleteReads() {
    std::vector<absl::AnyInvocable<void()>> held;
    {
      storage::MutexLock lock(mutex_);
      held.swap(held_reads_);
    }
    for (auto& complete : held) complete();
    return held.size();
  }

  uint64_t reads() const { return reads_.load(); }
  uint64_t bytes_read() const { return bytes_read_.load(); }

 private:
  using Content = std::shared_ptr<const std::string>;
  class OpenObject;
  class Writer;

  static bool IsName(std::string_view name);
  void Read(const std::string& name, const Content& content, uint64_t offset, std::span<char> out,
            absl::AnyInvocable<void(absl::Status)> done);

  mutable storage::Mutex mutex_;
  std::map<std::string, Content> objects_ ABSL_GUARDED_BY(mutex_);
  absl::Status read_failure_ ABSL_GUARDED_BY(mutex_);
  absl::Status append_failure_ ABSL_GUARDED_BY(mutex_);
  bool hold_reads_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<absl::AnyInvocable<void()>> held_reads_ ABSL_GUARDED_BY(mutex_);
  std::atomic<uint64_t> reads_{0};
  std::atomic<uint64_t> bytes_read_{0};
};

class MemoryObjects::OpenObject : public storage::Object {
 public:
  OpenObject(MemoryObjects& store, std::string name, Content content)
      : store_(store), name_(std::move(name)), content_(std::move(content)) {}

  uint64_t size() const override { return content_->size(); }
  void Read(uint64_t offset, std::span<char> out, absl::AnyInvocable<void(absl::Status)> done) override {
    store_.Read(name_, content_, offset, out, std::move(done));
  }

 private:
  MemoryObjects& store_;
  const std::string name_;
  const Content content_;
};

class MemoryObjects::Writer : public storage::ObjectWriter {
 public:
  Writer(MemoryObjects& store, std::string name) : store_(store), name_(std::move(name)) {}

  absl::Status Append(std::string_view bytes) override {
    storage::MutexLock lock(store_.mutex_);
    if (!store_.append_failure_.ok()) return store_.append_failure_;
    bytes_.append(bytes);
    return absl::OkStatus();
  }
  absl::Status Finish() override {
    storage::MutexLock lock(store_.mutex_);
    if (!store_.append_failure_.ok()) return store_.append_failure_;
    const bool made =
        store_.objects_.try_emplace(name_, std::make_shared<const std::string>(std::move(bytes_))).second;
    return made ? absl::OkStatus() : absl::AlreadyExistsError(name_ + ": there is such an object");
  }

 private:
  MemoryObjects& store_;
  const std::string name_;
  std::string bytes_;
};

inline absl::StatusOr<std::unique_ptr<storage::Object>> MemoryObjects::Open(const std::string& name) {
  if (!IsName(name)) return absl::InvalidArgumentError(name + ": not a name of an object");
  storage::MutexLock lock(mutex_);
  const auto found = objects_.find(name);
  if (found == objects_.end()) return absl::NotFoundError(name + ": no such object");
  return std::make_unique<OpenObject>(*this, name, found->second);
}

inline absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> MemoryObjects::Create(const std::string& name) {
  if (!IsName(name)) return absl::InvalidArgumentError(name + ": not a name of an object");
  storage::MutexLock lock(mutex_);
  if (objects_.contains(name)) return absl::AlreadyExistsError(name + ": there is such an object");
  return std::make_unique<Writer>(*this, name);
}

inline absl::Status MemoryObjects::Remove(const std::string& name) {
  if (!IsName(name)) return absl::InvalidArgumentError(name + ": not a name of an object");
  storage::MutexLock lock(mutex_);
  objects_.erase(name);
  return absl::OkStatus();
}

inline absl::Status MemoryObjects::List(const std::string& prefix, const std::function<bool(Listed)>& visit) {
  std::vector<Listed> listed;
  {
    storage::MutexLock lock(mutex_);
    for (auto object = objects_.lower_bound(prefix);
         object != objects_.end() && object->first.starts_with(prefix); ++object) {
      listed.push_back({object->first, object->second->size()});
    }
  }
  for (Listed& object : listed) {
    if (!visit(std::move(object))) break;
  }
  return absl::OkStatus();
}

inline void MemoryObjects::Read(const std::string& name, const Content& content, uint64_t offset,
                                std::span<char> out, absl::AnyInvocable<void(absl::Status)> done) {
  reads_.fetch_add(1);
  absl::Status status;
  {
    storage::MutexLock lock(mutex_);
    status = read_failure_;
    if (status.ok() && !objects_.contains(name)) {
      status = absl::NotFoundError(name + ": was removed while it was open");
    }
    if (status.ok() && (offset > content->size() || out.size() > content->size() - offset)) {
      status = absl::OutOfRangeError("a read beyond the end of an object");
    }
    if (hold_reads_) {
      held_reads_.push_back([this, content, offset, out, status, done = std::move(done)]() mutable {
        if (status.ok()) std::memcpy(out.data(), content->data() + offset, out.size());
        if (status.ok()) bytes_read_.fetch_add(out.size());
        done(status);
      });
      return;
    }
  }
  if (status.ok()) std::memcpy(out.data(), content->data() + offset, out.size());
  if (status.ok()) bytes_read_.fetch_add(out.size());
  done(status);
}

inline bool MemoryObjects::IsName(std::string_view name) {
  for (;;) {
    const std::string_view part = name.substr(0, name.find('/'));
    const bool characters = std::all_of(part.begin(), part.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    });
    if (part.empty() || part.size() > 200 || part[0] == '.' || !characters) return false;
    if (part.size() == name.size()) return true;
    name.remove_prefix(part.size() + 1);
  }
}

}  // namespace thermocline::testing
