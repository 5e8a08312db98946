#include "client/cli/lanes.h"

#include <string_view>
#include <utility>

namespace thermocline::cli {

Lanes::Lanes(const Options& options, Send send)
    : options_(options), send_(std::move(send)), lanes_(options.lanes) {}

Lanes::~Lanes() {
  for (const Lane& lane : lanes_) Await(lane);
}

void Lanes::Add(Record record) {
  Lane& lane = lanes_[std::hash<std::string_view>()(record.key) % lanes_.size()];
  lane.bytes += record.key.size() + record.value.size();
  lane.batch.push_back(std::move(record));
  if (lane.batch.size() >= options_.batch_records || lane.bytes >= options_.batch_bytes) SendBatch(lane);
}

void Lanes::Drain() {
  for (Lane& lane : lanes_) {
    if (!lane.batch.empty()) SendBatch(lane);
  }
  for (const Lane& lane : lanes_) Await(lane);
}

void Lanes::SendBatch(Lane& lane) {
  Await(lane);
  {
    std::lock_guard lock(mutex_);
    lane.under_way = true;
  }
  lane.bytes = 0;
  send_(std::exchange(lane.batch, {}), [this, &lane] {
    std::lock_guard lock(mutex_);
    lane.under_way = false;
    // Under the lock: this may be destroyed as soon as it is released.
    through_.notify_all();
  });
}

void Lanes::Await(const Lane& lane) {
  std::unique_lock lock(mutex_);
  through_.wait(lock, [&lane] { return !lane.under_way; });
}

}  // namespace thermocline::cli
