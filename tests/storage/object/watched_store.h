#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"
#include "storage/thread_annotations.h"

namespace thermocline::testing {

// A store that counts what is asked of another, and fails as told. Thread-safe.
class WatchedStore : public storage::ObjectStore {
 public:
  explicit WatchedStore(storage::ObjectStore& store) : store_(store) {}

  struct Range {
    uint64_t offset;
    uint64_t bytes;
    friend bool operator==(const Range&, const Range&) = default;
  };
  // The reads since the last call, in their order.
  std::vector<Range> TakeReads() {
    storage::MutexLock lock(mutex_);
    return std::exchange(reads_, {});
  }
  uint64_t most_bytes_under_way() const { return most_under_way_; }

  // Asked before each read: what is not OK is its answer.
  void SetFaults(std::function<absl::Status()> faults) {
    storage::MutexLock lock(mutex_);
    faults_ = std::move(faults);
  }

  absl::StatusOr<std::unique_ptr<storage::Object>> Open(const std::string& name) override {
    absl::StatusOr<std::unique_ptr<storage::Object>> object = store_.Open(name);
    if (!object.ok()) return object.status();
    return std::make_unique<WatchedObject>(*this, *std::move(object));
  }
  absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> Create(const std::string& name) override {
    return store_.Create(name);
  }
  absl::Status Remove(const std::string& name) override { return store_.Remove(name); }
  absl::Status List(const std::string& prefix, const std::function<bool(Listed)>& visit) override {
    return store_.List(prefix, visit);
  }

 private:
  class WatchedObject : public storage::Object {
   public:
    WatchedObject(WatchedStore& store, std::unique_ptr<storage::Object> object)
        : store_(store), object_(std::move(object)) {}

    uint64_t size() const override { return object_->size(); }
    void Read(uint64_t offset, std::span<char> out, absl::AnyInvocable<void(absl::Status)> done) override {
      absl::Status fault = store_.Begin({offset, out.size()});
      object_->Read(offset, out,
                    [&store = store_, bytes = out.size(), fault = std::move(fault),
                     done = std::move(done)](absl::Status status) mutable {
                      store.under_way_ -= bytes;
                      done(fault.ok() ? std::move(status) : std::move(fault));
                    });
    }

   private:
    WatchedStore& store_;
    const std::unique_ptr<storage::Object> object_;
  };

  absl::Status Begin(Range range) {
    storage::MutexLock lock(mutex_);
    reads_.push_back(range);
    most_under_way_ = std::max<uint64_t>(most_under_way_, under_way_ += range.bytes);
    return faults_ ? faults_() : absl::OkStatus();
  }

  storage::ObjectStore& store_;
  std::atomic<uint64_t> under_way_ = 0;
  std::atomic<uint64_t> most_under_way_ = 0;
  storage::Mutex mutex_;
  std::vector<Range> reads_ ABSL_GUARDED_BY(mutex_);
  std::function<absl::Status()> faults_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::testing
