#include "client/cli/id_gathering.h"

#include <utility>

namespace thermocline::cli {
namespace {

// Small batches are put together, so that handing them over costs nothing.
constexpr size_t kIdsPerBatch = 16 << 10;
constexpr size_t kBatchesPerSource = 2;

}  // namespace

IdGathering::IdGathering(const std::vector<std::unique_ptr<storage::IdSource>>& sources, Reject reject)
    : sources_(sources), reject_(std::move(reject)), reading_(sources.size()) {
  for (size_t i = 0; i < sources_.size(); ++i) threads_.emplace_back([this, i] { Read(i); });
}

IdGathering::~IdGathering() {
  Stop();
  for (std::thread& thread : threads_) thread.join();
}

bool IdGathering::Next(std::vector<uint64_t>& ids) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopped_ || reading_ == 0 || !batches_.empty(); });
  if (stopped_ || batches_.empty()) return false;
  ids = std::move(batches_.front());
  batches_.pop();
  changed_.notify_all();
  return true;
}

void IdGathering::Read(size_t index) {
  storage::IdSource& source = *sources_[index];
  const auto skip = [&](uint64_t row, std::string_view problem) { return reject_(index, row, problem); };
  std::vector<uint64_t> ids;
  for (;;) {
    const auto some = source.Next(skip);
    if (!some.ok()) {
      {
        std::lock_guard lock(mutex_);
        if (!std::exchange(stopped_, true)) failure_ = {index, some.status()};
      }
      return Stop();
    }
    ids.insert(ids.end(), some->begin(), some->end());
    const bool end = some->empty();
    if ((ids.size() >= kIdsPerBatch || (end && !ids.empty())) && !Hand(std::exchange(ids, {}))) return;
    if (end) break;
  }
  std::lock_guard lock(mutex_);
  --reading_;
  changed_.notify_all();
}

bool IdGathering::Hand(std::vector<uint64_t> ids) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopped_ || batches_.size() < kBatchesPerSource * sources_.size(); });
  if (stopped_) return false;
  batches_.push(std::move(ids));
  changed_.notify_all();
  return true;
}

void IdGathering::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }
  for (const auto& source : sources_) source->Cancel();
}

}  // namespace thermocline::cli
