#include "tests/bench/lru_model.h"

namespace thermocline::bench {

void LruModel::Unlink(uint32_t node) {
  nodes_[nodes_[node].newer].older = nodes_[node].older;
  nodes_[nodes_[node].older].newer = nodes_[node].newer;
}

void LruModel::LinkNewest(uint32_t node) {
  const uint32_t second = nodes_[0].older;
  nodes_[node].newer = 0;
  nodes_[node].older = second;
  nodes_[second].newer = node;
  nodes_[0].older = node;
}

void LruModel::EvictTo(uint64_t bytes) {
  while (bytes_ > bytes) {
    const uint32_t oldest = nodes_[0].newer;
    Unlink(oldest);
    bytes_ -= nodes_[oldest].bytes;
    held_.erase(nodes_[oldest].key);
    free_.push_back(oldest);
  }
}

bool LruModel::Touch(uint64_t key, uint32_t bytes) {
  if (const auto found = held_.find(key); found != held_.end()) {
    Unlink(found->second);
    LinkNewest(found->second);
    return true;
  }
  if (bytes > capacity_) return false;
  EvictTo(capacity_ - bytes);
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(nodes_.size()));
    nodes_.emplace_back();
  }
  const uint32_t node = free_.back();
  free_.pop_back();
  nodes_[node] = {.key = key, .bytes = bytes};
  LinkNewest(node);
  held_.emplace(key, node);
  bytes_ += bytes;
  return false;
}

void LruModel::SetCapacity(uint64_t bytes) {
  capacity_ = bytes;
  EvictTo(bytes);
}

}  // namespace thermocline::bench
